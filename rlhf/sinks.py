"""Where a stage's metrics go besides its metrics.jsonl: Weights & Biases, and what accelerate has trackers for.

A sink is told the stage's settings and metrics, not how the command was called, on what machine, in which folders or
with what packages.
"""

import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal, Protocol
from urllib.parse import quote

from rlhf.artifact import EXAMPLES, Artifact
from rlhf.config import TrackingConfig, WandB
from rlhf.privacy import masked, no_unasked_traffic, without_folders
from rlhf.weights import Weights

AXES = ("episodes", "num_tokens")
"""What metrics are drawn over, once a stage has logged it; else over its steps."""
Ending = Literal["finished", "interrupted", "failed"]
"""How a stage ends; one that was interrupted goes on."""


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

    def made(self, artifact: Artifact, parents: Sequence[Artifact], outside: Sequence[Weights]) -> None:
        """What the stage has made, of which stages' models and examples, and of which models from outside."""
        ...

    def close(self, summary: Mapping[str, Any], ending: Ending) -> None:
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

    @property
    def told(self) -> dict[str, Any]:
        """The settings for who is not on this machine."""
        return without_folders(masked(dict(self.settings)))

    @property
    def run(self) -> Path:
        """The run's folder, which stages of one recipe share."""
        return self.home.parent.parent


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
            config=at.told,
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

    def made(self, artifact: Artifact, parents: Sequence[Artifact], outside: Sequence[Weights]) -> None:
        for used in (*map(_data, _read(artifact, parents)), *map(_output, parents), *map(_model, outside)):
            # what `use_artifact` does with what is new; offline it refuses, though the file has a place for it
            self._run._log_artifact(used, is_user_created=True, use_after_commit=True)
        output = _output(artifact)
        if self._config.upload and self._run.settings.mode != "offline":
            output.add_dir(str(artifact.model))
        self._run.log_artifact(output)

    def close(self, summary: Mapping[str, Any], ending: Ending) -> None:
        self._run.summary.update({k: v for k, v in summary.items() if isinstance(v, int | float)})
        if ending == "interrupted":
            self._run.mark_preempting()  # ended from outside, and to go on: "preempted", not "failed"
        self._run.finish(exit_code=int(ending != "finished"))


def _read(artifact: Artifact, parents: Sequence[Artifact]) -> Iterator[Mapping[str, Any]]:
    """Each file of rows that a stage has read, but those that its parents have made."""
    seen = {made.hashes.get(EXAMPLES) for made in parents}
    for block in (artifact.data, *artifact.data.values()):
        for source in block.get("file", {}).get("sources", ()) if isinstance(block, Mapping) else ():
            if source.get("sha256") not in seen or source.get("sha256") is None:
                seen.add(source.get("sha256"))
                yield source


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


