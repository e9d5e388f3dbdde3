"""Where a stage's metrics go besides its metrics.jsonl: Weights & Biases, and what accelerate has trackers for.

A sink is told the stage's settings and metrics, not how the command was called, on what machine or with what packages.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any, Protocol
from urllib.parse import quote

from rlhf.artifact import Artifact
from rlhf.config import TrackingConfig, WandB
from rlhf.privacy import masked, no_unasked_traffic

AXES = ("episodes", "num_tokens")
"""What metrics are drawn over, once a stage has logged it; else over its steps."""


class Sink(Protocol):
    """Takes what a stage logs. Whatever it raises turns it off; training goes on."""

    name: str
    left: str
    """What to do with what it leaves; empty for nothing."""

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Numbers at a step."""
        ...

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        """A whole table, in place of what it was at earlier steps."""
        ...

    def histogram(self, name: str, values: Sequence[float], step: int) -> None:
        """How numbers are spread."""
        ...

    def curve(self, name: str, axes: tuple[str, str], points: Sequence[tuple[float, float]], step: int) -> None:
        """A line through points."""
        ...

    def made(self, artifact: Artifact, parents: Sequence[Artifact]) -> None:
        """What the stage has made, of what, and from which data."""
        ...

    def close(self, summary: Mapping[str, Any]) -> None:
        """The stage is over."""
        ...


@dataclass(frozen=True)
class Started:
    """A stage that begins, or goes on."""

    folder: Path
    """Where it writes."""
    home: Path
    """Where that will lie when it is over."""
    recipe: str
    stage: str
    settings: Mapping[str, Any]


def wanted(config: TrackingConfig, at: Started) -> dict[str, Callable[[], Sink]]:
    """What is to be started, by name."""
    found: dict[str, Callable[[], Sink]] = {}
    if config.wandb is not None and config.wandb.mode != "disabled":
        found["W&B"] = partial(WandBSink, config.wandb, at)
    return found | {name: partial(AccelerateSink, name, at) for name in config.others}


# ------------------------------------------------------------------------------------------------ Weights & Biases


class WandBSink:
    """One group a recipe, one job type a stage. Offline without a key; an interrupted stage goes on in the same run."""

    name = "W&B"

    def __init__(self, config: WandB, at: Started) -> None:
        no_unasked_traffic()
        import wandb

        mode = config.mode
        if mode == "auto":
            mode = os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False) else "offline")
        self._config = config
        self._run = wandb.init(
            project=config.project,
            entity=config.entity,
            group=at.recipe,
            job_type=at.stage,
            name=f"{at.recipe}/{at.stage}",
            tags=config.tags,
            config=masked(dict(at.settings)),
            dir=at.folder.resolve(),
            id=_same_run(at.folder),
            resume="allow",
            mode=mode,  # type: ignore[arg-type]
            settings=wandb.Settings(
                silent=True,
                console="off",
                host="",
                disable_git=True,
                save_code=False,
                x_disable_meta=True,  # the command's words among others
                x_disable_machine_info=True,
                x_save_requirements=False,
            ),
        )
        self._axis = "step"
        self._drawn: set[str] = {"step", *AXES}
        """Metrics that W&B knows what to draw over."""
        for axis in ("step", *AXES):
            self._run.define_metric(axis, hidden=True)
        self._run.define_metric("*", step_metric="step")
        self.left = ""
        if self._run.settings.mode == "offline":
            kept = at.home / Path(self._run.dir).parent.relative_to(at.folder.resolve())
            self.left = f"W&B is offline; upload later with: wandb sync {kept.with_name('offline-run-*')}"

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """W&B's own step only ever grows, and ours goes back to a checkpoint's: it is a metric like the others."""
        self._axis = next((axis for axis in AXES if axis in values), self._axis)
        for name in values.keys() - self._drawn:
            self._run.define_metric(name, step_metric=self._axis)  # which W&B logs with it where it is not among them
        self._drawn |= values.keys()
        self._run.log({**values, "step": step})

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        import wandb

        told = wandb.Table(columns=list(columns), data=[list(row) for row in rows])
        self._run.log({name: told, "step": step})

    def histogram(self, name: str, values: Sequence[float], step: int) -> None:
        import wandb

        self._run.log({name: wandb.Histogram(list(values)), "step": step})

    def curve(self, name: str, axes: tuple[str, str], points: Sequence[tuple[float, float]], step: int) -> None:
        import wandb

        table = wandb.Table(columns=list(axes), data=[list(point) for point in points])
        self._run.log({name: wandb.plot.line(table, *axes, title=name), "step": step})

    def made(self, artifact: Artifact, parents: Sequence[Artifact]) -> None:
        sources = artifact.data.get("file", {}).get("sources", ())
        for used in (*map(_data, sources), *map(_output, parents)):
            # what `use_artifact` does with what is new; offline it refuses, though the file has a place for it
            self._run._log_artifact(used, is_user_created=True, use_after_commit=True)
        output = _output(artifact)
        if self._config.upload and self._run.settings.mode != "offline":
            output.add_dir(str(artifact.model))
        self._run.log_artifact(output)

    def close(self, summary: Mapping[str, Any]) -> None:
        self._run.summary.update({k: v for k, v in summary.items() if isinstance(v, int | float)})
        self._run.finish()


