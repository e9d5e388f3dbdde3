"""Rows as formats know them, where a file has them otherwise: names in capitals, messages as text in a table's cells,
and rows that say something only together, or inside a wrapping.

What is to be done follows from a file's first row, and is done to all of them.
"""

import ast
import json
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

from rlhf.config.data import Source
from rlhf.data.formats import FORMATS
from rlhf.data.formats.asking import PROMPT, RESPONSE, SYSTEM
from rlhf.data.formats.convert import RANKING
from rlhf.data.formats.ratings import SCORED
from rlhf.data.formats.table import Row, named
from rlhf.data.formats.values import objects
from rlhf.data.lines import Rows
from rlhf.data.messages import UnusableError, conversation
from rlhf.data.records import Kind
from rlhf.errors import DataError

Arrange = Callable[[Rows, Kind | None], Rows]


@dataclass(frozen=True)
class Arrangement:
    """Something to be done to the rows of a file."""

    applies: Callable[[Row, Kind | None], bool]
    """Whether it is to be done, by the first row."""
    arrange: Arrange


def arranged(rows: Rows, source: Source, kind: Kind | None) -> Rows:
    """The rows of a source as formats of a kind know them, of any kind where that is None. They stay as they are where
    the source says what they are: by its columns, its function, or the name of a format that they fit. What is no row,
    such as a fault or a line of text, passes."""
    if source.columns or source.rows:
        return rows
    seen, first = _peek(rows)
    named = kind and FORMATS[kind].get(source.format)
    if named and isinstance(first, dict) and named.fits(first):
        return chain(seen, rows)
    for one in ARRANGEMENTS:
        if isinstance(first, dict) and one.applies(first, kind):
            rows = one.arrange(chain(seen, rows), kind)
            seen, first = _peek(rows)
    return chain(seen, rows)


def _peek(rows: Rows) -> tuple[list[tuple[str, Any]], Any]:
    """What was taken from the rows, the last of it the first that is no fault."""
    seen: list[tuple[str, Any]] = []
    for place, row in rows:
        seen.append((place, row))
        if not isinstance(row, Exception):
            return seen, row
    return seen, None


def _each(change: Callable[[Row, Kind | None], Row]) -> Arrange:
    """Changes rows one by one; one that cannot be changed becomes the reason."""

    def arrange(rows: Rows, kind: Kind | None) -> Rows:
        for where, row in rows:
            try:
                yield where, change(row, kind) if isinstance(row, dict) else row
            except (DataError, UnusableError) as reason:
                yield where, reason

    return arrange


def _fits(row: Row, kind: Kind | None) -> bool:
    tables = FORMATS.values() if kind is None else [FORMATS[kind]]
    return any(one.fits(row) for table in tables for one in table.values())


# ------------------------------------------------------------------------------------------------ names and cells


def _lower(row: Row, kind: Kind | None) -> Row:
    """`Prompt`, ` CHOSEN` as `prompt`, `chosen`."""
    return {str(name).strip().lower().replace(" ", "_"): value for name, value in row.items()}


def _in_capitals(row: Row, kind: Kind | None) -> bool:
    lower = _lower(row, kind)
    return lower.keys() != row.keys() and len(lower) == len(row) and not _fits(row, kind) and _fits(lower, kind)


def _lists(row: Row, kind: Kind | None) -> Row:
    """Cells of JSON lists as lists."""
    return {name: _list(value) for name, value in row.items()}


def _list(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) and value.startswith("[") else value
    except (ValueError, RecursionError):
        return value


def _in_cells(row: Row, kind: Kind | None) -> bool:
    return not _fits(row, kind) and _fits(_lists(row, kind), kind)


def _unpacked(row: Row, kind: Kind | None) -> Row:
    """Cells of messages as messages, in a table whose cells hold no lists."""
    return {name: _messages(value, name) if _PRINTED.match(str(value)) else value for name, value in row.items()}


_PRINTED = re.compile(r"\s*\[?\s*\{\s*([\"'])(role|content|from|value)\1: ?[\"']")
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


# ------------------------------------------------------------------------------------------------ trees


