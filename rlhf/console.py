"""What a run prints: a live line on a terminal, plain lines off it, nothing but the result with `--json`."""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.status import Status
from rich.table import Table

_SHOWN = {
    "sft": ("loss", "mean_token_accuracy"),
    "reward": ("loss", "accuracy", "margin"),
    "dpo": ("loss", "rewards/accuracies", "rewards/margins"),
    "kto": ("loss", "rewards/margins", "kl"),
    **dict.fromkeys(("orpo", "simpo", "cpo"), ("loss", "accuracies", "nll")),
    "ppo": ("score", "kl", "response_length", "finished"),
}
"""The few numbers of each kind of stage that belong on the screen; metrics.jsonl has all."""
_LINES = 200
"""Most lines of progress of a stage off a terminal, where they end up in a file."""


class Screen:
    """Prints the progress of a run."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=quiet, highlight=False, soft_wrap=not sys.stdout.isatty())
        self.quiet = quiet
        self._status: Status | None = None
        self._shown: Sequence[str] = ()
        self._title = ""
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

    def stage(self, title: str, kind: str) -> None:
        """A stage begins."""
        self._title, self._shown, self._start = title, _SHOWN.get(kind, ()), time.monotonic()
        self._first, self._line = None, -1
        if self.live:
            self._status = self.console.status(title)
            self._status.start()
        else:
            self.say(f"▶ {title}")

    def progress(self, step: int, steps: int, metrics: Mapping[str, Any]) -> None:
        """A step was logged."""
        shown = self._shown or list(metrics)[:4]
        numbers = "  ".join(f"{name.rsplit('/', 1)[-1]} {number(metrics[name])}" for name in shown if name in metrics)
        now = time.monotonic()
        first, at = self._first = self._first or (step, now)
        left = [f"{duration((now - at) / (step - first) * max(steps - step, 0))} left"] if step > first else []
        if self._status is not None:
            self._status.update("  ".join([self._title, f"{step}/{steps}", numbers, *left]))
        elif (line := step * _LINES // steps) > self._line:
            self._line = line
            self.say(f"  {step:>4}/{steps}  {numbers}  ({', '.join([duration(now - self._start), *left])})")

    def done(self, text: str) -> None:
        """The stage is over."""
        if self._status is not None:
            self._status.stop()
            self._status = None
        self.say(f"✓ {self._title}  {text}  ({duration(time.monotonic() - self._start)})")

    def stop(self) -> None:
        """Leave the terminal clean after an error."""
        if self._status is not None:
            self._status.stop()
            self._status = None

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        table = Table(*columns, title=title, title_justify="left", show_lines=True)
        for row in rows:
            table.add_row(*[cell.replace("[", "\\[") for cell in row])
        self.console.print(table)


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
