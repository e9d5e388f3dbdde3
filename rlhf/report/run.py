"""A run folder as plain values: its settings, its stages, what they logged and the rows that they wrote."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from rlhf import artifact as artifacts
from rlhf import yamlfile
from rlhf.errors import ArtifactError
from rlhf.measures.headline import JUDGES
from rlhf.progress import SETTINGS, scratch
from rlhf.report.number import Name, Number, Style, Words, with_error

Row = Mapping[str, Any]
State = Literal["finished", "unfinished", "damaged", "not run"]


class Line(NamedTuple):
    """A line of a file of JSON lines."""

    at: int
    """Which one, counted from 0."""
    values: Row


class Series(NamedTuple):
    """What was logged under one name."""

    file: str
    key: str
    lines: tuple[Line, ...]
    x: str = "step"

    @property
    def xs(self) -> list[float]:
        return [line.values[self.x] for line in self.lines]

    @property
    def ys(self) -> list[float]:
        return [line.values[self.key] for line in self.lines]

    def number(self, place: int, style: Style = "plain") -> Number:
        """The value at a place, which counts from the end where it is negative."""
        return self._of(place, self.key, style)

    def step(self, place: int) -> Number:
        """When that was."""
        return self._of(place, self.x, "count")

    def _of(self, place: int, key: str, style: Style) -> Number:
        line = self.lines[place]
        return Number(line.values[key], (f"{self.file}#{pointer(line.at, key)}",), style)


@dataclass(frozen=True)
class StageRun:
    """One stage of a run."""

    name: str
    kind: str
    state: State
    settings: Row
    run: Path
    where: str
    """Its folder, relative to the run's."""
    record: Row = field(default_factory=dict)
    """What `artifact.json` holds; empty unless it finished."""
    lines: tuple[Line, ...] = ()
    """What it logged."""

    @property
    def metrics_file(self) -> str:
        return f"{self.where}/{artifacts.METRICS}"

    @property
    def makes(self) -> str:
        return self.record.get("makes", "")

    def rows(self, name: str) -> tuple[Line, ...]:
        """A file of rows that the stage wrote; empty where it wrote none."""
        return self._rows.setdefault(name, _lines(self.run / self.where / name))

    @cached_property
    def _rows(self) -> dict[str, tuple[Line, ...]]:
        return {}

    def series(self, key: str, x: str = "step") -> Series:
        """Every line that has a number under a key."""
        lines = (line for line in self.lines if _is_number(line.values.get(key)) and _is_number(line.values.get(x)))
        return Series(self.metrics_file, key, tuple(lines), x)

    def last(self, key: str, style: Style = "plain") -> Number | None:
        """The newest that was logged under a key, or else what the artifact's metrics hold."""
        logged = self.series(key)
        return logged.number(-1, style) if logged.lines else self.told("metrics", key, style=style)

    def told(self, *path: str, style: Style = "plain") -> Number | None:
        """A number of `artifact.json`, as the log's last line has it, if it is there."""
        found = self.series("/".join(path))
        return found.number(-1, style) if found.lines else None

    @property
    def measured(self) -> Line:
        """The last line on the way: of an evaluation, all that it measured."""
        ways = (line for line in reversed(self.lines) if artifacts.ACCOUNTS not in line.values)
        return next(ways, Line(-1, {}))

    @property
    def judges(self) -> list[str]:
        """Those that compare the policy's answers with another's."""
        rated = ("win_rate", "win_rate_over_prompted")
        return [judge for judge in JUDGES if any(self.last(f"{judge}_{name}") for name in rated)]

    @property
    def judges_itself(self) -> bool:
        """Whether nothing but the training reward compares them."""
        return self.judges == ["reward"]

    def with_error(self, key: str, style: Style = "plain") -> Words | None:
        """The newest under a key, with its standard error where there is one."""
        value = self.last(key, style)
        return with_error(value, self.last(f"{key}_stderr")) if value else None

    def called(self, field: str, otherwise: str = "") -> str:
        """What the model of a setting is called."""
        named = self.settings.get(field) or {}
        name = named.get("stage") or named.get("name")
        return Name(name) if name else otherwise

    def setting(self, *path: str, style: Style = "plain") -> Number | None:
        """A number in the stage's settings, if it is there."""
        value: Any = self.settings
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        source = f"{SETTINGS}#{pointer('stages', self.name, *path)}"
        return Number(value, (source,), style) if _is_number(value) else None

    def cell(self, name: str, row: Line, *path: str, style: Style = "plain") -> Number | None:
        """A number in a row of a file that the stage wrote, if it is there."""
        value: Any = row.values
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        source = f"{self.where}/{name}#{pointer(row.at, *path)}"
        return Number(value, (source,), style) if _is_number(value) else None


