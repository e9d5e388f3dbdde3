"""Rows as public data sets write them, by the data set's name: every field that it has, and what is read of it.

`u:a | b > c @1` is a pair with its margin, `u:a a:b` a conversation, `u:a = 2` a prompt with its right answer.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rlhf.config.data import Source
from rlhf.data.arrange import arranged
from rlhf.data.formats import Reader
from rlhf.data.messages import UnusableError
from rlhf.data.records import Demonstration, Kind, Message, Preference, Prompt, Record
from rlhf.errors import DataError

P: Kind = "preferences"
D: Kind = "demonstrations"
Q: Kind = "prompts"
L: Kind = "labels"
S: Kind = "scores"
SOURCE = Source(path=Path("f"))


def turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def share(by: str, value: str) -> dict[str, str]:
    return {"from": by, "value": value}


def parts(text: str) -> list[dict[str, str]]:
    return [{"text": text}]


def gemini(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": parts(text)}


SYS, ASK, SAY, NO = turn("system", "s"), turn("user", "a"), turn("assistant", "b"), turn("assistant", "c")
GOOD, BAD = [ASK, SAY], [ASK, NO]
HUMAN, GPT, WORSE = share("human", "a"), share("gpt", "b"), share("gpt", "c")


def talk(messages: list[Message]) -> str:
    return " ".join(f"{message['role'][0]}:{message['content']}" for message in messages)


def answer(messages: list[Message]) -> str:
    return messages[0]["content"] if len(messages) == 1 else talk(messages)


def told(record: Record | UnusableError) -> str:
    """A record on one line."""
    match record:
        case UnusableError():
            return str(record)
        case Preference():
            margin = "" if record.margin is None else f" @{record.margin:g}"
            sign = "=" if record.tie else ">"
            return f"{talk(record.prompt)} | {answer(record.chosen)} {sign} {answer(record.rejected)}{margin}"
        case Demonstration():
            return talk(record.messages)
        case Prompt():
            return talk(record.messages) + (f" = {record.answer}" if record.answer else "")
        case _:
            rated = [
                f"{answer(said)} {' '.join(f'{n}:{v:g}' for n, v in numbers.items())}"
                for said, numbers in record.answers
            ]
            return f"{talk(record.prompt)} | {' | '.join(rated)}"


def read(kind: Kind, *rows: Any) -> str:
    reader, found = Reader(kind), []
    for where, row in arranged(iter([(f"f:{i}", row) for i, row in enumerate(rows)]), SOURCE, kind):
        try:
            if isinstance(row, Exception):
                raise row
            found += [told(record) for record in reader.read(row, where)]
        except UnusableError as reason:
            found.append(str(reason))
    return "; ".join(found)


def steps(*ratings: list[int | None], taken: int = 0) -> dict[str, Any]:
    """PRM800K's label: texts b, c, d … with their ratings."""
    return {
        "steps": [
            {
                "completions": [{"text": "bcd"[i], "rating": one, "flagged": False} for i, one in enumerate(step)],
                "human_completion": None,
                "chosen_completion": taken,
            }
            for step in ratings
        ],
        "total_time": 9,
        "finish_reason": "solution",
    }


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
ARENA = {"model_a": "x", "model_b": "y", "conversation_a": GOOD, "conversation_b": BAD, "language": "English"}
KAGGLE = {"id": "1", "model_a": "x", "model_b": "y", "winner_model_a": "1", "winner_model_b": "0", "winner_tie": "0"}
POST = {"id": "1", "post": "p", "title": "t", "subreddit": "s", "site": None, "article": None}
SIDE = {"type": "pairwise", "from_name": "pw", "to_name": "p,q", "value": {"selected": "right"}}
RATINGS = ((4, "submitted"), (1, "draft"))
ASKED = "u:Title: t\n\np\n\nTL;DR:"

