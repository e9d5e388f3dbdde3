"""A recipe: stages in order, each starting from a model or from an earlier stage.

Parsing applies overrides, fills each stage from the recipe's defaults, validates every block and then the chain as
a whole, so that whatever can fail before weights are loaded fails here, naming file, line and column.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml.comments import CommentedMap

from rlhf import yamlfile
from rlhf.config import DataConfig, LoRA, StageConfig
from rlhf.config.data import path_alone
from rlhf.errors import RecipeError, did_you_mean
from rlhf.recipe.chain import broken_links, missing_files, unknown_formats, unlike_splits
from rlhf.recipe.config import INHERITED, LONGEST_NAME, RecipeConfig, stage_kinds
from rlhf.recipe.overrides import apply_override
from rlhf.recipe.words import Places, blocks_of, explain
from rlhf.resources import recipe_names, resource


@dataclass(frozen=True)
class Recipe:
    """A validated recipe."""

    config: RecipeConfig
    stages: dict[str, StageConfig]
    path: Path | None = None
    notes: list[str] = field(default_factory=list)
    """Things worth telling the user that are no errors."""

    @property
    def name(self) -> str:
        return self.config.name

    def resolved(self) -> dict[str, Any]:
        """Every setting with its value, as written to `recipe.lock.yaml`; parsing it again gives this recipe."""
        top = self.config.model_dump(mode="json", exclude={"stages"}, exclude_none=True)
        stages = {n: s.model_dump(mode="json", exclude={"name"}) for n, s in self.stages.items()}
        return {**top, "stages": stages}


def load(recipe: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Parse and validate a recipe: a file, or the name of one that is shipped. Raises RecipeError."""
    path = find(recipe)
    tree = yamlfile.read(path)
    return parse(yamlfile.plain(tree), overrides, tree=tree, path=path)


def one_stage(kind: str, settings: dict[str, Any], overrides: Sequence[str], name: str) -> Recipe:
    """A recipe of a single stage, from flags; an override may leave out the stage's name (`train.lr=1e-4`)."""
    own = stage_kinds()[kind].model_fields
    full = [f"{kind}.{o}" if o.split("=")[0].split(".")[0] in own else o for o in overrides]
    if "data" in own and "data" not in settings and not any(o.startswith(f"{kind}.data") for o in full):
        raise RecipeError("name the examples: --data FILE, or give a recipe")
    if "model" in own and "model" not in settings and not any(o.startswith(f"{kind}.model") for o in full):
        raise RecipeError("name a model to start from: --model (see `rlhf registry`), or give a recipe")
    return parse({"name": name, "stages": {kind: settings}}, full)


def find(recipe: str | Path) -> Path:
    """The file of a recipe given by path or by the name of one that is shipped."""
    path = Path(recipe)
    if path.is_file():
        return path.resolve()
    if path.is_dir():
        raise RecipeError(f"{path} is a folder; a recipe is a .yaml file")
    name = str(recipe).removesuffix(".yaml")
    names = recipe_names()
    if name in names:
        return resource(f"recipes/{name}.yaml")
    raise RecipeError(f"no recipe '{recipe}': neither a file here nor one that is shipped{did_you_mean(name, names)}")


def parse(
    raw: dict[str, Any], overrides: Sequence[str] = (), *, tree: CommentedMap | None = None, path: Path | None = None
) -> Recipe:
    """Validate a recipe given as plain values. `tree` and `path` let errors name their place."""
    places = Places(tree, path)
    notes: list[str] = []
    _check_shape(raw, places)
    for override in overrides:
        places.overridden[apply_override(raw, override, notes)] = override
    if isinstance(raw.get("backend"), dict):
        raw["backend"] = {**_KIND, **raw["backend"]}
    context = {"folder": path.parent if path else Path.cwd()}
    try:
        config = RecipeConfig.model_validate(raw, context=context)
    except ValidationError as error:
        raise RecipeError("\n".join(explain(error, RecipeConfig, (), places))) from None
    stages: dict[str, StageConfig] = {}
    problems: list[str] = []
    for name, settings in config.stages.items():
        try:
            stages[name] = _stage(name, settings, raw, context, places)
        except RecipeError as error:
            problems.append(str(error))
    if not problems:
        broken = list(broken_links(stages, places))
        splits = [] if broken else unlike_splits(stages, places)  # which follow the chain
        problems = [*broken, *missing_files(stages, places), *unknown_formats(stages, places), *splits]
    if problems:
        raise RecipeError("\n".join(problems))
    return Recipe(config, stages, path, notes)


_KIND = {"kind": LoRA.model_fields["kind"].default}
"""Of a backend whose recipe names none."""


def _check_shape(raw: Any, places: Places) -> None:
    if not isinstance(raw.get("stages"), dict) or not raw["stages"]:
        raise RecipeError(f"{places(('stages',))}: a recipe needs `stages:`, a mapping of stage names to settings")
    for name, settings in raw["stages"].items():
        if settings is None:
            raw["stages"][name] = {}
        elif not isinstance(settings, dict):
            raise RecipeError(f"{places(('stages', name))}: stage '{name}' must be a mapping of settings")


def _stage(name: str, settings: dict[str, Any], raw: dict[str, Any], context: dict, places: Places) -> StageConfig:
    kind = settings.get("stage", name)
    if not isinstance(kind, str) or kind not in stage_kinds():
        hint = did_you_mean(str(kind), stage_kinds())
        raise RecipeError(f"{places(('stages', name))}: no stage of kind '{kind}'{hint} (set `stage:` to one of them)")
    if name in RecipeConfig.model_fields:
        raise RecipeError(f"{places(('stages', name))}: '{name}' cannot name a stage: it is a key of the recipe")
    if len(name) > LONGEST_NAME or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        why = f"up to {LONGEST_NAME} letters, digits, - and _, a letter or digit first"
        raise RecipeError(f"{places(('stages', name))}: '{name[:60]}' cannot name a stage: {why}")
    model = stage_kinds()[kind]
    inherited = {key: raw[key] for key in INHERITED if raw.get(key) is not None and key in model.model_fields}
    settings = {**inherited, **settings, "name": name, "stage": kind}
    own = settings.get("backend")
    if isinstance(own, dict) and "kind" not in own:  # another rank of the same backend
        settings["backend"] = {**_KIND, **inherited.get("backend", {}), **own}
    if raw.get("data"):
        settings |= _shared_data(model, settings, path_alone(raw["data"]))
    try:
        return model.model_validate(settings, context=context)
    except ValidationError as error:
        raise RecipeError("\n".join(explain(error, model, ("stages", name), places))) from None


def _shared_data(model: type[StageConfig], settings: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """The recipe's `data` under a stage's data blocks; a block with a source of its own takes no other."""
    blocks = {}
    for name, info in model.model_fields.items():
        own = settings.get(name)
        if DataConfig not in blocks_of(info.annotation) or (own is None and not info.is_required()):
            continue
        if own is None or isinstance(own, dict):
            own = own or {}
            taken = {} if own.keys() & DataConfig.origins.keys() else shared
            blocks[name] = {**taken, **own}
    return blocks
