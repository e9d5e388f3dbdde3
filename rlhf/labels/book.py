"""The file of what annotators said: preference rows, each on disk before the next question is asked."""

import errno
import fcntl
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rlhf import disk
from rlhf.errors import DataError, SaveError
from rlhf.labels.pairs import Answer, Pair, key

Verdict = Literal["first", "second", "tie"]
"""Of two answers in the order in which they were shown."""
Row = dict[str, Any]


def row_of(pair: Pair, shown: Sequence[Answer], verdict: Verdict, annotator: str, seconds: float) -> Row:
    """A preference row as every stage on pairs reads it; `provenance` says how it came about, and is not read."""
    chosen, rejected = reversed(shown) if verdict == "second" else shown
    provenance = {
        "annotator": annotator,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 2),
        "shown_first": "rejected" if verdict == "second" else "chosen",
        "chosen_model": chosen.model,
        "rejected_model": rejected.model,
        "where": Path(pair.where).name,
    }
    if pair.gap is not None:
        provenance["reward_gap"] = pair.gap
    return {
        "prompt": pair.prompt,
        "chosen": chosen.text,
        "rejected": rejected.text,
        "tie": verdict == "tie",
        "provenance": provenance,
    }


def key_of(row: Row) -> str:
    """Which question a row answers."""
    return key(row["prompt"], row["chosen"], row["rejected"])


def meaning_of(row: Row) -> str | None:
    """The better answer, however the two were shown; None for a tie."""
    return None if row["tie"] else row["chosen"]


def annotator_of(row: Row) -> str:
    return row["provenance"]["annotator"]


class Book:
    """Rows in a file, one process at a time. Open it with `with`; raises SaveError where another is at it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []

    def __enter__(self) -> "Book":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a+b", buffering=0)
            disk.sync(self.path.parent)
        except OSError as error:
            raise SaveError(f"{self.path}: cannot be written: {error.strerror}; name another with --out") from None
        try:
            self._begin()
        except BaseException:
            self._file.close()
            raise
        return self

    def _begin(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SaveError(
                f"{self.path}: another `rlhf label` is at work on it; wait for it, or take another --out "
                "(--agreement reads several files)"
            ) from None
        self._file.seek(0)
        content = self._file.read()
        whole = _ended(self.path, content)
        self.rows, self._ends = _rows(self.path, whole)
        self._file.write(whole[len(content) :])
        self._file.truncate(self._end)  # a row that a kill tore in two was never said

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def _end(self) -> int:
        return self._ends[-1] if self._ends else 0

    def add(self, row: Row) -> None:
        """Have the disk hold a row. Raises OSError where it does not take it; then nothing of it is in the file."""
        line = (json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "replace")
        try:
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(self._end)
            raise
        self._ends.append(self._end + len(line))
        self.rows.append(row)

    def undo(self) -> Row:
        """Take the last row back."""
        self._ends.pop()
        self._file.truncate(self._end)
        os.fsync(self._file.fileno())
        return self.rows.pop()


def read(path: Path) -> list[Row]:
    """The rows of a finished file. Raises DataError."""
    try:
        return _rows(path, _ended(path, path.read_bytes()))[0]
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from None


_BEGINNING = b'{"prompt": [{"role": '


def _ended(path: Path, content: bytes) -> bytes:
    """With the end of line that an editor may have taken from the last row. Raises DataError where what stands there is
    neither a row nor the beginning of one, and so not ours to cut off."""
    last = content[content.rfind(b"\n") + 1 :]
    try:
        json.loads(last or b"torn")
        return content + b"\n"
    except ValueError:
        if not last.startswith(_BEGINNING[: len(last)]):
            raise _foreign(path, content.count(b"\n") + 1) from None
        return content


def _foreign(path: Path, number: int) -> DataError:
    said = "not a row of `rlhf label`, which writes to a file of its own; name another with --out"
    return DataError(f"{path}:{number}: {said}")


def _rows(path: Path, content: bytes) -> tuple[list[Row], list[int]]:
    """Rows, and where each ends; a last one without an end is left out. Raises DataError for one that `row_of` did not
    write."""
    rows, ends = [], []
    *lines, _ = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            if not isinstance(annotator_of(row), str) or not key_of(row):
                raise TypeError
        except (ValueError, KeyError, TypeError):
            raise _foreign(path, number) from None
        rows.append(row)
        ends.append((ends[-1] if ends else 0) + len(line) + 1)
    return rows, ends
