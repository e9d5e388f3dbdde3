"""Objects inside objects, as model providers' interfaces and the logs of calls to them have them, as plain fields."""

from collections.abc import Iterator
from itertools import chain
from typing import Any, TypeGuard

from rlhf.data.formats.asking import PROMPT, RESPONSE, SYSTEM
from rlhf.data.formats.reader import fits
from rlhf.data.formats.table import Row, named
from rlhf.data.messages import ROLES, SPOKEN
from rlhf.data.records import Kind
from rlhf.errors import DataError

# ------------------------------------------------------------------------------------------------ parts of a message


def has_parts(row: Row, kind: Kind | None) -> bool:
    """Whether a provider's messages are in the row; one with parts that are no text is told of row by row."""
    try:
        return without_parts(row, kind) != row
    except DataError:
        return True


def without_parts(row: Row, kind: Kind | None) -> Row:
    """Gemini's {contents: [{role, parts: [{text}]}], systemInstruction}, Bedrock's {content: [{text}]}, the Responses
    interface's parts, LangChain's {type, content} or {type, data: {content}}, XTuner's {system, input, output}: as
    messages {role, content}."""
    found: Row = {}
    for name, value in row.items():
        name = {"contents": "messages", "systemInstruction": "system", "system_instruction": "system"}.get(name, name)
        try:
            value = _plain(value, name)
        except RecursionError:  # from a cell of JSON
            raise DataError(f"{name}: JSON nested too deeply; messages are needed") from None
        if name in SYSTEM and isinstance(value, dict | list) and value:
            value = _instruction(value, name)
        found[name] = value
    return found


def _instruction(value: Any, field: str) -> str | None:
    """The text of a system message, or of its parts."""
    said = value.get(named(value, SPOKEN)) if is_message(value) else value
    return None if said is None else _joined(said, field)


_TEXT_PARTS = (None, "text", "input_text", "output_text")


def _plain(value: Any, field: str) -> Any:
    if isinstance(value, list):
        items = [_plain(one, f"{field}[{i}]") for i, one in enumerate(value)]
        return [one for item in items for one in (item if isinstance(item, tuple) else (item,))]
    if not isinstance(value, dict) or "replies" in value:  # a tree is of plain messages, and may be deep
        return value
    value = _langchain(value)
    if isinstance(value.get("parts"), list):
        return {"role": value.get("role") or "user", "content": _joined(value["parts"], f"{field}.parts")}
    if value.keys() >= {"system", "input", "output"} and field.startswith("conversation["):
        said = [{"role": role, "content": value[name]} for name, role in _XTUNER.items() if value[name]]
        return tuple(said)
    content = value.get("content")
    if isinstance(content, list) and any(isinstance(one, dict) and one.get("type") != "text" for one in content):
        return {**value, "content": _joined(content, f"{field}.content")} if "role" in value else value
    return {name: _plain(one, f"{field}.{name}") for name, one in value.items()}


def _langchain(value: Row) -> Row:
    """{type: human, content}, {type, data: {content}} or {type: constructor, id: [… HumanMessage], kwargs: {content}}
    as {role, content}, with what else it has, such as tool calls; the value itself where it is none of them."""
    kind, said, names = value.get("type"), value, value.get("id")
    if kind == "constructor" and isinstance(names, list) and names:
        kind, said = str(names[-1]).removesuffix("Message").lower(), value.get("kwargs")
    elif isinstance(value.get("data"), dict):
        said = value["data"]
    if kind not in _LANGCHAIN or "role" in value or not isinstance(said, dict) or "content" not in said:
        return value
    more = said.get("additional_kwargs")
    found = {**(more if isinstance(more, dict) else {}), **said, "role": kind}
    return {name: one for name, one in found.items() if name not in ("type", "additional_kwargs")}


_LANGCHAIN = ("human", "ai", "system", "tool", "function")
_XTUNER = {"system": "system", "input": "user", "output": "assistant"}


def _joined(parts: Any, field: str) -> str:
    """The text of parts that are nothing but text."""
    parts = [{"text": one} if isinstance(one, str) else one for one in (parts if isinstance(parts, list) else [parts])]
    for part in parts:
        if not isinstance(part, dict) or not isinstance(part.get("text"), str) or part.get("type") not in _TEXT_PARTS:
            type_ = part.get("type") if isinstance(part, dict) else None
            what = f"part of type '{type_}'" if type_ else "part that is no text"
            raise DataError(f"{field}: holds a {what}; only text can be read")
        if part.get("thought"):
            raise DataError(f"{field}: holds a thought; write it as text, or leave it out")
    return "".join(part["text"] for part in parts)


def is_message(value: Any) -> TypeGuard[Row]:
    """Whether a value is one message by itself."""
    if not isinstance(value, dict):
        return False
    role = value.get("role", value.get("from"))
    spoken = value.keys() & {"content", "value", "text"} and "replies" not in value
    return isinstance(role, str) and role.lower() in ROLES and bool(spoken)


