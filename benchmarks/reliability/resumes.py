"""Every stage goes on from every checkpoint, bitwise: killed right after it was written.

python -m benchmarks.reliability.resumes [--stages sft ppo] [--backends lora]
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.reliability.trials import Bench, kill, suite
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
    for step in range(1, 100):
        with one.copy() as runs:
            if one.run(runs, killed_after(step)) == 0:  # there is no such checkpoint
                return
            yield f"from step {step}", one.goes_on(runs)


if __name__ == "__main__":
    suite(__doc__, trials)
