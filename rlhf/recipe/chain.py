"""What can be wrong with a recipe as a whole: its links, its files, its splits."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from rlhf import artifact
from rlhf.config import DataConfig, LoRA, Role, StageConfig, TrainingStage, items
from rlhf.config.data import Source
from rlhf.data.files import found, nearby
from rlhf.errors import RLHFError, did_you_mean
from rlhf.recipe.words import Places
from rlhf.registry import MODELS, resolve, template_text


def broken_links(stages: Mapping[str, StageConfig], places: Places) -> Iterator[str]:
    for position, (name, stage) in enumerate(stages.items()):
        for where, (ref, role) in stage.references().items():
            place = f"{places(('stages', name, *where.split('.')))}: stage '{name}'"
            if ref.stage is None:
                try:
                    source = resolve(ref, places.path.parent if places.path else None)
                    makes = artifact.read(Path(source.location)).makes if source.is_artifact else role
                except RLHFError as error:
                    yield f"{place}: {where}: {error}"
                else:
                    if makes != role:
                        yield f"{place}: {where} names '{ref.name}', which is a {makes}, not a {role}"
                continue
            at = f"{place}: {where} names '{ref.stage}'"
            if wrong := _not_a_parent(ref.stage, role, position, stages):
                yield f"{at}, {wrong}"
            else:
                yield from _check_parent(stage, stages[ref.stage], where, at, stages, places)
        for where, source in stage.data_stages().items():
            if wrong := _not_a_parent(source, "dataset", position, stages):
                place = places(("stages", name, *where.split(".")))
                yield f"{place}: stage '{name}': {where}.stage names '{source}', {wrong}"


def _not_a_parent(named: str, role: Role, position: int, stages: Mapping[str, StageConfig]) -> str:
    """Why the stage at `position` cannot start from the one it names; empty where it can."""
    names = list(stages)
    fitting = [n for n in names[:position] if stages[n].makes == role]
    choice = f"stages before it that make a {role}: {', '.join(map(repr, fitting)) or 'none'}"
    if named not in stages:
        return f"which is no stage of this recipe{did_you_mean(named, names[:position])}"
    if names.index(named) == position:
        return f"itself; {choice}"
    if names.index(named) > position:
        return f"which runs after it; stages run in the order they are written; {choice}"
    if stages[named].makes != role:
        return f"which makes a {stages[named].makes}; {choice}"
    return ""


def _check_parent(
    stage: StageConfig,
    parent: StageConfig,
    where: str,
    at: str,
    stages: Mapping[str, StageConfig],
    places: Places,
) -> Iterator[str]:
    if stage.template != parent.template and stage.template is not None:
        yield (
            f"{places(('stages', stage.name, 'template'))}: stage '{stage.name}' would format text with template "
            f"'{stage.template}', but its {where} '{parent.name}' was made with "
            f"'{parent.template or 'its own default'}'; "
            "a model must see text as it was trained on: remove `template` here, or set it on the first stage"
        )
    if where != "model" or not (isinstance(stage, TrainingStage) and isinstance(parent, TrainingStage)):
        return
    if not (isinstance(stage.backend, LoRA) and isinstance(parent.backend, LoRA)):
        return
    shape, under = _shape(stage, stages), _shape(parent, stages)
    unlike = [key for key in shape.keys() & under.keys() if shape[key] != under[key]]
    if unlike and (shape.get("dora") or under.get("dora")):
        yield (
            f"{at}, whose adapter has another {unlike[0]}: one of another shape goes on top of its parent's, and "
            "DoRA's do not add up; give both stages the same r, alpha, targets, dora and rslora"
        )


def _shape(stage: TrainingStage, stages: Mapping[str, StageConfig]) -> dict[str, Any]:
    """What is known of a stage's adapter: its own settings over its parent's, over what is customary."""
    parent = stages.get(stage.model.stage or "")
    order = list(stages)
    found: dict[str, Any] = {}
    if parent is not None and order.index(parent.name) >= order.index(stage.name):
        return found  # no parent: which is told where it stands
    if isinstance(parent, TrainingStage) and isinstance(parent.backend, LoRA):
        found = _shape(parent, stages)
    elif parent is not None or stage.model.name in MODELS:
        found = {"r": 16, "dora": False, "rslora": False}
    own = stage.backend.model_dump(include={"r", "alpha", "targets", "dora", "rslora"})
    return found | {key: value for key, value in own.items() if value is not None}


# ------------------------------------------------------------------------------------------------ files and splits


def missing_files(stages: Mapping[str, StageConfig], places: Places) -> Iterator[str]:
    for name, stage in stages.items():
        if isinstance(stage.template, str):
            try:
                template_text(stage.template)
            except RLHFError as error:
                yield f"{places(('stages', name, 'template'))}: stage '{name}': {error}"
        for keys, value in _leaves(stage):
            if isinstance(value, Path) and keys[-1] in ("path", "eval_path"):
                try:
                    found(value)
                except RLHFError as error:
                    yield f"{places(('stages', name, *keys))}: {'.'.join((name, *keys))}: {error}"
            elif isinstance(value, Path) and not value.is_file():
                what = f"{value} is a folder, not a file" if value.is_dir() else f"no file {value}{nearby(value)}"
                yield f"{places(('stages', name, *keys))}: {'.'.join((name, *keys))}: {what}"


def unknown_formats(stages: Mapping[str, StageConfig], places: Places) -> Iterator[str]:
    """Names of row formats that there are not."""
    for name, stage in stages.items():
        for block, data in stage.data_blocks().items():
            for key, source in data.sources.items():
                if source.format == "auto":
                    continue
                from rlhf.data.formats.reader import FORMATS  # here: slow to import, and seldom needed

                known = {form for kind in FORMATS.values() for form in kind}
                if source.format not in known:
                    keys = (block, *filter(None, key.split(".")), "format")
                    what = f"no format '{source.format}'{did_you_mean(source.format, known)}"
                    yield f"{places(('stages', name, *keys))}: {'.'.join((name, *keys))}: {what}"


def _leaves(block: BaseModel, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value under a block that is no block itself, with the keys that lead to it."""
    for path, item in items(block):
        if isinstance(item, BaseModel):
            yield from _leaves(item, (*keys, *path))
        else:
            yield (*keys, *path), item


def unlike_splits(stages: Mapping[str, StageConfig], places: Places) -> Iterator[str]:
    """One source is split alike by every stage: else what one holds out, another trains on."""
    first: dict[str, tuple[str, float]] = {}
    for name, stage in stages.items():
        for block, data in stage.data_blocks().items():
            if data.eval_path is not None:
                continue
            for origin in _origins(data, stages):
                where, fraction = first.setdefault(origin.called, (name, data.eval_fraction))
                if data.eval_fraction != fraction:
                    yield (
                        f"{places(('stages', name, block))}: stage '{name}' holds out {data.eval_fraction:g} of "
                        f"{origin.called}, and stage '{where}' {fraction:g}: what one holds out the other "
                        "trains on; give both the same eval_fraction, or a file of its own to evaluate on"
                    )


def _origins(data: DataConfig, stages: Mapping[str, StageConfig]) -> Iterator[Source]:
    """Where the prompts of a data block come from: answers that a stage drew have the prompts of its own sources."""
    for source in data.sources.values():
        if source.stage is None:
            yield source
        else:
            for block in stages[source.stage].data_blocks().values():
                yield from _origins(block, stages)
