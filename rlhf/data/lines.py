"""Files as bytes and as lines, packed or not."""

import gzip
import io
import os
import re
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


def is_packed(path: Path) -> bool:
    return path.suffix.lower() in UNPACKED


def opened(path: Path) -> IO[bytes]:
    return UNPACKED[path.suffix.lower()](path) if is_packed(path) else path.open("rb")


def seekable(path: Path) -> IO[bytes]:
    """A file that can be read from any place; what is compressed is unpacked into memory."""
    if not is_packed(path):
        return path.open("rb")
    with opened(path) as file:
        return io.BytesIO(file.read())


def lines(path: Path, keep_blank: bool = False) -> Lines:
    """Lines and their numbers. A line ends with \\n and nothing else, or with \\r and nothing else: U+2028 and U+0085
    occur inside rows."""
    with opened(path) as file:
        for number, raw in enumerate(raw_lines(file), 1):
            line = decoded(path, number, raw)
            if keep_blank or line.strip():
                yield number, line


def decoded(path: Path, number: int, raw: bytes) -> str:
    """A line as text. Bytes that are not UTF-8 stand in it as halves of characters, which `not_utf8` finds. Raises
    DataError where the file is no text at all."""
    if fault := _unlike_text(raw, number == 1):
        raise DataError(f"{short(path)}:{number}: {fault}")
    return raw.decode("utf-8-sig" if number == 1 else "utf-8", "surrogateescape").rstrip("\r\n")


def not_utf8(path: Path, line: str) -> DataError | None:
    """What is wrong with a line some of whose bytes are not UTF-8."""
    if line.isascii() or not (found := _BYTES.findall(line)):
        return None
    code = "WINDOWS-1252" if any(byte < "\udca0" for byte in found) else "LATIN1"
    return DataError(
        f"row: holds the byte 0x{ord(found[0]) - 0xDC00:x}, which is not UTF-8; mend it, or save the file as UTF-8 "
        f"(if it is Western European: iconv -f {code} -t UTF-8 {path.name} > NEW)"
    )


_BYTES = re.compile("[\udc80-\udcff]")
"""What stands for bytes 0x80 to 0xff that are not UTF-8 (PEP 383); UTF-8 itself never yields it."""


def raw_lines(file: IO[bytes]) -> Iterator[bytes]:
    """Where nothing ends with \\n, lines end with \\r, as they did on old Macs."""
    for i, raw in enumerate(file):
        yield from raw.splitlines(keepends=True) if i == 0 and not raw.endswith(b"\n") else (raw,)


def foreign(path: Path) -> str | None:
    """What stands in place of a file where its download did not come through."""
    with path.open("rb") as file:
        head = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS in place of the file; fetch that: git lfs pull"
    if head.startswith((b"<!doctype html", b"<html")) and path.suffix.lower() != ".txt":
        return "is a web page in place of the file, perhaps one that asks to log in; download the file itself"
    return None


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


def first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
