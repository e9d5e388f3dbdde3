"""The records of a file, in the forms in which the checks read them."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from rlhf.data.inspect.report import Level
from rlhf.data.records import Demonstration, Kind, Message, Preference, Rated, Record, prompt_of

T = TypeVar("T")

_FEW = 5
"""Places that a finding names."""
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Letters of scripts that put no space between words: Thai, Lao, Burmese, Khmer, Chinese, Japanese."""
_UNSPACED = re.compile(f"[{UNSPACED}]")


def answers_of(record: Record) -> list[tuple[str, list[Message]]]:
    """The answers by side: `chosen` and `rejected`, or each one as `answer`."""
    match record:
        case Preference():
            return [("chosen", record.chosen), ("rejected", record.rejected)]
        case Demonstration():
            return [("answer", record.messages[-1:])]
        case Rated():
            return [("answer", answer) for answer, _ in record.answers]
        case _:
            return []


def said(messages: Iterable[Message]) -> str:
    """What messages say, white space normalised."""
    return " ".join(" ".join(message["content"].split()) for message in messages)


def words(text: str) -> int:
    """Words of a text; in scripts without spaces every letter is one."""
    count = len(text.split())
    return count if text.isascii() else count + len(_UNSPACED.findall(text))


def sample(items: Sequence[T], most: int) -> Sequence[T]:
    """At most so many, evenly spaced."""
    if len(items) <= most:
        return items
    return [items[i * len(items) // most] for i in range(most)]


def counted(count: int, noun: str) -> str:
    """`1 pair`, `2,000 pairs`, `2 addresses`"""
    return f"{count:,} {noun}{'' if count == 1 else 'es' if noun.endswith('s') else 's'}"


def graded(share: float, warn_from: float) -> Level:
    """A warning from a share on, below it a note."""
    return "warning" if share >= warn_from else "note"


@dataclass(frozen=True)
class Material:
    """Records of one kind."""

    kind: Kind
    records: list[Record]

    @cached_property
    def pairs(self) -> list[Preference]:
        return [record for record in self.records if isinstance(record, Preference) and not record.tie]

    @cached_property
    def prompts(self) -> list[str]:
        """The whole prompt of each record, roles and all."""
        return ["\n".join(f"{m['role']}: {said([m])}" for m in prompt_of(record)) for record in self.records]

    @cached_property
    def answers(self) -> list[list[str]]:
        """What each answer of each record says."""
        return [[said(messages) for _, messages in answers_of(record)] for record in self.records]

    @cached_property
    def passages(self) -> dict[str, list[int]]:
        """The content of every message, with the records in which it stands; each text once, however often it is
        said."""
        found: dict[str, list[int]] = {}
        for i, record in enumerate(self.records):
            for message in messages_of(record):
                at = found.setdefault(message["content"], [])
                if not at or at[-1] != i:
                    at.append(i)
        return found

    def records_with(self, passages: Iterable[str]) -> list[int]:
        """Which records hold any of some passages."""
        return sorted({i for passage in passages for i in self.passages[passage]})

    def places(self, indices: Sequence[int]) -> list[str]:
        """The first few as `file:line`, rows that hold several records once."""
        return list(dict.fromkeys(self.records[i].where for i in indices))[:_FEW]

    def rows(self, indices: Iterable[int]) -> int:
        """How many rows these records come from."""
        return len({self.records[i].where for i in indices})


def messages_of(record: Record) -> Iterator[Message]:
    """Every message of a record; those of a prompt once."""
    if isinstance(record, Demonstration):
        yield from record.messages
        return
    yield from prompt_of(record)
    for _, messages in answers_of(record):
        yield from messages
