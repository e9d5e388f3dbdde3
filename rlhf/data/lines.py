"""Files as bytes and as lines, packed or not."""

import gzip
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from rlhf.errors import DataError

Rows = Iterator[tuple[str, Any]]
"""Place in a file and what stands there; a DataError where it cannot be read."""
Lines = Iterator[tuple[int, str]]


def _zstd(path: Path) -> Any:
    import pyarrow

    stream: Any = pyarrow.input_stream(str(path), compression="zstd")  # tells a file cut short, as few others do
    return io.BufferedReader(stream)  # which knows lines


UNPACKED: dict[str, Callable[[Path], Any]] = {".gz": gzip.open, ".zst": _zstd}
"""Endings of compressed files, and what opens them."""


def opened(path: Path) -> IO[bytes]:
    return UNPACKED[path.suffix](path) if path.suffix in UNPACKED else path.open("rb")


def lines(path: Path, keep_blank: bool = False) -> Lines:
    """Lines and their numbers. A line ends with \\n and nothing else, or with \\r and nothing else: U+2028 and U+0085
    occur inside rows."""
    with opened(path) as file:
        for number, raw in enumerate(raw_lines(file), 1):
            line = decoded(path, number, raw)
            if keep_blank or line.strip():
                yield number, line


def decoded(path: Path, number: int, raw: bytes) -> str:
    """A line as text. Raises DataError where it is none."""
    if fault := _unlike_text(raw, number == 1):
        raise DataError(f"{short(path)}:{number}: {fault}")
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        what = f"byte {error.start} of the line is not UTF-8; save the file as UTF-8"
        raise DataError(f"{short(path)}:{number}: {what}") from None


def raw_lines(file: IO[bytes]) -> Iterator[bytes]:
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


def short(path: Path) -> str:
    """As seen from the working directory when it is below it."""
    here = Path.cwd()
    return os.path.relpath(path, here) if path.is_absolute() and path.is_relative_to(here) else str(path)
