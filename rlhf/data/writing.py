"""Files that are written: in their places once they are whole, in folders that are made for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rlhf import disk
from rlhf.errors import DataError


@contextmanager
def written(path: Path) -> Iterator[IO[str]]:
    """A file that is there whole or not at all. Raises DataError where it cannot be written."""
    with writing(path):
        file, whole = begun(path), False
        try:
            yield file
            whole = True
        finally:
            end(path, file, whole)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises DataError, which names the file, where what is done inside cannot be written to it."""
    try:
        yield
    except OSError as error:
        told = f"cannot be written ({error.strerror}); name a place that can be written to"
        raise DataError(f"{path}: {told}") from None


def begun(path: Path) -> IO[str]:
    """What is to be a file, beside its place. Half a character stands in it as in JSON, \\ud800."""
    return disk.begun(path).open("x", encoding="utf-8", errors="backslashreplace")


def end(path: Path, file: IO[str], whole: bool = True) -> None:
    """Put what was begun in its place if it is whole; else it goes."""
    scratch = Path(file.name)
    try:
        file.close()
        if whole:
            disk.finish(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)
