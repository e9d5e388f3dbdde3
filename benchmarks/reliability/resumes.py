"""Every stage goes on from every checkpoint, bitwise: killed right after it was written.

python -m benchmarks.reliability.resumes [--stages sft ppo] [--backends lora]
"""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.reliability.common import report
from benchmarks.reliability.trials import BACKENDS, STAGES, bench, kill, prepare
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


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--stages", nargs="+", default=STAGES)
    words.add_argument("--backends", nargs="+", default=BACKENDS)
    given = words.parse_args()
    prepare()
    tried, failed = 0, []
    for stage in given.stages:
        for kind in given.backends:
            with bench(stage, kind) as one:
                for step in range(1, 100):
                    with one.copy() as runs:
                        if one.run(runs, killed_after(step)) == 0:  # there is no such checkpoint
                            break
                        tried += 1
                        if not one.resumes(runs):
                            failed.append(f"{stage} × {kind}, from step {step}")
                            print(f"failed: {failed[-1]}", flush=True)
    report(tried, failed)


if __name__ == "__main__":
    main()
