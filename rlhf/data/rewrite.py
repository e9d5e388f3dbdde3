"""Data written anew, one canonical JSON row a line: converted, split, or mixed."""

import json
import random
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Any

from rlhf.config.data import DataConfig
from rlhf.data import files
from rlhf.data.canonical import rows_of
from rlhf.data.faults import Lists
from rlhf.data.intake import Intake
from rlhf.data.load import load
from rlhf.data.records import Kind, Record
from rlhf.data.writing import written
from rlhf.errors import DataError


def convert(data: DataConfig, kind: Kind, out: Path) -> dict[str, Any]:
    """Every usable record of the sources, in their order, to the file `out`; the books. Raises DataError as `load`."""
    _check_apart(data, out)
    with Intake(data, kind, Lists.under(out.parent, out.stem)) as intake, _new(out) as file:
        used = sum(_write(intake.take(source), file) for source in data.sources.values())
        intake.check()
    return intake.ledger(used, 0)


def split(data: DataConfig, kind: Kind, folder: Path) -> dict[str, Any]:
    """What a stage would train on and what it would hold out: `train.jsonl` and `held_out.jsonl` in a folder."""
    _check_apart(data, *(folder / f"{name}.jsonl" for name in ("train", "held_out")))
    found = load(data, kind, folder)
    for name, records in (("train", found.train), ("held_out", found.held_out)):
        with _new(folder / f"{name}.jsonl") as file:
            _write(records, file)
    return found.ledger


def mix(data: DataConfig, kind: Kind, out: Path, seed: int = 0) -> dict[str, Any]:
    """Sources by their weights, shuffled, to the file `out`."""
    _check_apart(data, out)
    found = load(data.model_copy(update={"eval_fraction": 0.0}), kind, out.parent)
    random.Random(seed).shuffle(found.train)
    with _new(out) as file:
        _write(found.train, file)
    return found.ledger


def _check_apart(data: DataConfig, *made: Path) -> None:
    """Raise DataError where a file to be written is one that is read."""
    read = {file.resolve() for source in data.sources.values() if source.path for file in files.found(source.path)}
    for path in made:
        if path.resolve() in read:
            raise DataError(f"{path}: is read from, and would be lost; name another place")


def _write(records: Iterable[Record], file: IO[str]) -> int:
    count = 0
    for count, record in enumerate(records, 1):  # noqa: B007
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows_of(record))
    return count


def _new(path: Path) -> AbstractContextManager[IO[str]]:
    """A file that is there whole or not at all. Raises DataError where it cannot be written."""
    if path.suffix != ".jsonl":
        raise DataError(f"{path}: canonical rows are JSON lines; name a file that ends with .jsonl")
    return written(path)
