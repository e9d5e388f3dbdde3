"""Turns that are written as one text, each after its speaker's name."""

import re
from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter

from rlhf.data.records import Message
from rlhf.errors import DataError

# ------------------------------------------------------------------------------------------------ between blank lines


def is_transcript(value: str) -> bool:
    """Whether a text is turns as Anthropic's data sets write them."""
    return "\n\nAssistant:" in value and value.lstrip().startswith("Human:")


def transcript(value: str, field: str) -> list[Message]:
    """`\\n\\nHuman: … \\n\\nAssistant: …` as messages. Turns of one speaker in a row are one turn."""
    before, *parts = _SPEAKER.split(f"\n\n{value.lstrip()}")
    if before or not parts:
        raise DataError(f"{field}: does not open with a speaker; '\\n\\nHuman: …\\n\\nAssistant: …' is needed")
    turns = groupby(zip(parts[::2], parts[1::2], strict=True), key=itemgetter(0))
    return [{"role": _SPEAKERS[speaker], "content": joined(content for _, content in said)} for speaker, said in turns]


def joined(pieces: Iterable[str]) -> str:
    """Pieces of one turn, those that say something, apart from each other."""
    return "\n\n".join(filter(None, map(str.strip, pieces)))


_SPEAKER = re.compile(r"\n\n(Human|Assistant):")
_SPEAKERS = {"Human": "user", "Assistant": "assistant"}

# ------------------------------------------------------------------------------------------------ on one line, or more


def dialogue(value: str) -> list[Message] | None:
    """`Human: … Assistant: …` as messages, also with User, USER or prompter; what stands before USER is the system's.
    The last may be empty, an answer that is about to begin. None for a text that is anything else, or may be: each must
    speak in turn, and say something."""
    if not (opens := _OPENS.match(value)) and not value.rstrip().endswith("ASSISTANT:"):
        return None
    user = opens[1] if opens else "USER"
    before, *parts = _NAMES[user].split(value)
    names, said = parts[::2], [content.strip() for content in parts[1::2]]
    if len(names) < 2 - (user == "prompter") or not all(said[:-1]):
        return None
    if any((name == user) != (i % 2 == 0) for i, name in enumerate(names)) or not (said[-1] or names[-1] != user):
        return None
    head: list[Message] = [{"role": "system", "content": before.strip()}] if before.strip() else []
    return head + [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(said)]


def asking(value: str) -> list[Message] | None:
    """A dialogue that waits for an answer, without the opening of that answer."""
    talk = dialogue(value)
    if talk and not talk[-1]["content"]:
        return talk[:-1]
    return talk if talk and talk[-1]["role"] == "user" else None


_OPENS = re.compile(r"\s*(Human|User|USER|prompter): ")
_NAMES = {
    user: re.compile(rf"(?:\A|(?<=\s))({user}|{assistant}):(?=\s|\Z)")
    for user, assistant in (
        *(("Human", "Assistant"), ("User", "Assistant")),
        *(("USER", "ASSISTANT"), ("prompter", "assistant")),
    )
}
