"""Files that are there whole or not at all, also after a kill or when the power goes; and why a disk refused one."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_PARTIAL = ".partial"


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write a file to, which takes the place of `path` once the disk holds all of it; where what is done
    inside fails, what stood there stays."""
    scratch = begun(path)
    try:
        yield scratch
        finish(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def begun(path: Path) -> Path:
    """Where to write what is to be a file: beside its place, where nothing is yet. It is this process's own: another
    may write to the same place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}{_PARTIAL}")
    scratch.unlink(missing_ok=True)  # a link of that name would lead elsewhere
    return scratch


def finish(scratch: Path, path: Path) -> None:
    """Put what was begun in its place."""
    sync(scratch)
    move(scratch, path)


def put(path: Path, content: str | bytes) -> None:
    """Write a small file whole or not at all."""
    with whole(path) as scratch, scratch.open("xb") as file:
        file.write(content.encode("utf-8") if isinstance(content, str) else content)


def move(path: Path, to: Path) -> None:
    """Give a file or folder its name, in place of a file that bears it, and have the disk hold that."""
    path.replace(to)
    for folder in {path.parent, to.parent}:
        sync(folder)


def sync(path: Path) -> None:
    """Have the disk hold what was written to a file, or which names a folder holds."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(folder: Path, leave_out: Iterable[str] = ()) -> None:
    """Have the disk hold a folder with all in it, but for folders of some names at its top."""
    for root, inner, names in os.walk(folder):
        if Path(root) == folder:
            inner[:] = [name for name in inner if name not in leave_out]
        for name in names:
            if (path := Path(root, name)).is_file():
                sync(path)
        sync(Path(root))


def sweep(folder: Path, deep: bool = True) -> None:
    """Remove what a kill left of files that were being written to a folder, and to those in it where it goes `deep`."""
    for path in (folder.rglob if deep else folder.glob)(f".*{_PARTIAL}"):
        if path.is_file() or path.is_symlink():
            path.unlink()


# ------------------------------------------------------------------------------------------------ refusals

_FULL_OR_BROKEN = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP)


def refused(error: BaseException) -> str | None:
    """Why a disk did not take or give something, where that is what went wrong: it is full, broken or read-only."""
    if (code := _code(error)) in _FULL_OR_BROKEN:
        return os.strerror(code)
    told_by_torch = any(word in str(error) for word in ("inline_container", "iostream error"))
    return "it is full, perhaps" if told_by_torch else None


def unreachable(error: BaseException) -> str | None:
    """Why a path cannot be read or written by who runs the command, where that is what went wrong."""
    return os.strerror(code) if (code := _code(error)) in _NOT_THERE else None


def _code(error: BaseException) -> int:
    """The system's number of an error, which libraries in Rust put into their words; 0 where it has none."""
    if isinstance(error, OSError):
        return error.errno or 0
    _, _, after = str(error).partition("os error ")
    digits = after.partition(")")[0]
    return int(digits) if digits.isdecimal() else 0