def _model(weights: Weights) -> Any:
    """A model from outside, by its content; of a folder no more than its own name."""
    name = Path(weights.name).name if Path(weights.name).is_absolute() else weights.name
    about = {"name": name, "revision": weights.revision}
    return _known_by_hash(_named(name), "model", about, {"weights": weights.identity})


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

    artifact = wandb.Artifact(name, type=kind, metadata=without_folders(masked(dict(about))))
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
    """TensorBoard, trackio or MLflow as accelerate calls them: numbers and settings. TensorBoard's are kept in the
    stage's folder; the others' in the run's, where a recipe is a project and a stage one of its runs, unless the
    library's own environment variables say otherwise."""

    left = ""

    def __init__(self, name: str, at: Started) -> None:
        no_unasked_traffic()
        from accelerate import PartialState

        PartialState()
        self.name = name
        start = {"tensorboard": self._tensorboard, "mlflow": self._mlflow, "trackio": self._trackio}[name]
        self._tracker: Any = start(at, f"{at.recipe}-{at.stage}")
        with redirect_stdout(sys.stderr):  # what trackio says is no result
            self._tracker.start()
            self._tracker.store_init_configuration(_flat(at.told))
        if name == "mlflow":
            (at.folder / _MLFLOW_RUN).write_text(self._tracker.tracker.info.run_id, encoding="utf-8")

    def _tensorboard(self, at: Started, called: str) -> Any:
        from accelerate.tracking import TensorBoardTracker

        return TensorBoardTracker(called, at.folder / self.name)

    def _mlflow(self, at: Started, called: str) -> Any:
        import mlflow  # type: ignore[import-not-found]
        from accelerate.tracking import MLflowTracker

        if "MLFLOW_TRACKING_URI" not in os.environ:
            file = (at.run / "mlflow.db").resolve()  # it refuses folders of files by now
            self._tell(file, f"mlflow ui --backend-store-uri {shlex.quote(f'sqlite:///{file}')}")
            mlflow.set_tracking_uri(f"sqlite:///{file}")
            os.environ.pop("MLFLOW_TRACKING_URI", None)  # which it sets, and another run in this process would obey
        begun = at.folder / _MLFLOW_RUN
        told = {"mlflow.user": "", "mlflow.source.name": "rlhf"}  # and not who ran which command, or in which checkout
        told |= {f"mlflow.source.git.{what}": "" for what in ("commit", "branch", "repoURL")}
        place = (at.run / "mlflow").resolve().as_uri()
        run_id = begun.read_text("utf-8").strip() if begun.is_file() else None
        return MLflowTracker(at.recipe, place, run_id=run_id, run_name=called, tags=told)

    def _trackio(self, at: Started, called: str) -> Any:
        from accelerate.tracking import TrackioTracker

        folder = (at.run / "trackio").resolve()
        told = "TRACKIO_DIR" in os.environ
        os.environ.setdefault("TRACKIO_DIR", str(folder))
        from trackio import utils  # type: ignore[import-not-found]

        if not told:
            del os.environ["TRACKIO_DIR"]  # which it reads once, when it is imported
            if Path(utils.TRACKIO_DIR) != folder:
                raise RuntimeError(f"it keeps {utils.TRACKIO_DIR} in this process; run one recipe a process")
            project = shlex.quote(_named(at.recipe))
            self._tell(folder, f"TRACKIO_DIR={shlex.quote(str(folder))} trackio show --project {project}")
        begun = at.folder / "trackio.begun"
        resume = "allow" if begun.is_file() else "never"
        begun.touch()
        quiet = {"auto_log_cpu": False, "auto_log_gpu": False, "embed": False}
        return TrackioTracker(_named(at.recipe), name=called, resume=resume, **quiet)

    def _tell(self, store: Path, command: str) -> None:
        """How to look at what is kept, once a run."""
        self.left = "" if store.exists() else f"{self.name}: look at it with: {command}"

    def log(self, values: Mapping[str, Any], step: int) -> None:
        numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
        if self.name == "mlflow":
            numbers = {re.sub(r"[^\w.\-/: ]", "-", name): value for name, value in numbers.items()}
        self._tracker.log(numbers, step=step)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        """The stage keeps its own file."""

    def histogram(self, name: str, values: Sequence[float], step: int) -> None:
        if self.name == "tensorboard":
            import torch

            self._tracker.tracker.add_histogram(name, torch.tensor(values), step)

    def curve(self, name: str, axes: tuple[str, str], points: Sequence[tuple[float, float]], step: int) -> None:
        """The report draws it."""

    def made(self, artifact: Artifact, parents: Sequence[Artifact], outside: Sequence[Weights]) -> None:
        """Its artifact.json has the lineage."""

    def close(self, summary: Mapping[str, Any], ending: Ending) -> None:
        if self.name == "mlflow" and ending != "finished":
            import mlflow  # type: ignore[import-not-found]

            mlflow.end_run("KILLED" if ending == "interrupted" else "FAILED")
        with redirect_stdout(sys.stderr):
            if self.name == "trackio":
                import trackio  # type: ignore[import-not-found]

                trackio.finish()  # its run's own, which accelerate calls, would be called again at exit
            else:
                self._tracker.finish()


_MLFLOW_RUN = "mlflow.id"


def _flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Settings in one level, `train.lr`, as trackers take them."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{before}{name}.")
        else:
            found[before + name] = value if isinstance(value, bool | int | float | str) else str(value)
    return found
