"""Rows out of files, packed or not, and out of datasets on the hub.

A reader yields `(where, row)`. A piece that cannot be read is yielded as a DataError in the row's place, so that all
of a file's faults are told at once.
"""

import csv
import gzip
import io
import json
import os
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any
from xml.etree.ElementTree import ParseError

import orjson

from rlhf.config.data import Source
from rlhf.errors import DataError, did_you_mean

Rows = Iterator[tuple[str, Any]]
Lines = Iterator[tuple[int, str]]


def read(path: Path) -> Rows:
    """The rows of a file, or of all files that a folder or a pattern means. Raises DataError as `found` does."""
    try:
        files = found(path)
    except DataError as error:
        raise DataError(f"data.path: {error}") from None
    for file in files:
        name = _short(file)
        try:
            for place, row in READERS[ending(file)](file):
                yield f"{name}:{place}", row
        except _DAMAGED as error:
            raise DataError(f"{name}: cannot be read ({_first_line(error)}); a truncated download?") from None


def found(path: Path) -> list[Path]:
    """The files that a path means: itself, those of a folder, or those that fit a pattern, by name.

    Raises DataError where there is none, where no reader knows their ending, and where a folder holds several kinds of
    files or several splits, of which one may not be meant.
    """
    name = _short(path)
    if path.is_file():
        ending(path)
        return [path]
    if path.is_dir():
        files = [p for p in _below(path) if _suffix(p) in READERS and p.name not in _ABOUT]
        _check_one_kind(name, path, files)
    elif first := next((i for i, part in enumerate(path.parts) if any(sign in part for sign in "*?[")), 0):
        files = sorted(p for p in Path(*path.parts[:first]).glob(str(Path(*path.parts[first:]))) if p.is_file())
    else:
        raise DataError(f"no file {name}{nearby(path)}")
    if not files:
        raise DataError(f"{name} {'holds' if path.is_dir() else 'fits'} no file that can be read")
    for file in files:
        ending(file)
    return files


_ABOUT = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
"""Files that tell of a dataset and hold no rows."""
_SPLITS = re.compile(r"(?:^|[-_./])(train|test|validation|valid|val|dev|eval)(?:[-_.\d/]|$)")


def _below(folder: Path) -> list[Path]:
    """Files at any depth, but hidden ones."""
    below = ((p, p.relative_to(folder).parts) for p in folder.rglob("*") if p.is_file())
    return sorted(p for p, parts in below if not any(part.startswith(".") for part in parts))


def _check_one_kind(name: str, folder: Path, files: list[Path]) -> None:
    kinds = sorted({_suffix(file) for file in files})
    if len(kinds) > 1:
        raise DataError(f"{name} holds {' and '.join(kinds)} files; name those meant: {name}/*{kinds[0]}")
    relative = [str(file.relative_to(folder)) for file in files]
    splits = sorted({found[1] for file in relative if (found := _SPLITS.search(file.lower()))})
    if len(splits) > 1:
        told = f"{name} holds files of {' and '.join(splits)}"
        raise DataError(f"{told}; name those meant by a pattern, such as {name}/**/*{splits[0]}*")


_DAMAGED = (OSError, EOFError, zlib.error, zipfile.BadZipFile)


def ending(path: Path) -> str:
    """`.jsonl`, `.csv`, …: the ending that says how to read a file, whatever its compression. Raises DataError."""
    suffix = _suffix(path)
    if suffix not in READERS:
        known = f"{', '.join(READERS)} ({' and '.join(_UNPACKED)} too)"
        raise DataError(f"{_short(path)} ends with '{suffix}'; readable: {known}")
    return suffix


def _suffix(path: Path) -> str:
    return Path(path.name.removesuffix(path.suffix) if path.suffix in _UNPACKED else path.name).suffix


def _zstd(path: Path) -> Any:
    import pyarrow

    stream: Any = pyarrow.input_stream(str(path), compression="zstd")  # tells a file cut short, as few others do
    return io.BufferedReader(stream)  # which knows lines


_UNPACKED: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".zst": _zstd}
"""Endings of compressed files, and what opens them."""


def _open(path: Path) -> IO[bytes]:
    return _UNPACKED[path.suffix](path) if path.suffix in _UNPACKED else path.open("rb")


def read_source(source: Source) -> Rows:
    """The rows of local files, or of a dataset on the hub."""
    return read(source.path) if source.path else read_hub(source)


def read_hub(data: Source) -> Rows:
    """The rows of a hub dataset. `subset` is its configuration of that name if it has one, else a folder in it."""
    import datasets

    assert data.hub is not None
    at: dict[str, Any] = {"split": data.split, "revision": data.revision}
    try:
        if data.subset is not None:
            configurations = datasets.get_dataset_config_names(data.hub, revision=data.revision)
            at["name" if data.subset in configurations else "data_dir"] = data.subset
        rows = datasets.load_dataset(data.hub, **at)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"data.hub: cannot load '{data.hub}' split '{data.split}' ({reason}); "
            "without a network, download it elsewhere and name the file: data.path=…"
        ) from None
    for i, row in enumerate(rows):
        yield f"{data.hub}/{data.split}:{i}", row


