"""Run a recipe: each stage in turn, finished ones skipped by hash, each committed whole or not at all.

<out>/<recipe>/
    recipe.lock.yaml      every setting as it was used
    stages/<name>/        one folder a stage (rlhf/artifact.py)
"""

import importlib
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from rlhf import artifact as artifacts
from rlhf import disk, fit, libraries, progress, reloaded, rules, unfinished, usercode, yamlfile
from rlhf.artifact import EXAMPLES, Artifact
from rlhf.config import ModelRef, RuleConfig, StageConfig, Strict, items
from rlhf.config.data import RowFunction, Source
from rlhf.console import Screen, summary
from rlhf.data import files
from rlhf.determinism import deterministic, foreseen
from rlhf.errors import ArtifactError, FitError, RecipeError
from rlhf.memory import OutOfMemory, begin_peak, peak, release, spent_on
from rlhf.privacy import masked, no_unasked_traffic
from rlhf.recipe import Recipe
from rlhf.resources import code_hash
from rlhf.sinks import Ending
from rlhf.tracking import Tracker
from rlhf.weights import Weights, find, is_whole


def run(
    recipe: Recipe, out: Path, screen: Screen, *, fresh: bool = False, only: str | None = None
) -> dict[str, Artifact]:
    """Run every stage of a recipe that is not already done. `fresh` runs all of them again.

    With `only`, stages of that kind alone; the stages they start from must have been run, and as the recipe says.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise RecipeError("recipes run on one process so far; start without torchrun or accelerate launch")
    no_unasked_traffic()
    folder = out / recipe.name
    try:
        _check_contained(folder)
        (folder / "stages").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecipeError(f"{folder}: cannot be the run folder: {error.strerror}; name another with --out") from None
    asked = any(stage.deterministic for stage in recipe.stages.values())
    with _alone(folder), artifacts.writing_to(folder, "the run"), foreseen(asked):
        return _Run(recipe, folder, screen, fresh, only).run()


def _check_contained(folder: Path) -> None:
    """Raise RecipeError where something in a run folder would have a run write outside of it, or wait for ever: a link,
    or what is neither file nor folder. What W&B keeps has links of its own, which it replaces."""
    stages = folder / "stages"
    stores = [folder / name for name in ("mlflow.db", "mlflow", "trackio")]
    written = [folder, folder / progress.LOCK, folder / progress.SETTINGS, *stores, stages]
    if stages.is_dir() and not stages.is_symlink():
        homes = list(stages.iterdir())
        written += homes
        for scratch in (home for home in homes if home.name.startswith(".") and not home.is_symlink()):
            for root, inner, names in os.walk(scratch):
                written += [Path(root, name) for name in (*inner, *names)]
                inner[:] = [name for name in inner if name != "wandb"]
    for path in written:
        if path.is_symlink():
            raise RecipeError(
                f"{path}: is a link, and a run writes in its own folder alone; put there what it leads to"
            )
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise RecipeError(f"{path}: is neither a file nor a folder; remove it")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One run at a time in a folder. The system drops the lock when a process ends, however it ends."""
    import fcntl

    with (folder / progress.LOCK).open("w") as lock:
        for seconds in (0.1, 0.1, None):  # `rlhf status` holds it for a moment, to see whether it is free
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if seconds is None:
                    raise RecipeError(
                        f"{folder}: another run is at work here; wait for it, or take another folder: name=… or --out"
                    ) from None
                time.sleep(seconds)
        yield


