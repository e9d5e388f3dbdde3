"""Rows out of JSON: one object a line, an array of objects, or one object that holds them."""

import json
from itertools import chain
from pathlib import Path
from typing import Any

from rlhf.data.lines import Rows, lines, short
from rlhf.data.wrapped import rows_of
from rlhf.errors import DataError


def json_lines(path: Path) -> Rows:
    """One object a line; a file whose first line opens an array or an object is read as `.json`."""
    numbered = lines(path)
    first = next(numbered, None)
    if first is not None and first[1].strip() in ("[", "{"):
        yield from json_file(path)
        return
    for number, line in chain([first] if first else [], numbered):
        yield str(number), _parse(line)


def json_file(path: Path) -> Rows:
    """An array of rows, or one object that holds them; a file of one object a line is read as that."""
    content = "\n".join(line for _, line in lines(path, keep_blank=True))
    if content.lstrip().startswith("["):
        return _array(content)
    first = content.strip().partition("\n")[0]
    if first != content.strip() and not isinstance(_parse(first), DataError):
        return _objects(content)
    whole = _parse(content)
    if not isinstance(whole, dict):
        if "Extra data" in str(whole):
            told = "holds objects of several lines; one object a line is needed: jq -c . FILE > FILE.jsonl"
            raise DataError(f"{short(path)}: {told}")
        return _objects(content)
    try:
        rows = rows_of(whole)
    except DataError as error:
        raise DataError(f"{short(path)}: {error}") from None
    if rows is None and first != content.strip():
        raise DataError(f"{short(path)}: holds one value; an array of rows, or one object a line, is needed")
    return iter(rows or [("1", whole)])


def _objects(content: str) -> Rows:
    """One object a line."""
    for number, line in enumerate(content.split("\n"), 1):
        if line.strip():
            yield str(number), _parse(line)


def _array(content: str) -> Rows:
    at, count = content.index("[") + 1, 0
    line = 1 + content.count("\n", 0, at)
    while True:
        start = _skip(content, at, " \t\r\n," if count else " \t\r\n")
        line += content.count("\n", at, start)
        if content.startswith("]", start):
            return
        count += 1
        try:
            row, at = _DECODER.raw_decode(content, start)
        except json.JSONDecodeError as error:
            yield f"{error.lineno} (row {count})", _broken(error)
            return
        except RecursionError:
            yield f"{line} (row {count})", _TOO_DEEP
            return
        yield f"{line} (row {count})", row
        line += content.count("\n", start, at)


_DECODER = json.JSONDecoder(parse_constant=lambda name: None)
"""Which takes NaN, as pandas writes a missing value, for one that is missing."""


def _parse(line: str) -> Any:
    try:
        return _DECODER.decode(line)
    except json.JSONDecodeError as error:
        return _broken(error)
    except RecursionError:
        return _TOO_DEEP


_TOO_DEEP = DataError("row: JSON nested too deeply; an object of plain fields is needed")


def _broken(error: json.JSONDecodeError) -> DataError:
    return DataError(f"row: broken JSON, {error.msg} at column {error.colno}; one complete object is needed")


def _skip(content: str, at: int, characters: str) -> int:
    while at < len(content) and content[at] in characters:
        at += 1
    return at
