"""Logs of calls to a model: what it answered, as a plain field beside what it was asked."""

from collections.abc import Iterator
from typing import Any

from rlhf.data.formats.table import Row
from rlhf.data.records import Kind

_ANSWERS = ("choices", "candidates", "generations")
_MESSAGE, _TEXT = ("message", "content"), "text"
_OF_AN_ANSWER = {"finish_reason", "finishReason", "generation_info", "logprobs", "message"}
"""Fields that an answer has, and an option of a multiple choice has not."""


def is_logged(row: Row, kind: Kind | None) -> bool:
    return next(_calls(row), None) is not None


def logged(row: Row, kind: Kind | None) -> Row:
    """What a call to a model answered: {choices: [{message}]} (OpenAI), {candidates: [{content}]} (Gemini),
    {generations: [{text}]} (LangChain), alone or in {response}, {outputs} …: one as `response`, several as
    `responses`. What else it returned is named as `response.usage`, to be told of as unread."""
    place, name = next(_calls(row))
    called = row if place is None else row[place]
    before = "" if place is None else f"{place}."
    found = {name: value for name, value in row.items() if name != place} if place else {}
    found |= {f"{before}{field}": value for field, value in called.items() if field != name}
    said = _listed(called[name])
    for field, value in (item for one in said for item in one.items()):
        if field not in (*_MESSAGE, _TEXT, "index"):
            found.setdefault(f"{before}{name}[].{field}", value)
    answers = [_answer(one) for one in said]
    return found | ({"response": answers[0]} if len(answers) == 1 else {"responses": answers})


def _calls(row: Row) -> Iterator[tuple[str | None, str]]:
    """Where a row holds answers of a call: the field that it is in, if it is not the row itself, and that of the
    answers."""
    for place, value in ((None, row), *row.items()):
        for name in _ANSWERS if isinstance(value, dict) and ("response" not in row or place == "response") else ():
            said = _listed(value.get(name))
            if said and all(_answer(one) for one in said):
                yield place, name


def _listed(answers: Any) -> list[Any]:
    """Answers to one prompt; LangChain has them in a list of one for each prompt."""
    if not isinstance(answers, list):
        return []
    return answers[0] if len(answers) == 1 and isinstance(answers[0], list) else answers


def _answer(choice: Any) -> list[Row] | None:
    """One answer as a message; an option of a multiple choice is none."""
    if not isinstance(choice, dict):
        return None
    for name in _MESSAGE:
        if isinstance(choice.get(name), dict) and "content" in choice[name]:
            return [{"role": "assistant", **choice[name]}]
    if isinstance(choice.get(_TEXT), str) and (choice.keys() & _OF_AN_ANSWER or choice.keys() == {_TEXT}):
        return [{"role": "assistant", "content": choice[_TEXT]}]
    return None