@dataclass
class _Run:
    """A run at work in its folder."""

    recipe: Recipe
    folder: Path
    screen: Screen
    fresh: bool
    only: str | None
    done: dict[str, Artifact] = field(default_factory=dict)
    """What the stages so far have made."""
    outside: dict[tuple[str, str], Weights] = field(default_factory=dict)
    """Models from outside the recipe, by stage and field."""

    def run(self) -> dict[str, Artifact]:
        """Every stage in turn."""
        disk.sweep(self.folder, deep=False)
        yamlfile.write(masked(self.recipe.resolved()), self.folder / progress.SETTINGS)
        for note in self.recipe.notes:
            self.screen.say(f"note: {note}")
        for name, stage in self.recipe.stages.items():
            if self.wants(stage):
                self.prepare(name, stage)
        for name, stage in self.recipe.stages.items():
            self.stage(name, stage)
        return self.done

    def wants(self, stage: StageConfig) -> bool:
        """Whether the stage is to run, and not only to be found as it was left."""
        return self.only is None or stage.stage == self.only

    def prepare(self, name: str, stage: StageConfig) -> None:
        """Find what a stage needs from outside, so that what is missing is told now and not after hours of others."""
        _load_rules(stage)
        found = {where: self.find(ref) for where, (ref, _) in stage.references().items() if ref.stage is None}
        _check_roles(stage, found)
        self.outside |= {(name, where): weights for where, weights in found.items()}

    def find(self, ref: ModelRef) -> Weights:
        return find(ref, self.done, self.recipe.path.parent if self.recipe.path else Path.cwd())

    def stage(self, name: str, stage: StageConfig) -> None:
        """Have what a stage makes: as it lies there, or by running it. One that is not wanted may lack it."""
        wanted = self.wants(stage)
        if missing := [parent for parent in _parents(stage) if parent not in self.done]:
            if wanted:
                raise ArtifactError(
                    f"stage '{name}' starts from '{missing[0]}', which has not run with these settings: "
                    f"rlhf run {self.recipe.path or self.recipe.name}"
                )
            return
        inputs = {
            where: self.outside.get((name, where)) or self.find(ref) for where, (ref, _) in stage.references().items()
        }
        stage = _with_examples(stage, self.done)
        _check_roles(stage, inputs)
        home, key = self.folder / "stages" / name, stage_hash(stage, inputs)
        trusted = any(weights.trust_remote_code for weights in inputs.values())
        if old := _unchanged(home, key, self.fresh and wanted, trusted):
            self.done[name] = old
            self.screen.say(f"✓ {self.title(name)}  unchanged, skipped")
        elif wanted:
            self.done[name] = self.make(stage, inputs, home, key)

    def title(self, name: str) -> str:
        return f"{name} ({[*self.recipe.stages].index(name) + 1}/{len(self.recipe.stages)})"

    def make(self, stage: StageConfig, inputs: Mapping[str, Weights], home: Path, key: str) -> Artifact:
        """Run a stage; where it fails, leave word of why."""
        if not self.fresh and (home / artifacts.FILE).exists() and _finished(home) is None:
            self.screen.say(f"  {home} is not what the stage wrote there: it runs again")
        begun = stage_hash(fit.apart_from_memory(stage), inputs)
        if said := unfinished.take_up(home, begun, self.fresh):
            self.screen.say(f"  {said}")
        scratch = progress.scratch(home)
        try:
            (scratch / progress.FAILED).unlink(missing_ok=True)
            after = [*self.recipe.stages][[*self.recipe.stages].index(stage.name) + 1 :]
            ahead = [progress.seconds_of(home.with_name(one)) for one in after]
            self.screen.stage(self.title(stage.name), stage.stage, ahead if self.only is None else ())
            return self.at_work(stage, inputs, home, key)
        except Exception as error:
            refused = isinstance(error, ArtifactError | RecipeError)
            if refused and not (scratch / artifacts.CHECKPOINT).is_dir():
                shutil.rmtree(scratch, ignore_errors=True)  # before it began; checkpoints stay
            else:
                progress.failed(scratch, error)
            raise

    def at_work(self, stage: StageConfig, inputs: Mapping[str, Weights], home: Path, key: str) -> Artifact:
        """Run a stage beside its place, and move what it made there once it is on disk. `key`: what it is known by."""
        settings, scratch = masked(stage.model_dump(mode="json")), progress.scratch(home)
        libraries.prepare()
        config, recipe = self.recipe.config.tracking, self.recipe.name
        tracker = Tracker(scratch, self.screen, config, recipe=recipe, stage=stage.name, settings=settings, home=home)
        metrics: Mapping[str, Any] = {}
        ending: Ending = "failed"
        begin_peak()
        try:
            with deterministic(stage.deterministic):
                made = _made(stage, inputs, scratch, home, tracker)
            parents = {where: weights.lineage for where, weights in inputs.items()}
            spent = {"seconds": round(tracker.seconds, 3), **peak()}
            made = replace(made, hash=key, parents=parents, config=settings, versions=libraries.versions(), spent=spent)
            tracker.account(made)
            made = artifacts.write(made, scratch)
            metrics = made.metrics
            tracker.made(made, list(inputs.values()), _examples(stage))
            ending = "finished"
        except KeyboardInterrupt:
            ending = "interrupted"
            raise
        except UnpicklingError:
            raise ArtifactError(
                f"{scratch / artifacts.CHECKPOINT}: holds more than numbers, which no stage wrote and nothing here "
                "runs; run with --fresh to start this stage again"
            ) from None
        finally:
            tracker.close(metrics, ending)
            self.screen.stop()
        made = artifacts.commit(scratch, home)
        for line in _rows_lost(made):
            self.screen.say(f"  {line}")
        self.screen.done(summary(made.metrics))
        return made