READ: list[tuple[str, Kind, Any, str]] = [
    # ------------------------------------------------------------------------------------------ pairs
    ("hh", P, {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"}, "u:a | b > c"),
    ("prompt a string, answers messages", P, {"prompt": "a", "chosen": [SAY], "rejected": [NO]}, "u:a | b > c"),
    (
        "ultrafeedback_binarized",
        P,
        {"prompt": "a", "prompt_id": "x", "chosen": GOOD, "rejected": BAD, "messages": GOOD}
        | {"score_chosen": 8.0, "score_rejected": 7.5},
        "u:a | b > c @0.5",
    ),
    (
        "argilla/ultrafeedback-binarized-preferences",
        P,
        {"source": "s", "instruction": "a", "chosen_response": "b", "rejected_response": "c"}
        | {"chosen_avg_rating": 5.0, "rejected_avg_rating": 4.0, "chosen_model": "x"},
        "u:a | b > c @1",
    ),
    (
        "argilla/ultrafeedback-binarized-preferences-cleaned",
        P,
        {"source": "s", "prompt": "a", "chosen": GOOD, "chosen-rating": 5.0, "chosen-model": "x"}
        | {"rejected": BAD, "rejected-rating": 4.0, "rejected-model": "y"},
        "u:a | b > c @1",
    ),
    (
        "argilla/dpo-mix-7k",
        P,
        {"dataset": "d", "chosen": GOOD, "chosen_rating": 5.0, "rejected": BAD, "rejected_rating": 4.0},
        "u:a | b > c @1",
    ),
    (
        "argilla/distilabel-intel-orca-dpo-pairs: tie",
        P,
        {"system": "s", "input": "a", "chosen": "b", "rejected": "c", "generations": ["b", "c"], "rating": [9.0, 9.0]}
        | {"status": "tie", "chosen_score": 9.0, "in_gsm8k_train": False},
        "s:s u:a | b = c",
    ),
    ("orca_dpo_pairs", P, {"system": "", "question": "a", "chosen": "b", "rejected": "c"}, "u:a | b > c"),
    ("axolotl chatml.icr", P, {"system": "s", "input": "a", "chosen": "b", "rejected": "c"}, "s:s u:a | b > c"),
    ("axolotl llama3.ultra", P, {"system": "s", "prompt": "a", "chosen": GOOD, "rejected": BAD}, "s:s u:a | b > c"),
    ("axolotl chat_template", P, {"messages": [ASK], "chosen": SAY, "rejected": NO}, "u:a | b > c"),
    ("llama-factory dpo", P, {"instruction": "a", "input": "x", "chosen": "b", "rejected": "c"}, "u:a\n\nx | b > c"),
    (
        "processed-hh-rlhf",
        P,
        {"context": [{"role": "human", "text": "a"}], "chosen": {"role": "assistant", "text": "b"}}
        | {"rejected": {"role": "assistant", "text": "c"}},
        "u:a | b > c",
    ),
    (
        "tulu-3-preference-mixture",
        P,
        {"id": "1", "source": "s", "prompt": "a", "chosen": GOOD, "rejected": BAD},
        "u:a | b > c",
    ),
    ("skywork-reward-preference", P, {"chosen": GOOD, "rejected": BAD, "source": "s"}, "u:a | b > c"),
    (
        "rewardbench",
        P,
        {"prompt": "a", "chosen": "b", "chosen_model": "x", "rejected": "c", "rejected_model": "y"}
        | {"subset": "alpacaeval-easy", "id": 0},
        "u:a | b > c",
    ),
    (
        "rewardbench-2",
        P,
        {"id": "1", "prompt": "a", "chosen": ["b"], "rejected": ["c", "d", "e"], "num_correct": 1, "models": ["x"]},
        "u:a | b > c @1",
    ),
    ("rm-bench", P, {"id": "1", "prompt": "a", "chosen": ["b"], "rejected": ["c"], "domain": "chat"}, "u:a | b > c @1"),
    (
        "nemo-aligner dpo",
        P,
        {"prompt": "a", "chosen_response": "b", "rejected_response": "c", "chosen_reward": 1.0, "rejected_reward": 0.0},
        "u:a | b > c",
    ),
    (
        "ultrainteract_pair",
        P,
        {"task": "t", "trajectory": [share("user", "a")], "chosen": "b", "rejected": "c", "id": "1", "parent_id": "0"},
        "u:a | b > c",
    ),
    (
        "math-step-dpo-10k",
        P,
        {"dataset": "d", "prompt": "a", "initial_reason_steps": "1. ", "chosen": "b", "rejected": "c"}
        | {"full_chosen": "fb", "full_rejected": "fc", "answer": "2"},
        "u:a | 1. b > 1. c",
    ),
    ("a context", P, {"question": "a", "context": "x", "chosen": "b", "rejected": "c"}, "u:x\n\na | b > c"),
    ("trl implicit prompt", P, {"chosen": "It is b.", "rejected": "It is c."}, "u:It is | b. > c."),
    # ------------------------------------------------------------------------------------------ verdicts
    (
        "mt_bench_human_judgments",
        P,
        {**ARENA, "question_id": 81, "winner": "model_b", "judge": "e", "turn": 1},
        "u:a | c > b",
    ),
    ("chatbot_arena", P, {**ARENA, "winner": "tie (bothbad)", "judge": "j", "turn": 1, "tstamp": 1.0}, "u:a | b = c"),
    ("arena-human-preference-100k", P, {**ARENA, "winner": "model_a", "turn": 1, "is_code": False}, "u:a | b > c"),
    (
        "arena-human-preference-140k",
        P,
        {
            "winner": "both_bad",
            "evaluation_session_id": "e",
            **{
                f"conversation_{side}": [
                    {**message, "content": [{"type": "text", "text": message["content"], "image": None}]}
                    for message in talk
                ]
                for side, talk in (("a", GOOD), ("b", BAD))
            },
        },
        "u:a | b = c",
    ),
    (
        "lmsys 55k of Kaggle",
        P,
        {**KAGGLE, "prompt": '["a","d"]', "response_a": '["b","e"]', "response_b": '["c","f"]'},
        "u:a | a:b u:d a:e > a:c u:d a:f",
    ),
    (
        "lmsys 55k of Kaggle: null",
        P,
        {**KAGGLE, "prompt": '["a"]', "response_a": '["b"]', "response_b": "[null]"},
        "empty answer",
    ),
    (
        "alpaca_eval",
        P,
        {"instruction": "a", "output_1": "b", "generator_1": "x", "output_2": "c", "generator_2": "y"}
        | {"annotator": "gpt4", "preference": 1.0, "raw_completion": None},
        "u:a | b > c",
    ),
    ("rlcd", P, {"instruction": "a", "input": None, "output_1": "b", "output_2": "c", "preference": 2}, "u:a | c > b"),
    (
        "pandalm: two of three",
        P,
        {"idx": 0, "motivation_app": "G", "cmp_key": "k", "instruction": "a", "input": None, "response1": "b"}
        | {"response2": "c", "annotator1": 2, "annotator2": 1, "annotator3": 1},
        "u:a | b > c",
    ),
    (
        "pandalm: three of three",
        P,
        {"instruction": "a", "response1": "b", "response2": "c", "annotator1": 2, "annotator2": 1, "annotator3": 0},
        "annotators disagree",
    ),
    ("auto-j", P, {"scenario": "s", "label": 2, "prompt": "a", "response 1": "b", "response 2": "c"}, "u:a | b = c"),
    (
        "judgebench",
        P,
        {"pair_id": "p", "original_id": 1, "source": "mmlu", "question": "a", "response_model": "g"}
        | {"response_A": "b", "response_B": "c", "label": "B>A"},
        "u:a | c > b",
    ),
    ("arena-hard judge", P, {"question": "a", "answer_a": "b", "answer_b": "c", "verdict": "A >> B"}, "u:a | b > c"),
    ("a judge's [[B]]", P, {"question": "a", "answer_a": "b", "answer_b": "c", "verdict": "[[B]]"}, "u:a | c > b"),
    ("offsetbias", P, {"instruction": "a", "output_1": "b", "output_2": "c", "label": 2, "source": "s"}, "u:a | c > b"),
    (
        "helpsteer2 preference",
        P,
        {"split": "train", "prompt": "a", "response_1": "b", "response_2": "c", "preference_strength": -2}
        | {"preference_statement": "s", "preference_elaboration": "e", "all_preferences_unprocessed": []},
        "u:a | b > c @2",
    ),
    (
        "helpsteer3",
        P,
        {"domain": "code", "language": "python", "context": [ASK], "response1": "b", "response2": "c"}
        | {"overall_preference": 2, "individual_preference": [{"score": 2, "reasoning": "r"}]},
        "u:a | c > b @2",
    ),
    (
        "pku-saferlhf",
        P,
        {"prompt": "a", "response_0": "b", "response_1": "c", "is_response_0_safe": False, "is_response_1_safe": True}
        | {"better_response_id": 0, "safer_response_id": 1, "response_0_sha256": "h"},
        "u:a | b > c",
    ),
    (
        "shp-2",
        P,
        {"post_id": "p", "domain": "d", "history": "a", "score_A": 5, "score_B": 9, "human_ref_A": "b"}
        | {"human_ref_B": "c", "labels": 0, "seconds_difference": 1.0, "score_ratio": 1.8},
        "u:a | c > b",
    ),
    (
        "webgpt_comparisons",
        P,
        {"question": {"dataset": "eli5", "id": "1", "full_text": "a"}, "quotes_0": {"title": [], "extract": []}}
        | {"answer_0": "b", "tokens_0": {}, "score_0": -0.5, "answer_1": "c", "tokens_1": {}, "score_1": 0.5},
        "u:a | c > b @1",
    ),
    (
        "summarize_from_feedback comparisons",
        P,
        {"info": POST, "summaries": [{"text": "b", "policy": "x", "note": "n"}, {"text": "c", "policy": "y"}]}
        | {"choice": 1, "worker": "w", "batch": "b", "split": "train", "extra": {"confidence": None}},
        f"{ASKED} | c > b",
    ),
    # ------------------------------------------------------------------------------------------ several answers
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
        "u:a | b > c @2",
    ),
    (
        "nemo-rl",
        P,
        {"context": [ASK], "completions": [{"rank": 1, "completion": [NO]}, {"rank": 0, "completion": [SAY]}]},
        "u:a | b > c @1",
    ),
    ("oasst messages", P, TREE, "u:a | b > c @1"),
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
    # ------------------------------------------------------------------------------------------ labels and scores
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
    ("a thumb", L, {"query": "a", "response": "b", "label": "thumbs_down"}, "u:a | b label:0"),
    (
        "summarize_from_feedback axis",
        S,
        {"info": POST, "summary": {"text": "b", "policy": "x", "axes": {"overall": 6, "coherence": None}}},
        f"{ASKED} | b overall:6",
    ),
    ("messages with a score", S, {"messages": GOOD, "score": 3}, "u:a | b score:3"),
    # ------------------------------------------------------------------------------------------ demonstrations
    ("sharegpt with system", D, {"id": "1", "conversations": [share("system", "s"), HUMAN, GPT]}, "s:s u:a a:b"),
    ("two systems", D, {"system": "x", "conversations": [share("system", "s"), HUMAN, GPT]}, "s:s u:a a:b"),
    (
        "llama-factory tools",
        D,
        {"tools": "[]", "conversations": [HUMAN, share("function_call", "f"), share("observation", "o"), GPT]},
        "u:a a:f t:o a:b",
    ),
    (
        "nemo chat",
        D,
        {"system": "s", "mask": "User", "conversations": [share("User", "a"), share("Assistant", "b")], "type": "T"},
        "s:s u:a a:b",
    ),
    ("capybara", D, {"source": "s", "conversation": [{"input": "a", "output": "b"}]}, "u:a a:b"),
    ("lima", D, {"conversations": ["a", "b"], "source": "se"}, "u:a a:b"),
    ("no_robots", D, {"prompt": "a", "prompt_id": "i", "messages": GOOD, "category": "c"}, "u:a a:b"),
    (
        "magpie",
        D,
        {"uuid": "u", "instruction": "a", "response": "b", "conversations": [HUMAN, GPT], "instruct_reward": -1.0},
        "u:a a:b",
    ),
    ("dolly", D, {"instruction": "a", "context": "x", "response": "b", "category": "qa"}, "u:a\n\nx a:b"),
    ("flan", D, {"inputs": "a", "targets": "b", "task": "t"}, "u:a a:b"),
    ("natural-instructions", D, {"definition": "d", "inputs": "a", "targets": "b"}, "u:d\n\na a:b"),
    ("gsm8k", D, {"question": "a", "answer": "b #### 2"}, "u:a a:b #### 2"),
    ("math", D, {"problem": "a", "level": "Level 1", "type": "Algebra", "solution": "b"}, "u:a a:b"),
    ("math-500", D, {"problem": "a", "solution": "b", "answer": "2", "level": 1, "unique_id": "u"}, "u:a a:b"),
    ("aime", D, {"ID": "1", "Problem": "a", "Solution": "b", "Answer": 2}, "u:a a:b"),
    ("openmathinstruct-2", D, {"problem": "a", "generated_solution": "b", "expected_answer": "2"}, "u:a a:b"),
    ("openr1-math", D, {"problem": "a", "solution": "x", "generations": ["b"], "messages": GOOD}, "u:a a:b"),
    ("humaneval", D, {"task_id": "0", "prompt": "a", "canonical_solution": "b", "test": "t"}, "u:a a:b"),
    ("mbpp", D, {"task_id": 1, "text": "a", "code": "b", "test_list": ["t"]}, "u:a a:b"),
    ("squad", D, {"context": "x", "question": "a", "answers": {"text": ["b"], "answer_start": [1]}}, "u:x\n\na a:b"),
    ("axolotl context_qa", D, {"article": "x", "question": "a", "answer": "b"}, "u:x\n\na a:b"),
    ("samsum", D, {"id": "1", "dialogue": "a", "summary": "b"}, "u:a a:b"),
    ("cnn_dailymail", D, {"article": "a", "highlights": "b", "id": "1"}, "u:a a:b"),
    ("camel-ai", D, {"role_1": "x", "message_1": "a", "message_2": "b"}, "u:a a:b"),
    (
        "oasst_top1",
        D,
        {"text": "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"},
        "u:a a:b",
    ),
    ("guanaco-llama2", D, {"text": "<s>[INST] <<SYS>>\ns\n<</SYS>>\n\na [/INST] b </s>"}, "s:s u:a a:b"),
    ("hh as text", D, {"text": "\n\nHuman: a\n\nAssistant: b"}, "u:a a:b"),
    # ------------------------------------------------------------------------------------------ prompts
    (
        "verl",
        Q,
        {"data_source": "gsm8k", "prompt": [ASK], "ability": "math", "extra_info": {"split": "train", "index": 0}}
        | {"reward_model": {"style": "rule", "ground_truth": "2"}},
        "u:a = 2",
    ),
    ("openrlhf", Q, {"input": "a", "answer": "2"}, "u:a = 2"),
    ("openrlhf/prompt-collection", Q, {"dataset": "d", "context": "x", "context_messages": [ASK], "id": "1"}, "u:a"),
    ("deepmath", Q, {"question": "a", "final_answer": "2", "difficulty": 5.0}, "u:a = 2"),
    ("trl deepmath", Q, {"prompt": [ASK], "solution": "2"}, "u:a = 2"),
    ("flan", Q, {"inputs": "a", "targets": "b", "task": "t"}, "u:a"),
    ("sharegpt prompts", Q, {"conversations": [HUMAN]}, "u:a"),
    ("wildchat", Q, {"conversation_hash": "h", "model": "m", "conversation": [ASK], "turn": 1}, "u:a"),
    # ------------------------------------------------------------------------------------------ tables and exports
    ("names in capitals", P, {"Prompt": "a", "CHOSEN": "b", " Rejected ": "c"}, "u:a | b > c"),
    ("messages in cells", P, {"prompt": "a", "chosen": json.dumps(GOOD), "rejected": json.dumps(BAD)}, "u:a | b > c"),
    ("messages as Python prints them", P, {"chosen": str(GOOD), "rejected": str(BAD)}, "u:a | b > c"),
    (
        "messages as NumPy prints them",
        P,
        {"chosen": str(GOOD).replace("}, {", "}\n {"), "rejected": str(BAD).replace("}, {", "}\n {")},
        "u:a | b > c",
    ),
    ("lists in cells", P, {"prompt": "a", "responses": '["b", "c"]', "scores": "[2, 1]"}, "u:a | b > c @1"),
    (
        "argilla 1: a rating",
        S,
        {"fields": {"prompt": "a", "response": "b"}, "metadata": {}, "external_id": None}
        | {"responses": [{"values": {"rating": {"value": n}}, "status": s} for n, s in RATINGS]}
        | {"suggestions": [{"question_name": "rating", "value": 3, "type": "model"}]},
        "u:a | b rating:4",
    ),
    (
        "argilla 1: a ranking that was suggested",
        P,
        {"fields": {"prompt": "a", "reply-1": "c", "reply-2": "b"}, "responses": []}
        | {"suggestions": [{"question_name": "r", "value": [{"rank": 3 - i, "value": f"reply-{i}"} for i in (1, 2)]}]},
        "u:a | b > c @1",
    ),
    (
        "argilla 2: most say",
        P,
        {"fields": {"prompt": "a", "response_1": "b", "response_2": "c"}, "suggestions": {}}
        | {"responses": {"preference": [{"value": f"response_{i}", "user_id": "u"} for i in (2, 1, 2)]}},
        "u:a | c > b",
    ),
    (
        "argilla: not judged",
        P,
        {"fields": {"prompt": "a", "response_1": "b", "response_2": "c"}, "responses": [], "suggestions": []},
        "no judgement",
    ),
    ("argilla: a prompt", Q, {"fields": {"prompt": "a"}, "responses": []}, "u:a"),
    (
        "transcripts beside their prompt",
        P,
        {"prompt": "\n\nHuman: a\n\nAssistant:", "chosen": "\n\nHuman: a\n\nAssistant: b"}
        | {"rejected": "\n\nHuman: a\n\nAssistant: c"},
        "u:a | b > c",
    ),
    ("a transcript to complete", D, {"prompt": "\n\nHuman: a\n\nAssistant:", "completion": " b"}, "u:a a: b"),
    ("an empty instruction", D, {"instruction": "", "input": "a", "output": "b"}, "u:a a:b"),
    ("passages", D, {"question": "a", "contexts": ["x", "y"], "answer": "b"}, "u:x\n\ny\n\na a:b"),
    ("dolly", Q, {"instruction": "a", "context": "x", "response": "b", "category": "qa"}, "u:a\n\nx"),
    ("good and bad", P, {"prompt": "a", "good_response": "b", "bad_response": "c"}, "u:a | b > c"),
    # -------------------------------------------------------------- providers' interfaces and logs
    (
        "openai dpo",
        P,
        {
            "input": {"messages": [SYS, ASK], "tools": [], "parallel_tool_calls": True},
            "preferred_output": [SAY],
            "non_preferred_output": [NO],
        },
        "s:s u:a | b > c",
    ),
    (
        "flat openai dpo",
        P,
        {"input": [SYS, ASK], "preferred_output": [SAY], "non_preferred_output": [NO]},
        "s:s u:a | b > c",
    ),
    (
        "fireworks/lmflow paired",
        P,
        {"chosen": {"messages": GOOD, "system": "s"}, "rejected": {"messages": BAD, "system": "s"}},
        "s:s u:a | b > c",
    ),
    (
        "vertex sft",
        D,
        {
            "systemInstruction": {"role": "system", "parts": parts("s")},
            "contents": [gemini("user", "a"), gemini("model", "b")],
        },
        "s:s u:a a:b",
    ),
    (
        "vertex pref",
        P,
        {
            "system_instruction": {"parts": parts("s")},
            "contents": [gemini("user", "a")],
            "completions": [
                {"score": 0, "completion": gemini("model", "c")},
                {"score": 1, "completion": gemini("model", "b")},
            ],
        },
        "s:s u:a | b > c @1",
    ),
    ("palm sft", D, {"input_text": "a", "output_text": "b"}, "u:a a:b"),
    ("palm rlhf", P, {"input_text": "a", "candidate_0": "b", "candidate_1": "c", "choice": 1}, "u:a | c > b"),
    (
        "bedrock",
        D,
        {
            "schemaVersion": "bedrock-conversation-2024",
            "system": parts("s"),
            "messages": [{"role": "user", "content": parts("a")}, {"role": "assistant", "content": parts("b")}],
        },
        "s:s u:a a:b",
    ),
    (
        "cohere",
        D,
        {
            "messages": [
                {"role": "System", "content": "s"},
                {"role": "User", "content": "a"},
                {"role": "Chatbot", "content": "b"},
            ]
        },
        "s:s u:a a:b",
    ),
    (
        "anthropic",
        D,
        {"system": "s", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}, SAY]},
        "s:s u:a a:b",
    ),
    ("anthropic system blocks", D, {"system": [{"type": "text", "text": "s"}], "messages": GOOD}, "s:s u:a a:b"),
    (
        "openai responses",
        D,
        {
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}],
            "output": [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b"}]}],
        },
        "u:a a:b",
    ),
    (
        "openai batch",
        Q,
        {
            "custom_id": "1",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "m", "messages": [SYS, ASK]},
        },
        "s:s u:a",
    ),
    ("openai evals", D, {"input": [SYS, ASK], "ideal": "b"}, "s:s u:a a:b"),
    ("openai evals", Q, {"input": [SYS, ASK], "ideal": "b"}, "s:s u:a = b"),
    (
        "langsmith",
        D,
        {"id": "1", "inputs": {"question": "a"}, "outputs": {"answer": "b"}, "metadata": {"x": 1}},
        "u:a a:b",
    ),
    ("langfuse", D, {"id": "1", "input": "a", "expectedOutput": "b", "metadata": None}, "u:a a:b"),
    ("braintrust", D, {"input": "a", "expected": "b", "output": "c", "scores": {"x": 1}}, "u:a a:b"),
    ("nemo gym", Q, {"responses_create_params": {"input": [ASK]}, "expected_answer": "2"}, "u:a = 2"),
    # ----------------------------------------------------------------------- other trainers' files
    ("ms-swift dpo", P, {"messages": [SYS, *GOOD], "rejected_response": "c"}, "s:s u:a | b > c"),
    ("ms-swift rejected_messages", P, {"messages": [SYS, *GOOD], "rejected_messages": [SYS, *BAD]}, "s:s u:a | b > c"),
    (
        "ms-swift query dpo",
        P,
        {"system": "s", "query": "a", "response": "b", "rejected_response": "c", "history": [["x", "y"]]},
        "s:s u:x a:y u:a | b > c",
    ),
    (
        "ms-swift query",
        D,
        {"system": "s", "query": "a", "response": "b", "history": [["x", "y"]]},
        "s:s u:x a:y u:a a:b",
    ),
    (
        "ms-swift query Q",
        Q,
        {"system": "s", "query": "a", "history": [["x", "y"]], "solution": "2"},
        "s:s u:x a:y u:a = 2",
    ),
    ("ms-swift sharegpt", D, {"system": "s", "conversation": [{"human": "a", "assistant": "b"}]}, "s:s u:a a:b"),
    (
        "xtuner",
        D,
        {"conversation": [{"system": "s", "input": "a", "output": "b"}, {"input": "c", "output": "d"}]},
        "s:s u:a a:b u:c a:d",
    ),
    (
        "verl rlhf D",
        D,
        {
            "data_source": "d",
            "prompt": [ASK],
            "extra_info": {"question": "a", "answer": "b"},
            "reward_model": {"ground_truth": "2"},
        },
        "u:a a:b",
    ),
    (
        "openrlhf prm",
        L,
        {"input": "a Step 1: b ки\nStep 2: c ки", "label": ["+", "-"]},
        "u:a | Step 1: b score:1 label:1 | Step 1: b\nStep 2: c score:0 label:0",
    ),
    (
        "openrlhf prm value",
        L,
        {"input": "a Step 1: b ки\nStep 2: c ки", "value": ["+", "-"]},
        "u:a | Step 1: b score:1 label:1 | Step 1: b\nStep 2: c score:0 label:0",
    ),
    ("slime", Q, {"prompt": [ASK], "label": "34"}, "u:a = 34"),
    ("kto as prompts", Q, {"prompt": "a", "completion": "b", "label": True}, "u:a"),
    ("torchtune pref", P, {"chosen_conversations": GOOD, "rejected_conversations": BAD}, "u:a | b > c"),
    (
        "colossal pref",
        P,
        {
            "context": [{"from": "user", "content": "a"}],
            "chosen": [{"from": "assistant", "content": "b"}],
            "rejected": [{"from": "assistant", "content": "c"}],
        },
        "u:a | b > c",
    ),
    (
        "colossal kto",
        L,
        {
            "prompt": [{"from": "user", "content": "a"}],
            "completion": {"from": "assistant", "content": "b"},
            "label": True,
        },
        "u:a | b label:1",
    ),
    ("colossal grpo", Q, {"messages": [ASK], "gt_answer": "2"}, "u:a = 2"),
    (
        "turbo-alignment",
        P,
        {
            "id": 0,
            "source": "x",
            "context": [ASK],
            "answer_winning": {"role": "bot", "content": "b"},
            "answer_losing": {"role": "bot", "content": "c"},
        },
        "u:a | b > c",
    ),
    (
        "turbo-alignment kto",
        L,
        {"id": 0, "context": [ASK], "answer": {"role": "bot", "content": "b"}, "is_desirable": True},
        "u:a | b label:1",
    ),
    ("pos neg", P, {"prompt": "a", "pos": "b", "neg": "c"}, "u:a | b > c"),
    ("lmflow conv", D, {"conversation_id": "1", "system": "s", "tools": [], "messages": GOOD}, "s:s u:a a:b"),
    (
        "nemo aligner steerlm",
        D,
        {
            "system": "s",
            "mask": "User",
            "conversations": [
                {"from": "User", "value": "a", "label": None},
                {"from": "Assistant", "value": "b", "label": "quality:4,toxicity:0"},
            ],
        },
        "s:s u:a a:b",
    ),
    (
        "deepspeed-chat rm-static",
        P,
        {"prompt": "\n\nHuman: a\n\nAssistant:", "response": " b", "chosen": " b", "rejected": " c"},
        "u:a |  b >  c",
    ),
    ("dpo history", P, {"prompt": "a", "chosen": "b", "rejected": "c", "history": [["q", "r"]]}, "u:q a:r u:a | b > c"),
    ("kto thumbs_up", L, {"prompt": "a", "response": "b", "thumbs_up": True}, "u:a | b label:1"),
    ("kto liked", L, {"query": "a", "response": "b", "liked": 0}, "u:a | b label:0"),
    ("kto text", L, {"prompt": "a", "response": "b", "label": "rejected"}, "u:a | b label:0"),
    ("kto thumbs D", D, {"prompt": "a", "response": "b", "label": "thumbs_down"}, "labelled bad"),
    ("kto_tag 0 D", D, {"prompt": "a", "response": "b", "kto_tag": 0}, "labelled bad"),
    ("label 0 D", D, {"prompt": "a", "completion": "b", "label": 0}, "labelled bad"),
    # ------------------------------------------------------------------------------------------ what stands beside
    ("a context", D, {"prompt": "a", "context": "x", "response": "b"}, "u:x\n\na a:b"),
    ("a context in the prompt", D, {"prompt": "x: a", "context": "x", "response": "b"}, "u:x: a a:b"),
    ("an input", D, {"prompt": "a", "input": "x", "output": "b"}, "u:a\n\nx a:b"),
    ("an order and a question", D, {"instruction": "x", "question": "a", "answer": "b"}, "u:x\n\na a:b"),
    (
        "an order and a query P",
        P,
        {"instruction": "x", "query": "a", "chosen": "b", "rejected": "c"},
        "u:x\n\na | b > c",
    ),
    ("what was expected", D, {"instruction": "a", "output": "c", "expected_output": "b"}, "u:a a:b"),
    (
        "transcripts and their prompt",
        P,
        {"prompt": "a", "chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"},
        "u:a | b > c",
    ),
    (
        "transcripts and another prompt",
        P,
        {"prompt": "x", "chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "\n\nHuman: a\n\nAssistant: c"},
        "prompt is not that of the answers",
    ),
    # ------------------------------------------------------------------------------------------ laid out by some rows
    (
        "a template in some rows",
        P,
        [
            {"prompt": "a", "chosen": "b", "rejected": "c"},
            {"prompt": "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n", "chosen": "b", "rejected": "c"},
        ],
        "u:a | b > c; u:a | b > c",
    ),
    (
        "messages as text in some rows",
        P,
        [
            {"prompt": "a", "chosen": "b", "rejected": "c"},
            {"prompt": json.dumps([ASK]), "chosen": json.dumps([SAY]), "rejected": json.dumps([NO])},
        ],
        "u:a | b > c; u:a | b > c",
    ),
    (
        "prm steps/labels",
        L,
        {"question": "a", "steps": ["b", "c"], "labels": [1, 0]},
        "u:a | b score:1 label:1 | b\nc score:0 label:0",
    ),
    (
        "snorkel S",
        S,
        {
            "prompt_id": "1",
            "prompt": "a",
            "all_generated_responses": ["b", "c"],
            "all_rm_scores": [0.5, 0.1],
            "chosen": GOOD,
            "rejected": BAD,
        },
        "u:a | b score:0.5 | c score:0.1",
    ),
    ("one good many bad", P, {"prompt": "a", "chosen": "b", "rejected": ["c", "d"]}, "u:a | b > c @1"),
    (
        "openhermes pref",
        P,
        {
            "source": "s",
            "category": "c",
            "prompt": "a",
            "candidates_completions": ["b", "c"],
            "candidate_policies": ["x", "y"],
            "ranks": [1, 2],
            "rank_str": "b>c",
            "chosen": GOOD,
            "rejected": BAD,
        },
        "u:a | b > c",
    ),
    # --------------------------------------------------------------------- verdicts by other names
    (
        "ppe",
        P,
        {
            "question_id": 1,
            "model_1": "x",
            "model_2": "y",
            "prompt": "a",
            "response_1": "b",
            "response_2": "c",
            "winner": "model_2",
            "hard_prompt": True,
        },
        "u:a | c > b",
    ),
    (
        "winner by model",
        P,
        {"prompt": "a", "model_a": "gpt", "model_b": "llama", "response_a": "b", "response_b": "c", "winner": "llama"},
        "u:a | c > b",
    ),
    (
        "comparia",
        P,
        {
            "id": 1,
            "opening_msg": "a",
            "model_a_name": "x",
            "model_b_name": "y",
            "conversation_a": GOOD,
            "conversation_b": BAD,
            "chosen_model_name": "y",
            "both_equal": False,
        },
        "u:a | c > b",
    ),
    (
        "search arena",
        P,
        {"model_a": "x", "model_b": "y", "messages_a": GOOD, "messages_b": BAD, "winner": "model_b", "turn": 1},
        "u:a | c > b",
    ),
    (
        "named letters",
        P,
        {"prompt": "a", "response_A": "b", "response_B": "c", "chosen": "B", "rejected": "A"},
        "u:a | c > b",
    ),
    (
        "winner loser",
        P,
        {"prompt": "a", "response_a": "b", "response_b": "c", "winner": "b", "loser": "a"},
        "u:a | c > b",
    ),
    (
        "chosen model names",
        P,
        {"prompt": "a", "response_1": "b", "response_2": "c", "chosen": "response_2", "rejected": "response_1"},
        "u:a | c > b",
    ),
    ("left right", P, {"prompt": "a", "response_a": "b", "response_b": "c", "preference": "right"}, "u:a | c > b"),
    (
        "rating sides",
        P,
        {"prompt": "a", "response_a": "b", "response_b": "c", "rating_a": 3, "rating_b": 5},
        "u:a | c > b @2",
    ),
    (
        "side scores",
        P,
        {"prompt": "a", "response_1": "b", "response_2": "c", "response_1_score": 3, "response_2_score": 5},
        "u:a | c > b @2",
    ),
    ("google sheet", P, {"Prompt": "a", "Response A": "b", "Response B": "c", "Preferred": "A"}, "u:a | b > c"),
    (
        "google sheet 2",
        P,
        {"Prompt": "a", "Response 1": "b", "Response 2": "c", "Better Response": "Response 2"},
        "u:a | c > b",
    ),
    (
        "scale",
        P,
        {"prompt": "a", "response_1": "b", "response_2": "c", "preferred_response": "response_2"},
        "u:a | c > b",
    ),
    # ---------------------------------------------------------------------------- annotation tools
    (
        "label studio pairwise",
        P,
        {
            "id": 1,
            "data": {"prompt": "a", "answer1": "b", "answer2": "c"},
            "annotations": [{"id": 1, "result": [SIDE], "was_cancelled": False}],
            "predictions": [],
        },
        "u:a | c > b",
    ),
    (
        "label studio min",
        P,
        {
            "id": 1,
            "prompt": "a",
            "answer1": "b",
            "answer2": "c",
            "comparison": "left",
            "annotator": 1,
            "annotation_id": 1,
            "created_at": "d",
            "lead_time": 1.0,
        },
        "u:a | b > c",
    ),
    (
        "label studio rating",
        S,
        {
            "id": 1,
            "data": {"prompt": "a", "response": "b"},
            "annotations": [
                {"result": [{"type": "rating", "from_name": "quality", "to_name": "r", "value": {"rating": 4}}]}
            ],
        },
        "u:a | b quality:4",
    ),
    (
        "label studio textarea",
        D,
        {
            "id": 1,
            "data": {"prompt": "a"},
            "annotations": [
                {
                    "result": [
                        {"type": "textarea", "from_name": "response", "to_name": "prompt", "value": {"text": ["b"]}}
                    ]
                }
            ],
        },
        "u:a a:b",
    ),
    (
        "label studio none",
        P,
        {"id": 1, "data": {"prompt": "a", "answer1": "b", "answer2": "c"}, "annotations": []},
        "no judgement",
    ),
    (
        "prodigy choice",
        P,
        {
            "prompt": "a",
            "options": [{"id": 1, "text": "b"}, {"id": 2, "text": "c"}],
            "accept": [2],
            "answer": "accept",
            "_input_hash": 1,
            "_task_hash": 2,
            "_timestamp": 1,
        },
        "u:a | c > b @1",
    ),
    (
        "prodigy choice Q",
        Q,
        {
            "prompt": "a",
            "options": [{"id": 1, "text": "b"}, {"id": 2, "text": "c"}],
            "accept": [2],
            "answer": "accept",
            "_input_hash": 1,
            "_task_hash": 2,
            "_timestamp": 1,
        },
        "u:a",
    ),
    (
        "prodigy binary",
        L,
        {"prompt": "a", "response": "b", "answer": "reject", "_input_hash": 1, "_task_hash": 2},
        "u:a | b label:0",
    ),
    (
        "prodigy binary D",
        D,
        {"prompt": "a", "response": "b", "answer": "reject", "_input_hash": 1, "_task_hash": 2},
        "labelled bad",
    ),
    # --------------------------------------------------------------------------------------- texts
    (
        "glaive v2",
        D,
        {"system": "SYSTEM: s", "chat": "USER: a\n\n\nASSISTANT: b <|endoftext|>\n\n\n"},
        "s:SYSTEM: s u:a a:b",
    ),
    ("vicuna text", D, {"text": "A chat between x. USER: a ASSISTANT: b</s>"}, "s:A chat between x. u:a a:b"),
    (
        "llama3 text",
        D,
        {
            "text": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\ns<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\na<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nb<|eot_id|>"
        },
        "s:s u:a a:b",
    ),
    (
        "gemma text",
        D,
        {"text": "<bos><start_of_turn>user\na<end_of_turn>\n<start_of_turn>model\nb<end_of_turn>\n"},
        "u:a a:b",
    ),
    ("zephyr text", D, {"text": "<|system|>\ns</s>\n<|user|>\na</s>\n<|assistant|>\nb</s>\n"}, "s:s u:a a:b"),
    ("phi3 text", D, {"text": "<|user|>\na<|end|>\n<|assistant|>\nb<|end|>\n<|endoftext|>"}, "u:a a:b"),
    (
        "alpaca text",
        D,
        {"text": "Below is an instruction.\n\n### Instruction:\na\n\n### Response:\nb"},
        "s:Below is an instruction. u:a a:b",
    ),
    (
        "alpaca text inp",
        D,
        {"text": "Below is an instruction.\n\n### Instruction:\na\n\n### Input:\nx\n\n### Response:\nb"},
        "s:Below is an instruction. u:a\n\nx a:b",
    ),
    ("chatml prompt col", Q, {"prompt": "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"}, "u:a"),
    (
        "chatml pair",
        P,
        {
            "prompt": "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n",
            "chosen": "b<|im_end|>",
            "rejected": "c<|im_end|>",
        },
        "u:a | b > c",
    ),
    (
        "chatml chosen",
        P,
        {
            "chosen": "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>",
            "rejected": "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nc<|im_end|>",
        },
        "u:a | b > c",
    ),
    (
        "red team",
        D,
        {
            "min_harmlessness_score_transcript": -1.0,
            "num_params": "52B",
            "model_type": "rlhf",
            "transcript": "\n\nHuman: a\n\nAssistant: b",
            "rating": 4.0,
            "task_description": "d",
            "tags": None,
        },
        "u:a a:b",
    ),
    (
        "r1 distill zh",
        D,
        {"input": "a", "content": "b", "reasoning_content": "r", "repo_name": "x", "score": 10},
        "u:a a:b",
    ),
    ("cosmopedia", D, {"prompt": "a", "text_token_length": 3, "text": "b", "format": "f"}, "u:a a:b"),
    ("tweet", D, {"user": "john", "text": "b"}, "a:b"),
    # ------------------------------------------------------------------------- other conversations
    ("mt-bench questions", Q, {"question_id": 81, "category": "w", "turns": ["a", "b"]}, "u:a"),
    (
        "arena-hard questions",
        Q,
        {"question_id": 1, "category": "w", "cluster": "c", "turns": [{"content": "a"}]},
        "u:a",
    ),
    ("vicuna bench", Q, {"question_id": 1, "text": "a", "category": "generic"}, "u:a"),
    ("sharegpt items", D, {"id": "1", "items": [HUMAN, GPT]}, "u:a a:b"),
    (
        "openchat",
        D,
        {
            "items": [
                {"role": "user", "content": "a", "weight": 0.0},
                {"role": "assistant", "content": "b", "weight": 1.0},
            ],
            "system": "s",
        },
        "s:s u:a a:b",
    ),
    ("openorca", D, {"id": "1", "system_prompt": "s", "question": "a", "response": "b"}, "s:s u:a a:b"),
    (
        "firefly",
        D,
        {"conversation_id": 1, "category": "c", "conversation": [{"human": "a", "assistant": "b"}], "dataset": "m"},
        "u:a a:b",
    ),
    ("firefly 1", D, {"kind": "k", "input": "a", "target": "b"}, "u:a a:b"),
    (
        "nemotron post",
        D,
        {
            "input": [SYS, ASK],
            "output": "b",
            "category": "math",
            "license": "l",
            "reasoning": "on",
            "generator": "g",
            "used_in_training": "y",
            "version": "1",
            "system_prompt": "s",
        },
        "s:s u:a a:b",
    ),
    ("system user assistant", D, {"system": "s", "user": "a", "assistant": "b"}, "s:s u:a a:b"),
    ("human assistant", D, {"human": "a", "assistant": "b"}, "u:a a:b"),
    ("user_message", D, {"user_message": "a", "assistant_message": "b"}, "u:a a:b"),
    (
        "self_instruct",
        D,
        {"id": "1", "instruction": "a", "instances": [{"input": "x", "output": "b"}, {"input": "y", "output": "c"}]},
        "u:a\n\nx a:b; u:a\n\ny a:c",
    ),
    ("messages+completion", D, {"messages": [ASK], "completion": "b"}, "u:a a:b"),
    ("prompt dict", Q, {"prompt": {"role": "user", "content": "a"}}, "u:a"),
    ("response dict", D, {"prompt": "a", "response": {"role": "assistant", "content": "b"}}, "u:a a:b"),
    (
        "flat messages",
        D,
        [
            {"conversation_id": "1", **ASK},
            {"conversation_id": "1", **SAY},
            {"conversation_id": "2", **ASK},
            {"conversation_id": "2", **NO},
        ],
        "u:a a:b; u:a a:c",
    ),
    (
        "toxic chat",
        Q,
        {"conv_id": "1", "user_input": "a", "model_output": "b", "human_annotation": True, "toxicity": 0},
        "u:a",
    ),
    # ------------------------------------------------------------------------- a choice of answers
    ("mmlu", D, {"question": "a", "subject": "s", "choices": ["b", "c"], "answer": 1}, "u:a\n\nA. b\nB. c a:B"),
    ("mmlu", Q, {"question": "a", "subject": "s", "choices": ["b", "c"], "answer": 1}, "u:a\n\nA. b\nB. c = B"),
    (
        "mmlu-pro",
        D,
        {"question": "a", "options": ["b", "c"], "answer": "B", "answer_index": 1},
        "u:a\n\nA. b\nB. c a:B",
    ),
    (
        "mmlu-pro",
        Q,
        {"question": "a", "options": ["b", "c"], "answer": "B", "answer_index": 1, "cot_content": "", "category": "c"},
        "u:a\n\nA. b\nB. c = B",
    ),
    (
        "arc",
        Q,
        {"id": "1", "question": "a", "choices": {"text": ["b", "c"], "label": ["A", "B"]}, "answerKey": "B"},
        "u:a\n\nA. b\nB. c = B",
    ),
    (
        "ceval",
        Q,
        {"id": 0, "question": "a", "A": "b", "B": "c", "C": "d", "D": "e", "answer": "C", "explanation": ""},
        "u:a\n\nA. b\nB. c\nC. d\nD. e = C",
    ),
    (
        "medqa",
        Q,
        {"question": "a", "options": {"A": "b", "B": "c"}, "answer_idx": "B", "answer": "c", "meta_info": "m"},
        "u:a\n\nA. b\nB. c = c",
    ),
]


