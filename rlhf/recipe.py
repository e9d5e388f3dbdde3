"""A recipe: stages in order, each starting from a model or from an earlier stage.

Parsing applies overrides, fills each stage from the recipe's defaults, validates every block and then the chain as
a whole, so that whatever can fail before weights are loaded fails here, naming file, line and column.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from ruamel.yaml.comments import CommentedMap

from rlhf import artifact, yamlfile
from rlhf.config import (
    BackendConfig,
    DataConfig,
    LoRA,
    ModelRef,
    Role,
    StageConfig,
    Strict,
    Template,
    TrackingConfig,
    TrainingStage,
    path_alone,
)
from rlhf.data.files import ending, nearby
from rlhf.errors import RecipeError, RLHFError, did_you_mean
from rlhf.registry import MODELS, resolve, template_text
from rlhf.resources import recipe_names, resource

INHERITED = ("model", "backend", "seed", "precision", "template")
"""Keys that a recipe may set once for all its stages."""


class RecipeConfig(Strict):
    """The top of a recipe file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Names the run folder."""
    description: str = ""
    """One sentence for the reader."""
    model: ModelRef | None = None
    """Model of every stage that names none."""
    backend: BackendConfig = Field(default_factory=LoRA)
    """Backend of every stage that names none."""
    seed: int = Field(default=0, ge=0)
    """Seed of every stage that names none."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of every stage that names none."""
    template: Template | None = None
    """Chat template of every stage that names none."""
    data: Annotated[dict[str, Any] | None, BeforeValidator(path_alone)] = None
    """Source of every data block that names none, and settings for those that do not say otherwise."""
    tracking: TrackingConfig = TrackingConfig()
    """Where metrics go besides metrics.jsonl."""
    stages: dict[str, dict[str, Any]] = Field(min_length=1)
    """Stage name to its settings, in the order they run."""


@cache
def stage_kinds() -> dict[str, type[StageConfig]]:
    """Every stage installed, by kind: the entry points of the group `rlhf.stages`."""
    return {point.name: point.load() for point in entry_points(group="rlhf.stages")}


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
    if "data" not in settings and not any(o.startswith(f"{kind}.data") for o in full):
        raise RecipeError("name the examples: --data FILE, or give a recipe")
    if "model" not in settings and not any(o.startswith(f"{kind}.model") for o in full):
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
    places = _Places(tree, path)
    notes: list[str] = []
    _check_shape(raw, places)
    for override in overrides:
        places.overridden[apply_override(raw, override, notes)] = override
    context = {"folder": path.parent if path else Path.cwd()}
    try:
        config = RecipeConfig.model_validate(raw, context=context)
    except ValidationError as error:
        raise RecipeError("\n".join(_explain(error, RecipeConfig, (), places))) from None
    stages: dict[str, StageConfig] = {}
    problems: list[str] = []
    for name, settings in config.stages.items():
        try:
            stages[name] = _stage(name, settings, raw, context, places)
        except RecipeError as error:
            problems.append(str(error))
    if not problems:
        broken = list(_check_chain(stages, places))
        splits = [] if broken else _check_splits(stages, places)  # which follow the chain
        problems = [*broken, *_check_files(stages, places), *splits]
    if problems:
        raise RecipeError("\n".join(problems))
    return Recipe(config, stages, path, notes)


def _check_shape(raw: Any, places: "_Places") -> None:
    if not isinstance(raw.get("stages"), dict) or not raw["stages"]:
        raise RecipeError(f"{places(('stages',))}: a recipe needs `stages:`, a mapping of stage names to settings")
    for name, settings in raw["stages"].items():
        if settings is None:
            raw["stages"][name] = {}
        elif not isinstance(settings, dict):
            raise RecipeError(f"{places(('stages', name))}: stage '{name}' must be a mapping of settings")


def _stage(name: str, settings: dict[str, Any], raw: dict[str, Any], context: dict, places: "_Places") -> StageConfig:
    kind = settings.get("stage", name)
    if kind not in stage_kinds():
        hint = did_you_mean(str(kind), stage_kinds())
        raise RecipeError(f"{places(('stages', name))}: no stage of kind '{kind}'{hint} (set `stage:` to one of them)")
    if name in RecipeConfig.model_fields or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise RecipeError(f"{places(('stages', name))}: '{name}' cannot name a stage")
    model = stage_kinds()[kind]
    inherited = {key: raw[key] for key in INHERITED if raw.get(key) is not None and key in model.model_fields}
    settings = {**inherited, **settings, "name": name, "stage": kind}
    if raw.get("data"):
        settings |= _shared_data(model, settings, raw["data"])
    try:
        return model.model_validate(settings, context=context)
    except ValidationError as error:
        raise RecipeError("\n".join(_explain(error, model, ("stages", name), places))) from None


