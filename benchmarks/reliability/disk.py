"""The disk is full, at 25 sizes from hardly more than what is there to just enough.

python -m benchmarks.reliability.disk [--sizes 25] [--stages sft ppo] [--backends lora]

A trial survives when the run says that the disk is full (exit code 2) and keeps the checkpoints that it had, and, once
there is room, the same command ends with the weights of a run that nothing happened to, bitwise. The disk is a small
tmpfs where one can be mounted; elsewhere no file may grow beyond the size.
"""

import argparse
import resource
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.reliability.trials import STEPS, Bench, suite
from rlhf import checkpoint

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
    return sum(path.stat().st_blocks * 512 for path in runs.rglob("*"))


def trial(one: Bench, part: float, codes: Counter[int]) -> str:
    """What went wrong with a disk that holds so much of what the stage needs; empty where nothing did."""
    with tempfile.TemporaryDirectory(dir=one.folder) as name, disk(Path(name)) as mounted:
        runs = Path(name) / "runs"
        shutil.copytree(one.parents, runs)
        before = used(runs)
        room = int(part * _NEEDS[one.kind])
        if mounted:
            resize(Path(name), before + room)
            code = one.run(runs)
        else:
            limit = (room // (STEPS + 1), resource.RLIM_INFINITY)
            code = one.run(runs, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
        codes[code] += 1
        if code not in (0, 2):
            return f"exit code {code}"
        kept = list(one.scratch(runs).glob("checkpoint/[0-9]*"))
        if kept and checkpoint.newest(one.scratch(runs), lambda _: None) is None:
            return "no checkpoint is whole"
        if mounted:
            resize(Path(name), _PLENTY)
        return one.goes_on(runs)


_NEEDS = {"full": 64 << 20, "lora": 14 << 20, "qlora": 14 << 20}
"""Bytes that a stage has on the disk at most: three checkpoints, or two and the model."""


def trials(one: Bench, given: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Every size of the disk, for a stage and a backend."""
    codes = Counter[int]()
    for i in range(1, given.sizes + 1):
        yield f"{i}/{given.sizes}", trial(one, i / given.sizes, codes)
    print(f"{one.stage} × {one.kind}: {codes[2]} runs were stopped by the disk, {codes[0]} had room enough")


if __name__ == "__main__":
    suite(__doc__, trials, sizes={"type": int, "default": 25})
