"""kill -9 at every file-system event of a stage, and at random times, with and without the last file torn.

python -m benchmarks.reliability.kills [--full] [--stages sft ppo] [--backends lora]

A trial survives when the same command, run again, goes on from the newest checkpoint that is whole, if there is one,
and ends with the weights of a run that nothing happened to, bitwise. A run that ended before its time was not tried.
Events are what Python does to files under the run folder: files opened to be written, renamed, linked, deleted, and
folders made. A torn file is the one that was written last, cut in half.
"""

import argparse
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.reliability.trials import Bench, kill, suite

RANDOM_TIMES = 100
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "os.symlink"}


def at_events(runs: Path, act: Callable[[int], object]) -> Callable[[], None]:
    """Have something done just before each event under a folder, with its number from 1."""
    seen = 0

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal seen
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if not (writes or event in _CHANGES) or isinstance(args[0], int):
            return
        path = os.fsdecode(args[0])
        deletes = event in ("os.remove", "os.rmdir") and not path.startswith("/")  # what a deleted folder holds
        if path.startswith(str(runs)) or deletes:
            seen += 1
            act(seen)

    return lambda: sys.addaudithook(hook)


def after(seconds: float) -> Callable[[], None]:
    """Have the child killed after a time."""
    return lambda: threading.Timer(seconds, kill).start()


def tear(runs: Path) -> None:
    """Cut the file in half that was written last."""
    files = [path for path in runs.rglob("*") if path.is_file() and path.name != ".lock"]
    last = max(files, key=lambda path: path.stat().st_mtime_ns, default=None)
    if last is not None:
        content = last.read_bytes()
        last.unlink()  # its other names, if it has any, were on the disk before
        last.write_bytes(content[: len(content) // 2])


def undisturbed(one: Bench) -> tuple[int, float]:
    """How many events a run has, and how many seconds."""
    with one.copy() as runs:
        start, counted = time.monotonic(), one.folder / "events"
        file = os.open(counted, os.O_WRONLY | os.O_CREAT)
        one.run(runs, at_events(runs, lambda _: os.write(file, b".")))
        os.close(file)
        return counted.stat().st_size, time.monotonic() - start


def trials(one: Bench, given: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Every trial of a stage and a backend."""
    full, chance = given.full, random.Random(len(one.stage + one.kind))
    count, seconds = undisturbed(one)
    thirds = [range(count * i // 3 + 1, count * (i + 1) // 3 + 1) for i in range(3)]  # the later have checkpoints
    numbers = range(1, count + 1) if full else [chance.choice(third) for third in thirds]
    times = RANDOM_TIMES if full else 1
    ways = [(f"event {n} of {count}", n, None) for n in numbers]
    ways += [(f"after {t:.2f} s", None, t) for t in sorted(chance.uniform(0, seconds) for _ in range(times))]
    for name, number, moment in ways:
        for torn in (False, True) if full else (chance.random() < 0.5,):
            with one.copy() as runs:
                before = after(moment) if moment else at_events(runs, lambda n, k=number: kill() if n == k else None)
                if (code := one.run(runs, before)) == 0:
                    continue
                if torn:
                    tear(runs)
                wrong = one.goes_on(runs) if code == -signal.SIGKILL else f"exit code {code} before it was killed"
                yield f"{name}{', torn' * torn}", wrong
    yield "checkpoints to go on from", "" if one.went_on else "no trial had one"


if __name__ == "__main__":
    suite(__doc__, trials, full={"action": "store_true", "help": "every event, and 100 random times"})
