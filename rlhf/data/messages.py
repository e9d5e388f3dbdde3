"""From the values of a row to messages, and from messages to records that keep their promises.

Two ways to fail: `DataError("field: what; what would work")` for a row that someone must mend, and `UnusableError`
for a well-formed row that teaches nothing (a tie, an empty answer), which is dropped and counted.
"""

import re
from collections.abc import Iterable, Mapping
from itertools import chain
from operator import itemgetter
from typing import Any

from rlhf.data.records import Demonstration, Message, Preference, Prompt, Rated
from rlhf.errors import DataError, did_you_mean

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "customer": "user",
    "client": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "ai": "assistant",
    "chatbot": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "agent": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_response": "tool",
    "tool_response": "tool",
    "function_call": "assistant",
    "tool_call": "assistant",
}
"""Names that data sets give to the four roles."""
SPEAKER, SPOKEN = "role|from|speaker", "content|value|text|message"
"""Fields that say, where each row is a message, whose it is and what it says."""

NAMES = {
    bool: "a truth value",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}
"""Types of JSON values in words."""

_ROLE = itemgetter("role")


class UnusableError(Exception):
    """A well-formed row that teaches nothing; the message is the reason it is counted under."""


# ------------------------------------------------------------------------------------------------ values


def text(row: Mapping[str, Any], field: str, called: str | None = None) -> str:
    """A field that must be a string; `called` is what an error calls it."""
    value = row.get(field)
    if isinstance(value, str):
        return value
    raise DataError(f"{called or field}: is {kind_of(value)}; a string is needed")


def turns(row: Mapping[str, Any], field: str, role: str) -> list[Message]:
    """A field that is either one turn of `role` as a string, or messages."""
    value = row.get(field)
    return [{"role": role, "content": value}] if isinstance(value, str) else conversation(value, field)


def conversation(value: Any, field: str) -> list[Message]:
    """Messages, written as {role, content} or as ShareGPT's {from, value}; one alone may stand without its list."""
    items = [value] if isinstance(value, dict) else value
    if not isinstance(items, list):
        raise DataError(f"{field}: is {kind_of(value)}; a list of messages {{role, content}} is needed")
    if not items:
        raise DataError(f"{field}: is an empty list; at least one message {{role, content}} is needed")
    messages = [message for i, item in enumerate(items) for message in _messages(item, f"{field}[{i}]")]
    said = [m for m in messages if m["role"] != "system" or m["content"].strip()]
    if not said:
        raise UnusableError("empty prompt")
    return said


_EXCHANGES = (("human", "assistant"), ("input", "output"), ("user", "assistant"))
"""Names of a question and its answer where they are one item; the second is Capybara's."""


def _messages(item: Any, field: str) -> list[Message]:
    """One message; two of a question and its answer, such as {human, assistant}."""
    if not isinstance(item, dict):
        raise DataError(f"{field}: is {kind_of(item)}; a message {{role, content}} is needed")
    if "role" not in item and "from" not in item:
        for names in _EXCHANGES:
            if item.keys() >= set(names):
                return [
                    {"role": role, "content": text(item, name, f"{field}.{name}")}
                    for name, role in zip(names, ("user", "assistant"), strict=True)
                ]
    return [_message(item, field)]


_UNREAD = {
    "tool_calls": "tool calls",
    "function_call": "tool calls",
    "reasoning_content": "thoughts beside the answer",
    "reasoning": "thoughts beside the answer",
    "thinking": "thoughts beside the answer",
}
"""Fields of a message that say more than its text does."""


def _message(item: Mapping[str, Any], field: str) -> Message:
    by = next((name for name in ("role", "from", "speaker", "author") if name in item), "role")
    said = next((name for name in ("content", "value", "text", "message") if name in item), "content")
    role = item.get(by)
    for name, what in _UNREAD.items():
        if item.get(name):
            raise DataError(f"{field}.{name}: {what} cannot be read; write them as text in {said}, or leave them out")
    mask = next((name for name in _MASKS if item.get(name) in (0, False)), None)
    if mask and ROLES.get(str(role).lower()) == "assistant":
        told = f"is {item[mask]!r}, and every answer is learned from; end the conversation before it"
        raise DataError(f"{field}.{mask}: {told}")
    if not isinstance(role, str) or role.lower() not in ROLES:
        found = f"'{role}'" if isinstance(role, str) else kind_of(role)
        hint = did_you_mean(str(role).lower(), ROLES)
        raise DataError(f"{field}.{by}: is {found}; user, assistant, system or tool is needed{hint}")
    return {"role": ROLES[role.lower()], "content": _words(item.get(said), f"{field}.{said}")}


_MASKS = ("weight", "loss", "train", "trainable", "training")
"""Fields of a message that say whether it is to be learned."""


def _words(value: Any, field: str) -> str:
    """Text, or OpenAI's list of parts where all of them are text."""
    if isinstance(value, list) and value and all(isinstance(part, dict) and "type" in part for part in value):
        for part in value:
            if part["type"] != "text":
                raise DataError(f"{field}: holds a part of type '{part['type']}'; only text can be read")
        return "".join(text(part, "text", f"{field}.text") for part in value)
    return text({field: value}, field)


def kind_of(value: Any) -> str:
    """`missing`, `a number`, `an object` …: a JSON value in words."""
    return "missing or null" if value is None else NAMES.get(type(value), type(value).__name__)


# ------------------------------------------------------------------------------------------------ records


