"""Turns that are written as one text, each after its speaker's name."""

import re
from collections.abc import Iterable, Iterator
from functools import cache
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
    With other people and machines, such as `Customer:` and `Agent:`, or with `**User:**`, each turn begins a line. The
    last may be empty, an answer that is about to begin. None for a text that is anything else, or may be: each must
    speak in turn, and say something."""
    return next(_talks(value, _PEOPLE), None) if _may_open(value) else None


def questions(value: str) -> list[Message] | None:
    """As `dialogue`, also for `Q: … A: …`, `Question: … Answer: …` and the like, a line each."""
    return dialogue(value) or next(_talks(value, _ORDERS), None) if _may_open(value) else None


def asking(value: str) -> list[Message] | None:
    """A dialogue that waits for an answer, without the opening of that answer. One between people may be what is asked
    about, and waits for none unless it opens one."""
    talk = dialogue(value)
    if talk and not talk[-1]["content"]:
        return talk[:-1]
    return talk if talk and talk[-1]["role"] == "user" and _OPENS_ANYWHERE.match(value) else None


_MACHINES = (
    "assistant|ai assistant|ai|bot|chatbot|gpt|chatgpt|claude|model|agent|support|support agent|advisor|operator|"
    "representative|doctor|therapist|counselor|counsellor|tutor|teacher"
)
_PEOPLE: dict[str, str] = dict.fromkeys(
    ("human", "user", "prompter", "customer", "client", "caller", "patient", "student", "visitor", "guest", "person"),
    _MACHINES,
)
_ORDERS: dict[str, str] = {
    **dict.fromkeys(("question", "query"), "answer|response"),
    "q": "a",
    "instruction": "response|answer|output",
    "prompt": "response|answer|completion",
}
"""Who asks, and who may answer."""
_ANYWHERE = {"Human": "Assistant", "User": "Assistant", "USER": "ASSISTANT", "prompter": "assistant"}
"""Names, so written, that are told apart within a line too."""
_OPENS_ANYWHERE = re.compile(rf"\s*(?:{'|'.join(_ANYWHERE)}): ")
_OPENS = re.compile(rf"\s*(\*\*|\#{{2,4}}\ |\[|<|)({'|'.join((*_PEOPLE, *_ORDERS))})(:\*\*|\*\*:|]:|>:|:)(?=\s)", re.I)
"""What stands before a name, the name, and what stands behind it."""


def _may_open(value: str) -> bool:
    """Whether a name may open the text, or an answer end it: most are told apart by that."""
    return ":" in value[:64] or ":" in value[-64:]


def _talks(value: str, known: dict[str, str]) -> Iterator[list[Message]]:
    opens = _OPENS.match(value)
    if not opens:
        if known is _PEOPLE and value.rstrip().endswith("ASSISTANT:"):
            yield from _in_turn(value, _headers("", "USER", "ASSISTANT", ":", anywhere=True), "USER")
        return
    before, user, after = opens.groups()
    if user in _ANYWHERE and known is _PEOPLE and (before, after) == ("", ":"):
        yield from _in_turn(value, _headers("", user, _ANYWHERE[user], ":", anywhere=True), user)
    if user.lower() in known:
        headers = _headers(before, user, known[user.lower()], after, anywhere=before.startswith("#"))
        yield from _in_turn(value, headers, user)


@cache
def _headers(before: str, user: str, others: str, after: str, anywhere: bool) -> re.Pattern[str]:
    """What opens a turn; the group is the speaker's name."""
    names = f"{user}|{others}" if others in _ANYWHERE.values() else f"{user}|(?i:{others})"
    place = r"(?:\A|(?<=\s))" if anywhere else r"(?:^|(?<=\n))[ \t]*"
    return re.compile(rf"{place}{re.escape(before)}({names}){re.escape(after)}(?=\s|\Z)")


def _in_turn(value: str, headers: re.Pattern[str], user: str) -> Iterator[list[Message]]:
    """The conversation, where two speak in turn and each says something."""
    before, *parts = headers.split(value)
    names, said = parts[::2], [content.strip() for content in parts[1::2]]
    if len(names) < 2 - (user == "prompter") or len(set(names)) > 2 or not all(said[:-1]):
        return
    if any((name == user) != (i % 2 == 0) for i, name in enumerate(names)) or not (said[-1] or names[-1] != user):
        return
    head: list[Message] = [{"role": "system", "content": before.strip()}] if before.strip() else []
    yield head + [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(said)]
