"""Rows out of files, packed or not, and out of datasets on the hub.

A reader yields `(where, row)`. A piece that cannot be read is yielded as a DataError in the row's place, so that all
of a file's faults are told at once.
"""

import hashlib
import importlib.util
import json
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import IO, Any, cast

from rlhf.config.data import Source
from rlhf.data.cells import csv_file, tsv_file, workbook
from rlhf.data.jsons import json_file, json_lines
from rlhf.data.lines import UNPACKED, Rows, first_line, foreign, is_packed, lines, not_utf8, seekable, short
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
            if what := foreign(file):
                raise DataError(f"{name}: {what}")
            for place, row in READERS[ending(file)](file):
                yield f"{name}:{place}", row
        except _DAMAGED as error:
            raise DataError(f"{name}: cannot be read ({first_line(error)}); a truncated download?") from None


def found(path: Path) -> list[Path]:
    """The files that a path means: itself, those of a folder, or those that fit a pattern, by name.

    Raises DataError where there is none, where no reader knows their ending, and where a folder holds several kinds of
    files or several splits, of which one may not be meant.
    """
    name = short(path)
    if path.is_file():
        ending(path)
        if path.resolve().parts[1:2] in (("proc",), ("sys",)):
            raise DataError(f"{name} leads into {path.resolve()}: the system's own books are no data")
        return [path]
    _check_leads_to_a_file(path)
    if path.is_dir():
        files = [p for p in _with_rows(path, path.rglob("*")) if _suffix(p) in READERS]
        _check_one_kind(name, path, files)
    else:
        first = next((i for i, part in enumerate(path.parts) if any(sign in part for sign in "*?[")), None)
        if first is None:
            raise DataError(f"no file {name}{nearby(path)}")
        folder, pattern = Path(*path.parts[:first]), Path(*path.parts[first:])
        try:
            fitting = list(folder.glob(str(pattern)))
        except ValueError as error:
            raise DataError(f"{name} is no pattern ({first_line(error)}); such as folder/**/*.jsonl") from None
        files = _with_rows(folder, fitting, any(part.startswith(".") for part in pattern.parts))
    if not files:
        raise DataError(f"{name} {'holds' if path.is_dir() else 'fits'} no file that can be read")
    _check_no_part_is_missing(path, files)
    for file in files:
        ending(file)
    return files


_LISTING = re.compile(r"(bad|dropped)_rows\..+\.jsonl$")
"""Files that list which rows of others are not used."""
_ABOUT = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"}
"""Files that tell of a dataset and hold no rows."""
_SPLITS = re.compile(r"(?:^|[-_./])(train|test|validation|valid|val|dev|eval)(?:[-_.\d/]|$)")


def _with_rows(folder: Path, paths: Iterable[Path], hidden: bool = False) -> list[Path]:
    """Those that are files of rows; hidden ones, such as the `._x.jsonl` of a Mac, only where they are meant."""
    below = ((p, p.relative_to(folder).parts) for p in paths if p.is_file() or (p.is_symlink() and not p.exists()))
    seen = (p for p, parts in below if hidden or not any(part.startswith(".") for part in parts))
    files = sorted(p for p in seen if p.name not in _ABOUT and not _LISTING.match(p.name))
    for file in files:
        _check_leads_to_a_file(file)
    return files


def _check_leads_to_a_file(path: Path) -> None:
    if path.is_symlink() and not path.exists():
        raise DataError(f"{short(path)} is a link to {path.readlink()}, where no file is; name the file itself")


_PART = re.compile(r"(.*-)(\d{5})(-of-(\d{5}))(.*)")
"""The name of one of several files that are one table."""