@pytest.mark.parametrize(
    ("kind", "rows", "expected"), [pytest.param(k, r, e, id=f"{name} {k}") for name, k, r, e in READ]
)
def test_read(kind: Kind, rows: Any, expected: str) -> None:
    assert read(kind, *(rows if isinstance(rows, list) else [rows])) == expected


def test_conversations_without_names_are_read() -> None:
    assert read(D, GOOD, BAD) == "u:a a:b; u:a a:c"


@pytest.mark.parametrize("junk", [None, 3, "x", [], {}, [3], [{}], {"a": [None]}], ids=str)
def test_whatever_a_field_holds_is_read_or_refused(junk: Any) -> None:
    for _, kind, rows, _ in READ:
        first, *rest = rows if isinstance(rows, list) else [rows]
        for name, value in first.items():
            inner = [{**value, field: junk} for field in value] if isinstance(value, dict) else []
            for worse in [junk, *inner, *([[junk, *value[1:]]] if isinstance(value, list) else [])]:
                with suppress(DataError):
                    read(kind, {**first, name: worse}, *rest)


REFUSED: list[tuple[str, Kind, dict[str, Any], str]] = [
    ("axolotl input_output", D, {"segments": [{"label": True, "text": "a"}]}, "segments: are pieces of rendered text"),
    ("tokens", D, {"input_ids": [1], "labels": [1]}, "input_ids: are tokens of one tokenizer; text is needed"),
    ("pictures", D, {"messages": GOOD, "images": ["x.png"]}, "images: hold pictures; only text can be read"),
    (
        "calls of tools",
        D,
        {"messages": [ASK, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]},
        r"messages\[1\]\.tool_calls: tool calls cannot be read",
    ),
    ("a message a row", D, {"role": "user", "content": "a"}, "role: the row is one message; put a conversation's into"),
    ("questions alone", D, {"question_id": 81, "turns": ["a", "b"]}, "turns: ends with the user's turn"),
    (
        "a picture among parts",
        D,
        {"messages": [{"role": "user", "content": [{"text": "a"}, {"image": {"format": "png"}}]}, SAY]},
        r"messages\[0\]\.content: holds a part that is no text; only text can be read",
    ),
    (
        "a number for letters",
        P,
        {"prompt": "a", "response_a": "b", "response_b": "c", "label": 1},
        "label: is 1; the better one's name, response_a or response_b, or tie is needed",
    ),
    (
        "a template cut",
        Q,
        {"prompt": "<|im_start|>user\na<|im_end|>\n<|im_start|>x\n<|im_start|>assistant\n"},
        "_start",
    ),
    (
        "words before a template",
        D,
        {"text": "<x y> <|user|>\na</s>\n<|assistant|>\nb"},
        r"text: has words before its first turn, <\|user\|>; turns alone are needed",
    ),
    (
        "an option that is none",
        Q,
        {"question": "a", "choices": ["b", "c"], "answer": 2},
        "answer: is 2; one of 2 options",
    ),
    ("math-shepherd, cut", L, {"input": "a ки", "label": "a"}, r"label: does not say \+ or - of step 1"),
    (
        "messages that cannot be parsed",
        P,
        {"chosen": "[{'role': 'user', 'content': 'a}]", "rejected": "b"},
        "chosen: holds messages as text that is no JSON; save the table as .jsonl or .parquet",
    ),
    (
        "demonstrations",
        P,
        {"instruction": "a", "input": "", "output": "b"},
        r"reads; these rows are demonstrations \('alpaca'\), which sft takes; 'scored' needs",
    ),
    ("labels", P, {"prompt": "a", "completion": "b", "label": True}, "these rows are labels .*, which kto takes;"),
    ("scores", L, {"prompt": "a", "response": "b", "helpfulness": 3}, "rows are scores .*`loss: scores` takes;"),
    ("prompts", D, {"prompt": "a"}, r"these rows are prompts \('prompt'\), which ppo and sample take;"),
    (
        "pairs",
        S,
        {"prompt": "a", "chosen": "b", "rejected": "c"},
        r"these rows are preferences \('pair'\), which reward,",
    ),
    ("misspelt", P, {"prompt": "a", "choosen": "b", "rejected": "c"}, "did you mean 'chosen' by 'choosen'"),
    (
        "the wrong delimiter",
        P,
        {"prompt|chosen|rejected": "a|b|c"},
        r"column's name holds '\|': save a .csv with commas",
    ),
    ("tabs", Q, {"id\tprompt": "1\ta"}, "column's name holds a tab"),
    ("no header", Q, {"Where is it?": "When?"}, "a column's name looks like a row: put the columns' names"),
    (
        "no verdict",
        P,
        {"prompt": "a", "response_a": "b", "response_b": "c"},
        "response_a and response_b are two answers: say which is better in a field such as `winner`; ",
    ),
    ("no order", P, {"prompt": "a", "responses": ["b", "c"]}, "several answers: say how good each is in a list"),
    ("a multiple choice", P, {"question": "a", "A": "b", "B": "c", "C": "d", "label": "A"}, "no format of preferences"),
    (
        "what is near comes first",
        P,
        {"info": {}, "summaries": []},
        r"; 'tldr' needs info and summaries and choice \(choice is missing\);",
    ),
    (
        "what is common, where nothing is near",
        D,
        {"x": 1},
        "; 'messages' needs messages; 'prompt_completion' needs prompt and completion; 'alpaca' needs ",
    ),
]


@pytest.mark.parametrize(("kind", "row", "says"), [pytest.param(k, r, s, id=name) for name, k, r, s in REFUSED])
def test_refused(kind: Kind, row: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        read(kind, row)


@pytest.mark.parametrize(
    ("worse", "says"),
    [
        ([*TREE, TREE[1]], "message_id: 2 is that of f:1 too"),
        ([TREE[0], *TREE[1:], *[{**TREE[3], "message_id": a, "parent_id": b} for a, b in ("xy", "yx")]], "in a circle"),
    ],
    ids=["twice", "in a circle"],
)
def test_no_message_of_a_tree_is_lost(worse: list[Any], says: str) -> None:
    rows = iter([(f"f:{i}", row) for i, row in enumerate(worse)])
    found = [row for _, row in arranged(rows, SOURCE, P)]
    assert sum(isinstance(row, dict) for row in found) == 1
    told = [str(row) for row in found if isinstance(row, DataError)]
    assert told and all(says in one for one in told)