def _unchanged(home: Path, key: str, fresh: bool, trusted: bool) -> Artifact | None:
    """What a stage left when it last ran as it would now; also when it was stopped just before its last rename.

    Where the recipe does not trust the code of what the stage starts from, neither can what the stage left.
    """
    if fresh:
        return None
    for folder in (home, progress.scratch(home)):
        made = _finished(folder)
        if made and made.hash == key and (made.base is None or trusted or not made.base.trust_remote_code):
            return made if folder == home else artifacts.commit(folder, home)
    return None


def _finished(folder: Path) -> Artifact | None:
    """What a stage left that finished whole, all of it as it was written."""
    made = artifacts.finished(folder)
    return made if made and is_whole(made) else None


def _made(stage: StageConfig, inputs: Mapping[str, Weights], scratch: Path, home: Path, tracker: Tracker) -> Artifact:
    """What a stage makes, once it is known to be what it saved; where memory runs out and it asks for `auto_batch`, in
    smaller micro-batches."""
    program = importlib.import_module(stage.program)
    size = fit.remembered(stage, scratch)
    while True:
        asked = stage if size is None else fit.set_train(stage, {"micro_batch_size": size})
        _seed(stage.seed)
        try:
            with spent_on("loading"):
                made: Artifact = program.run(asked, inputs, scratch, tracker)
                made = replace(made, base=_relative(made, home), folder=scratch.resolve())
                release()
                reloaded.check(stage, made)
            return made if size is None else replace(made, metrics={**made.metrics, "micro_batch_size": size})
        except OutOfMemory as error:  # which holds on to what memory went into, until it is left
            doing, why = error.doing, fit.advice(asked, error)
        size = fit.lowered(asked) if doing == "batch" else None
        if size is None:
            raise FitError(why)
        release()
        fit.remember(scratch, size)
        tracker.screen.say(f"  memory ran out: micro_batch_size is {size} from here on, the batch stays as it is")


def _rows_lost(made: Artifact) -> list[str]:
    """What became of rows that were not used as they are, and of fields that were not used at all."""
    lines = []
    if unread := made.data.get("file", {}).get("unread"):
        lines.append(f"fields that were not read: {', '.join(unread)}")
    if made.data.get("held_out", {}).get("rows") == 0:
        lines.append("no row is held out, so nothing was measured on unseen data; raise data.eval_fraction")
    for what, books in made.data.items():
        if isinstance(books, dict) and (books.get("dropped") or books.get("cut")):
            reasons = [f"{count} dropped ({reason})" for reason, count in books["dropped"].items()]
            reasons += [f"{books['cut']} cut to fit"] if books.get("cut") else []
            lines.append(f"{what}: of {books['rows']} rows " + ", ".join(reasons))
    return lines


