"""Rows out of files, packed or not, and out of datasets on the hub.

A reader yields `(where, row)`. A piece that cannot be read is yielded as a DataError in the row's place, so that all
of a file's faults are told at once.
"""

import csv
import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import zstandard

from rlhf.config import DataConfig
from rlhf.data.jsons import json_file, json_lines
from rlhf.data.lines import UNPACKED, Rows, lines, opened, short
from rlhf.errors import DataError, did_you_mean


def read(path: Path) -> Rows:
    """The rows of a file. Raises DataError when there is no such file or no reader for its ending."""
    name = short(path)
    if path.is_dir():
        raise DataError(f"data.path: {name} is a folder, not a file")
    reader = READERS[ending(path)]
    if not path.is_file():
        raise DataError(f"data.path: no file {name}{nearby(path)}")
    try:
        for place, row in reader(path):
            yield f"{name}:{place}", row
    except _DAMAGED as error:
        raise DataError(f"{name}: cannot be read ({error}); a truncated download?") from None


_DAMAGED = (OSError, EOFError, zlib.error, zstandard.ZstdError, zipfile.BadZipFile)


def ending(path: Path) -> str:
    """`.jsonl`, `.csv`, …: the ending that says how to read a file, whatever its compression."""
    suffix = Path(path.name.removesuffix(path.suffix) if path.suffix in UNPACKED else path.name).suffix
    if suffix not in READERS:
        known = f"{', '.join(READERS)} ({' and '.join(UNPACKED)} too)"
        raise DataError(f"data.path: {short(path)} ends with '{suffix}'; readable: {known}")
    return suffix


def read_hub(data: DataConfig) -> Rows:
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
            for row in batch.to_pylist():
                number += 1
                yield str(number), row
    except pyarrow.ArrowException as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{short(path)}: cannot be read ({reason}); a truncated download?") from None


def _excel(path: Path) -> Rows:
    """The first sheet; its first row names the columns."""
    import openpyxl

    with _seekable(path) as file:
        try:
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        except (KeyError, ValueError) as error:
            raise DataError(f"{short(path)}: is no workbook ({error}); save it as .xlsx or .csv") from None
        header: list[str] | None = None
        for number, cells in enumerate(book.worksheets[0].iter_rows(values_only=True), 1):
            if header is None:
                header = ["" if cell is None else str(cell) for cell in cells]
            elif any(cell is not None for cell in cells):
                row = zip(header, cells, strict=False)
                yield str(number), {name: _plain(cell) for name, cell in row if name and cell is not None}


def _plain(cell: Any) -> Any:
    """Numbers, truths and text as they are; dates as text."""
    return cell if isinstance(cell, str | int | float) else str(cell)


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
        if header is None:
            header = cells
            continue
        if not any(cells):
            continue
        if len(cells) != len(header):
            told = f"row: {len(cells)} cells under {len(header)} column names; the first line must name all columns"
            yield str(start), DataError(told)
            continue
        yield str(start), dict(zip(header, cells, strict=True))


def nearby(path: Path) -> str:
    """What else is in the folder, if it is one and is not full."""
    if not path.parent.is_dir():
        return f"; there is no folder {short(path.parent)}"
    siblings = [p.name for p in path.parent.iterdir() if p.is_file()]
    hint = did_you_mean(path.name, siblings)
    alike = [name for name in siblings if name.endswith(path.suffix)]
    return hint if "did you mean" in hint else did_you_mean(path.name, alike) if len(alike) <= 12 else ""