# ------------------------------------------------------------------------------------------------ readers


def _json_lines(path: Path) -> Rows:
    with _open(path) as file:
        for number, raw in enumerate(_raw_lines(file), 1):
            try:
                row = orjson.loads(raw)
            except orjson.JSONDecodeError:  # blank, or read again to be told what is wrong
                if not (line := _decoded(path, number, raw)).strip():
                    continue
                row = _parse(line)
            else:
                if _lossy(raw, row):
                    row = _parse(_decoded(path, number, raw))
            if number == 1 and raw.lstrip().startswith(b"[") and row is not _TOO_DEEP:
                what = "a JSON array begins; write one object a line, or name the file .json"
                raise DataError(f"{_short(path)}:1: {what}")
            yield str(number), row


def _lossy(raw: bytes, row: Any) -> bool:
    """Whether a fast parser may have lost something: a key that is there twice, or digits of a long number."""
    keys, inside = 0, [row] if isinstance(row, dict | list) else []
    while inside:
        value = inside.pop()
        if type(value) is dict:
            keys += len(value)
            value = value.values()
        for item in value:
            if type(item) is dict or type(item) is list:
                inside.append(item)
            elif type(item) is float and abs(item) >= 2**63:
                return True
    return raw.count(b'":') + raw.count(b'" :') > keys


def _json_array(path: Path) -> Rows:
    """An array of rows; a file of one object a line is read as that."""
    content = "\n".join(line for _, line in _lines(path, keep_blank=True))
    if not content.lstrip().startswith("["):
        first = content.lstrip().partition("\n")[0]
        if isinstance(_parse(first), DataError) and first.strip() != content.strip():
            raise DataError(f"{_short(path)}: holds one value; an array of rows, or one object a line, is needed")
        yield from _json_lines(path)
        return
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


def _csv(path: Path) -> Rows:
    return _table(path, delimiter=",", quoting=csv.QUOTE_MINIMAL)


def _tsv(path: Path) -> Rows:
    """Tab-separated as IANA has it: no quoting, so a quotation mark is a character."""
    return _table(path, delimiter="\t", quoting=csv.QUOTE_NONE)


def _text(path: Path) -> Rows:
    for number, line in _lines(path):
        yield str(number), line


def _parquet(path: Path) -> Rows:
    import pyarrow.parquet

    with _seekable(path) as file:
        yield from _batches(path, lambda: pyarrow.parquet.ParquetFile(file).iter_batches(_BATCH))


def _arrow(path: Path) -> Rows:
    """Arrow's stream format, which `datasets` writes, or its file format."""
    import pyarrow

    def batches(file: IO[bytes]) -> Iterator[Any]:
        try:
            yield from pyarrow.ipc.open_stream(file)
        except pyarrow.ArrowInvalid:
            file.seek(0)
            found = pyarrow.ipc.open_file(file)
            yield from (found.get_batch(i) for i in range(found.num_record_batches))

    with _seekable(path) as file:
        yield from _batches(path, lambda: batches(file))


_BATCH = 1000
"""Rows of a table that exist at a time."""


def _batches(path: Path, read: Callable[[], Iterator[Any]]) -> Rows:
    """Rows of Arrow's batches, numbered from 1."""
    import pyarrow

    number = 0
    try:
        for batch in read():
            for row in batch.to_pylist():
                number += 1
                yield str(number), row
    except pyarrow.ArrowException as error:
        raise DataError(f"{_short(path)}: cannot be read ({_first_line(error)}); a truncated download?") from None


def _excel(path: Path) -> Rows:
    """The first sheet; its first row names the columns."""
    import openpyxl

    with _seekable(path) as file:
        try:
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
            header: list[str] | None = None
            for number, cells in enumerate(book.worksheets[0].iter_rows(values_only=True), 1):
                if not any(cell is not None for cell in cells):
                    continue
                if header is None:
                    header = _header(path, number, ["" if cell is None else str(cell) for cell in cells])
                    continue
                row = zip(header, cells, strict=False)
                yield str(number), {name: _plain(cell) for name, cell in row if name}
        except (KeyError, ValueError, TypeError, IndexError, ParseError) as error:
            reason = _first_line(error)
            raise DataError(f"{_short(path)}: is no workbook ({reason}); save it as .xlsx or .csv") from None


def _plain(cell: Any) -> Any:
    """Numbers, truths and text as they are, and empty cells; dates as text."""
    return cell if isinstance(cell, str | int | float | None) else str(cell)