def stage_hash(stage: StageConfig, inputs: Mapping[str, Weights]) -> str:
    """Hash of what a stage's output depends on: config, content of files, parents, the stage's own code and ours.

    Files count by content and not by path, so that a moved checkout does not run everything again; so do datasets on
    the hub, which change under their names.
    """
    config = {name: said for name, said in _content(stage).items() if name != "name"}
    parents = {where: weights.lineage for where, weights in inputs.items()}
    code = [code_hash(package) for package in (stage.program.rpartition(".")[0], "rlhf")]
    return artifacts.digest({"config": config, "parents": parents, "code": code})


def _content(value: Any) -> Any:
    match value:
        case ModelRef():
            return None  # its lineage is among the parents
        case Strict():
            fields = type(value).model_fields.keys() - value.unhashed
            held = {"holds": files.hub_hash(value)} if isinstance(value, Source) and value.hub else {}
            return {name: _content(getattr(value, name)) for name in fields} | held
        case Path():
            return [artifacts.sha256(path) for path in ([value] if value.is_file() else files.found(value))]
        case list():
            return [_content(item) for item in value]
        case dict():
            return {key: _content(item) for key, item in value.items()}
        case _:
            return value


def _load_rules(block: Strict) -> None:
    """Run the files of all rules and read all tokens, so that what is missing is told now and not after hours of other
    stages."""
    block.check_there()
    for _, item in items(block):
        if isinstance(item, RuleConfig):
            rules.load(item)
        elif isinstance(item, RowFunction):
            usercode.function(item, "data.rows")
        elif isinstance(item, Strict):
            _load_rules(item)


def _parents(stage: StageConfig) -> list[str]:
    """Stages of the recipe that a stage starts from, for its models and its examples."""
    models = [ref.stage for ref, _ in stage.references().values() if ref.stage is not None]
    return [*models, *stage.data_stages().values()]


def _with_examples(stage: StageConfig, done: Mapping[str, Artifact]) -> StageConfig:
    """The stage with the files that earlier stages wrote in place of their names: it is known by their content."""
    blocks = {
        name: block.with_files({key: done[made].folder / EXAMPLES for key, made in block.stages().items()})
        for name, block in stage.data_blocks().items()
    }
    return stage.model_copy(update=blocks)


def _examples(stage: StageConfig) -> list[Path]:
    """Folders of the stages whose examples a stage reads, of this run or another."""
    files = [source.path for block in stage.data_blocks().values() for source in block.sources.values()]
    made = [file.parent for file in files if file is not None and file.name == EXAMPLES]
    return [folder for folder in made if (folder / artifacts.FILE).is_file()]


def _check_roles(stage: StageConfig, inputs: Mapping[str, Weights]) -> None:
    """What the recipe cannot know of models from outside: whether they have a score head."""
    for where, weights in inputs.items():
        _, role = stage.references()[where]
        if (role == "reward") != weights.scores:
            has = "has no score head" if role == "reward" else "is a reward model"
            raise ArtifactError(f"stage '{stage.name}': {where} names '{weights.called}', which {has}")


def _relative(made: Artifact, home: Path) -> Any:
    """A base inside the same run is named relative to the artifact, so that the run folder can move."""
    if made.base is None or not Path(made.base.location).is_absolute():
        return made.base
    location = Path(made.base.location)
    run_folder = home.parent.parent.resolve()
    if location.is_relative_to(run_folder):
        return replace(made.base, location=os.path.relpath(location, home.resolve()))
    return made.base


def _seed(seed: int) -> None:
    """Before anything is drawn: fresh adapters and heads are made before a trainer would set its own seed."""
    from transformers import set_seed

    set_seed(seed)
