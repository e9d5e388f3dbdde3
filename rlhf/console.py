"""What a run prints: a live line on a terminal, plain lines off it, nothing but the result with `--json`."""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

_SHOWN = {
    "sft": ("loss", "mean_token_accuracy"),
    "reward": ("loss", "accuracy", "margin"),
    "dpo": ("loss", "rewards/accuracies", "rewards/margins"),
    "kto": ("loss", "rewards/margins", "kl"),
    **dict.fromkeys(("orpo", "simpo", "cpo"), ("loss", "accuracies", "nll")),
    "ppo": ("score", "kl", "response_length", "finished"),
    "evaluate": ("gold_win_rate", "held_out_win_rate", "llm_win_rate", "reward_win_rate", "kl", "reward_accuracy"),
}
"""The few numbers of each kind of stage that belong on the screen; metrics.jsonl has all."""
_LINES = 200
"""Most lines of progress of a stage off a terminal, where they end up in a file."""


class Screen:
    """Prints the progress of a run."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=quiet, highlight=False, soft_wrap=not sys.stdout.isatty())
        self.quiet = quiet
        self._bar: Progress | None = None
        self._kind = ""
        self._title = ""
        self._ahead: Sequence[float | None] = ()
        self._start = time.monotonic()
        self._first: tuple[int, float] | None = None
        """The first step that was logged, and when: what came before it, such as loading, comes only once."""
        self._line = -1
        """The last line of progress, of `_LINES`."""

    @property
    def live(self) -> bool:
        return self.console.is_terminal and not self.quiet

    def say(self, text: str) -> None:
        self.console.print(text, markup=False)

    def stage(self, title: str, kind: str, ahead: Sequence[float | None] = ()) -> None:
        """A stage begins. `ahead`: what each stage after it took when it last ran, in seconds, where that is known."""
        self._title, self._kind, self._ahead, self._start = title, kind, ahead, time.monotonic()
        self._first, self._line = None, -1
        if self.live:
            columns = (TextColumn("{task.description}", markup=False), TextColumn("{task.fields[said]}", markup=False))
            self._bar = Progress(
                SpinnerColumn(), columns[0], BarColumn(24), columns[1], console=self.console, transient=True
            )
            self._bar.add_task(title, total=None, said="")
            self._bar.start()
        else:
            self.say(f"▶ {title}")

    def progress(self, step: int, steps: int, metrics: Mapping[str, Any]) -> None:
        """A step was logged."""
        now = time.monotonic()
        first, at = self._first = self._first or (step, now)
        seconds = (now - at) / (step - first) * max(steps - step, 0) if step > first else None
        left = [] if seconds is None else [time_left(seconds, self._ahead)]
        numbers = shown(self._kind, metrics)
        if self._bar is not None:
            said = "  ".join([f"{step}/{steps}", numbers, *left])
            self._bar.update(self._bar.task_ids[0], completed=step, total=steps, said=said)
        elif (line := step * _LINES // steps) > self._line:
            self._line = line
            self.say(f"  {step:>4}/{steps}  {numbers}  ({', '.join([duration(now - self._start), *left])})")

    def done(self, text: str) -> None:
        """The stage is over."""
        self.stop()
        self.say(f"✓ {self._title}  {text}  ({duration(time.monotonic() - self._start)})")

    def stop(self) -> None:
        """Leave the terminal clean, also after an error."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        table = Table(*columns, title=title, title_justify="left", show_lines=True)
        for row in rows:
            table.add_row(*[cell.replace("[", "\\[") for cell in row])
        self.console.print(table)


def shown(kind: str, metrics: Mapping[str, Any]) -> str:
    """The few numbers that matter of what a kind of stage logs."""
    names = [name for name in _SHOWN.get(kind, ()) or list(metrics)[:4] if name in metrics]
    return "  ".join(f"{name.rsplit('/', 1)[-1]} {number(metrics[name])}" for name in names)


_FOUND = (
    "gold_win_rate",
    "held_out_win_rate",
    "llm_win_rate",
    "reward_win_rate",
    "kl",
    "reward_accuracy",
    "accuracy",
    "eval_loss",
    "score",
    "eval_rewards/accuracies",
)
"""What a person looks at first of what a finished stage measured."""


def summary(metrics: Mapping[str, Any]) -> str:
    """Those numbers of a finished stage, with their errors."""
    found = {name: number(metrics[name]) for name in _FOUND if name in metrics}
    errors = {name: f" ± {number(metrics[f'{name}_stderr'])}" for name in found if f"{name}_stderr" in metrics}
    return "  ".join(f"{name} {value}{errors.get(name, '')}" for name, value in found.items())


def time_left(seconds: float, ahead: Sequence[float | None]) -> str:
    """What is left of a stage, and of the recipe where each stage that comes after has been timed before; else how many
    have not."""
    untimed = sum(one is None for one in ahead)
    if untimed:
        return f"{duration(seconds)} left, then {untimed} stage{'s' * (untimed > 1)} not timed yet"
    whole = seconds + sum(one for one in ahead if one is not None)
    return f"{duration(seconds)} left" + (f", {duration(whole)} of the recipe" if ahead else "")


def number(value: Any) -> str:
    """Four significant digits, as a person writes them."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    return f"{value:.3g}" if abs(value) < 1e-3 and value else f"{value:.4g}"


def duration(seconds: float) -> str:
    """`43 s`, `12 min`, `3.4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
