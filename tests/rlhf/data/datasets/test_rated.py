"""Answers with what was said of each: scores, ranks, labels."""

from typing import Any

import pytest

from rlhf.data.records import Kind
from rlhf.errors import DataError
from tests.rlhf.data.datasets.rows import (
    ASK,
    ASKED,
    GOOD,
    GPT,
    HUMAN,
    NO,
    POST,
    SAY,
    D,
    L,
    P,
    Q,
    Rows,
    S,
    each,
    laid_out,
    read,
    steps,
)


def feedback(text: str, fine: float, overall: float) -> dict[str, Any]:
    """UltraFeedback's completion."""
    judged = {"Type": ["1"], "Rationale": "r", "Rating": "4", "Rationale For Rating": "x"}
    return {
        "model": "m",
        "principle": "honesty",
        "custom_system_prompt": "cs",
        "response": text,
        "annotations": {"helpfulness": judged, "honesty": {"Rating": "N/A", "Rationale": "r"}},
        "critique": "k",
        "fine-grained_score": fine,
        "overall_score": overall,
    }


OASST: dict[str, Any] = {"lang": "en", "review_result": True, "deleted": False, "tree_state": "ready_for_export"}


TREE = [
    {**OASST, "message_id": "1", "parent_id": None, "text": "a", "role": "prompter", "rank": None},
    {**OASST, "message_id": "2", "parent_id": "1", "text": "c", "role": "assistant", "rank": 1.0},
    {**OASST, "message_id": "3", "parent_id": "1", "text": "b", "role": "assistant", "rank": 0.0},
    {**OASST, "message_id": "4", "parent_id": "3", "text": "d", "role": "prompter", "rank": None},
]


HELPSTEER = [
    {"prompt": p, "response": r, "helpfulness": h, "correctness": 1, "coherence": 4, "complexity": 2, "verbosity": 1}
    for p, r, h in (("a", "c", 1), ("a", "b", 4), ("x", "y", 2))
]


