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

from benchmarks.reliability.common import report
from benchmarks.reliability.trials import BACKENDS, STAGES, STEPS, Bench, bench, prepare
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
        return "" if one.resumes(runs) else "does not go on"


_NEEDS = {"full": 64 << 20, "lora": 14 << 20, "qlora": 14 << 20}
"""Bytes that a stage has on the disk at most: three checkpoints, or two and the model."""


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--sizes", type=int, default=25)
    words.add_argument("--stages", nargs="+", default=STAGES)
    words.add_argument("--backends", nargs="+", default=BACKENDS)
    given = words.parse_args()
    prepare()
    tried, failed, codes = 0, [], Counter[int]()
    for stage in given.stages:
        for kind in given.backends:
            with bench(stage, kind) as one:
                for i in range(1, given.sizes + 1):
                    tried += 1
                    if why := trial(one, i / given.sizes, codes):
                        failed.append(f"{stage} × {kind}, {i}/{given.sizes}: {why}")
                        print(f"failed: {failed[-1]}", flush=True)
    print(f"{codes[2]} runs were stopped by the disk, {codes[0]} had room enough")
    report(tried, failed)


if __name__ == "__main__":
    main()
