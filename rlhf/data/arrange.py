"""Rows as formats know them, where a file has them otherwise: names in capitals, messages as text in a table's cells,
and rows that say something only together, or inside a wrapping.

What is to be done to single rows follows from the first hundred, and is done to those that need it; what makes one row
of several follows from the first.
"""

import ast
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, dropwhile, islice
from typing import Any

from rlhf.config.data import Source
from rlhf.data import annotated, apps, logs, nested, several, together
from rlhf.data.formats.asking import PROMPT, RESPONSE, RIGHT
from rlhf.data.formats.reader import FORMATS, fits
from rlhf.data.formats.table import Row, named
from rlhf.data.formats.texts import is_rendered, templated, without_end
from rlhf.data.lines import Rows
from rlhf.data.messages import UnusableError, conversation
from rlhf.data.records import Kind, Message
from rlhf.errors import DataError

Arrange = Callable[[Rows, Kind | None], Rows]


@dataclass(frozen=True)
class Together:
    """Rows that say something only together."""

    applies: Callable[[Row, Kind | None], bool]
    """Whether they are such, by the first row."""
    arrange: Arrange

    def needed(self, first: list[Any], kind: Kind | None) -> bool:
        return isinstance(first[0], dict) and self.applies(first[0], kind)


@dataclass(frozen=True)
class Bare:
    """Conversations without a name, a list of messages each."""

    @staticmethod
    def needed(first: list[Any], kind: Kind | None) -> bool:
        return any(isinstance(row, list) and row and nested.is_message(row[0]) for row in first)

    @staticmethod
    def arrange(rows: Rows, kind: Kind | None) -> Rows:
        for where, row in rows:
            yield where, {"messages": row} if isinstance(row, list) else row


@dataclass(frozen=True)
class Each:
    """A change of single rows; one that cannot be changed becomes the reason."""

    applies: Callable[[Row, Kind | None], bool]
    """Whether a row needs it."""
    change: Callable[[Row, Kind | None], Row]
    harmless: bool = False
    """Whether it leaves rows that do not need it as they are, so that they need not be asked one by one."""

    def needed(self, first: list[Any], kind: Kind | None) -> bool:
        return any(isinstance(row, dict) and self.applies(row, kind) for row in first)

    def arrange(self, rows: Rows, kind: Kind | None) -> Rows:
        for where, row in rows:
            try:
                due = isinstance(row, dict) and (self.harmless or self.applies(row, kind))
                yield where, self.change(row, kind) if due else row
            except (DataError, UnusableError) as reason:
                yield where, reason


def arranged(rows: Rows, source: Source, kind: Kind | None, through: Callable[[Rows], Rows] = iter) -> Rows:
    """The rows of a source as formats of a kind know them, of any kind where that is None. They stay as they are where
    the source says what they are: by its columns, its function, or the name of a format that they fit. What is no row,
    such as a fault or a line of text, passes. Rows go `through` a function as they are taken, before they change."""
    for item in (rows := iter(rows)):
        if _is_fault(item):  # there may be no row for gigabytes
            yield from through(iter([item]))
            continue
        rows, steps = _steps(chain([item], rows), source, kind)
        rows = through(rows)
        for arrange in steps:
            rows = arrange(rows, kind)
        yield from rows
        return


def is_arranged(rows: Rows, source: Source, kind: Kind) -> bool:
    """Whether anything is to be done to the rows."""
    return bool(_steps(dropwhile(_is_fault, rows), source, kind)[1])


def _is_fault(item: tuple[str, Any]) -> bool:
    return isinstance(item[1], Exception)


def _steps(rows: Rows, source: Source, kind: Kind | None) -> tuple[Rows, list[Arrange]]:
    """All rows, and what is to be done to them."""
    if source.columns or source.rows:
        return rows, []
    first = list(islice(rows, _LOOKED_AT))
    rows, steps = chain(first, rows), list[Arrange]()
    format = kind and FORMATS[kind].get(source.format)
    for one in ARRANGEMENTS:
        seen = [row for _, row in first if not isinstance(row, Exception)]
        if format and seen and isinstance(seen[0], dict) and format.fits(seen[0]):
            break
        if seen and one.needed(seen, kind):
            steps.append(one.arrange)
            first = list(one.arrange(iter(first), kind))
    return rows, steps


_LOOKED_AT = 100


# ------------------------------------------------------------------------------------------------ names and cells


def _lower(row: Row, kind: Kind | None) -> Row:
    """`Prompt`, ` CHOSEN`, `userPrompt` as `prompt`, `chosen`, `user_prompt`."""
    return {_HUMP.sub("_", str(name).strip()).lower().replace(" ", "_"): value for name, value in row.items()}


_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def _in_capitals(row: Row, kind: Kind | None) -> bool:
    lower = _lower(row, kind)
    return lower.keys() != row.keys() and len(lower) == len(row) and not fits(row, kind) and fits(lower, kind)


def _lists(row: Row, kind: Kind | None) -> Row:
    """Cells of JSON lists as lists."""
    return {name: _list(value) for name, value in row.items()}


def _list(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) and value.startswith("[") else value
    except (ValueError, RecursionError):
        return value


