"""Metrics of a stage: always a line in `metrics.jsonl`; in sinks too when asked. No sink ever stops a run."""

import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rlhf import artifact as artifacts
from rlhf import disk
from rlhf.artifact import METRICS, TABLES, Artifact
from rlhf.config import TrackingConfig
from rlhf.console import Screen
from rlhf.privacy import masked
from rlhf.progress import STEPS
from rlhf.sinks import Ending, Sink, Started, wanted
from rlhf.weights import Weights

_ROWS = 1000
"""Most rows of a table that grows; the oldest go."""


class Tracker:
    """Where a stage reports. One a stage; close it when the stage is over."""

    def __init__(
        self,
        folder: Path,
        screen: Screen,
        config: TrackingConfig,
        *,
        recipe: str,
        stage: str,
        settings: Mapping[str, Any],
        home: Path | None = None,
    ) -> None:
        """`home`: where `folder` will lie once the stage is over."""
        self.path = folder / METRICS
        self.screen = screen
        self._file = self.path.open("a", encoding="utf-8")
        self._start = time.time()
        self._step, self._steps = 0, 0
        self._tables = folder / TABLES
        self._sinks: list[Sink] = []
        started = Started(folder, home or folder, recipe, stage, settings)
        for name, start in wanted(config, started).items():
            with self._whatever_happens(f"{name} did not start, training goes on without it"):
                self._sinks.append(start())
        for sink in self._sinks:
            if sink.left:
                screen.say(f"  {sink.left}")

    @property
    def is_followed(self) -> bool:
        """Whether anyone else is told, so that what is made for them alone is worth its time."""
        return bool(self._sinks)

    @property
    def seconds(self) -> float:
        """Since the stage began, without the time between an interruption and going on."""
        return time.time() - self._start

    def log(self, metrics: Mapping[str, Any], step: int, steps: int | None = None) -> None:
        """Record numbers at a step; shown on screen when `steps`, the last step to come, is given."""
        self._step = step
        values = {key: _plain(value) for key, value in metrics.items()}
        record = {"step": step, "time": round(self.seconds, 3), **values}
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        if steps and steps != self._steps:
            self._steps = steps
            self.path.with_name(STEPS).write_text(f"{steps}\n", encoding="utf-8")
        if steps:
            self.screen.progress(step, steps, values)
        if values:
            self._tell(lambda sink: sink.log(values, step))

    def rewind(self, step: int) -> None:
        """Forget what was logged after `step`: an interrupted stage goes on from there."""
        self._file.close()
        last = _cut(self.path, step).get("time", 0.0)
        self._start = min(self._start, time.time() - last)
        self._file = self.path.open("a", encoding="utf-8")
        if self._tables.exists():
            _cut(self._tables, step)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """More rows of a table of samples, for those who follow the run; it grows on where a stage goes on."""
        if not self.is_followed:
            return
        with self._tables.open("a", encoding="utf-8") as file:
            for row in rows:
                line = {"step": self._step, "table": name, "row": [_plain(cell) for cell in row]}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        with self._tables.open(encoding="utf-8") as file:
            lines = [line for line in map(json.loads, file) if line["table"] == name]
        grown = [[line["step"], *line["row"]] for line in lines[-_ROWS:]]
        self._tell(lambda sink: sink.table(name, ["step", *columns], grown, self._step))

    def histogram(self, name: str, values: Sequence[float]) -> None:
        """How numbers are spread, such as held-out scores."""
        self._tell(lambda sink: sink.histogram(name, values, self._step))

    def curve(self, name: str, axes: tuple[str, str], points: Sequence[tuple[float, float]]) -> None:
        """A line through points, such as a reliability diagram's."""
        self._tell(lambda sink: sink.curve(name, axes, points, self._step))

    def account(self, artifact: Artifact) -> None:
        """All numbers of what the stage leaves, in the last line."""
        self.log(artifacts.numbers(artifact), self._step)

    def made(self, artifact: Artifact, models: Sequence[Weights], examples: Sequence[Path] = ()) -> None:
        """What the stage has made, of which models, and of the examples of which stages, in their folders."""
        folders = dict.fromkeys([*(model.folder for model in models if model.folder), *examples])
        outside = list({model.identity: model for model in models if model.folder is None}.values())
        self._tell(lambda sink: sink.made(artifact, [artifacts.read(folder) for folder in folders], outside))

    def close(self, summary: Mapping[str, Any] | None = None, ending: Ending = "finished") -> None:
        """The stage is over; `summary` are the numbers that it comes to."""
        self._tell(lambda sink: sink.close(summary or {}, ending))
        self._sinks.clear()
        self._file.close()

    def _tell(self, action: Callable[[Sink], None]) -> None:
        """Do something with every sink; one that fails is told no more."""
        for sink in list(self._sinks):
            with self._whatever_happens(f"{sink.name} failed and is off for the rest of this stage", sink):
                action(sink)

    @contextmanager
    def _whatever_happens(self, what: str, sink: Sink | None = None) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a sink never stops a run
            warnings.warn(masked(f"{what}: {error}"), stacklevel=4)
            if sink is not None:
                self._sinks.remove(sink)
                with suppress(Exception):
                    sink.close({}, "failed")


def _cut(path: Path, step: int) -> dict[str, Any]:
    """Leave a file's lines up to a step; the last of them."""
    last: dict[str, Any] = {}
    with path.open(encoding="utf-8") as old, disk.whole(path) as beside, beside.open("w", encoding="utf-8") as new:
        for line in old:
            if line.endswith("}\n") and (logged := json.loads(line))["step"] <= step:  # the last may be torn
                new.write(line)
                last = logged
    return last


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
