"""Files as bytes and as lines, packed or not."""

import gzip
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import zstandard

from rlhf.errors import DataError

Rows = Iterator[tuple[str, Any]]
"""Place in a file and what stands there; a DataError where it cannot be read."""
Lines = Iterator[tuple[int, str]]


def _zstd(path: Path) -> IO[bytes]:
    return io.BufferedReader(zstandard.open(path, "rb"))  # which knows lines


UNPACKED: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".zst": _zstd}
"""Endings of compressed files, and what opens them."""


def opened(path: Path) -> IO[bytes]:
    return UNPACKED[path.suffix](path) if path.suffix in UNPACKED else path.open("rb")


def lines(path: Path, keep_blank: bool = False) -> Lines:
    """Lines and their numbers. A line ends with \\n and nothing else: U+2028 and U+0085 occur inside rows."""
    with opened(path) as file:
        for number, raw in enumerate(file, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                what = f"byte {error.start} of the line is not UTF-8; save the file as UTF-8"
                raise DataError(f"{short(path)}:{number}: {what}") from None
            if keep_blank or line.strip():
                yield number, line


def short(path: Path) -> str:
    """As seen from the working directory when it is below it."""
    here = Path.cwd()
    return os.path.relpath(path, here) if path.is_absolute() and path.is_relative_to(here) else str(path)
