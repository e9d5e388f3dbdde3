"""Long runs keep nothing of the steps that are behind them.

python -m benchmarks.reliability.long [--stages sft ppo] [--backends lora] [--steps 10000] [--rollouts 1000]

A child runs a stage that logs every step, and notes on the way what it holds: resident memory and live Python objects,
once garbage was collected and freed pages were given back; open files; bytes of the stage's folder. A trial survives
when one of these has no slope over the last two thirds of the run, but for what libraries keep in their first thousand
steps: of 10,000 steps, a small tensor or a dictionary kept of each is found; of a few hundred, a dictionary of metrics.
metrics.jsonl is what a user asks to be kept, and has a bound a line.
"""

import argparse
import gc
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks.reliability.trials import Bench, forked, run_recipe, suite
from rlhf.artifact import METRICS
from rlhf.memory import give_back
from rlhf.tracking import Tracker

SAMPLES = 60
"""Times that a run is looked at."""
ROOM = {"memory": float(1 << 20), "objects": 800.0, "handles": 0.5, "folder": 1000.0}
"""Most that a run may add, however long it is: bytes of memory and folder, numbers of objects and open files."""
LINE = 1024.0
"""Most bytes of metrics a step."""


@dataclass(frozen=True)
class Held:
    """What a process, and a stage's folder, hold after a step."""

    step: int
    memory: int
    """Resident bytes."""
    objects: int
    """Blocks of Python's allocator: a dictionary has two, a tensor one."""
    handles: int
    """Open files."""
    folder: int
    """Bytes of files, without the metrics."""
    metrics: int
    """Bytes of metrics.jsonl."""

    @classmethod
    def now(cls, step: int, folder: Path) -> "Held":
        gc.collect()
        give_back()
        process = psutil.Process()
        sizes = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
        metrics = sizes.pop(folder / METRICS, 0)
        memory, objects = process.memory_info().rss, sys.getallocatedblocks()
        return cls(step, memory, objects, process.num_fds(), sum(sizes.values()), metrics)


def slope(held: Sequence[Held], what: str) -> float:
    """Growth a step: the median of the slopes between any two, which single jumps do not move (Theil 1950)."""
    steps = [(one.step, float(getattr(one, what))) for one in held]
    return median((b - a) / (later - step) for i, (step, a) in enumerate(steps) for later, b in steps[i + 1 :])


def slopes(held: Sequence[Held]) -> dict[str, float]:
    """Of all that is held, how much a step adds once a run has settled."""
    settled = held[len(held) // 3 :]
    return {what: slope(settled, what) for what in (*ROOM, "metrics")}


def grown(held: Sequence[Held]) -> dict[str, str]:
    """Of all that is held, what is wrong with its growth; empty where nothing is."""
    most = {**{what: room / held[-1].step for what, room in ROOM.items()}, "metrics": LINE}
    return {what: f"grows by {found:.3g} a step" * (found > most[what]) for what, found in slopes(held).items()}


def noting(kept: Path, every: int) -> Callable[[], None]:
    """Have the child note what it holds, every so many steps."""
    log = Tracker.log

    def noted(self: Tracker, metrics: Any, step: int, steps: int | None = None) -> None:
        log(self, metrics, step, steps)
        if steps and step % every == 0:
            held = Held.now(step, self.path.parent)
            with kept.open("a") as file:
                file.write(json.dumps(asdict(held)) + "\n")

    def begin() -> None:
        gc.freeze()  # what the parent holds is not looked through each time
        Tracker.log = noted

    return begin


def stretched(one: Bench, steps: int) -> dict[str, Any]:
    """The recipe of a stage with so many steps or rollouts, small ones, each of them logged."""
    raw = one.raw()
    stage = raw["stages"][one.stage]
    train = {**stage["train"], "lr": 1e-5, "log_every": 1, "checkpoint_every": max(steps // SAMPLES, 1)}
    if one.stage == "ppo":
        stage["data"]["eval_fraction"] = 0.2
        stage["watch"] = {"every": 1, "prompts": 2}
        stage["train"] = {**train, "episodes": steps * stage["rollout"]["batch_size"]}
    else:
        stage["train"] = {**train, "batch_size": 1, "max_steps": steps}
    return raw


def trials(one: Bench, given: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Everything that a stage and a backend may hold on to."""
    steps = given.rollouts if one.stage == "ppo" else given.steps
    kept, raw = one.folder / "held.jsonl", stretched(one, steps)
    with one.copy() as runs:
        if code := forked(lambda: run_recipe(raw, runs), noting(kept, max(steps // SAMPLES, 1))):
            yield f"{steps:,} steps", f"exit code {code}"
            return
    held = [Held(**json.loads(line)) for line in kept.read_text().splitlines()]
    told = ", ".join(f"{what} {found:.3g}" for what, found in slopes(held).items())
    print(f"{one.stage} × {one.kind}, {steps:,} steps, growth a step: {told}", flush=True)
    for what, why in grown(held).items():
        yield f"{steps:,} steps: {what}", why


if __name__ == "__main__":
    suite(
        __doc__,
        trials,
        ("sft", "reward", "dpo", "ppo"),
        steps={"type": int, "default": 10_000},
        rollouts={"type": int, "default": 1000},
    )