# ------------------------------------------------------------------------------------------------ fields of fields


def is_nested(row: Row, kind: Kind | None) -> bool:
    inside = [name for name, value in row.items() if isinstance(value, dict)]
    if not inside:
        return False
    if kind is None and _compares(flat(row, kind)) and not _compares(row):
        return True
    plain = fits(row, kind) and not any(name in _ASKED_OR_SAID and _talk(row[name]) != row[name] for name in inside)
    return not plain and fits(flat(row, kind), kind)


def _compares(row: Row) -> bool:
    return fits(row, "preferences")


_ASKED_OR_SAID = [*PROMPT.split("|"), *RESPONSE.split("|")]
_ASIDE = ("metadata", "meta", "usage")
"""Objects with nothing to learn from."""


def flat(row: Row, kind: Kind | None) -> Row:
    """A row whose fields are inside others: {input: {messages}, preferred_output} (OpenAI), {chosen: {messages,
    system}} (LMFlow), {inputs: {question}, outputs: {answer}} (LangSmith), {body: {messages}} (a batch of requests).
    A message that stands alone gets its list."""
    talks = dict(chain.from_iterable(_talks(name, value) for name, value in row.items()))
    spread = _spread(row)
    for one in _TELLING if kind is None else (kind,):
        if found := next((found for found in (talks, spread) if fits(found, one)), None):
            return found
    return spread


_TELLING: tuple[Kind, ...] = ("preferences", "labels", "demonstrations", "prompts")


def _spread(row: Row) -> Row:
    """A row with the fields of its fields beside its own; the row itself where two have one name."""
    found = {name: value for name, value in row.items() if not isinstance(value, dict) or name in _ASIDE}
    for outer, value in row.items():
        for name, one in value.items() if isinstance(value, dict) and outer not in _ASIDE else ():
            if name in found and found[name] != one and name not in row:
                return row  # two of a name: nothing says which is meant
            for field, inner in _talks(name, one):
                found.setdefault(field, inner)
    return found


def _talks(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """A conversation in place of an object that holds one; what else that has as `name.field`, to be told of."""
    talk = _talk(value)
    yield name, talk
    if talk is not value and not is_message(value):
        yield from ((f"{name}.{field}", one) for field, one in value.items() if field not in ("messages", "system"))


def _talk(value: Any) -> Any:
    """A conversation in place of an object that holds one, with its system message."""
    if is_message(value):
        return [value]
    if not isinstance(value, dict) or not isinstance(value.get("messages"), list):
        return value
    system = value.get("system")
    head = [{"role": "system", "content": system}] if isinstance(system, str) and system.strip() else []
    return [*head, *value["messages"]]


# ------------------------------------------------------------------------------------------------ a choice of answers


def is_choice(row: Row, kind: Kind | None) -> bool:
    return kind in ("demonstrations", "prompts", None) and _question(row) is not None and _options(row) is not None


def with_options(row: Row, kind: Kind | None) -> Row:
    """{question, choices or options: [text] or {text, label}, or A, B, C …; answer}: the options below the question,
    and an answer that counts them from 0 (MMLU) as the letter; in a table it does so as text."""
    name, options = _question(row), _options(row)
    if name is None or options is None:
        return row
    below = "\n".join(f"{letter}. {option}" for letter, option in options.items())
    found = {field: value for field, value in row.items() if field not in (*_GIVEN_IN, *_LETTERS[:10], "answerKey")}
    found[name] = f"{row[name]}\n\n{below}"
    if "answerKey" in row:
        found.setdefault("answer", row["answerKey"])
    answer = row.get("answer")
    if isinstance(answer, str) and answer.isdecimal() and answer not in options.values():
        answer = int(answer)
    if type(answer) is int:
        if not 0 <= answer < len(options):
            raise DataError(f"answer: is {answer}; one of {len(options)} options, counted from 0, is needed")
        found["answer"] = list(options)[answer]
    return found


def _question(row: Row) -> str | None:
    return next((name for name in ("question", "query", "problem") if isinstance(row.get(name), str)), None)


def _options(row: Row) -> dict[str, str] | None:
    """Options by letter."""
    given = next((row[name] for name in _GIVEN_IN if row.get(name)), None)
    labels: Any = list(_LETTERS)
    if isinstance(given, dict) and given.keys() >= {"text", "label"}:
        given, labels = given["text"], given["label"]
    elif given is None:
        given = [row[letter] for letter in _LETTERS[:10] if letter in row]
    elif isinstance(given, dict) and given.keys() <= set(_LETTERS):
        given, labels = list(given.values()), list(given)
    if not isinstance(given, list) or len(given) < 2 or not all(isinstance(one, str) for one in given):
        return None
    if not isinstance(labels, list) or len(labels) < len(given):
        return None
    return dict(zip(map(str, labels), given, strict=False))


_GIVEN_IN = ("choices", "options")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
