"""What `rlhf status` and `rlhf watch` show of runs."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rlhf import progress
from rlhf.console import duration, shown, summary, time_left
from rlhf.progress import Run, Stage
from rlhf.visible import visible

_SIGNS = {"done": "✓", "at work": "▶", "interrupted": "‖", "failed": "✗", "waiting": "·"}
_STYLES = {"done": "green", "at work": "bold cyan", "interrupted": "yellow", "failed": "red", "waiting": "dim"}


def overview(runs: Sequence[Run]) -> Table:
    """A line for each run."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", "run", "stages", "at", "numbers", "last heard of"):
        table.add_column(name)
    for run in runs:
        done, now = sum(stage.state == "done" for stage in run.stages), run.current
        cells = [run.folder.name, f"{done}/{len(run.stages)}", *(_cells(now) if now else ["", "", ""])]
        table.add_row(_sign(run.state), *map(Text, map(visible, cells)))
    return table


def _cells(stage: Stage) -> list[str]:
    age = "" if stage.age is None else f"{duration(stage.age)} ago"
    return [" ".join(filter(None, [stage.name, steps(stage)])), _numbers(stage), age]


def steps(stage: Stage) -> str:
    """`12/40`; as far as it is known."""
    return f"{stage.step}/{stage.steps}" if stage.steps else str(stage.step or "")


def _numbers(stage: Stage) -> str:
    """What it came to, or is at."""
    return summary(stage.metrics) if stage.state == "done" else shown(stage.kind, stage.metrics)


def frame(run: Run) -> RenderableType:
    """A run with a line for each stage."""
    table = Table.grid(padding=(0, 2))
    for stage in run.stages:
        done = stage.state == "done"
        bar = ProgressBar(total=stage.steps, completed=stage.step, width=20, complete_style="cyan")
        cells = [Text(visible(one)) for one in (stage.name, steps(stage), _numbers(stage), _time(run, stage))]
        table.add_row(_sign(stage.state), cells[0], bar if stage.steps and not done else Text(""), *cells[1:])
    words = Text(f"{visible(str(run.folder))}: {run.state}", style=_STYLES[run.state])
    return Group(words, table, *(Text(visible(line), style="dim") for line in _advice(run)))


def _time(run: Run, stage: Stage) -> str:
    """What a stage took, or what is left."""
    if stage.state == "at work":
        quiet = [f"last heard of {duration(stage.age)} ago"] if stage.age and stage.age > _QUIET else []
        return ", ".join([*([] if stage.left is None else [time_left(stage.left, run.ahead)]), *quiet])
    return "" if stage.seconds is None or stage.state == "waiting" else duration(stage.seconds)


_QUIET = 60
"""Seconds without a step after which it is told when there was one."""


def _advice(run: Run) -> list[str]:
    if run.at_work:
        return []
    lines = [f"{stage.name} failed: {stage.why}" for stage in run.stages if stage.why]
    now = run.current
    if now is not None and now.state in ("interrupted", "failed"):
        how = "goes on from its last checkpoint" if now.resumes else "starts over, as it left no checkpoint"
        lines.append(f"run the same command again: {now.name} {how}")
    return lines


def _sign(state: progress.State) -> Text:
    return Text(_SIGNS[state], style=_STYLES[state])


def line(run: Run, stage: Stage) -> str:
    """A stage in one line of plain text."""
    parts = (_SIGNS[stage.state], stage.name, steps(stage), _numbers(stage), _time(run, stage))
    return visible("  ".join(filter(None, parts)))


def watch(folder: Path, console: Console, wait: Callable[[float], None] = time.sleep) -> Run:
    """Follow a run until it is no longer at work; on a terminal as a picture, else a line whenever a stage has moved.
    What the run is then."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                run = progress.read(folder)
                live.update(frame(run), refresh=True)
                if not run.at_work:
                    return run
                wait(0.5)
    told: dict[str, tuple[str, int]] = {}
    while True:
        run = progress.read(folder)
        for stage in run.stages:
            if stage.state != "waiting" and told.get(stage.name) != (stage.state, stage.step):
                told[stage.name] = (stage.state, stage.step)
                console.print(line(run, stage), markup=False, highlight=False, soft_wrap=True)
        if not run.at_work:
            for words in [f"{run.folder}: {run.state}", *_advice(run)]:
                console.print(visible(words), markup=False, highlight=False, soft_wrap=True)
            return run
        wait(1.0)
