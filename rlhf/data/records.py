"""What a row becomes, whatever format it was written in. All text, no tokens."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Literal

Message = dict[str, str]
"""`role` (system, user, assistant, tool) and `content`."""

Kind = Literal["demonstrations", "preferences", "prompts", "labels", "scores"]
"""`labels`: answers said to be good or bad; `scores`: answers with numbers, one or one for each attribute."""


@dataclass(slots=True)
class Demonstration:
    """A conversation to imitate; the last message is the assistant's."""

    messages: list[Message]
    where: str
    """`file:line`, for messages."""


@dataclass(slots=True)
class Preference:
    """Two continuations of one prompt. Each starts and ends with an assistant turn, and they differ."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    where: str
    margin: float | None = None
    """How much better the chosen one is, where the row says so."""
    tie: bool = False
    """Neither is better: which one is called chosen means nothing."""


@dataclass(slots=True)
class Prompt:
    """A conversation that waits for an answer; the last message is the user's (or a tool's)."""

    messages: list[Message]
    where: str
    answer: str | None = None
    """What the row says is right (its field `answer`), for rules to compare with."""


LABEL = "label"
"""Under which the numbers of a rated answer hold whether it is good: 1 or 0."""


@dataclass(slots=True)
class Rated:
    """Answers to one prompt, each with what was said of it."""

    prompt: list[Message]
    answers: list[tuple[list[Message], dict[str, float]]]
    """Each answer with its numbers by name."""
    where: str
    lost: tuple[str, ...] = ()
    """Why each other answer of the row is not among them."""


Record = Demonstration | Preference | Prompt | Rated


def identity(record: Record) -> int:
    """Equal for records of the same turns, of which the same is said, in this process."""
    told: object = None
    match record:
        case Preference():
            parts, told = [record.prompt, record.chosen, record.rejected], (record.margin, record.tie)
        case Rated():
            parts = [record.prompt, *(answer for answer, _ in record.answers)]
            told = tuple(tuple(sorted(numbers.items())) for _, numbers in record.answers)
        case Prompt():
            parts, told = [record.messages], record.answer
        case _:
            parts = [record.messages]
    said = repr(told)  # as text: Python's hashes of -1 and -2 are equal
    return hash((said, *[tuple(map(_SAID, part)) for part in parts]))


_SAID = itemgetter("role", "content")


def prompt_of(record: Record) -> list[Message]:
    """The messages before the (last) answer."""
    if isinstance(record, Preference | Rated):
        return record.prompt
    return record.messages[:-1] if isinstance(record, Demonstration) else record.messages


def opening(messages: Sequence[Message]) -> Sequence[Message]:
    """What stands before the assistant's first turn."""
    for i, message in enumerate(messages):
        if message["role"] == "assistant":
            return messages[:i]
    return messages


def prompt_key(record: Record) -> str:
    """Identity of the conversation's opening: what stands before the assistant's first turn, white space normalised.

    The opening and not the whole prompt, so that the answers to one conversation stay together in every kind: pairs
    that part at an early turn, and demonstrations that end at the last. What the assistant opens is its own prompt.
    """
    messages = prompt_of(record) or (record.messages if isinstance(record, Demonstration) else [])
    first = opening(messages) or messages
    return "\n".join([f"{message['role']}: {' '.join(message['content'].split())}" for message in first])


def share(record: Record, at: int = 0) -> float:
    """A number in [0, 1) that follows from a record's prompt alone, as if drawn at random; another at byte 8.

    Its side follows from it: the same in every file, order and run.
    """
    digest = hashlib.sha256(prompt_key(record).encode("utf-8", "replace")).digest()
    return (int.from_bytes(digest[at : at + 8], "big") >> 11) * 2**-53