def _same_run(folder: Path) -> str:
    """The id of the run that a stage began in this folder, or a new one."""
    file = folder / "wandb.id"
    if not file.is_file():
        file.write_text(token_hex(4), encoding="utf-8")
    return file.read_text("utf-8").strip()


def _data(source: Mapping[str, Any]) -> Any:
    """A file of rows, by its content."""
    name = str(source["name"])
    return _known_by_hash(_named(name), "dataset", dict(source), {name: str(source.get("sha256", ""))})


def _output(made: Artifact) -> Any:
    """What a stage has made, by its files' hashes: the same, whichever run tells of it."""
    recipe = made.folder.parent.parent.name
    about = {"hash": made.hash, "stage": made.stage, "parents": dict(made.parents), "metrics": dict(made.metrics)}
    return _known_by_hash(
        _named(f"{recipe}-{made.name}"), made.makes, about, made.hashes or {"artifact.json": made.hash}
    )


def _known_by_hash(name: str, kind: str, about: Mapping[str, Any], files: Mapping[str, str]) -> Any:
    """An artifact of references to files that stay where they are, of which W&B is told no more than their hashes."""
    import wandb
    from wandb.sdk.artifacts.artifact_manifest_entry import ArtifactManifestEntry

    artifact = wandb.Artifact(name, type=kind, metadata=masked(dict(about)))
    for file, digest in sorted(files.items()):
        ref = f"rlhf://{quote(name)}/{quote(file)}"
        artifact.manifest.add_entry(ArtifactManifestEntry(path=file, ref=ref, digest=digest))  # type: ignore[arg-type]
    return artifact


def _named(name: str) -> str:
    """A name that W&B takes."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in name)
    return kept.strip("-.")[-128:] or "data"


# ------------------------------------------------------------------------------------------------ accelerate's


class AccelerateSink:
    """TensorBoard, trackio or MLflow as accelerate calls them: numbers and settings, kept in the stage's folder unless
    the library's own environment variables say otherwise."""

    left = ""

    def __init__(self, name: str, at: Started) -> None:
        no_unasked_traffic()
        from accelerate import PartialState, tracking

        PartialState()
        folder, called = at.folder / name, f"{at.recipe}-{at.stage}"
        self.name = name
        match name:
            case "tensorboard":
                self._tracker: Any = tracking.TensorBoardTracker(called, folder)
            case "mlflow":
                os.environ.setdefault("MLFLOW_TRACKING_URI", folder.resolve().as_uri())
                self._tracker = tracking.MLflowTracker(at.recipe, folder, run_name=called)
            case _:
                os.environ.setdefault("TRACKIO_DIR", str(folder.resolve()))
                self._tracker = tracking.TrackioTracker(_named(at.recipe), name=called)
        self._tracker.start()
        self._tracker.store_init_configuration(_flat(masked(dict(at.settings))))

    def log(self, values: Mapping[str, Any], step: int) -> None:
        self._tracker.log({name: value for name, value in values.items() if isinstance(value, int | float)}, step=step)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        """The stage keeps its own file."""

    def histogram(self, name: str, values: Sequence[float], step: int) -> None:
        if self.name == "tensorboard":
            import torch

            self._tracker.tracker.add_histogram(name, torch.tensor(values), step)

    def curve(self, name: str, axes: tuple[str, str], points: Sequence[tuple[float, float]], step: int) -> None:
        """The report draws it."""

    def made(self, artifact: Artifact, parents: Sequence[Artifact]) -> None:
        """Its artifact.json has the lineage."""

    def close(self, summary: Mapping[str, Any]) -> None:
        self._tracker.finish()


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Settings in one level, `train.lr`, as trackers take them."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name}.")
        else:
            found[before + name] = value if isinstance(value, bool | int | float | str) else str(value)
    return found
