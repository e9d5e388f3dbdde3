"""Rows that are known and cannot be read, rows for another stage, and rows of no format: what is said of them."""

from typing import Any

import pytest

from rlhf.data.arrange import arranged
from rlhf.data.records import Kind
from rlhf.errors import DataError
from tests.rlhf.data.datasets.rows import ASK, GOOD, SAY, SOURCE, D, L, P, Q, S, read

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
        "response_a and response_b are two answers: say which is better in a field such as `winner`, or which field it "
        "is: data.columns='{prompt: prompt, response_a: response_a",
    ),
    (
        "ranks or an order",
        P,
        {"prompt": "a", "responses": ["b", "c", "d"], "ranking": [2, 0, 1]},
        r"ranking: \[2, 0, 1\] may be the rank of each answer, or the answers' numbers from the best on",
    ),
    (
        "an answer that is not to be learned",
        D,
        {"messages": [ASK, {**SAY, "loss": False}, ASK, SAY]},
        r"messages\[1\]\.loss: is False, and every answer is learned from",
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


def test_one_of_several_answers_is_refused_where_it_stands() -> None:
    said = [(f"f:{i}", {"prompt": "a", "response": "b", "is_chosen": one}) for i, one in enumerate([False, None, True])]
    refused, answers = arranged(iter(said), SOURCE, P)
    assert refused[0] == "f:1" and str(refused[1]) == "is_chosen: is None; true (good) or false (bad) is needed"
    assert [one["score"] for one in answers[1]["completions"]] == [0.0, 1.0]
