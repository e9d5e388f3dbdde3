"""Rows as public data sets write them, by the data set's name: every field that it has, and what is read of it.

`u:a | b > c @1` is a pair with its margin, `u:a a:b` a conversation, `u:a = 2` a prompt with its right answer.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlhf.config.data import Source
from rlhf.data.arrange import arranged
from rlhf.data.formats.reader import Reader
from rlhf.data.messages import UnusableError
from rlhf.data.records import Demonstration, Kind, Message, Preference, Prompt, Record

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


def laid_out(kind: Kind | None, *rows: Any) -> Iterator[tuple[str, Any]]:
    """Rows as formats of a kind know them, each with its place."""
    return arranged(iter([(f"f:{i}", row) for i, row in enumerate(rows)]), SOURCE, kind)


def read(kind: Kind, *rows: Any) -> str:
    reader, found = Reader(kind), []
    for where, row in laid_out(kind, *rows):
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


POST = {"id": "1", "post": "p", "title": "t", "subreddit": "s", "site": None, "article": None}

ASKED = "u:Title: t\n\np\n\nTL;DR:"


Rows = list[tuple[str, Kind, Any, str]]
"""Name of a data set, what it is read as, a row of it or several, and what is read."""


def each(known: Rows) -> pytest.MarkDecorator:
    """A test for each of them."""
    cases = [pytest.param(k, r if isinstance(r, list) else [r], e, id=f"{name} {k}") for name, k, r, e in known]
    return pytest.mark.parametrize(("kind", "rows", "expected"), cases)
