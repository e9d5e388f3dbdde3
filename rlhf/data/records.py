"""What a row becomes, whatever format it was written in. Three kinds; all text, no tokens."""

from dataclasses import dataclass
from typing import Literal

Message = dict[str, str]
"""`role` (system, user, assistant, tool) and `content`."""

Kind = Literal["demonstrations", "preferences", "prompts"]


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A conversation to imitate; the last message is the assistant's."""

    messages: list[Message]
    where: str
    """`file:line`, for messages."""


@dataclass(frozen=True, slots=True)
class Preference:
    """Two continuations of one prompt. Each starts and ends with an assistant turn, and they differ."""

    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    where: str
    margin: float | None = None
    """How much better the chosen one is, where the row says so."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A conversation that waits for an answer; the last message is the user's (or a tool's)."""

    messages: list[Message]
    where: str
    answer: str | None = None
    """What the row says is right (its field `answer`), for rules to compare with."""


Record = Demonstration | Preference | Prompt


def prompt_of(record: Record) -> list[Message]:
    """The messages before the (last) answer."""
    if isinstance(record, Preference):
        return record.prompt
    return record.messages[:-1] if isinstance(record, Demonstration) else record.messages


def prompt_key(record: Record) -> str:
    """Identity of the conversation's opening: what stands before the assistant's first turn, white space normalised.

    The opening and not the whole prompt, so that the answers to one conversation stay together in every kind: pairs
    that part at an early turn, and demonstrations that end at the last. What the assistant opens is its own prompt.
    """
    messages = prompt_of(record) or (record.messages if isinstance(record, Demonstration) else [])
    first = next((i for i, message in enumerate(messages) if message["role"] == "assistant"), len(messages))
    opening = messages[:first] or messages
    return "\n".join(f"{message['role']}: {' '.join(message['content'].split())}" for message in opening)
