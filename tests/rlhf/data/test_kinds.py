"""What a file is taken for where nobody says what it is for."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlhf.config import DataConfig
from rlhf.data.load import kind_of_source, survey
from rlhf.data.records import Kind
from rlhf.errors import DataError

Write = Callable[[str, str], Path]
ANSWER = {"prompt": "q", "response": "a"}


def source(write: Write, row: dict[str, Any]) -> DataConfig:
    return DataConfig(path=write("x.jsonl", json.dumps(row)))


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"prompt": "q", "accepted": "good one", "declined": "bad one"}, "preferences"),
        ({"question": "q", "correct_answer": "good one", "incorrect_answer": "bad one"}, "preferences"),
        ({"prompt": "q", "first": "good one", "second": "bad one", "better": "first"}, "preferences"),
        ({"prompt": "q", "answer_left": "good one", "answer_right": "bad one", "winner": "left"}, "preferences"),
        ({"prompt": "q", "answers": {"a": "good one", "b": "bad one"}, "winner": "a"}, "preferences"),
        ({"prompt": "q", "correct": "good one", "incorrect": "bad one"}, "preferences"),
        ({"prompt": "q", "safe_response": "good one", "unsafe_response": "bad one"}, "preferences"),
        (
            {
                "input": {"messages": [{"role": "user", "content": "q"}]},
                "output": {"role": "assistant", "content": "a"},
            },
            "demonstrations",
        ),
        ({"question_id": 1, "turns": ["q", "r"]}, "prompts"),
        ({"info": {"post": "q", "title": "t"}, "summary": {"text": "a", "axes": {"overall": 5}}}, "scores"),
        (ANSWER, "demonstrations"),
        (ANSWER | {"info": {"source": "web", "chosen": True}}, "demonstrations"),
        (ANSWER | {"toxicity": 0.3}, "demonstrations"),
        (ANSWER | {"is_toxic": 0.3}, "demonstrations"),
        ({"prompt": "q", "source": {"name": "web"}}, "prompts"),
    ],
)
def test_what_rows_are(write: Write, row: dict[str, Any], kind: Kind) -> None:
    assert kind_of_source(source(write, row)) == kind


@pytest.mark.parametrize(
    ("name", "value", "good"),
    [
        *[("feedback", "👎", False), ("rating", "👍", True), ("vote", "downvote", False), ("feedback", "liked", True)],
        *[("thumbs_down", True, False), ("thumbs_down", "0", True), ("is_toxic", 1, False), ("flagged", False, True)],
    ],
)
def test_answers_that_people_disliked_are_no_examples(write: Write, name: str, value: Any, good: bool) -> None:
    data = source(write, ANSWER | {name: value})
    assert [record.answers[0][1] for record in survey(data).records] == [{"label": float(good)}]
    imitated = survey(data, "demonstrations")
    assert (len(imitated.records), imitated.ledger["dropped"]) == ((1, {}) if good else (0, {"labelled bad": 1}))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"pregunta": "q", "respuesta": "a"}, "every one: data.columns.prompt=NAME data.columns.response=NAME"),
        ({"foo": 1, "bar": "x"}, "which no format reads; 'messages' needs messages; 'prompt_completion' needs"),
        ({"promt": "q", "respnse": "a"}, "did you mean 'prompt' by 'promt'? rename it; 'scored_answer' needs prompt"),
        ({"anchor": "q", "positive": "a", "negative": "b"}, "anchor: such rows teach an embedding model"),
    ],
)
def test_what_is_said_of_rows_of_no_kind(write: Write, row: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError) as error:
        kind_of_source(source(write, row))
    assert says in str(error.value) and "x.jsonl:1: " in str(error.value)