def _header(path: Path, number: int, cells: Sequence[str]) -> list[str]:
    """The names of a table's columns; those without a name may be several."""
    names = [cell.strip() for cell in cells]
    for name, count in Counter(name for name in names if name).items():
        if count > 1:
            raise DataError(f"{_short(path)}:{number}: {count} columns are called '{name}'; rename all but one")
    return names


def _seekable(path: Path) -> IO[bytes]:
    """A file that can be read from any place; what is compressed is unpacked into memory."""
    if path.suffix not in _UNPACKED:
        return path.open("rb")
    with _open(path) as file:
        return io.BytesIO(file.read())


READERS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": _json_lines,
    ".json": _json_array,
    ".csv": _csv,
    ".tsv": _tsv,
    ".txt": _text,
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".xlsx": _excel,
}


def _table(path: Path, delimiter: str, quoting: Any) -> Rows:
    csv.field_size_limit(2**31 - 1)  # a cell may be longer than the 128 KB that csv allows unasked
    numbered = _lines(path, keep_blank=True)
    reader = csv.reader((f"{line}\n" for _, line in numbered), delimiter=delimiter, quoting=quoting, strict=True)
    header: list[str] | None = None
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield str(start), DataError(f"row: {error}; quote a cell that holds quotation marks or line ends")
            return
        if cells is None:
            return
        if not any(cells):
            continue
        if header is None:
            header = _header(path, start, cells)
            other = next((one for one in ",;\t|" if len(cells) == 1 and one in cells[0]), None)
            if other:
                told = f"one column, '{cells[0]}'; separate columns by {delimiter!r}, not {other!r}"
                raise DataError(f"{_short(path)}:{start}: {told}")
            continue
        if len(cells) != len(header):
            told = f"row: {len(cells)} cells under {len(header)} column names; the first line must name all columns"
            yield str(start), DataError(told)
            continue
        yield str(start), dict(zip(header, cells, strict=True))


def _lines(path: Path, keep_blank: bool = False) -> Lines:
    """Lines and their numbers. A line ends with \\n and nothing else, or with \\r and nothing else: U+2028 and U+0085
    occur inside rows."""
    with _open(path) as file:
        for number, raw in enumerate(_raw_lines(file), 1):
            line = _decoded(path, number, raw)
            if keep_blank or line.strip():
                yield number, line


def _decoded(path: Path, number: int, raw: bytes) -> str:
    """A line as text. Raises DataError where it is none."""
    if fault := _unlike_text(raw, number == 1):
        raise DataError(f"{_short(path)}:{number}: {fault}")
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        what = f"byte {error.start} of the line is not UTF-8; save the file as UTF-8"
        raise DataError(f"{_short(path)}:{number}: {what}") from None


def _raw_lines(file: IO[bytes]) -> Iterator[bytes]:
    """Where nothing ends with \\n, lines end with \\r, as they did on old Macs."""
    for i, raw in enumerate(file):
        yield from raw.splitlines(keepends=True) if i == 0 and not raw.endswith(b"\n") else (raw,)


_MAGIC = {
    b"\x1f\x8b": ".gz",
    b"\x28\xb5\x2f\xfd": ".zst",
    b"PAR1\x15": ".parquet",
    b"ARROW1\0": ".arrow",
    b"PK\3\4": ".xlsx or .zip",
}
"""What files that are no text begin with, and their endings."""


def _unlike_text(raw: bytes, first: bool) -> str | None:
    """What tells that a line is of no UTF-8 text, if something does."""
    if first:
        for magic, suffix in _MAGIC.items():
            if raw.startswith(magic):
                return f"begins as {suffix} files do; unpack it, or let its name end so"
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            return "is UTF-16; save the file as UTF-8"
    if b"\0" in raw:
        return "holds a zero byte, as UTF-16 does; save the file as UTF-8"
    return None


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


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


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
    return DataError(f"row: broken JSON, {what} at column {error.colno}; one complete object is needed")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _skip(content: str, at: int, characters: str) -> int:
    while at < len(content) and content[at] in characters:
        at += 1
    return at


def nearby(path: Path) -> str:
    """What else is in the folder, if it is one and is not full."""
    if not path.parent.is_dir():
        return f"; there is no folder {_short(path.parent)}"
    siblings = [p.name for p in path.parent.iterdir() if p.is_file()]
    hint = did_you_mean(path.name, siblings)
    alike = [name for name in siblings if name.endswith(path.suffix)]
    return hint if "did you mean" in hint else did_you_mean(path.name, alike) if len(alike) <= 12 else ""


def _short(path: Path) -> str:
    """As seen from the working directory when it is below it."""
    here = Path.cwd()
    return os.path.relpath(path, here) if path.is_absolute() and path.is_relative_to(here) else str(path)
