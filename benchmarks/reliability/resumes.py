"""Every stage goes on from every checkpoint, bitwise: killed right after it was written.

python -m benchmarks.reliability.resumes [--stages sft ppo] [--backends lora]
"""

import argparse
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.reliability.trials import STEPS, Bench, kill, newest_whole, suite
from rlhf import checkpoint


def killed_after(step: int) -> Callable[[], None]:
    """Have the child killed once a checkpoint is on the disk."""
    making = checkpoint.making

    @contextmanager
    def patched(out: Path, at: int) -> Iterator[Path]:
        with making(out, at) as folder:
            yield folder
        if at == step:
            kill()

    return lambda: setattr(checkpoint, "making", patched)


def trials(one: Bench, given: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Every checkpoint of a stage and a backend."""
    for step in range(1, STEPS + 1):
        with one.copy() as runs:
            code = one.run(runs, killed_after(step))
            if code == 0 and step == STEPS:  # ppo leaves none behind its last rollout
                return
            there = newest_whole(one.scratch(runs))
            if code != -signal.SIGKILL or there != step:
                yield f"from step {step}", f"no such checkpoint: exit code {code}, the newest is of step {there}"
            else:
                yield f"from step {step}", one.goes_on(runs)


if __name__ == "__main__":
    suite(__doc__, trials)
