"""Rows out of files, packed or not, and out of datasets on the hub.

A reader yields `(where, row)`. A piece that cannot be read is yielded as a DataError in the row's place, so that all
of a file's faults are told at once.
"""

import csv
import io
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any
from xml.etree.ElementTree import ParseError

from rlhf.config.data import Source
from rlhf.data.jsons import json_file, json_lines
from rlhf.data.lines import UNPACKED, Rows, lines, opened, short
from rlhf.errors import DataError, did_you_mean


def read(path: Path) -> Rows:
    """The rows of a file, or of all files that a folder or a pattern means. Raises DataError as `found` does."""
    try:
        files = found(path)
    except DataError as error:
        raise DataError(f"data.path: {error}") from None
    for file in files:
        name = short(file)
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
    name = short(path)
    if path.is_file():
        ending(path)
        return [path]
    if path.is_dir():
        files = [
            p for p in _below(path) if _suffix(p) in READERS and p.name not in _ABOUT and not _LISTING.match(p.name)
        ]
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


_LISTING = re.compile(r"(.+\.)?bad_rows(\.\w+)?\.jsonl$")
"""Files that list what was wrong with others."""
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
        known = f"{', '.join(READERS)} ({' and '.join(UNPACKED)} too)"
        raise DataError(f"{short(path)} ends with '{suffix}'; readable: {known}")
    return suffix


def _suffix(path: Path) -> str:
    return Path(path.name.removesuffix(path.suffix) if path.suffix in UNPACKED else path.name).suffix


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


def _csv(path: Path) -> Rows:
    """Comma-separated; by semicolons or tabs where the columns' names are, as Excel saves it in many countries."""
    _, header = next(lines(path), (0, ""))
    split = re.fullmatch(r"""[\w "'.-]+([;\t])[\w "'.;\t-]+""", header)
    return _table(path, delimiter=split[1] if split else ",", quoting=csv.QUOTE_MINIMAL)


def _tsv(path: Path) -> Rows:
    """Tab-separated as IANA has it: no quoting, so a quotation mark is a character."""
    return _table(path, delimiter="\t", quoting=csv.QUOTE_NONE)


def _text(path: Path) -> Rows:
    for number, line in lines(path):
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
            batch.validate(full=True)
            for row in batch.to_pylist():
                number += 1
                yield str(number), row
    except (pyarrow.ArrowException, UnicodeDecodeError, MemoryError, SystemError) as error:
        raise DataError(f"{short(path)}: cannot be read ({_first_line(error)}); a truncated download?") from None


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
        except (KeyError, ValueError, TypeError, IndexError, NotImplementedError, ParseError) as error:
            reason = _first_line(error)
            raise DataError(f"{short(path)}: is no workbook ({reason}); save it as .xlsx or .csv") from None


def _plain(cell: Any) -> Any:
    """Numbers, truths and text as they are, and empty cells; dates as text."""
    return cell if isinstance(cell, str | int | float | None) else str(cell)


def _header(path: Path, number: int, cells: Sequence[str]) -> list[str]:
    """The names of a table's columns; those without a name may be several."""
    names = [cell.strip() for cell in cells]
    for name, count in Counter(name for name in names if name).items():
        if count > 1:
            raise DataError(f"{short(path)}:{number}: {count} columns are called '{name}'; rename all but one")
    return names


def _seekable(path: Path) -> IO[bytes]:
    """A file that can be read from any place; what is compressed is unpacked into memory."""
    if path.suffix not in UNPACKED:
        return path.open("rb")
    with opened(path) as file:
        return io.BytesIO(file.read())


READERS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": json_lines,
    ".json": json_file,
    ".csv": _csv,
    ".tsv": _tsv,
    ".txt": _text,
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".xlsx": _excel,
}


def _table(path: Path, delimiter: str, quoting: Any) -> Rows:
    csv.field_size_limit(2**31 - 1)  # a cell may be longer than the 128 KB that csv allows unasked
    numbered = lines(path, keep_blank=True)
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
                raise DataError(f"{short(path)}:{start}: {told}")
            continue
        if len(cells) != len(header):
            told = f"row: {len(cells)} cells under {len(header)} column names; the first line must name all columns"
            yield str(start), DataError(told)
            continue
        yield str(start), dict(zip(header, cells, strict=True))


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def nearby(path: Path) -> str:
    """What else is in the folder, if it is one and is not full."""
    if not path.parent.is_dir():
        return f"; there is no folder {short(path.parent)}"
    siblings = [p.name for p in path.parent.iterdir() if p.is_file()]
    hint = did_you_mean(path.name, siblings)
    alike = [name for name in siblings if name.endswith(path.suffix)]
    return hint if "did you mean" in hint else did_you_mean(path.name, alike) if len(alike) <= 12 else ""
