"""One large file of JSON lines, read by several processes: each a part of it, and one set of books."""

import multiprocessing
from array import array
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rlhf.config.data import DataConfig
from rlhf.data import files
from rlhf.data.arrange import is_arranged
from rlhf.data.faults import Lists
from rlhf.data.intake import Intake
from rlhf.data.jsons import is_one_value, json_lines, parsed
from rlhf.data.lines import Rows, short
from rlhf.data.records import Kind, share
from rlhf.errors import DataError

LEAST = 32 << 20
"""Bytes of a part below which a process does not pay."""


@dataclass(frozen=True)
class Part:
    """Whole lines of a file."""

    path: Path
    start: int
    end: int
    line: int
    """Number of the first."""


@dataclass(frozen=True)
class Side:
    """Examples of a part that are used, or those that are held out."""

    count: int
    identities: "array[int]"
    """Each once."""


def parts_of(data: DataConfig, kind: Kind, workers: int) -> list[Part]:
    """Parts that can be read apart from each other; none where the data must be read as a whole."""
    path = data.path
    if workers < 2 or "fork" not in multiprocessing.get_all_start_methods() or path is None:
        return []
    if data.mix or data.eval_path or data.max_rows or data.rows or not path.is_file():
        return []  # a function of the user's own may remember rows
    if files.READERS.get(path.suffix.lower()) is not json_lines:
        return []
    count = min(workers, path.stat().st_size // LEAST)
    if count < 2 or is_one_value(path) or is_arranged(files.read_source(data), data, kind):
        return []
    parts = list(_cut(path, count))
    return parts if len(parts) > 1 else []


def _cut(path: Path, count: int) -> Iterator[Part]:
    size, start, line = path.stat().st_size, 0, 1
    with path.open("rb") as file:
        for i in range(1, count + 1):
            file.seek(max(start, size * i // count))
            file.readline()
            end = file.tell() if i < count else size
            if end > start:
                yield Part(path, start, end, line)
            file.seek(start)
            while start < end:
                if not (block := file.read(min(1 << 20, end - start))):
                    raise _shorter(path)
                start += len(block)
                line += block.count(b"\n")


def rows(part: Part) -> Rows:
    """The rows of a part, at their places in the file."""
    name = short(part.path)
    for place, row in parsed(part.path, _lines(part), part.line):
        yield f"{name}:{place}", row


def _lines(part: Part) -> Iterator[bytes]:
    with part.path.open("rb") as file:
        file.seek(part.start)
        left = part.end - part.start
        while left > 0:
            raw = file.readline()
            if not raw:
                raise _shorter(part.path)
            left -= len(raw)
            yield raw


def _shorter(path: Path) -> DataError:
    return DataError(f"{short(path)}: became shorter while it was read; read it again once it stays as it is")


def read_in_parts(intake: Intake, parts: list[Part]) -> tuple[int, int]:
    """How many examples are used and held out, with the books on all parts in `intake`."""
    lists = intake.faults.listing.path, intake.useless.path
    with TemporaryDirectory() as folder:
        beside = [Lists(*(path and Path(folder, f"{i}.{path.name}") for path in lists)) for i in range(len(parts))]
        return _added(intake, [(intake.data, intake.kind, *one) for one in zip(parts, beside, strict=True)])


def _added(intake: Intake, jobs: "list[_Job]") -> tuple[int, int]:
    used: set[int] = set()
    held_out: set[int] = set()
    counts = [0, 0]
    with ProcessPoolExecutor(len(jobs), multiprocessing.get_context("fork")) as pool:
        for part, sides in _ended(pool.map(_read, jobs)):
            intake.add(part)
            for i, (side, known) in enumerate(zip(sides, (used, held_out), strict=True)):
                before = len(known)
                known.update(side.identities)
                again = len(side.identities) - (len(known) - before)
                counts[i] += side.count - intake.seen_again(again)
    intake.close(intake.data)
    return counts[0], counts[1]


def _ended(made: "Iterator[_Made]") -> "Iterator[_Made]":
    """What processes made. Raises DataError where one was ended from outside."""
    try:
        yield from made
    except BrokenProcessPool:
        raise DataError("a process that read was killed; does memory run out? close other programs") from None


_Job = tuple[DataConfig, Kind, Part, Lists]


_Made = tuple[Intake, list[Side]]


def _read(job: _Job) -> _Made:
    """The books on a part, what it uses and what it holds out."""
    data, kind, part, lists = job
    counts, seen = [0, 0], (array("q"), array("q"))
    with Intake(data, kind, lists) as intake:
        for record in intake.take(data, rows(part)):
            side = share(record) < data.eval_fraction
            counts[side] += 1
            if intake.is_new:
                seen[side].append(intake.handed)
    intake.forget()
    return intake, [Side(count, known) for count, known in zip(counts, seen, strict=True)]
