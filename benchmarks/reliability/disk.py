"""The disk is full, at 25 sizes from hardly more than what is there to hardly less than enough.

python -m benchmarks.reliability.disk [--sizes 25] [--stages sft ppo] [--backends lora]

A trial survives when the run says that the disk is full and keeps a checkpoint that it had, and, once there is room,
the same command goes on from there and ends with the weights of a run that nothing happened to, bitwise. A run that had
room enough was not tried. The disk is a small tmpfs where one can be mounted; elsewhere no file may grow beyond a size.
"""

import argparse
import os
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.reliability.kills import at_events
from benchmarks.reliability.trials import Bench, forked, newest_whole, run_recipe, suite
from rlhf.errors import SaveError

_FULL = 28
"""Exit code of a child whose disk was full."""
_PLENTY = 1 << 30


@contextmanager
def disk(at: Path) -> Iterator[bool]:
    """A file system of its own at a folder; False where this user may not mount one."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(at)], capture_output=True).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(at)], check=True)


def resize(at: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(at)], check=True)


def used(runs: Path) -> int:
    return sum(_blocks(path) for path in runs.rglob("*"))


def _blocks(path: Path) -> int:
    """Bytes that a file has on the disk; none where it has just gone."""
    try:
        return path.stat().st_blocks * 512
    except FileNotFoundError:
        return 0


def needed(one: Bench) -> tuple[int, int, bool]:
    """Bytes that the stage has on the disk at most beyond what lay there, bytes of its largest file, and whether a disk
    can be mounted."""
    most = one.folder / "most"
    with tempfile.TemporaryDirectory(dir=one.folder) as name, disk(Path(name)) as mounted:
        runs = Path(name) / "runs"
        shutil.copytree(one.parents, runs)
        known = {path.stat().st_ino for path in runs.rglob("*")}
        before, room, largest = used(runs), 0, 0

        def look(_: int) -> None:
            nonlocal room, largest
            room = max(room, used(runs) - before)
            new = [path for path in runs.rglob("*") if path.is_file() and path.stat().st_ino not in known]
            largest = max([largest, *(path.stat().st_size for path in new)])
            with most.open("w") as file:
                file.write(f"{room} {largest}")

        one.run(runs, at_events(runs, look))
    room, largest = map(int, most.read_text().split())
    return room, largest, mounted


def trial(one: Bench, part: float, room: int, largest: int) -> str | None:
    """What went wrong with a disk that holds so much of what the stage needs; empty where nothing did, and None where
    the disk had room enough."""
    with tempfile.TemporaryDirectory(dir=one.folder) as name, disk(Path(name)) as mounted:
        runs = Path(name) / "runs"
        shutil.copytree(one.parents, runs)
        limit = (resource.RLIM_INFINITY if mounted else int(part * largest), resource.RLIM_INFINITY)
        if mounted:
            resize(Path(name), used(runs) + int(part * room))
        code = forked(lambda: _filled(one, runs), lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
        if code == 0:
            return None
        if code != _FULL:
            return f"exit code {code}"
        if list(one.scratch(runs).glob("checkpoint/[0-9]*")) and not newest_whole(one.scratch(runs)):
            return "no checkpoint is whole"
        if mounted:
            resize(Path(name), _PLENTY)
        return one.goes_on(runs)


def _filled(one: Bench, runs: Path) -> None:
    """Run the stage in a child; leave with a code of its own where it says that the disk is full."""
    try:
        run_recipe(one.raw(), runs)
    except SaveError:
        os._exit(_FULL)


def trials(one: Bench, given: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Every size of the disk, for a stage and a backend."""
    (room, largest, mounted), room_enough = needed(one), 0
    for i in range(1, given.sizes + 1):
        why = trial(one, i / (given.sizes + 1), room, largest)
        if why is None:
            room_enough += 1
        else:
            yield f"{i}/{given.sizes + 1}", why
    print(f"{one.stage} × {one.kind}: needs {room:,} bytes; {room_enough} of {given.sizes} runs had room enough")
    if mounted:  # elsewhere the first checkpoint is as large as the last, and so is none
        yield "checkpoints to go on from", "" if one.went_on else "no trial had one"


if __name__ == "__main__":
    suite(__doc__, trials, sizes={"type": int, "default": 25})