def _in_cells(row: Row, kind: Kind | None) -> bool:
    return not fits(row, kind) and fits(_lists(row, kind), kind)


def _unpacked(row: Row, kind: Kind | None) -> Row:
    """Cells of messages as messages, in a table whose cells hold no lists."""
    return {name: _messages(value, name) if _PRINTED.match(str(value)) else value for name, value in row.items()}


_PRINTED = re.compile(r"\s*(?:\[\s*)?\{\s*([\"'])(role|content|from|value)\1: ?[\"']")
"""How messages begin in JSON, or as Python and NumPy print them."""


def _messages(value: Any, name: str) -> Any:
    if not isinstance(value, str):
        return value
    for parse, content in ((json.loads, value), (ast.literal_eval, value.replace("}\n {", "}, {"))):  # NumPy's
        try:
            return parse(content)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    raise DataError(f"{name}: holds messages as text that is no JSON; save the table as .jsonl or .parquet")


def _holds_messages(row: Row, kind: Kind | None) -> bool:
    """Whether a text of the row is messages; one that looks like them and cannot be read is told of row by row."""
    for name, value in row.items():
        if isinstance(value, str) and _PRINTED.match(value):
            try:
                found = _messages(value, name)
                conversation(found, name)
            except (DataError, UnusableError):
                found = None
            if found is not None or value.startswith(("[{'role'", "[{'content'")):
                return True
    return False


# ------------------------------------------------------------------------------------------------ values


def _has_bytes(row: Row, kind: Kind | None) -> bool:
    return any(isinstance(value, bytes) for value in row.values())


def _decoded(row: Row, kind: Kind | None) -> Row:
    """Bytes that are UTF-8, as tables have text in columns of bytes, as text."""
    return {name: _text(value) if isinstance(value, bytes) else value for name, value in row.items()}


def _text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _answers_with_a_number(row: Row, kind: Kind | None) -> bool:
    """Whether a row has nothing but numbers to be its answer. Beside a question they may be what rules compare with."""
    return kind in ("demonstrations", None) and not fits(row, "demonstrations") and _in_words(row, kind) != row


def _in_words(row: Row, kind: Kind | None) -> Row:
    """Numbers that are answers as text."""
    names = RESPONSE.split("|")
    if kind is None:
        names = [name for name in names if name not in RIGHT]
    found = {n: str(v) if n in names and type(v) in (int, float) else v for n, v in row.items()}
    return found if fits(found, "demonstrations") else row


def _asks_in_text(row: Row, kind: Kind | None) -> bool:
    """Whether `text` is what judged answers beside it answer, or what a single one does that it does not hold."""
    if not isinstance(row.get("text"), str) or row.get(named(row, PROMPT)) is not None:
        return False
    if fits(_text_as_prompt(row, kind), "preferences"):
        return True
    said = row.get(named(row, _REPLY))
    return isinstance(said, str) and said.strip() not in row["text"] and not is_rendered(row["text"])


def _text_as_prompt(row: Row, kind: Kind | None) -> Row:
    """`text` as `prompt`."""
    return {"prompt" if name == "text" else name: value for name, value in row.items() if name != "prompt"}


_REPLY = "response|completion|answer|reply|output|assistant|model_response|assistant_response"
"""Fields that hold an answer, and nothing about a text."""


# ------------------------------------------------------------------------------------------------ templates


def _is_templated(row: Row, kind: Kind | None) -> bool:
    try:
        return _untemplated(row, kind) != row
    except DataError:
        return True


def _untemplated(row: Row, kind: Kind | None) -> Row:
    """Texts that a chat template made as messages, and answers without its mark at their end."""
    prompt = row.get(named(row, PROMPT))
    plain = isinstance(prompt, str) and not templated(prompt)  # whose answer may be about a template
    return {
        name: _unmarked(value, name == "text" or (plain and name in _ANSWERS)) if isinstance(value, str) else value
        for name, value in row.items()
    }


def _unmarked(value: str, whole: bool) -> str | list[Message]:
    return (not whole and templated(value)) or without_end(value)


_ANSWERS = frozenset(RESPONSE.split("|"))


ARRANGEMENTS: tuple[Bare | Each | Together, ...] = (
    Bare(),
    Each(annotated.is_argilla, annotated.argilla),
    Each(annotated.is_argilla_table, annotated.argilla_table),
    Each(annotated.is_label_studio, annotated.label_studio),
    Each(annotated.is_prodigy, annotated.prodigy),
    Each(apps.is_chatgpt, apps.chatgpt),
    Each(apps.is_claude, apps.claude),
    Each(_has_bytes, _decoded),
    Each(_in_capitals, _lower),
    Each(_holds_messages, _unpacked),
    Each(_in_cells, _lists),
    Each(nested.has_parts, nested.without_parts, harmless=True),
    Each(logs.is_logged, logs.logged),
    Each(nested.is_nested, nested.flat),
    Each(several.is_several, several.several),
    Together(together.is_turn, together.conversations),
    Each(_asks_in_text, _text_as_prompt),
    Each(_is_templated, _untemplated, harmless=True),
    Each(nested.is_choice, nested.with_options),
    Each(_answers_with_a_number, _in_words),
    Together(together.is_node, together.trees),
    Together(together.is_scored_alone, together.compared),
)