def _check_no_part_is_missing(path: Path, files: list[Path]) -> None:
    """Raise DataError where a part of a table is missing which a folder or a pattern means as well."""
    tables: dict[tuple[str, ...], dict[int, str]] = {}
    for file in files:
        if part := _PART.fullmatch(file.name):
            tables.setdefault((str(file.parent), part[1], part[3], part[4]), {})[int(part[2])] = part[5]
    for (_, before, after, count), parts in tables.items():
        end = next(iter(parts.values()))
        names = (f"{before}{i:05}{after}{end}" for i in range(int(count)) if i not in parts)
        if missing := [name for name in names if path.is_dir() or fnmatchcase(name, path.name)]:
            told = f"{len(missing)} of {int(count)} parts are missing, {missing[0]} first"
            raise DataError(f"{short(path)}: {told}; fetch them, or name those meant by a pattern")


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
    return Path(path.stem if is_packed(path) else path.name).suffix.lower()


def read_source(source: Source) -> Rows:
    """The rows of local files, or of a dataset on the hub."""
    return read(source.path) if source.path else read_hub(source)


def read_hub(data: Source) -> Rows:
    """The rows of a hub dataset. Raises DataError."""
    assert data.hub is not None
    for i, row in enumerate(_hub(data.hub, data.subset, data.split, data.revision)):
        yield f"{data.hub}/{data.split}:{i}", row


def hub_hash(data: Source) -> str:
    """sha256 of what a hub dataset holds now, whatever its revision is called: of the tables it was fetched as."""
    assert data.hub is not None
    rows, total = _hub(data.hub, data.subset, data.split, data.revision), hashlib.sha256()
    for table in getattr(rows, "cache_files", ()):
        with Path(table["filename"]).open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    if not getattr(rows, "cache_files", ()):  # one that is in memory
        for row in rows:
            total.update(json.dumps(row, sort_keys=True, default=str).encode())
    return total.hexdigest()


@cache
def _hub(name: str, subset: str | None, split: str, revision: str | None) -> Iterable[Any]:
    """A dataset on the hub, the same for as long as the process lasts: what a stage is known by is what it reads.
    `subset` is its configuration of that name if it has one, else a folder in it."""
    import datasets

    own = "/" not in name and importlib.util.find_spec(f"datasets.packaged_modules.{name}")
    if own or Path(name).exists():  # what `datasets` would read from this machine, or from any address
        raise DataError(f"data.hub: '{name}' is no dataset on the hub; local files are named by data.path")
    at: dict[str, Any] = {"split": split, "revision": revision}
    try:
        if subset is not None:
            configurations = datasets.get_dataset_config_names(name, revision=revision)
            at["name" if subset in configurations else "data_dir"] = subset
        return cast(Iterable[Any], datasets.load_dataset(name, **at))
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            f"data.hub: cannot load '{name}' split '{split}' ({reason}); "
            "without a network, download it elsewhere and name the file: data.path=…"
        ) from None


# ------------------------------------------------------------------------------------------------ readers


def _text(path: Path) -> Rows:
    for number, line in lines(path):
        if number == 1 and line.startswith('{"') and line.endswith("}"):
            raise DataError(f"{short(path)}: holds rows of JSON; give it a name that ends with .jsonl")
        yield str(number), not_utf8(path, line) or line


def _parquet(path: Path) -> Rows:
    import pyarrow.parquet

    with seekable(path) as file:
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

    with seekable(path) as file:
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
        raise DataError(f"{short(path)}: cannot be read ({first_line(error)}); a truncated download?") from None


READERS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": json_lines,
    ".ndjson": json_lines,
    ".json": json_file,
    ".csv": csv_file,
    ".tsv": tsv_file,
    ".txt": _text,
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".xlsx": workbook,
}


def nearby(path: Path) -> str:
    """What else is in the folder, if it is one and is not full."""
    if not path.parent.is_dir():
        return f"; there is no folder {short(path.parent)}"
    siblings = [p.name for p in path.parent.iterdir() if p.is_file()]
    hint = did_you_mean(path.name, siblings)
    alike = [name for name in siblings if name.endswith(path.suffix)]
    return hint if "did you mean" in hint else did_you_mean(path.name, alike) if len(alike) <= 12 else ""