THREE = {"prompt": "a", "response_1": "b", "response_2": "c", "response_3": "d"}
READ: Rows = [
    # ------------------------------------------------------------ several answers
    (
        "ultrafeedback",
        P,
        {"instruction": "a", "models": ["m", "n"], "correct_answers": ["None"], "incorrect_answers": ["None"]}
        | {"source": "flan", "completions": [feedback("b", 3.0, 9.0), feedback("c", 4.5, 7.0)]},
        "u:a | c > b @1.5",
    ),
    ("ultrafeedback: nothing", P, {"instruction": "a", "source": "flan", "completions": []}, "no answers"),
    (
        "nectar",
        P,
        {"prompt": "\n\nHuman: a\n\nAssistant: ", "turns": 1, "num_responses": 2, "good_natured": True}
        | {"answers": [{"answer": t, "model": "m", "rank": r} for t, r in (("c", 2.0), ("b", 1.0))]},
        "u:a | b > c @1",
    ),
    (
        "stack-exchange-preferences",
        P,
        {"qid": 1, "question": "a", "date": "d", "metadata": ["m"]}
        | {
            "answers": [
                {"answer_id": i, "author": "x", "author_id": 9 - i, "pm_score": s, "selected": False, "text": t}
                for i, (t, s) in enumerate((("c", 1), ("b", 4)))
            ]
        },
        "u:a | b > c @3",
    ),
    (
        "stack-exchange-paired",
        P,
        {"qid": 1, "question": "a", "date": "d", "metadata": ["m"], "response_j": "b", "response_k": "c"},
        "u:a | b > c",
    ),
    (
        "gpt-4-llm comparisons",
        P,
        {"user_input": "a"}
        | {"responses_and_scores": [{"response": t, "source": "gpt4", "score": s} for t, s in (("c", 7), ("b", 9))]},
        "u:a | b > c @2",
    ),
    (
        "distilabel: one failed",
        P,
        {"instruction": "a", "generations": ["b", None, "c"], "ratings": [4, None, 2], "generation_models": ["x", "y"]},
        "u:a | b > c @2; no answer",
    ),
    ("three with scores", P, THREE | {"score_1": 1, "score_2": 2, "score_3": 9}, "u:a | d > b @8"),
    ("three with ranks", P, THREE | {"rank_1": 1, "rank_2": 2, "rank_3": 3}, "u:a | b > d @2"),
    (
        "three and a winner",
        P,
        {"prompt": "a", "answer_a": "b", "answer_b": "c", "answer_c": "d", "winner": "B"},
        "u:a | c > b @1",
    ),
    ("three, the best imitated", D, THREE | {"winner": "response_3"}, "u:a a:d"),
    ("judged twice", P, {"prompt": "a", "responses": ["b", "b", "c"], "scores": [5, 1, 3]}, "u:a | b > c @2"),
    (
        "nemo-rl",
        P,
        {"context": [ASK], "completions": [{"rank": 1, "completion": [NO]}, {"rank": 0, "completion": [SAY]}]},
        "u:a | b > c @1",
    ),
    ("oasst messages", P, TREE, "u:a | b > c @1"),
    ("oasst messages in a table", P, [{**row, "rank": str(row["rank"])} for row in TREE], "u:a | b > c @1"),
    ("oasst messages", D, TREE, "u:a a:b"),
    ("oasst messages", Q, TREE, "u:a; u:a a:b u:d"),
    ("oasst messages, cut off", P, TREE[1:2], "answers a message that is not in the file"),
    ("helpsteer", P, HELPSTEER, "u:a | b > c @3; fewer than two answers"),
    (
        "helpsteer",
        S,
        HELPSTEER[:1],
        "u:a | c helpfulness:1 correctness:1 coherence:4 complexity:2 verbosity:1",
    ),
    (
        "prm800k",
        P,
        {"labeler": "l", "generation": None, "question": {"problem": "a", "ground_truth_answer": "2"}}
        | {"label": steps([1, -1], [0, None, -1], taken=0)},
        "u:a | b > c @2; u:a | b\nb > b\nd @1",
    ),
    ("prm800k: bad problem", P, {"question": {"problem": "a"}, "label": steps()}, "no rated step"),
    (
        "math-shepherd",
        L,
        {"input": "a Step 1: b ки\nStep 2: c ки", "label": "a Step 1: b +\nStep 2: c -", "task": "GSM8K"},
        "u:a | Step 1: b score:1 label:1 | Step 1: b\nStep 2: c score:0 label:0",
    ),
    (
        "trl stepwise",
        L,
        {"prompt": "a", "completions": ["b", "c"], "labels": [True, False]},
        "u:a | b score:1 label:1 | b\nc score:0 label:0",
    ),
    # ------------------------------------------------------------ labels and scores
    ("trl kto-mix-14k", L, {"prompt": [ASK], "completion": [SAY], "label": False}, "u:a | b label:0"),
    ("llama-factory kto", L, {"conversations": [HUMAN, GPT], "kto_tag": False}, "u:a | b label:0"),
    ("llama-factory kto", D, {"conversations": [HUMAN, GPT], "kto_tag": False}, "labelled bad"),
    ("alpaca kto", L, {"instruction": "a", "input": "", "output": "b", "kto_tag": True}, "u:a | b label:1"),
    ("beavertails", L, {"prompt": "a", "response": "b", "category": {"x": False}, "is_safe": False}, "u:a | b label:0"),
    ("beavertails", D, {"prompt": "a", "response": "b", "category": {"x": False}, "is_safe": False}, "labelled bad"),
    (
        "openmathinstruct-1",
        L,
        {"question": "a", "expected_answer": "2", "generated_solution": "b", "is_correct": True},
        "u:a | b label:1",
    ),
    ("a vote", L, {"prompt": "a", "response": "b", "vote": -1}, "u:a | b label:0"),
    ("a vote D", D, {"prompt": "a", "response": "b", "vote": -1}, "labelled bad"),
    ("votes", D, {"prompt": "a", "response": "b", "vote": 5}, "u:a a:b"),
    ("a word of praise", L, {"messages": GOOD, "rating": "positive"}, "u:a | b label:1"),
    ("yes or no", D, {"prompt": "a", "completion": "b", "accepted": "no"}, "labelled bad"),
    ("feedback in words", D, {"prompt": "a", "completion": "b", "feedback": "Not bad."}, "u:a a:b"),
    (
        "picked answers",
        P,
        [{"prompt": "a", "response": "b", "is_chosen": False}, {"prompt": "a", "response": "c", "is_chosen": True}],
        "u:a | c > b @1",
    ),
    (
        "a ranking that says the same either way",
        P,
        {"prompt": "a", "responses": ["b", "c", "d"], "ranking": [2, 1, 3]},
        "u:a | c > d @2",
    ),
    (
        "picked answers, shuffled",
        P,
        [
            {"prompt": "a", "response": "b", "is_chosen": False},
            {"prompt": "d", "response": "b", "is_chosen": True},
            {"prompt": "a", "response": "c", "is_chosen": True},
            {"prompt": "d", "response": "c", "is_chosen": False},
        ],
        "u:a | c > b @1; u:d | b > c @1",
    ),
    (
        "ranks of answers",
        P,
        [{"prompt": "a", "response": "b", "rank": 2}, {"prompt": "a", "response": "c", "rank": 1}],
        "u:a | c > b @1",
    ),
    ("a thumb", L, {"query": "a", "response": "b", "label": "thumbs_down"}, "u:a | b label:0"),
    (
        "summarize_from_feedback axis",
        S,
        {"info": POST, "summary": {"text": "b", "policy": "x", "axes": {"overall": 6, "coherence": None}}},
        f"{ASKED} | b overall:6",
    ),
    ("messages with a score", S, {"messages": GOOD, "score": 3}, "u:a | b score:3"),
]


@each(READ)
def test_read(kind: Kind, rows: Any, expected: str) -> None:
    assert read(kind, *rows) == expected


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(P, "u:a | b > c @2; empty answer"), (S, "u:a | b score:3 | c score:1; empty answer"), (D, "u:a a:b")],
    ids=["preferences", "scores", "demonstrations"],
)
def test_an_empty_answer_takes_no_other_with_it(kind: Kind, expected: str) -> None:
    said = [{"text": text, "score": score} for text, score in (("b", 3), (" ", 2), ("c", 1))]
    assert read(kind, {"prompt": "a", "completions": said}) == expected


def test_what_is_left_out_of_a_tree_is_told() -> None:
    more = [
        {**TREE[1], "message_id": "5", "rank": 2, "deleted": True},
        {**TREE[1], "message_id": "6", "rank": None},
        {**TREE[1], "message_id": "7", "rank": None, "parent_id": "4"},
    ]
    assert read(P, *TREE, *more) == "deleted; u:a | b > c @1; answer without a rank"


@pytest.mark.parametrize(
    ("worse", "says"),
    [
        ([*TREE, TREE[1]], "message_id: 2 is that of f:1 too"),
        ([TREE[0], *TREE[1:], *[{**TREE[3], "message_id": a, "parent_id": b} for a, b in ("xy", "yx")]], "in a circle"),
    ],
    ids=["twice", "in a circle"],
)
def test_no_message_of_a_tree_is_lost(worse: list[Any], says: str) -> None:
    found = [row for _, row in laid_out(P, *worse)]
    assert sum(isinstance(row, dict) for row in found) == 1
    told = [str(row) for row in found if isinstance(row, DataError)]
    assert told and all(says in one for one in told)
