"""Where a stage is at work until it is finished: what was interrupted there goes on, or waits aside.

<run>/stages/
    .<name>.partial/        at work, or interrupted
    .<name>.<key>.aside/    interrupted with other settings, data or code; one a stage
"""

import shutil
from pathlib import Path

from rlhf import disk
from rlhf.artifact import CHECKPOINT, KEY, key_of
from rlhf.progress import scratch


def take_up(home: Path, key: str, fresh: bool) -> str:
    """Have a stage's working folder hold what an interrupted one of this `key` left, or nothing but the key. What
    another left there that could go on is put aside. `fresh`: nothing goes on, and nothing is kept.

    Returns what the user is to know of it; empty for nothing.
    """
    folder, said = scratch(home), []
    if fresh:
        _remove(folder, *_asides(home))
    if not _goes_on(folder, key):
        kept, mine = _put_aside(home), _aside(home, key)
        if kept is not None:
            said.append(
                f"what was interrupted here had other settings, data or code: it is kept in {kept}, goes on when they "
                "are back, and goes with --fresh"
            )
        if _goes_on(mine, key):
            disk.move(mine, folder)
            said.append("what was kept aside of these settings goes on")
        else:
            folder.mkdir(parents=True)
            disk.put(folder / KEY, key)
        if kept is not None:
            _remove(*(old for old in _asides(home) if old != kept))
    disk.sweep(folder)
    return "; ".join(said)


def _put_aside(home: Path) -> Path | None:
    """Make room where a stage works; where what lay there goes now, if it could go on."""
    folder, kept = scratch(home), None
    if (folder / CHECKPOINT).is_dir() and (key := key_of(folder)):
        kept = _aside(home, key)
        _remove(kept)
        disk.move(folder, kept)
    _remove(folder)
    return kept


def _goes_on(folder: Path, key: str) -> bool:
    """Whether the same stage was at work here and left a checkpoint to go on from."""
    return key_of(folder) == key and (folder / CHECKPOINT).is_dir()


def _aside(home: Path, key: str) -> Path:
    return home.with_name(f".{home.name}.{key}.aside")


def _asides(home: Path) -> list[Path]:
    return list(home.parent.glob(f".{home.name}.*.aside"))


def _remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