def _shared_data(model: type[StageConfig], settings: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """The recipe's `data` under a stage's data blocks; a block with a source of its own takes no other."""
    blocks = {}
    for name, info in model.model_fields.items():
        own = settings.get(name)
        if DataConfig not in _models_of(info.annotation) or (own is None and not info.is_required()):
            continue
        if own is None or isinstance(own, dict):
            own = own or {}
            taken = {} if own.keys() & {"path", "hub", "stage"} else shared
            blocks[name] = {**taken, **own}
    return blocks


# ------------------------------------------------------------------------------------------------ overrides


_SOURCES = {
    "path": {"hub", "subset", "split", "revision", "stage"},
    "hub": {"path", "eval_path", "stage"},
}
"""A source of data, and the keys of the others, which leave when it is set."""


def apply_override(raw: dict[str, Any], override: str, notes: list[str]) -> tuple[str, ...]:
    """Set one `key=value` in place; `ppo.rl.kl_coef=0.02` reaches into stage `ppo`, `seed=1` into the recipe.

    Returns the keys that lead to what was set.
    """
    dotted, equals, text = override.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        raise RecipeError(f"override '{override}': expected key=value, such as ppo.rl.kl_coef=0.02")
    stages = raw.get("stages", {})
    if keys[0] in stages:
        keys = ["stages", *keys]
    elif keys[0] not in RecipeConfig.model_fields:
        known = [*stages, *RecipeConfig.model_fields]
        raise RecipeError(
            f"override '{override}': '{keys[0]}' is no stage and no recipe key{did_you_mean(keys[0], known)}"
        )
    node = raw
    for depth, key in enumerate(keys[:-1]):
        if node.get(key) is None or isinstance(node[key], (str, bool)):
            node[key] = {}
        node = node[key]
        if not isinstance(node, dict):
            raise RecipeError(f"override '{override}': '{'.'.join(keys[: depth + 1])}' is not a block of settings")
    new = yamlfile.value(text)
    if not _is_name(keys):
        new = _local_path(new, keys[-1])
    if keys[-1] in _SOURCES and new is not None:
        for key in _SOURCES[keys[-1]] & node.keys():  # another source, not a second one
            del node[key]
    if keys[-2:] == ["backend", "kind"] and node.get("kind") not in (None, new):
        _change_backend(node, new, override, notes)
    node[keys[-1]] = new
    return tuple(keys)


def _change_backend(block: dict[str, Any], kind: Any, override: str, notes: list[str]) -> None:
    """Settings that the new kind of backend does not have leave with the old one, and are named."""
    known = {k.model_fields["kind"].default: k for k in _models_of(BackendConfig)}
    dropped = [key for key in block if kind in known and key not in known[kind].model_fields]
    for key in dropped:
        del block[key]
    if dropped:
        notes.append(f"{override} leaves out {', '.join(dropped)}, which {kind} does not have")


_PATHS = ("path", "eval_path", "file", "data")
"""Keys whose value is a path; a model or a template may be one, and is when it is there."""


def _is_name(keys: Sequence[str]) -> bool:
    """Whether an override sets words that are never a path."""
    return keys[0] in ("name", "description", "tracking")


def _local_path(new: Any, key: str) -> Any:
    """A path on the command line is relative to the working directory, not to the recipe."""
    if isinstance(new, dict):
        return {inner: _local_path(item, inner) for inner, item in new.items()}
    if not isinstance(new, str):
        return new
    path = Path(new).expanduser()
    is_path = key in _PATHS or (("/" in new or "." in new) and path.exists())
    return str(path.resolve()) if is_path else new


# ------------------------------------------------------------------------------------------------ the chain


def _check_chain(stages: Mapping[str, StageConfig], places: "_Places") -> Iterator[str]:
    for position, (name, stage) in enumerate(stages.items()):
        for where, (ref, role) in stage.references().items():
            place = f"{places(('stages', name, *where.split('.')))}: stage '{name}'"
            if ref.stage is None:
                try:
                    source = resolve(ref, places.path.parent if places.path else None)
                    makes = artifact.read(Path(source.location)).makes if source.is_artifact else role
                except RLHFError as error:
                    yield f"{place}: {error}"
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
                yield f"{places(('stages', name, where))}: stage '{name}': {where}.stage names '{source}', {wrong}"


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
    places: "_Places",
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
    found: dict[str, Any] = {}
    if isinstance(parent, TrainingStage) and isinstance(parent.backend, LoRA):
        found = _shape(parent, stages)
    elif parent is not None or stage.model.name in MODELS:
        found = {"r": 16, "dora": False, "rslora": False}
    own = stage.backend.model_dump(include={"r", "alpha", "targets", "dora", "rslora"})
    return found | {key: value for key, value in own.items() if value is not None}


# ------------------------------------------------------------------------------------------------ files and splits


def _check_files(stages: Mapping[str, StageConfig], places: "_Places") -> Iterator[str]:
    for name, stage in stages.items():
        if isinstance(stage.template, str):
            try:
                template_text(stage.template)
            except RLHFError as error:
                yield f"{places(('stages', name, 'template'))}: stage '{name}': {error}"
        for keys, value in _leaves(stage):
            if isinstance(value, Path) and value.is_file() and keys[-1] in ("path", "eval_path"):
                try:
                    ending(value)
                except RLHFError as error:
                    yield f"{places(('stages', name, *keys))}: stage '{name}': {error}"
            if isinstance(value, Path) and not value.is_file():
                what = f"{value} is a folder, not a file" if value.is_dir() else f"no file {value}{nearby(value)}"
                yield f"{places(('stages', name, *keys))}: {'.'.join((name, *keys))}: {what}"


def _leaves(block: BaseModel, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value under a block that is no block itself, with the keys that lead to it."""
    for path, item in items(block):
        if isinstance(item, BaseModel):
            yield from _leaves(item, (*keys, *path))
        else:
            yield (*keys, *path), item


def items(block: BaseModel) -> Iterator[tuple[tuple[str, ...], Any]]:
    """What a block's fields hold, and what the mappings among them do, each with its keys."""
    for key in type(block).model_fields:
        value = getattr(block, key)
        inside = value if isinstance(value, dict) else {"": value}
        for name, item in inside.items():
            yield (key, name) if name else (key,), item


def _check_splits(stages: Mapping[str, StageConfig], places: "_Places") -> Iterator[str]:
    """One source is split alike by every stage: else what one holds out, another trains on."""
    first: dict[tuple, tuple[str, float]] = {}
    for name, stage in stages.items():
        for block in type(stage).model_fields:
            data = getattr(stage, block)
            if not isinstance(data, DataConfig) or data.eval_path is not None:
                continue
            origin = _origin(data, stages)
            where, fraction = first.setdefault(
                (origin.path, origin.hub, origin.subset, origin.split, origin.revision), (name, data.eval_fraction)
            )
            if data.eval_fraction != fraction:
                yield (
                    f"{places(('stages', name, block))}: stage '{name}' holds out {data.eval_fraction:g} of "
                    f"{origin.path or origin.hub}, and stage '{where}' {fraction:g}: what one holds out the other "
                    "trains on; give both the same eval_fraction, or a file of its own to evaluate on"
                )


def _origin(data: DataConfig, stages: Mapping[str, StageConfig]) -> DataConfig:
    """Where the prompts of a data block come from: answers that a stage drew have the prompts of its own source."""
    while data.stage is not None:
        data = next(b for b in _blocks(stages[data.stage]) if isinstance(b, DataConfig))
    return data


def _blocks(stage: StageConfig) -> Iterator[Any]:
    return (getattr(stage, name) for name in type(stage).model_fields)


# ------------------------------------------------------------------------------------------------ errors in words


@dataclass
class _Places:
    """The override that set a key; else `file:line:column`, or the dotted key when there is no file."""

    tree: CommentedMap | None
    path: Path | None
    overridden: dict[tuple[str, ...], str] = field(default_factory=dict)
    """Keys to the override that set them."""

    def __call__(self, keys: Sequence[str | int]) -> str:
        for depth in range(len(keys), 0, -1):
            inherited = keys[2:depth] if depth > 2 and keys[2] in (*INHERITED, "data") else ()
            for asked in (tuple(keys[:depth]), tuple(inherited)):
                if asked in self.overridden:
                    return f"override '{self.overridden[asked]}'"  # type: ignore[index]
        if self.tree is None:
            return ".".join(map(str, keys))
        return f"{self.path}:{yamlfile.place(self.tree, keys)}"


def _explain(error: ValidationError, model: type[BaseModel], prefix: tuple, places: _Places) -> Iterator[str]:
    for item in error.errors(include_url=False):
        owner, keys, option = _owner(model, item["loc"])
        if option is not None and isinstance(item["input"], dict) != isinstance(option, type):
            continue  # not what was meant: a block where a plain value may stand, or the other way round
        if item["type"] == "union_tag_invalid":
            keys.append(item.get("ctx", {})["discriminator"].strip("'"))
        yield f"{places((*prefix, *keys))}: {'.'.join(map(str, (*prefix[1:], *keys)))}: {_words(item, owner)}"


def _words(item: Any, owner: type[BaseModel] | None) -> str:
    """What is wrong, and what would work."""
    about = item.get("ctx", {})
    message, given = item["msg"].removeprefix("Value error, "), json.dumps(item["input"], default=str)[:80]
    match item["type"]:
        case "extra_forbidden" if owner is not None:
            return f"unknown key{did_you_mean(str(item['loc'][-1]), set(owner.model_fields) - {'name', 'stage'})}"
        case "missing":
            return "is required"
        case "union_tag_invalid":
            known = [tag.strip("'") for tag in about["expected_tags"].split(", ")]
            return f"there is no '{about['tag']}'{did_you_mean(about['tag'], known)}"
        case "model_type" | "model_attributes_type" | "dict_type":
            return f"a block of settings is needed (key: value), got {given}"
        case "value_error" | "union_tag_not_found":
            return message
        case _:
            return f"{message[0].lower()}{message[1:]}, got {given}"


Option = type[BaseModel] | str
"""One of several forms that a value may take: a block, or the name of a plain type."""


def _owner(
    model: type[BaseModel], loc: Sequence[str | int]
) -> tuple[type[BaseModel] | None, list[str | int], Option | None]:
    """The model that the last key of `loc` belongs to, `loc` without the tags of unions, and such a tag at its end."""
    owner: type[BaseModel] | None = model
    options: list[type[BaseModel]] = [model]
    keys: list[str | int] = []
    tag: Option | None = None
    choice = False
    for key in loc:
        named = [o for o in options if key in (o.__name__, _kind(o))]
        known = next((o for o in options if key in o.model_fields), None)
        if choice and known is None and isinstance(key, str):
            tag, options, choice = (named[0], named, False) if named else (key, [], False)
            continue
        owner, tag = (options[0] if options else None), None
        keys.append(key)
        annotation = known.model_fields[str(key)].annotation if known else None
        options, choice = _models_of(annotation), _is_union(annotation)
    return owner, keys, tag


def _kind(model: type[BaseModel]) -> Any:
    """What tells a model from others in a union, if anything does."""
    return model.model_fields["kind"].default if "kind" in model.model_fields else None


def _is_union(annotation: Any) -> bool:
    inner = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    return get_origin(inner) in (Union, UnionType)


def _models_of(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models an annotation may stand for."""
    if get_origin(annotation) is Annotated:
        return _models_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [m for option in get_args(annotation) for m in _models_of(option)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []


# ------------------------------------------------------------------------------------------------ schema


def schema() -> dict[str, Any]:
    """JSON schema of a recipe, for editors: every stage kind, every field with its docstring."""
    top = RecipeConfig.model_json_schema(ref_template="#/$defs/{model}")
    defs = top.pop("$defs", {})
    kinds: dict[str, Any] = {}
    for kind, model in stage_kinds().items():
        block = model.model_json_schema(ref_template="#/$defs/{model}")
        defs.update(block.pop("$defs", {}))
        block["properties"].pop("name", None)
        block["properties"]["stage"] = {"const": kind, "description": "Kind of stage; the stage's name when left out."}
        block["required"] = [k for k in block.get("required", []) if k not in ("name", "stage", *INHERITED)]
        defs[model.__name__] = block
        kinds[kind] = {"$ref": f"#/$defs/{model.__name__}"}
        if "data" in block["properties"]:  # the recipe's own `data` may stand in
            block["required"].remove("data")
    named = [{"allOf": [ref], "required": ["stage"]} for ref in kinds.values()]
    top["properties"]["stages"] = {
        "type": "object",
        "description": "Stage name to its settings, in the order they run.",
        "properties": kinds,
        "additionalProperties": {"anyOf": named},
        "minProperties": 1,
    }
    source = {**defs["DataConfig"], "description": top["properties"]["data"]["description"]}
    top["properties"]["data"] = {"anyOf": [{"type": "string", "description": source["description"]}, source]}
    _allow_shorthand(defs)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "rlhf recipe", **top, "$defs": defs}


def _allow_shorthand(defs: dict[str, Any]) -> None:
    """`model: tiny`, `data: pairs.jsonl` and `wandb: true` are short for blocks."""
    for name in ("ModelRef", "DataConfig"):
        block = defs[name]
        defs[name] = {"anyOf": [{"type": "string", "description": block["description"]}, block]}
    tracking = defs["TrackingConfig"]["properties"]
    tracking["wandb"] = {"anyOf": [{"type": "boolean"}, *tracking["wandb"]["anyOf"]]}
