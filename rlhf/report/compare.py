"""Runs side by side: the settings that differ, what each came to with its intervals, and what it took."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rlhf.data.writing import written
from rlhf.measures.headline import JUDGES
from rlhf.report import charts
from rlhf.report.findings import Finding, findings
from rlhf.report.number import Number, Style, Words, with_error, words
from rlhf.report.page import render
from rlhf.report.run import Run, StageRun, read
from rlhf.report.tables import spent


class Measured(NamedTuple):
    """A number of a run, with how sure it is."""

    value: Number
    low: Number | None = None
    high: Number | None = None
    error: Number | None = None

    @property
    def said(self) -> Words:
        if self.low is not None and self.high is not None:
            return words(self.value, " (", self.low, " to ", self.high, ")")
        return with_error(self.value, self.error)

    @property
    def plain(self) -> dict[str, float]:
        return {name: number.value for name, number in self._asdict().items() if number is not None}


@dataclass(frozen=True)
class Compared:
    """Several runs, row by row; a run that lacks something has None there."""

    names: list[str]
    runs: list[Run]
    settings: dict[str, list[Any]]
    """Those that differ, by stage and name, and the hashes of data that does, whatever it is called."""
    numbers: dict[str, list[Measured | None]]
    warnings: list[list[Finding]]

    def plain(self) -> dict[str, Any]:
        """For a machine."""
        return {
            "runs": [str(run.folder) for run in self.runs],
            "settings": self.settings,
            "numbers": {name: [one.plain if one else None for one in row] for name, row in self.numbers.items()},
            "warnings": [[one.plain() for one in found] for found in self.warnings],
        }


def compare(folders: Sequence[Path]) -> Compared:
    """Raises ArtifactError where a folder is none of a run."""
    runs = [read(folder) for folder in folders]
    differing = dict(_differing([run.settings["stages"] for run in runs])) | dict(_differing_rows(runs))
    measured = [dict(_measured(run)) for run in runs]
    rows = dict.fromkeys(name for one in measured for name in one)
    numbers = {name: [one.get(name) for one in measured] for name in rows}
    return Compared(_names(runs), runs, differing, numbers, [findings(run) for run in runs])


def write(found: Compared, path: Path) -> None:
    """The comparison as a page of its own."""
    runs = dict(zip(found.names, found.runs, strict=True))
    shown = [
        charts.overlaid(
            runs,
            lambda stage: stage.series("score", x="kl"),
            "Reward versus KL",
            "One dot a rollout. Rewards of different runs are on one scale only where one model gave them.",
            "KL to the reference, nats an answer",
            "reward",
        ),
        charts.overlaid(
            runs,
            lambda stage: stage.series("heldout/judge", x="heldout/kl"),
            "Held-out judge versus KL",
            "One dot a look at held-out prompts.",
            "KL to the reference, nats an answer",
            "judge",
        ),
    ]
    with written(path) as file:
        file.write(render("compare.html.jinja", found=found, charts=[one for one in shown if one]))


def _names(runs: Sequence[Run]) -> list[str]:
    """What each is called: by its name, and by its folder where names are alike."""
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.folder) for run in runs]


def _differing(settings: Sequence[Any], path: str = "") -> Iterator[tuple[str, list[Any]]]:
    """Settings that are not alike, by dotted names. A block that some runs lack is told once, and not key by key."""
    if all(_holds_blocks(one) for one in settings):
        settings = [dict(enumerate(one)) for one in settings]
    if all(isinstance(one, Mapping) for one in settings):
        for key in dict.fromkeys(key for one in settings for key in one):
            yield from _differing([one.get(key) for one in settings], f"{path}.{key}".removeprefix("."))
    elif (different := _count(settings)) > 1:
        short = [_short(one) for one in settings]
        yield path, short if _count(short) == different else [_whole(one) for one in settings]


def _holds_blocks(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, Mapping) for item in value)


def _count(values: Sequence[Any]) -> int:
    """How many of them are different."""
    return len({json.dumps(one, sort_keys=True) for one in values})


def _short(value: Any) -> Any:
    """A setting as a cell: of a block that it is there, of a file its name."""
    if isinstance(value, Mapping):
        return "given" if value else None
    return Path(value).name if isinstance(value, str) and value.startswith("/") else _whole(value)


def _whole(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, Mapping | list) else value


def _differing_rows(runs: Sequence[Run]) -> Iterator[tuple[str, list[Any]]]:
    """Data that holds other rows than another run's of the same name, by what its files' hashes begin with."""
    read = [dict(_hashes(run)) for run in runs]
    for name in (name for name in read[0] if all(name in one for one in read)):
        if _count(hashes := [one[name] for one in read]) > 1:
            yield f"{name} (sha256)", [", ".join(hash[:12] for hash in one) for one in hashes]


def _hashes(run: Run) -> Iterator[tuple[str, list[str]]]:
    """Of the files of every block of data that stages have read."""
    for stage in run.stages:
        data = stage.record.get("data", {})
        for name, block in {"data": data, **data}.items():
            sources = block.get("file", {}).get("sources", []) if isinstance(block, Mapping) else []
            if hashes := [source["sha256"] for source in sources if source.get("sha256")]:
                yield f"{stage.name}.{name}", hashes


# ------------------------------------------------------------------------------------------------ numbers


_OF_POLICY: dict[str, tuple[str, Style]] = {
    "KL, nats an answer": ("kl", "nats"),
    "change of length": ("length_drift", "percent"),
    **{f"score by {JUDGES[judge]}": (f"policy_{judge}_score", "plain") for judge in ("gold", "held_out", "reward")},
}
_OF_REWARD: dict[str, tuple[str, Style]] = {
    "reward model's accuracy": ("reward_accuracy", "percent"),
    "reward model's calibration error": ("reward_ece", "plain"),
}


def _measured(run: Run) -> Iterator[tuple[str, Measured]]:
    """What a run came to, the most important first."""
    if (stage := run.evaluation) is not None:
        for rated, other in (("win_rate", "its baseline"), ("win_rate_over_prompted", "a prompt")):
            for judge, called in JUDGES.items():
                if found := _interval(stage, f"{judge}_{rated}"):
                    yield f"preferred to {other} by {called}", found
        yield from _present(stage, _OF_POLICY)
    for stage in run.kinds("evaluate"):
        yield from _present(stage, _OF_REWARD)
    took = spent(run)
    for name in ("seconds", "cost"):
        if took[name] is not None:
            yield {"seconds": "time", "cost": "cost"}[name], Measured(took[name])
    memory = [row["memory"] for row in took["rows"] if row["memory"]]
    if memory:
        yield "peak memory", Measured(max(memory, key=lambda number: number.value))


def _interval(stage: StageRun, name: str) -> Measured | None:
    value, low, high = (stage.last(f"{name}{end}", "percent") for end in ("", "_low", "_high"))
    return Measured(value, low, high) if value else None


def _present(stage: StageRun, names: Mapping[str, tuple[str, Style]]) -> Iterator[tuple[str, Measured]]:
    for said, (key, style) in names.items():
        if value := stage.last(key, style):
            yield said, Measured(value, error=stage.last(f"{key}_stderr", style))
