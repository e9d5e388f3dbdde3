"""Files are there whole or not at all, flushed with the folders that name them, and never where a link leads."""

import errno
import os
from pathlib import Path

import pytest
from safetensors import SafetensorError

from rlhf import artifact as artifacts
from rlhf import checkpoint, disk
from tests.rlhf.test_artifact import MADE


def flushed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files and folders as they are flushed."""
    seen: list[Path] = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        seen.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return seen


def test_what_fails_midway_leaves_what_stood_there(tmp_path: Path) -> None:
    path = tmp_path / "inner" / "file"
    disk.put(path, "first")
    with pytest.raises(ZeroDivisionError), disk.whole(path) as scratch:
        scratch.write_text("second, in part")
        raise ZeroDivisionError
    assert path.read_text() == "first" and list(path.parent.iterdir()) == [path]


def test_a_link_of_the_partials_name_is_not_followed(tmp_path: Path) -> None:
    mine, path = tmp_path / "mine", tmp_path / "file"
    mine.write_text("precious")
    with disk.whole(path) as scratch:
        name = scratch
        scratch.touch()
    name.symlink_to(mine)
    disk.put(path, "new")
    assert mine.read_text() == "precious" and path.read_text() == "new" and not path.is_symlink()


def test_what_a_kill_left_is_swept(tmp_path: Path) -> None:
    with disk.whole(tmp_path / "inner" / "file") as scratch:
        scratch.touch()
    scratch.touch()
    (tmp_path / "kept.partial").touch()
    disk.sweep(tmp_path)
    assert not scratch.exists() and (tmp_path / "kept.partial").exists()


def test_an_artifact_is_flushed_with_its_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, scratch = tmp_path / "sft", tmp_path / ".sft.partial"
    inner = scratch / "model" / "below" / "0"
    inner.mkdir(parents=True)
    (inner / "weights").write_bytes(b"1")
    seen = flushed(monkeypatch)
    artifacts.write(MADE, scratch)
    record = next(i for i, path in enumerate(seen) if path.name.startswith(f".{artifacts.FILE}"))
    assert {inner / "weights", inner, inner.parent, scratch / "model", scratch} <= set(seen[:record])
    assert seen[record + 1 :] == [scratch]
    seen.clear()
    artifacts.commit(scratch, home)
    assert seen == [tmp_path]


def test_a_checkpoint_is_flushed_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = flushed(monkeypatch)
    checkpoint.save(tmp_path, 1, {"x": 1})
    home = tmp_path / artifacts.CHECKPOINT
    scratch = home / ".00000001.partial"
    assert set(seen) == {scratch / checkpoint.STATE, scratch / checkpoint.MANIFEST, scratch, home}
    assert seen[-1] == home


@pytest.mark.parametrize(
    ("error", "refused", "unreachable"),
    [
        (OSError(errno.ENOSPC, "x"), "No space left on device", None),
        (SafetensorError("I/O error: Input/output error (os error 5)"), "Input/output error", None),
        (Exception("No space left on device (os error 28)"), "No space left on device", None),
        (PermissionError(errno.EACCES, "x"), None, "Permission denied"),
        (Exception("Permission denied (os error 13)"), None, "Permission denied"),
        (ValueError("os error"), None, None),
        (KeyError("x"), None, None),
    ],
    ids=repr,
)
def test_why_a_disk_or_a_path_is_the_reason(error: Exception, refused: str | None, unreachable: str | None) -> None:
    assert (disk.refused(error), disk.unreachable(error)) == (refused, unreachable)
