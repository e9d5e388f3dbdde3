"""Rows out of JSON: one object a line, an array of objects, or one object that holds them."""

import json
from collections import Counter
from collections.abc import Iterable
from itertools import chain, islice
from pathlib import Path
from typing import Any

import orjson

from rlhf.data.lines import Rows, decoded, lines, not_utf8, opened, raw_lines, short
from rlhf.data.wrapped import WRAPPERS, unwrapped
from rlhf.errors import DataError


def json_lines(path: Path) -> Rows:
    """One object a line; a file that opens an array, or an object of several lines, is read whole."""
    if is_one_value(path):
        yield from _whole(path)
        return
    with opened(path) as file:
        yield from parsed(path, raw_lines(file))


def parsed(path: Path, raw_lines: Iterable[bytes], first: int = 1) -> Rows:
    """Rows out of lines of one object each; `first` is the number of the first line."""
    for number, raw in enumerate(raw_lines, first):
        try:
            row = orjson.loads(raw)
        except orjson.JSONDecodeError:  # blank, or read again to be told what is wrong
            if not (line := decoded(path, number, raw)).strip():
                continue
            row = not_utf8(path, line) or _limited(_parse(line))
        else:
            keys, nests, exact = _count(row)
            if not exact or ((colons := raw.count(b":")) > keys and _tells_a_key_twice(raw, row, colons - keys)):
                row = _parse(decoded(path, number, raw))
            if nests > _DEEPEST:
                row = _limited(row)
        yield str(number), row


def json_file(path: Path) -> Rows:
    """An array of rows, or one object that holds them; a file of one object a line is read as that."""
    first, second = _first_lines(path)
    several = (second and isinstance(_parse(first), dict)) or (first.startswith("[") and not is_one_value(path))
    return json_lines(path) if several else _whole(path)


def is_one_value(path: Path) -> bool:
    """Whether a file is one array or one object, on one line or several; not where each line is an array."""
    first, second = _first_lines(path)
    if not first.startswith("["):
        return first == "{" or (first.startswith("{") and not second)
    return not (second.startswith("[") and isinstance(_parse(first), list))


def _first_lines(path: Path) -> tuple[str, str]:
    """The first two lines that are not blank, as far as there are any."""
    first, second = islice(chain((line.strip() for _, line in lines(path)), ("", "")), 2)
    return first, second


def _count(row: Any) -> tuple[int, int, bool]:
    """Keys of a row, objects and lists in it, and whether a fast parser gives its numbers with all their digits."""
    keys, nests, inside = 0, 0, [row] if isinstance(row, dict | list) else []
    while inside:
        value = inside.pop()
        nests += 1
        if type(value) is dict:
            keys += len(value)
            value = value.values()
        for item in value:
            if type(item) is dict or type(item) is list:
                inside.append(item)
            elif type(item) is float and abs(item) >= 2**63:
                return keys, nests, False
    return keys, nests, True


def _tells_a_key_twice(raw: bytes, row: Any, colons: int) -> bool:
    """Whether a line may have a key twice, of which a fast parser keeps one: it holds more colons than its keys and its
    texts do, and in texts they may be escaped."""
    return colons > _colons(row) or b"\\u003" in raw


def _colons(row: Any) -> int:
    """Colons in the texts of a row."""
    count, inside = 0, [row]
    while inside:
        value = inside.pop()
        if type(value) is str:
            count += value.count(":")
        elif type(value) is dict:
            inside += value.values()
        elif type(value) is list:
            inside += value
    return count


# ------------------------------------------------------------------------------------------------ whole files


def _whole(path: Path) -> Rows:
    """The rows of a file that is one value."""
    for place, row in _rows(path, _content(path)):
        yield place, _limited(row)


def _rows(path: Path, content: str) -> Rows:
    opens = content.lstrip()[:1]
    if opens == "[":
        yield from _array(content)
        return
    value = _parse(content)
    if not isinstance(value, dict):
        yield from _not_one(path, content, value)
        return
    alone = ".jsonl" in path.name and "\n" not in content.strip()  # one line of rows, and no file that holds them
    try:
        rows = None if alone and not WRAPPERS & value.keys() else unwrapped(value)
    except DataError as error:
        raise DataError(f"{short(path)}: {error}") from None
    yield from rows or [("1", value)]


