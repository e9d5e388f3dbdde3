"""The plan of a recipe: of every stage and backend what it needs, whether that fits, and what would."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlhf.config import Full, LoRA, QLoRA, StageConfig, TrainingStage
from rlhf.errors import FitError, RecipeError
from rlhf.fit import set_train, smaller, with_checkpointing, with_micro_batch
from rlhf.plan.devices import Device
from rlhf.plan.lengths import Batch, Lengths, lengths
from rlhf.plan.memory import Parts, Setup, need
from rlhf.plan.models import BACKENDS, Model, Models, starts_from
from rlhf.plan.shape import Shape
from rlhf.plan.work import Work, on_disk, runs_on_ours, work
from rlhf.recipe import Recipe

SPARE = 0.95
"""Share of a device's memory that a stage may take: the rest is lost between what is held."""
_UNKNOWN = 1000
"""Examples that are reckoned with where it is not known how many there are."""


@dataclass(frozen=True)
class Estimate:
    """A stage under one backend."""

    backend: str
    memory: Parts
    """Bytes by what they hold, when it holds most."""
    work: Work
    disk: float
    """Bytes, while it runs."""
    fits: bool

    @property
    def peak(self) -> float:
        """Bytes in all."""
        return sum(self.memory.values())


@dataclass(frozen=True)
class StagePlan:
    """A stage under its own backend, and under the others."""

    name: str
    kind: str
    model: str
    """Name of the base."""
    parameters: int
    own: Estimate
    others: tuple[Estimate, ...]
    settings: Mapping[str, Any]
    """Which of `train` make it fit, where its own do not; empty where they do, or none would."""
    then: Estimate | None
    """With those settings; under another backend where none would under its own."""
    assumed: tuple[str, ...]

    @property
    def best(self) -> Estimate:
        """With the settings that make it fit under its own backend, where there are such and it needs them."""
        return self.then if self.then is not None and self.then.backend == self.own.backend else self.own


@dataclass(frozen=True)
class Plan:
    """Of a recipe on a device."""

    recipe: str
    device: Device
    stages: tuple[StagePlan, ...]
    price: float | None
    """Of an hour."""

    @property
    def seconds(self) -> float | None:
        """Of all stages; None where it is not known how fast the device is."""
        times = [stage.best.work.seconds for stage in self.stages]
        return None if None in times else sum(filter(None, times))

    @property
    def fits(self) -> bool:
        return all(stage.best.fits for stage in self.stages)


def plan(recipe: Recipe, device: Device, price: float | None = None) -> Plan:
    """What a recipe needs on a device. Loads no weights and fetches at most a config.json.

    Raises RecipeError for models whose size cannot be told.
    """
    folder = recipe.path.parent if recipe.path else Path.cwd()
    models = Models(recipe.stages, folder)
    stages = tuple(_planned(stage, models, device) for stage in recipe.stages.values())
    return Plan(recipe.name, device, stages, price if price is not None else recipe.config.tracking.price_per_hour)


def fitted(recipe: Recipe, device: Device) -> tuple[Recipe, list[str]]:
    """The recipe with micro-batches and checkpointing that fit a device, and what was set, in words.

    Raises FitError where a stage fits with none.
    """
    made, said, stages = plan(recipe, device), list[str](), dict(recipe.stages)
    if misfits := [advice(stage) for stage in made.stages if not stage.best.fits]:
        raise FitError("\n".join(misfits))
    for stage in made.stages:
        if stage.settings:  # of its own backend: all fit
            stages[stage.name] = set_train(stages[stage.name], stage.settings)
            words = ", ".join(f"train.{key} {json.dumps(value)}" for key, value in stage.settings.items())
            said.append(f"{stage.name}: {words}, for {device.name}")
    return replace(recipe, stages=stages), said


def advice(stage: StagePlan) -> str:
    """What makes a stage fit that does not, in words."""
    if stage.then is None:
        return f"{stage.name} fits under no backend: take a smaller model, or shorter examples (data.max_length)"
    words = [f"{stage.name}.train.{key}={json.dumps(value)}" for key, value in stage.settings.items()]
    if stage.then.backend == stage.own.backend:
        return f"{stage.name} fits with {' '.join(words)} (`rlhf run --fit` sets that)"
    other = f"{stage.name}.backend.kind={stage.then.backend}"
    return f"{stage.name} fits with {' '.join([other, *words])}, and under {stage.own.backend} with no micro-batch"


# ------------------------------------------------------------------------------------------------ stages