@dataclass(frozen=True)
class Run:
    """What a run folder holds."""

    folder: Path
    settings: Row
    stages: tuple[StageRun, ...]

    @property
    def name(self) -> str:
        return self.settings["name"]

    def kinds(self, *kinds: str) -> Iterator[StageRun]:
        """Stages of some kinds that logged something."""
        return (stage for stage in self.stages if stage.kind in kinds and stage.lines)

    @property
    def evaluations(self) -> list[StageRun]:
        """Those that compare a policy's answers with another's."""
        return [stage for stage in self.kinds("evaluate") if "prompts" in stage.measured.values]

    @property
    def evaluation(self) -> StageRun | None:
        """The last of them that another judge than the training reward decides; else the last with a judge, or any."""
        return max(reversed(self.evaluations), key=lambda one: (bool(one.judges), not one.judges_itself), default=None)

    @property
    def price(self) -> Number | None:
        """Of an hour, where the recipe names one."""
        value = self.settings.get("tracking", {}).get("price_per_hour")
        source = f"{SETTINGS}#{pointer('tracking', 'price_per_hour')}"
        return None if value is None else Number(value, (source,), "money")

    def sources_of(self, stage: StageRun) -> dict[str, str]:
        """Stages that it starts from, by the setting that names each."""
        names = {one.name for one in self.stages} - {stage.name}
        return dict(_named(stage.settings, names, ()))


def read(folder: Path) -> Run:
    """Raises ArtifactError where no recipe was run."""
    path = folder / SETTINGS
    if not path.is_file():
        raise ArtifactError(f"{folder}: no {SETTINGS}: not the folder of a run; name one, such as runs/quickstart")
    settings = yamlfile.plain(yamlfile.read(path))
    return Run(folder, settings, tuple(_stage(folder, name, said) for name, said in settings["stages"].items()))


def _stage(run: Path, name: str, settings: Row) -> StageRun:
    home = f"stages/{name}"
    if (run / home / artifacts.FILE).is_file():
        try:
            artifacts.read(run / home)
            state, record = "finished", json.loads((run / home / artifacts.FILE).read_text("utf-8"))
        except ArtifactError:
            state, record = "damaged", {}
    else:
        begun = scratch(Path(home)).as_posix()
        home, state, record = (begun, "unfinished", {}) if (run / begun).is_dir() else (home, "not run", {})
    lines = _lines(run / home / artifacts.METRICS)
    return StageRun(name, settings.get("stage", name), state, settings, run, home, record, lines)


def _lines(path: Path) -> tuple[Line, ...]:
    """Rows of a file; the last may be torn where a run was stopped."""
    if not path.is_file():
        return ()
    found = []
    for at, text in enumerate(path.read_text("utf-8").split("\n")):  # and at no other mark in a text
        try:
            found.append(Line(at, json.loads(text)))
        except ValueError:
            continue
    return tuple(found)


def pointer(*path: str | int) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path).replace(" ", "%20")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _named(value: Any, names: set[str], path: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Stages that settings name as `{stage: …}`, by where."""
    if isinstance(value, Mapping):
        if path and value.get("stage") in names:
            yield ".".join(path), value["stage"]
        for key, item in value.items():
            yield from _named(item, names, (*path, str(key)))
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _named(item, names, (*path, str(i)))