def _trees(rows: Rows, kind: Kind | None) -> Rows:
    """OpenAssistant's messages, a row each, as the trees that they are."""
    nodes: dict[str, tuple[str, Row]] = {}
    for where, row in rows:
        if isinstance(row, dict):
            nodes[str(row.get("message_id"))] = where, row | {"rank": _whole(row.get("rank")), "replies": []}
        else:
            yield where, row
    for where, row in nodes.values():
        above = row.get("parent_id")
        if above is not None and str(above) in nodes:
            nodes[str(above)][1]["replies"].append(row)
        elif above is not None:
            yield where, UnusableError("answers a message that is not in the file")
    for where, row in nodes.values():
        if row.get("parent_id") is None:
            yield where, {"prompt": row}


def _whole(rank: Any) -> Any:
    """A rank as a number without a fraction: tables that have none in places hold 0.0, 1.0 …"""
    return int(rank) if isinstance(rank, float) and math.isfinite(rank) else rank


# ------------------------------------------------------------------------------------------------ answers of one prompt


def _scored_alone(row: Row, kind: Kind | None) -> bool:
    """Whether a row holds one answer and how good it is, where two are to be compared."""
    rated = SCORED["scored_answer"].fits(row) and any(name in row for name in RANKING)
    return kind == "preferences" and rated and not _fits(row, kind)


def _together(rows: Rows, kind: Kind | None) -> Rows:
    """Rows that have a prompt in common, one after another, as one row of several answers: HelpSteer and its like."""
    for _, group in groupby(rows, key=lambda item: _asked(item[1])):
        alike = list(group)
        where, first = alike[0]
        if isinstance(first, dict):
            yield where, first | {"completions": [row | {"text": row.get(named(row, RESPONSE))} for _, row in alike]}
        else:
            yield from alike


_ASKS = [*PROMPT.split("|"), *SYSTEM]


def _asked(row: Any) -> Any:
    return [row.get(name) for name in _ASKS] if isinstance(row, dict) else None


# ------------------------------------------------------------------------------------------------ Argilla


def _is_argilla(row: Row, kind: Kind | None) -> bool:
    return isinstance(row.get("fields"), dict) and ("responses" in row or "suggestions" in row)


def _argilla(row: Row, kind: Kind | None) -> Row:
    """{fields, responses: [{values: {question: {value}}, status}], suggestions}: the fields and what annotators said,
    or where none did what was suggested to them. Raises UnusableError where they disagree, or where nobody said what
    the kind needs."""
    found = dict(row["fields"])
    said = _responses(row.get("responses")) or _suggestions(row.get("suggestions"))
    if not said and not _fits(found, kind):
        raise UnusableError("no judgement")
    for question, values in said.items():
        value = _agreed(values) if values else None
        if isinstance(value, list) and all(isinstance(one, dict) and "rank" in one for one in value):
            found["completions"] = [{"text": found.get(str(_value(one))), "rank": one["rank"]} for one in value]
        else:
            found[question] = value
    return found


def _responses(value: Any) -> dict[str, list[Any]]:
    """Values by question: Argilla 1's list of annotators, Argilla 2's lists by question."""
    found: dict[str, list[Any]] = {}
    if isinstance(value, dict):
        return {
            name: [_value(one) for one in objects(given, name, "{value}") if _submitted(one)]
            for name, given in value.items()
        }
    for response in objects(value, "responses", "{values, status}"):
        values = response.get("values")
        for name, given in values.items() if isinstance(values, dict) and _submitted(response) else ():
            found.setdefault(name, []).append(_value(given))
    return found


def _submitted(response: Row) -> bool:
    return response.get("status") in (None, "submitted")


def _suggestions(value: Any) -> dict[str, list[Any]]:
    if isinstance(value, dict):
        return {name: [_value(one)] for name, one in value.items()}
    suggested = objects(value, "suggestions", "{question_name, value}")
    return {str(one.get("question_name")): [_value(one)] for one in suggested}


def _value(given: Any) -> Any:
    return given.get("value") if isinstance(given, dict) else given


def _agreed(values: list[Any]) -> Any:
    """Numbers in the mean; else what most said."""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return sum(values) / len(values)
    (first, count), *others = Counter(json.dumps(value, sort_keys=True) for value in values).most_common()
    if others and others[0][1] == count:
        raise UnusableError("annotators disagree")
    return json.loads(first)


ARRANGEMENTS = (
    Arrangement(_is_argilla, _each(_argilla)),
    Arrangement(_in_capitals, _each(_lower)),
    Arrangement(_holds_messages, _each(_unpacked)),
    Arrangement(_in_cells, _each(_lists)),
    Arrangement(lambda row, kind: row.keys() >= {"message_id", "parent_id", "role", "text"}, _trees),
    Arrangement(_scored_alone, _together),
)