def demonstration(messages: list[Message], where: str, field: str = "messages") -> Demonstration:
    """Checked: it ends with an assistant turn, and no turn is empty."""
    if messages[-1]["role"] != "assistant":
        last = messages[-1]["role"]
        raise DataError(f"{field}: ends with the {last}'s turn; end with the assistant's, or use the file as prompts")
    _check_turns(messages)
    return Demonstration(messages, where)


def prompt(messages: list[Message], where: str, field: str = "prompt") -> Prompt:
    """Checked: answers at the end are taken off, what is left ends with a user's or a tool's turn."""
    end = len(messages)
    while end and messages[end - 1]["role"] == "assistant":
        end -= 1
    if not end or messages[end - 1]["role"] == "system":
        raise DataError(f"{field}: has no turn of the user's to answer; end with one")
    _check_turns(messages[:end])
    return Prompt(messages[:end], where)


def rated(
    prompt: list[Message],
    answers: list[tuple[list[Message], dict[str, float]]],
    where: str,
    field: str,
    lost: Iterable[str] = (),
) -> Rated:
    """Checked: the prompt waits for an answer, and each answer starts and ends with the assistant's turn. One with an
    empty turn is lost, beside those that were `lost` before, each for its reason. Raises UnusableError where no answer
    is left."""
    lost = list(lost)
    if not answers:
        raise UnusableError(lost[0] if lost else "no answers")
    if not prompt or prompt[-1]["role"] not in ("user", "tool"):
        raise DataError(f"{field}: no turn of the user's comes before the answer; add it")
    _check_turns(prompt)
    for name in chain.from_iterable(numbers for _, numbers in answers):
        whole(name, name)
    kept: list[tuple[list[Message], dict[str, float]]] = []
    for answer in answers:
        messages = answer[0]
        if not messages[0]["role"] == messages[-1]["role"] == "assistant":
            raise DataError(f"{field}: a turn of the assistant's is needed as an answer")
        try:
            _check_turns(messages)
            kept.append(answer)
        except UnusableError as reason:
            lost.append(str(reason))
    if not kept:
        raise UnusableError(lost[0])
    return Rated(prompt, kept, where, tuple(lost))


def preference(
    chosen: list[Message],
    rejected: list[Message],
    where: str,
    margin: float | None = None,
    field: str = "chosen",
    tie: bool = False,
) -> Preference:
    """Two whole conversations, split after their longest common beginning that waits for an answer.

    Raises UnusableError for an empty or identical answer, and when the conversations share no prompt.
    """
    for name, messages in (("chosen", chosen), ("rejected", rejected)):
        if (last := messages[-1]["role"]) != "assistant":
            raise DataError(f"{name}: ends with the {last}'s turn; an answer of the assistant's is needed")
        if messages[0]["role"] != "user" and "user" not in map(_ROLE, messages):
            raise DataError(f"{field}: no turn of the user's comes before the answer; add it, or a field `prompt`")
        _check_turns(messages)
    if alike(chosen[-1], rejected[-1]) and len(chosen) == len(rejected) and all(map(alike, chosen, rejected)):
        raise UnusableError("identical")
    shared = _shared(chosen, rejected)
    if not shared and chosen[:-1] == rejected[:-1]:
        raise DataError(f"{field}: no turn of the user's comes right before the answer; end the prompt with one")
    if not shared:
        raise UnusableError("prompts differ")
    return Preference(chosen[:shared], chosen[shared:], rejected[shared:], where, margin, tie)


def alike(one: Message, other: Message) -> bool:
    """Whether two messages say the same, white space about them aside."""
    return one["role"] == other["role"] and one["content"].strip() == other["content"].strip()


def _shared(chosen: list[Message], rejected: list[Message]) -> int:
    """Messages in common, fewer where that leaves a side empty or not at the assistant's turn to speak."""
    same, most = 0, min(len(chosen), len(rejected)) - 1
    while same < most and chosen[same] == rejected[same]:
        same += 1
    while same and not (
        chosen[same - 1]["role"] in ("user", "tool") and chosen[same]["role"] == rejected[same]["role"] == "assistant"
    ):
        same -= 1
    return same


def whole(said: str, field: str) -> str:
    """A text, of nothing but whole characters. Raises DataError for one that UTF-8 cannot write."""
    if not said.isascii():
        try:
            said.encode()
        except UnicodeEncodeError as error:
            half = ascii(said[error.start])
            raise DataError(f"{field}: holds {half}, half of a character (lone surrogate); remove it") from None
    return said


def _check_turns(messages: list[Message]) -> None:
    """No turn is empty, or about a picture; and each is text that UTF-8 (and so every tokenizer) can write."""
    for message in messages:
        said = message["content"]
        if not said.isascii():
            whole(said, "content")
        if "<" in said:
            _check_pictures(said)
        if not said or said.isspace():
            raise UnusableError("empty answer" if message["role"] == "assistant" else "empty prompt")


def _check_pictures(said: str) -> None:
    """Raises DataError for a text with the place of a picture or a sound, which stands by itself; within words, or
    where it is closed, it is markup that is talked about."""
    for found in _PICTURE.finditer(said):
        before, after = said[: found.start()].rstrip(" \t"), said[found.end() :].lstrip(" \t")
        alone = before[-1:] in ("", "\n") or after[:1] in ("", "\n")
        if alone and f"</{found[1]}" not in said:
            raise DataError(f"content: holds {found[0]}, and only text can be read; leave such rows out")


_PICTURE = re.compile(r"<\|?(image|video|audio)(?:[ _]?\d+)?\|?>")
"""How vision models' data sets mark the place of what is no text."""