def _planned(stage: StageConfig, models: Models, device: Device) -> StagePlan:
    """A stage under its own backend, the others, and the settings that would make it fit."""
    model = models.of(starts_from(stage))
    demand = stage.demand()
    data = next(iter(stage.data_blocks().values()), None)
    if data is None:
        raise RecipeError(f"stage '{stage.name}' reads no examples: there is nothing to plan by")
    most = max(1, min(data.max_length, model.shape.positions - demand.new_tokens))
    known = lengths(data, demand.kind, model.tokenizer, most, demand.shares_prompt and runs_on_ours(model.shape))
    one = _Planner(stage, models, device, model, known, most)
    own = stage.backend if isinstance(stage, TrainingStage) else None
    mine = one.estimate(stage, own)
    others = [one.estimate(stage, how) for kind, how in BACKENDS.items() if own is not None and kind != own.kind]
    settings, then = one.what_fits() if not mine.fits else ({}, None)
    assumed = [known.assumed] if known.assumed else []
    if not runs_on_ours(model.shape):
        assumed.append(f"{model.shape.model_type} keeps what transformers keeps, which is known less well")
    if known.rows is None and demand.examples is None:
        assumed.append(f"{_UNKNOWN:,} examples: how many there are is not known yet")
    return StagePlan(
        stage.name, stage.stage, model.name, model.shape.parameters, mine, tuple(others), settings, then, tuple(assumed)
    )


@dataclass(frozen=True)
class _Planner:
    """Estimates one stage under any settings."""

    stage: StageConfig
    models: Models
    device: Device
    model: Model
    known: Lengths
    most: int

    def estimate(self, stage: StageConfig, backend: Full | LoRA | QLoRA | None) -> Estimate:
        """What the stage needs with a backend; one that trains nothing takes its model whole."""
        setup = self.setup(stage, backend or self.model.backend)
        drawn = setup.demand.new_tokens
        parts = need(setup)
        return Estimate(
            backend.kind if backend else "",
            parts,
            work(
                setup,
                self.examples(stage),
                tokens=self.known.mean(self.most, drawn),
                learned=float(drawn) or self.known.learned(),
                drawn=drawn,
            ),
            on_disk(setup, bool(getattr(getattr(stage, "train", None), "checkpoint_every", 0))),
            sum(parts.values()) <= SPARE * self.device.memory,
        )

    def examples(self, stage: StageConfig) -> int:
        """That are trained on in a pass, or answered."""
        demand = stage.demand()
        if demand.examples is not None:
            return demand.examples
        rows = _UNKNOWN if self.known.rows is None else self.known.rows
        if isinstance(stage, TrainingStage) and (steps := getattr(stage.train, "max_steps", None)):
            rows = min(rows, round(steps * stage.step_size / demand.passes))
        return rows

    def setup(self, stage: StageConfig, backend: Full | LoRA | QLoRA) -> Setup:
        demand, sizes = stage.demand(), stage.sizes()
        micro = sizes["batch"][1] if "batch" in sizes else 1
        train = getattr(stage, "train", None)
        beside, adapters = self.judges(stage, backend)
        return Setup(
            shape=self.model.shape,
            backend=backend,
            precision=stage.precision,
            demand=demand,
            device=self.device,
            batch=self.batch(stage, micro),
            accumulates=isinstance(stage, TrainingStage) and stage.step_size > micro,
            checkpointing=bool(getattr(train, "gradient_checkpointing", False)),
            optimizer=getattr(train, "optimizer", "adamw"),
            judges=beside,
            judging_adapters=adapters,
            drawn=self.batch(stage, demand.drawn) if demand.drawn else None,
            frozen_layers=getattr(train, "freeze_layers", 0),
        )

    def batch(self, stage: StageConfig, size: int) -> Batch:
        """The largest batch of so many examples that the stage comes by."""
        demand = stage.demand()
        return self.known.largest(
            self.most, size, round(self.examples(stage) * demand.passes / size), demand.new_tokens
        )

    def judges(self, stage: StageConfig, backend: Full | LoRA | QLoRA) -> tuple[tuple[Shape, ...], int]:
        """Reward models that are models of their own, and how many are adapters on this stage's base."""
        references = stage.references()
        found = [self.models.of(references[field][0]) for field in stage.demand().judges]
        on_base = isinstance(backend, LoRA)
        own = [one for one in found if not (on_base and isinstance(one.backend, LoRA) and one.name == self.model.name)]
        return tuple(one.shape for one in own), len(found) - len(own)

    def what_fits(self) -> tuple[Mapping[str, Any], Estimate | None]:
        """Settings under which the stage fits, and what it needs then: smaller micro-batches first, then recomputed
        activations, then both; under its own backend, else under a lighter one. None where nothing does."""
        if not isinstance(self.stage, TrainingStage):
            return {}, None
        lighter = list(BACKENDS.values())[[*BACKENDS].index(self.stage.backend.kind) + 1 :]
        for backend in (self.stage.backend, *lighter):
            for stage in _lighter(self.stage):
                if (found := self.estimate(stage, backend)).fits:
                    return _changed(self.stage, stage), found
        return {}, None


def _lighter(stage: TrainingStage) -> Iterator[TrainingStage]:
    """The stage with settings that need less and less memory and change no result but by rounding."""
    for begun in (stage, with_checkpointing(stage)):
        yield begun
        while not begun.reads_micro_batches() and (size := smaller(begun)) is not None:
            begun = with_micro_batch(begun, size)
            yield begun


def _changed(before: TrainingStage, after: TrainingStage) -> dict[str, Any]:
    """Settings of `train` that are other than they were."""
    names = type(before.train).model_fields
    return {n: getattr(after.train, n) for n in names if getattr(after.train, n) != getattr(before.train, n)}