def _content(path: Path) -> str:
    """A file as one text. Raises DataError where a line is not UTF-8."""
    found: list[str] = []
    for number, line in lines(path, keep_blank=True):
        if fault := not_utf8(path, line):
            raise DataError(f"{short(path)}:{number}: {fault}")
        found.append(line)
    return "\n".join(found)


def _not_one(path: Path, content: str, value: Any) -> Rows:
    """What to say of a file that is neither an array nor one object."""
    if "Extra data" in str(value) and "\n" in content.strip():
        told = "holds objects of several lines; one object a line is needed: jq -c . FILE > FILE.jsonl"
        raise DataError(f"{short(path)}: {told}")
    yield from ((str(number), _parse(line)) for number, line in enumerate(content.split("\n"), 1) if line.strip())


def _array(content: str) -> Rows:
    at, count = content.index("[") + 1, 0
    line = 1 + content.count("\n", 0, at)
    while True:
        start = _skip(content, at, " \t\r\n," if count else " \t\r\n")
        line += content.count("\n", at, start)
        if content.startswith("]", start):
            rest = _skip(content, start + 1, " \t\r\n")
            if rest < len(content):
                line += content.count("\n", start, rest)
                yield str(line), DataError("row: comes after the end of the array; one array of all rows is needed")
            return
        count += 1
        try:
            row, at = _DECODER.raw_decode(content, start)
        except json.JSONDecodeError as error:
            yield f"{error.lineno} (row {count})", _broken(error)
            return
        except (ValueError, RecursionError, DataError) as error:
            yield f"{line} (row {count})", _refused(error)
            return
        yield f"{line} (row {count})", row
        line += content.count("\n", start, at)


def _skip(content: str, at: int, characters: str) -> int:
    while at < len(content) and content[at] in characters:
        at += 1
    return at


# ------------------------------------------------------------------------------------------------ one value


def _limited(row: Any) -> Any:
    """A row, or that it has too many levels. What answers a message of a tree is no deeper than that message."""
    inside = [(row, 1)] if _is_nest(row) else []
    while inside:
        value, level = inside.pop()
        if level > _DEEPEST:
            return _TOO_DEEP
        replies = value.get("replies") if isinstance(value, dict) else None
        for item in value.values() if isinstance(value, dict) else value:
            if item is replies and isinstance(item, list):
                inside += [(one, level + (not isinstance(one, dict))) for one in item if _is_nest(one)]
            elif _is_nest(item):
                inside.append((item, level + 1))
    return row


def _is_nest(value: Any) -> bool:
    return isinstance(value, dict | list)


_DEEPEST = 100


def _parse(line: str) -> Any:
    try:
        return _DECODER.decode(line.removeprefix("\ufeff"))  # which joined files have in their midst
    except json.JSONDecodeError as error:
        return _broken(error)
    except (ValueError, RecursionError, DataError) as error:
        return _refused(error)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, of whose fields none may be lost. Raises DataError for one that occurs twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise DataError(f"{twice}: occurs twice in one object; leave one of them out")
    return found


def _constant(name: str) -> float | None:
    """NaN, as pandas writes a missing value, is missing."""
    return None if name == "NaN" else float(name)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _refused(error: Exception) -> DataError:
    """What is JSON, and yet is not taken."""
    if isinstance(error, DataError):
        return error
    if isinstance(error, RecursionError):
        return _TOO_DEEP
    return DataError("row: holds a number of thousands of digits; write it as text")


_TOO_DEEP = DataError("row: JSON nested too deeply; an object of plain fields is needed")


def _broken(error: json.JSONDecodeError) -> DataError:
    what = error.msg.removesuffix(" at")
    before = error.doc[: error.pos].rstrip()[-1:]
    after = error.doc[error.pos :].lstrip()[:1]
    hint = ""
    if before == "," and after in ("}", "]"):
        hint = f", without the comma before {after}"
    elif after == "'":
        hint = ", with \" where it has '"
    return DataError(f"row: broken JSON, {what} at column {error.colno}; one complete object is needed{hint}")
