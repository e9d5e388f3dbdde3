"""How far runs are, from their folders alone: nothing is asked of the process that is at work."""

import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rlhf import artifact as artifacts
from rlhf import yamlfile
from rlhf.errors import ArtifactError, RecipeError
from rlhf.privacy import masked

SETTINGS = "recipe.lock.yaml"
"""File of a run with every setting as it was used."""
STEPS = "steps"
"""File of a stage with its last step to come."""
LOCK = ".lock"
"""File that a run holds a lock on while it is at work."""

FAILED = "failed"
"""File in a stage's working folder that says why it ended before it was done."""

State = Literal["done", "at work", "interrupted", "failed", "waiting"]


def scratch(home: Path) -> Path:
    """Where a stage is at work until it is finished."""
    return home.with_name(f".{home.name}.partial")


@dataclass(frozen=True)
class Stage:
    """One stage of a run."""

    name: str
    kind: str
    state: State
    step: int = 0
    steps: int | None = None
    """The last step to come; None where the stage has not said."""
    metrics: dict[str, Any] = field(default_factory=dict)
    """What was logged last, of a stage that is done what it measured."""
    seconds: float | None = None
    """That it took, or has taken until its last step."""
    left: float | None = None
    """Seconds, at the pace of the steps so far."""
    age: float | None = None
    """Seconds since it last logged."""
    resumes: bool = False
    """One that was interrupted has left a checkpoint to go on from."""
    why: str = ""
    """What a stage that failed said."""


@dataclass(frozen=True)
class Run:
    """A run's folder at a moment."""

    folder: Path
    at_work: bool
    stages: tuple[Stage, ...]

    @property
    def state(self) -> State:
        if self.at_work:
            return "at work"
        current = self.current
        if current is None or current.state != "done":
            return current.state if current else "waiting"
        return "waiting" if any(stage.state == "waiting" for stage in self.stages) else "done"

    @property
    def current(self) -> Stage | None:
        """The stage that is at work, or was last."""
        begun = [stage for stage in self.stages if stage.state != "waiting"]
        return next((stage for stage in begun if stage.state != "done"), begun[-1] if begun else None)

    @property
    def ahead(self) -> list[float | None]:
        """Seconds that each stage after the one at work took when it last ran, where that is known."""
        return [stage.seconds for stage in self.stages if stage.state == "waiting"]


def runs(folder: Path) -> list[Run]:
    """A run's folder, or all runs in a folder of runs, the newest first. Raises ArtifactError where there is none."""
    if (folder / SETTINGS).is_file():
        return [read(folder)]
    inside = [one for one in folder.iterdir() if (one / SETTINGS).is_file()] if folder.is_dir() else []
    if not inside:
        raise ArtifactError(f"{folder}: no run, and no folder of runs; `rlhf run` makes them under runs/, or --out")
    return [read(one) for one in sorted(inside, key=lambda one: -(one / SETTINGS).stat().st_mtime)]


def read(folder: Path) -> Run:
    """How far a run is. Raises ArtifactError where the folder holds none."""
    at_work = _is_locked(folder / LOCK)  # before the rest: what is read of a run that has ended meanwhile is whole
    try:
        settings = yamlfile.plain(yamlfile.read(folder / SETTINGS))["stages"]
        kinds = {name: str(stage["stage"]) for name, stage in settings.items()}
    except (OSError, KeyError, TypeError, AttributeError, RecipeError) as error:
        raise ArtifactError(f"{folder}: no run that can be read: {error}") from None
    stages: list[Stage] = []
    for name, kind in kinds.items():
        stage = _stage(folder / "stages" / name, kind, at_work)
        if stage.state == "done" and any(one.state != "done" for one in stages):  # of an earlier run
            stage = Stage(name, kind, "waiting", seconds=stage.seconds)
        stages.append(stage)
    return Run(folder, at_work, tuple(stages))


def _stage(home: Path, kind: str, at_work: bool) -> Stage:
    going = scratch(home)
    if going.is_dir():
        steps, why = _number(going / STEPS), _text(going / FAILED)
        return Stage(
            home.name,
            kind,
            "at work" if at_work else "failed" if why else "interrupted",
            steps=steps,
            resumes=(going / artifacts.CHECKPOINT).is_dir(),
            why=why,
            **_pace(_ends(going / artifacts.METRICS), steps, _age(going / artifacts.METRICS)),
        )
    try:
        made = artifacts.read(home)
    except ArtifactError:
        return Stage(home.name, kind, "waiting")
    last = _ends(home / artifacts.METRICS)
    step, steps = last[-1]["step"] if last else 0, _number(home / STEPS)
    return Stage(home.name, kind, "done", step, steps, made.metrics, seconds_of(home), age=_age(home / artifacts.FILE))


def _pace(lines: Sequence[dict[str, Any]], steps: int | None, age: float | None) -> dict[str, Any]:
    """Step, metrics, seconds taken and seconds left, from the first and the last line that was logged."""
    if not lines:
        return {"age": age}
    first, last = lines[0], lines[-1]
    step, seconds = last["step"], last["time"]
    done = step - first["step"]
    left = (seconds - first["time"]) / done * (steps - step) - (age or 0) if done > 0 and steps else None
    metrics = {key: value for key, value in last.items() if key not in ("step", "time")}
    return {"step": step, "metrics": metrics, "seconds": seconds, "left": left and max(left, 0.0), "age": age}


def seconds_of(home: Path) -> float | None:
    """What a finished stage took, as far as it logged; None where there is none."""
    lines = _ends(home / artifacts.METRICS)
    return lines[-1]["time"] if lines else None


_TAIL = 1 << 16
"""Bytes at the end of a log that hold its last line."""


def _ends(path: Path) -> list[dict[str, Any]]:
    """The first line of a log and its last whole one; a line that is being written is left out."""
    try:
        with path.open("rb") as file:
            first = file.readline()
            file.seek(max(file.seek(0, os.SEEK_END) - _TAIL, 0))
            *lines, _ = file.read().split(b"\n")
        return [json.loads(line) for line in (first, *lines[-1:]) if line.endswith((b"}", b"}\n"))]
    except (OSError, ValueError):
        return []


def failed(folder: Path, error: Exception) -> None:
    """Leave word of why a stage ended."""
    with suppress(OSError):  # a full disk may be why
        (folder / FAILED).write_text(masked(f"{error}" or type(error).__name__), encoding="utf-8")


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError):
        return ""


def _number(path: Path) -> int | None:
    return int(said) if (said := _text(path).strip()).isdecimal() else None


def _age(path: Path) -> float | None:
    try:
        return max(time.time() - path.stat().st_mtime, 0.0)
    except OSError:
        return None


def _is_locked(path: Path) -> bool:
    """Whether a run holds the lock. To see that, it is asked for: a run that begins just then asks again."""
    import fcntl

    try:
        with path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
