"""Recipes that are wrong in one place: each has to be refused at once, in words, where it is wrong.

python -m benchmarks.reliability.recipes

Every shipped recipe, and for every kind of stage one that sets every field of every block, is spoilt in one place at a
time: keys misspelt, values of other types and out of bounds, references cut, keys twice or missing, hostile names, and
YAML of other shapes. A case survives when `rlhf.recipe.load` raises an RLHFError within a second that names the place
and speaks of nothing internal.
"""

import argparse
import copy
import itertools
import json
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as bounds
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML

from benchmarks.reliability.common import internals, report
from rlhf.config import DataConfig, ModelRef, Server
from rlhf.config.data import Source
from rlhf.errors import RLHFError
from rlhf.recipe import load
from rlhf.recipe.config import RecipeConfig, stage_kinds
from rlhf.recipe.words import blocks_of
from rlhf.resources import recipe_names, resource

SECONDS = 1.0
"""Longest that a refusal may take, of the processor, which other work does not slow."""
Keys = tuple[str | int, ...]
Tree = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A recipe that is wrong."""

    name: str
    text: str | bytes
    place: tuple[str, ...] = ()
    """Keys, or the file and the line, of which the message holds one; the file's name alone where there are none."""


# ------------------------------------------------------------------------------------------------ whole recipes

SHOP = "../data_samples/corner_shop"
_RULE = {"file": f"{SHOP}/rule.py", "function": "gold_score", "trust_code": False}
_MODEL = {"name": "tiny", "stage": None, "revision": None, "trust_remote_code": False}
_SFT = {"stage": "sft", "data": {"path": f"{SHOP}/sft.jsonl"}}
_REWARD = {"stage": "reward", "model": {"stage": "start"}, "data": {"path": f"{SHOP}/preferences.jsonl"}}
_LORA = {"r": 8, "alpha": 16.0, "dropout": 0.1, "targets": ["q_proj"], "dora": False, "rslora": True}
_BACKENDS = {
    "sft": {"kind": "lora", **_LORA},
    "dpo": {"kind": "qlora", **_LORA, "double_quant": True},
    "kto": {"kind": "full", "frozen_bits": 4, "offload": False},
}
_ORIGIN = {
    "path": f"{SHOP}/sft.jsonl",
    "format": "auto",
    "columns": {"prompt": "question"},
    "rows": {"file": f"{SHOP}/rule.py", "function": "gold_score", "trust_code": False},
    "rank_by": "helpfulness",
    "max_rows": 50,
}
_MIX = {"mix": [{**_ORIGIN, "weight": 2.0}, {"hub": "some/set", "subset": "a", "split": "train", "revision": "main"}]}
_RATES = {"full": 1e-5, "lora": 1e-4, "qlora": 2e-4}
_STEPS = {"lr": _RATES, "micro_batch_size": 4, "max_steps": 3}
_SERVER = {"url": "http://localhost:1", "timeout_s": 5.0}
_SOURCES = {
    "model": {"model": [{"stage": "judge"}, {"stage": "judge"}], "uncertainty": 1.0, "weight": 0.5},
    "rule": {"rule": _RULE},
    "server": _SERVER,
}
_JUDGED = {"reward_model": {"stage": "judge"}, "rewards": _SOURCES}
_STAGES: dict[str, Tree] = {
    "sft": {"data": {**_ORIGIN, "eval_path": f"{SHOP}/sft.jsonl"}, "train": _STEPS, "new_tokens": ["<think>"]},
    "reward": {"loss": "scores", "attributes": {"helpfulness": 1.0}, "demonstrations": {"path": f"{SHOP}/sft.jsonl"}},
    "dpo": {"loss": {"sigmoid": 1.0, "robust": 0.5}, "label_smoothing": 0.1, "data": _MIX},
    "kto": {"desirable_weight": 1.0, "data": {"hub": "some/set", "subset": "a", "revision": "b"}},
    "sample": {**_JUDGED, "rollout": {"at_once": 8}},
    "ppo": {
        **_JUDGED,
        "data": {"path": f"{SHOP}/prompts.jsonl"},
        "rl": {"kl_target": 6.0, "kl_budget": 50.0, "max_update_kl": 1.0, "kl_in": "reward"},
        "rollout": {"at_once": 8},
        "train": {"lr": _RATES, "micro_batch_size": 4, "value_lr": 1e-3},
        "watch": {"judge": {"rule": _RULE}, "patience": 3},
    },
    "evaluate": {
        "policy": {"stage": "start"},
        "baseline": {"name": "tiny"},
        "prompted": {"model": _MODEL, "system": "Be kind.", "examples": [{"prompt": "Hello", "response": "Dear Sam!"}]},
        "reward_model": {"stage": "judge"},
        "held_out_reward": {"stage": "judge"},
        "rule": _RULE,
        "llm_judge": {**_SERVER, "model": "m", "prompt": "{conversation} {a} {b}"},
        "prompts": {"path": f"{SHOP}/prompts.jsonl"},
        "preferences": {"path": f"{SHOP}/preferences.jsonl"},
        "demonstrations": {"path": f"{SHOP}/sft.jsonl"},
        "refusals": {"path": f"{SHOP}/heldout_prompts.jsonl"},
        "general_text": {"path": "../data_samples/passages.txt"},
        "harness": {"tasks": ["arc_easy"], "file": f"{SHOP}/rule.py", "examples": 1, "limit": 5, "trust_code": True},
    },
}
"""What is set on purpose, of the kinds that have it; every other field has its default, written out."""


def whole_recipe(kind: str, folder: Path) -> Tree:
    """A recipe whose stage `it`, of a kind, says every one of its fields."""
    model = stage_kinds()[kind]
    given: Tree = {"stage": kind, "template": "chatml", **_STAGES.get(kind, {})}
    if "model" in model.model_fields:
        given.setdefault("model", {"stage": "start"} if kind != "sft" else _MODEL)
    if "data" in model.model_fields:
        given.setdefault("data", {"path": f"{SHOP}/sft.jsonl"})
    if "backend" in model.model_fields:
        given.setdefault("backend", _BACKENDS.get(kind, {"kind": "lora"}))
    tree: Tree = {
        "name": f"whole-{kind}",
        "description": "every field",
        "model": _MODEL,
        "backend": {"kind": "lora", "r": 8},
        "template": "chatml",
        "deterministic": False,
        "tracking": {
            "wandb": {"project": "p", "entity": "e", "mode": "offline", "tags": ["t"], "upload": False},
            **dict.fromkeys(("tensorboard", "mlflow", "trackio"), False),
            "price_per_hour": 2.5,
        },
        "stages": {"start": _SFT, "judge": _REWARD, "it": given},
    }
    resolved = load(_written(dump(tree), folder)).resolved()
    here = {str(folder.parent.resolve()): "..", str(resource("data_samples").parent): ".."}
    return {**tree, "stages": {**tree["stages"], "it": _relative(resolved["stages"]["it"], here)}}


def _relative(value: Any, here: Mapping[str, str]) -> Any:
    """Absolute paths as a recipe would write them."""
    match value:
        case dict():
            return {key: _relative(item, here) for key, item in value.items()}
        case list():
            return [_relative(item, here) for item in value]
        case str():
            return next((value.replace(old, new, 1) for old, new in here.items() if value.startswith(old)), value)
    return value


def bases(folder: Path, only: str = "") -> dict[str, tuple[Tree, Sequence[str]]]:
    """Recipes that are right, or one of them, and the stages in each that are to be spoilt."""
    found: dict[str, tuple[Tree, Sequence[str]]] = {}
    for name in recipe_names():
        if only in ("", name):
            tree = YAML(typ="safe").load(resource(f"recipes/{name}.yaml").read_text("utf-8"))
            found[name] = (tree, list(tree["stages"]))
    for kind in stage_kinds():
        if only in ("", f"whole-{kind}"):
            found[f"whole-{kind}"] = (whole_recipe(kind, folder), ["it"])
    return found


def workplace(folder: Path) -> Path:
    """A folder for recipes, with the shipped samples and rules where they look for them."""
    (folder / "data_samples").symlink_to(resource("data_samples"))
    recipes = folder / "recipes"
    recipes.mkdir()
    (recipes / "rules").symlink_to(resource("recipes") / "rules")
    return recipes


def dump(tree: Any, indent: int = 0) -> str:
    """As YAML, in the order given: a key a line, lists and plain values as JSON has them."""
    lines = ""
    for key, value in tree.items():
        said = key if re.fullmatch(r"\w+", str(key)) else json.dumps(key, ensure_ascii=False)
        is_block = isinstance(value, dict) and value and indent < 6
        lines += " " * indent + f"{said}:" + (f"\n{dump(value, indent + 2)}" if is_block else f" {_flow(value)}\n")
    return lines


def _flow(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return re.sub(r"(-?)(NaN|Infinity)", lambda m: m[1] + {"N": ".nan", "I": ".inf"}[m[2][0]], text)


def _written(text: str | bytes, folder: Path) -> Path:
    path = folder / "case.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    return path


# ------------------------------------------------------------------------------------------------ what is where


@dataclass(frozen=True)
class Spot:
    """A field that a recipe sets."""

    keys: Keys
    value: Any
    owner: type[BaseModel]
    info: FieldInfo


def spots(tree: Tree, stages: Sequence[str]) -> Iterator[Spot]:
    """Every field that the top and some stages of a recipe set, blocks before what is in them."""
    top = {key: value for key, value in tree.items() if key != "stages"}
    if "it" not in stages or (stages == ["it"] and tree["stages"]["it"]["stage"] == "sft"):  # the same in all of these
        yield from _spots(top, RecipeConfig, ())
        if isinstance(top.get("data"), dict):
            yield from _spots(top["data"], DataConfig, ("data",))
    for name in stages:
        settings = tree["stages"][name]
        yield from _spots(settings, stage_kinds()[settings.get("stage", name)], ("stages", name))


def _spots(block: Tree, owner: type[BaseModel], keys: Keys) -> Iterator[Spot]:
    for key, value in block.items():
        info = owner.model_fields[key]
        yield Spot((*keys, key), value, owner, info)
        yield from _inside(value, info.annotation, (*keys, key))


def _inside(value: Any, annotation: Any, keys: Keys) -> Iterator[Spot]:
    models = [*blocks_of(annotation), *(m for item in _items_of(annotation) for m in blocks_of(item))]
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield from _inside(item, annotation, (*keys, i))
    elif isinstance(value, dict) and models:
        kind = value.get("kind")
        fitting = [m for m in models if value.keys() <= m.model_fields.keys()]
        fitting = [m for m in fitting if kind is None or m.model_fields["kind"].default == kind]
        if fitting:
            yield from _spots(value, fitting[0], keys)
        else:  # a mapping of names to blocks
            for name, item in value.items():
                yield from _inside(item, annotation, (*keys, name))


def _bare(annotation: Any) -> list[Any]:
    """The options of an annotation, out of their wrapping."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [inner for option in get_args(annotation) for inner in _bare(option)]
    return [annotation]


def _items_of(annotation: Any) -> list[Any]:
    """What the lists and mappings among the options hold."""
    return [get_args(o)[-1] for o in _bare(annotation) if get_origin(o) in (list, dict)]


# ------------------------------------------------------------------------------------------------ spoiling

_OF_TYPE: dict[str, Any] = {
    "null": None,
    "bool": True,
    "int": 7,
    "float": 2.5,
    "str": "nonsense",
    "list": ["nonsense"],
    "dict": {"nonsense": 1},
}
_SHORT = {ModelRef: "str", Source: "str"}
"""Blocks that plain words may stand for."""


def _shapes(annotation: Any) -> set[str]:
    """The types of `_OF_TYPE` whose value may be right."""
    found: set[str] = set()
    for option in _bare(annotation):
        origin = get_origin(option)
        if option is Any:
            return set(_OF_TYPE)
        if origin is Literal:
            found |= {type(value).__name__ for value in get_args(option)} - {"int", "str"}
        elif origin in (list, dict):
            found.add(origin.__name__)
        elif option is NoneType:
            found.add("null")
        elif option is float:
            found |= {"int", "float"}
        elif option in (bool, int, str):
            found.add(option.__name__)
        elif isinstance(option, type) and issubclass(option, BaseModel):
            found |= {"bool"} if option.__name__ == "WandB" else set()
    return found


_NAMES_CHECKED_LATER = {"hub", "stage", "name", "template", "format", "function"}
"""Fields of plain words that mean something: nonsense is refused by what they name."""


def wrong_types(spot: Spot) -> Iterator[tuple[str, Any]]:
    fine = _shapes(spot.info.annotation)
    key = str(spot.keys[-1])
    if key in _NAMES_CHECKED_LATER and len(spot.keys) > 1 and key != "hub":
        fine -= {"str"}
    for shape, value in _OF_TYPE.items():
        if shape not in fine:
            yield f"is {shape}", value
    for item in _items_of(spot.info.annotation):
        for shape, value in _OF_TYPE.items():
            if shape not in _shapes(item):
                inner: Any = [value] if "list" in fine else {"sigmoid" if key == "loss" else "a": value}
                yield f"holds {shape}", inner


def out_of_bounds(spot: Spot) -> Iterator[tuple[str, Any]]:
    options = _bare(spot.info.annotation)
    metadata = [*spot.info.metadata]
    for option in get_args(spot.info.annotation) or ():
        metadata += get_args(option)[1:] if get_origin(option) is Annotated else []
    small = 1 if float not in options else 1e-6
    for bound in metadata:
        match bound:
            case bounds.Ge(ge=edge):
                yield f"below {edge}", edge - small  # type: ignore[operator]
            case bounds.Gt(gt=edge):
                yield f"at {edge}", edge
                yield f"below {edge}", edge - small  # type: ignore[operator]
            case bounds.Le(le=edge):
                yield f"above {edge}", edge + small  # type: ignore[operator]
            case bounds.Lt(lt=edge):
                yield f"at {edge}", edge
                yield f"above {edge}", edge + small  # type: ignore[operator]
    if float in options or int in options:
        for word in (float("nan"), float("inf"), float("-inf")):
            yield f"is {word}", word
        yield "is no number", "1O"
    if key_is(spot, "seed"):
        yield "more than a generator takes", 2**32
    if any(get_origin(o) is Literal for o in options):
        yield "another word", "Nonsense"
        yield "an empty word", ""


def key_is(spot: Spot, name: str) -> bool:
    return spot.keys[-1] == name


HOSTILE = {
    "parent": "../x",
    "absolute": "/etc/x",
    "nested": "a/b/c",
    "empty": "",
    "dot": ".",
    "dots": "..",
    "space": " ",
    "long": "a" * 5000,
    "nul": "a\0b",
    "control": "a\x1b[31mb",
    "newline": "a\nb",
    "lookalike": "tіny",  # a Cyrillic letter
    "zero width": "tiny\u200b",
    "right to left": "\u202eynit",
    "home": "~nobody-at-all/x",
    "leading dash": "-rf",
    "shell": "$(reboot)",
    "percent": "%s%n",
    "braces": "{0.__class__}",
    "emoji": "🙂",
    "lone surrogate": "a\\ud800",
}


def hostile(spot: Spot) -> Iterator[tuple[str, str]]:
    """Names that must not reach a file system, for fields that name something."""
    key = spot.keys[-1]
    names_something = (
        (spot.owner in (ModelRef, RecipeConfig) and key == "name")
        or key in ("template", "format")
        or (issubclass(spot.owner, Source) and key in ("path", "hub", "stage", "eval_path"))
        or key in ("file", "function", "stage", "url")
        or (key in ("model", "data") and isinstance(spot.value, str) and not issubclass(spot.owner, Server))
    )  # fmt: skip
    if not names_something:
        return
    for what, name in HOSTILE.items():
        if key in ("path", "eval_path", "data", "model", "file") and what in ("dot", "dots"):
            continue  # folders, which may hold something
        yield f"hostile {what}", name


def misspelt(key: str, known: set[str]) -> Iterator[str]:
    """A letter dropped, two swapped, another case."""
    middle = len(key) // 2
    for word in (key[:middle] + key[middle + 1 :], key[1:2] + key[0] + key[2:], key.upper()):
        if word not in known:
            yield word


def _copied(tree: Tree, keys: Keys) -> tuple[Tree, Any]:
    """A copy, and in it the block that holds the last of the keys."""
    tree = copy.deepcopy(tree)
    node: Any = tree
    for key in keys[:-1]:
        node = node[key]
    return tree, node


def _set(tree: Tree, keys: Keys, value: Any) -> Tree:
    tree, node = _copied(tree, keys)
    node[keys[-1]] = value
    return tree


def _rename(tree: Tree, keys: Keys, word: str) -> Tree:
    tree, node = _copied(tree, keys)
    whole = [(word if key == keys[-1] else key, value) for key, value in node.items()]
    node.clear()
    node.update(whole)
    return tree


def _remove(tree: Tree, keys: Keys) -> Tree:
    tree = copy.deepcopy(tree)
    node: Any = tree
    for key in keys[:-1]:
        node = node[key]
    del node[keys[-1]]
    return tree


def _words(keys: Keys) -> tuple[str, ...]:
    return tuple(key for key in map(str, keys) if (key != "stages" or len(keys) == 1) and not key.isdigit())[-2:]


def spoilt(base: str, tree: Tree, stages: Sequence[str]) -> Iterator[Case]:
    """Every way in which a recipe is spoilt in one place."""
    whole = dump(tree).split("\n")

    def case(what: str, keys: Keys, changed: Tree, word: str = "") -> Case:
        text = dump(changed)
        lines = zip(whole, text.split("\n"), strict=False)
        line = next((i for i, (old, new) in enumerate(lines, 1) if old != new), 1)
        place = (*_words(keys), *([word[:20]] if word.strip() else []), f"case.yaml:{line}:")
        return Case(f"{base}: {'.'.join(map(str, keys))} {what}", text, place)

    for spot in spots(tree, stages):
        known = {*spot.owner.model_fields}
        for word in misspelt(str(spot.keys[-1]), known):
            if not (len(spot.keys) == 2 and spot.keys[0] == "stages"):
                yield case(f"misspelt '{word}'", spot.keys, _rename(tree, spot.keys, word), word)
        is_shared = key_is(spot, "data") and tree.get("data") is not None
        for what, value in (*wrong_types(spot), *out_of_bounds(spot), *hostile(spot)):
            if not (is_shared and value is None):  # left blank, it is the recipe's
                yield case(what, spot.keys, _set(tree, spot.keys, value))
        if isinstance(spot.value, dict) and blocks_of(spot.info.annotation):
            yield case("has an unknown key", spot.keys, _set(tree, (*spot.keys, "nonsense"), 1))
        if _is_needed(spot, tree):
            yield case("missing", spot.keys, _remove(tree, spot.keys))
        yield from _twice(case, spot.keys, tree)
    for name in stages:
        yield from _spoilt_stage(case, name, tree)
    yield from _cut_references(case, tree, stages)
    for key in ("name", "stages"):
        yield case("missing", (key,), _remove(tree, (key,)))
    for shape, value in _OF_TYPE.items():
        yield case(f"is {shape}", ("stages",), {**tree, "stages": value})
    yield case("empty", ("stages",), {**tree, "stages": {}})


def _is_needed(spot: Spot, tree: Tree) -> bool:
    """Whether a recipe without this key is wrong."""
    key = str(spot.keys[-1])
    is_stages_own = len(spot.keys) == 3 and spot.keys[0] == "stages"
    if is_stages_own:
        return spot.info.is_required() and tree.get(key) is None and key != "stage"
    if issubclass(spot.owner, Source) and key in ("path", "hub", "stage", "mix"):
        return tree.get("data") is None and spot.value is not None and spot.value != []
    if spot.owner is ModelRef:
        return spot.value is not None and key in ("name", "stage")
    return spot.info.is_required()


def _twice(case: Any, keys: Keys, tree: Tree) -> Iterator[Case]:
    """A key said twice in its block."""
    made = case("twice", keys, _rename(tree, keys, _TWICE))
    if found := re.search(rf"^( *){_TWICE}:", made.text, re.MULTILINE):
        yield Case(
            made.name, made.text.replace(found[0], f"{found[1]}{keys[-1]}: 1\n{found[1]}{keys[-1]}:"), made.place
        )


_TWICE = "twice_in_its_block"


def _spoilt_stage(case: Any, name: str, tree: Tree) -> Iterator[Case]:
    keys: Keys = ("stages", name)
    settings = tree["stages"][name]
    named = "stage" in settings
    kept = _set(tree, (*keys, "stage"), settings.get("stage", name))
    referenced = f"'stage': '{name}'" in repr({k: v for k, v in tree["stages"].items() if k != name})
    if referenced or not named:
        for word in misspelt(name, {*tree["stages"], *stage_kinds()}):
            yield case(f"misspelt '{word}'", keys, _rename(tree, keys, word), word)
    for shape, value in _OF_TYPE.items():
        if not (value is None and tree.get("data") and name != "evaluate"):  # the recipe's own say all it needs
            yield case(f"is {shape}", keys, _set(tree, keys, value))
    for what, word in HOSTILE.items():
        yield case(f"hostile {what}", keys, _rename(kept, keys, word), "case.yaml:")
    for word in ("data", "name", "backend", "stages"):
        yield case(f"named '{word}'", keys, _rename(kept, keys, word), word)
    yield case("of no kind", (*keys, "stage"), _set(tree, (*keys, "stage"), "nonsense"))


def _cut_references(case: Any, tree: Tree, stages: Sequence[str]) -> Iterator[Case]:
    names = list(tree["stages"])
    makes = {n: stage_kinds()[s.get("stage", n)].makes for n, s in tree["stages"].items()}
    for spot in spots(tree, stages):
        if spot.keys[-1] != "stage" or not isinstance(spot.value, str) or len(spot.keys) < 4:
            continue
        own = str(spot.keys[1])
        later = names[names.index(own) :]
        others = [n for n in names if makes[n] != makes.get(spot.value)]
        for word in dict.fromkeys(["nowhere", spot.value + "s", spot.value.upper(), *later, *others]):
            yield case(f"names '{word}'", spot.keys, _set(tree, spot.keys, word))


# ------------------------------------------------------------------------------------------------ shapes of YAML

_GOOD = f"""\
name: shapes
model: tiny
stages:
  sft:
    data: {{path: {SHOP}/sft.jsonl}}
    train: {{lr: 1e-4}}
"""
_LAUGHS = "a0: &a0 [ha, ha]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)  # fmt: skip
_LAUGHING_MAPS = "m0: &m0 {a: ha}\n" + "".join(
    f"m{i}: &m{i} {{{', '.join(f'k{j}: *m{i - 1}' for j in range(9))}}}\n" for i in range(1, 12)
)


def shapes() -> Iterator[Case]:
    """Files that are no recipe, or no YAML."""
    in_description = "name: shapes\ndescription: {}\n" + _GOOD.split("\n", 1)[1]
    in_lr = _GOOD.replace("1e-4", "{}")
    texts: dict[str, str | bytes] = {
        "empty": "",
        "blank": "\n\n  \n",
        "comment": "# nothing\n",
        "null": "null\n",
        "list": "- a\n- b\n",
        "words": "just words\n",
        "number": "5\n",
        "list of recipes": "- " + _GOOD.replace("\n", "\n  "),
        "two documents": f"{_GOOD}---\n{_GOOD}",
        "tab for indent": _GOOD.replace("  sft", "\tsft"),
        "tab in block": _GOOD.replace("    train", "\t\ttrain"),
        "indent lost": _GOOD.replace("    train", "   train"),
        "no space after colon": _GOOD.replace("name: shapes", "name:shapes"),
        "no colon": _GOOD.replace("model: tiny", "model tiny"),
        "open brace": _GOOD.replace("1e-4}", "1e-4"),
        "open bracket": _GOOD.replace("{lr: 1e-4}", "[lr: 1e-4"),
        "open quote": _GOOD.replace("tiny", "'tiny"),
        "open double quote": _GOOD.replace("tiny", '"tiny'),
        "closing brace alone": _GOOD + "}\n",
        "bad escape": _GOOD.replace("tiny", '"\\q"'),
        "undefined alias": _GOOD.replace("tiny", "*nowhere"),
        "anchor without value": _GOOD.replace("tiny", "&a *a"),
        "merge of a number": _GOOD.replace("train: {lr: 1e-4}", "<<: 5"),
        "merge of words": _GOOD.replace("train: {lr: 1e-4}", "<<: words"),
        "merge of a list of numbers": _GOOD.replace("train: {lr: 1e-4}", "<<: [1, 2]"),
        "merge brings an unknown key": _GOOD.replace("train: {lr: 1e-4}", "<<: {lrr: 1}"),
        "merge of nothing": _GOOD.replace("train: {lr: 1e-4}", "<<:"),
        "key twice at the top": _GOOD + "model: gpt2\n",
        "stage twice": _GOOD + "  sft: {}\n",
        "key twice in flow": _GOOD.replace("lr: 1e-4", "lr: 1e-4, lr: 1e-5"),
        "billion laughs of lists": _LAUGHS + _GOOD,
        "billion laughs of maps": _LAUGHING_MAPS + _GOOD,
        "billion laughs inside": _GOOD + "x:\n" + "".join(f"  {line}\n" for line in _LAUGHS.split("\n")),
        "billion laughs in data": "data:\n" + "".join(f"  {line}\n" for line in _LAUGHS.split("\n")) + _GOOD,
        "list in itself": _GOOD + "x: &x [*x]\n",
        "mapping in itself": _GOOD.replace("train: {lr: 1e-4}", "train: &t {lr: *t}"),
        "stages in themselves": "name: x\nmodel: tiny\nstages: &s\n  sft: *s\n",
        "deep lists": _GOOD + "x: " + "[" * 5000 + "]" * 5000 + "\n",
        "deep maps": _GOOD + "x: " + "{a: " * 3000 + "1" + "}" * 3000 + "\n",
        "deep block": _GOOD + "x:\n" + "".join(f"{' ' * i}a:\n" for i in range(1, 400)),
        "deep open": "[" * 20000,
        "large": _GOOD + "".join(f"k{i}: {i}\n" for i in range(200_000)),
        "long line": _GOOD + "x: " + "a" * 3_000_000 + "\n",
        "large comment": _GOOD.replace("1e-4", "x") + "# c\n" * 400_000,
        "nul": _GOOD.replace("tiny", "ti\0ny"),
        "control character": _GOOD.replace("tiny", "ti\x07ny"),
        "escape character": _GOOD.replace("tiny", "ti\x1bny"),
        "nul escaped": _GOOD.replace("tiny", '"ti\\0ny"'),
        "utf-16": _GOOD.encode("utf-16"),
        "latin-1": _GOOD.replace("tiny", "tïny").encode("latin-1"),
        "binary": bytes(range(256)) * 20,
        "zip": b"PK\x03\x04" + bytes(400),
        "html": "<!DOCTYPE html>\n<html><body>404: not found</body></html>\n",
        "json cut": '{"name": "x", "stages": {"sft": ',
        "python": "import os\nos.system('true')\n",
        "shell": "#!/bin/sh\nrlhf run quickstart\n",
        "merge conflict": f"<<<<<<< HEAD\n{_GOOD}=======\n{_GOOD}>>>>>>> other\n",
        "template marks": _GOOD.replace("tiny", "{{ model }}"),
        "template loop": "{% for x in y %}\n" + _GOOD + "{% endfor %}\n",
        "unknown directive": "%YAML 9.9\n---\n" + _GOOD.replace("1e-4", "x"),
        "broken directive": "%YAML\n---\n" + _GOOD,
        "tag directive": "%TAG ! tag:evil,2000:\n---\n" + _GOOD.replace("tiny", "!x tiny"),
        "number key": _GOOD + "5: x\n",
        "null key": _GOOD + "null: x\n",
        "true key": _GOOD + "true: x\n",
        "list key": _GOOD + "[a, b]: x\n",
        "map key": _GOOD + "{a: b}: x\n",
        "date key": _GOOD + "2026-01-01: x\n",
        "question key": _GOOD + "? x\n",
        "stage of number": _GOOD.replace("  sft:", "  5:"),
        "stage of null": _GOOD.replace("  sft:", "  null:"),
        "stages as list": "name: x\nmodel: tiny\nstages:\n  - sft: {}\n",
        "stage key as list": _GOOD.replace("  sft:", "  ? [sft]\n  :"),
    }  # fmt: skip
    tags = ("!!python/object:os.system", "!!python/object/apply:os.system", "!!python/name:os.system",
            "!!python/module:os", "!!python/tuple", "!!js/function", "!include", "!ENV", "!", "!<tag:x>", "!!float",
            "!!int", "!!bool", "!!binary", "!!timestamp", "!!set", "!!omap", "!!pairs", "!!null", "!!seq", "!!map",
            "!!str")  # fmt: skip
    for tag in tags:
        for what, value in (("words", "nonsense"), ("list", "[nonsense]"), ("map", "{nonsense: 1}")):
            texts[f"tag {tag} on {what} for a number"] = in_lr.replace("{}", f"{tag} {value}")
            if tag not in ("!!str", "!", "!<tag:x>", "!!python/name:os.system") or what != "words":
                texts[f"tag {tag} on {what} for words"] = in_description.replace("{}", f"{tag} {value}")
    for what, value in (("date", "2026-01-01"), ("time", "2026-01-01T00:00:00Z"), ("sexagesimal", "1:30"),
                        ("hex words", "0xZZ"), ("yes", "yes"), ("tilde", "~x"), ("comma", "1,5"), ("unit", "1e-4s"),
                        ("star", "*"), ("at", "@x"), ("backtick", "`x`"), ("pipe", "|"), ("percent", "5%"),
                        ("double exponent", "1e5e5"), ("minus minus", "--1")):  # fmt: skip
        texts[f"number as {what}"] = in_lr.replace("{}", value)
    for what, text in texts.items():
        yield Case(f"shape: {what}", text)


# ------------------------------------------------------------------------------------------------ trying


def cases(folder: Path) -> Iterator[Case]:
    """All of them; `folder` as `workplace` makes it."""
    yield from shapes()
    for name, (tree, stages) in bases(folder).items():
        yield from spoilt(name, tree, stages)


def attempt(case: Case, folder: Path) -> str:
    """What is wrong with how a case is refused; empty where nothing is."""
    path = _written(case.text, folder)
    start = time.process_time()
    try:
        load(path)
    except RLHFError as error:
        message = str(error)
    except Exception as error:
        return f"escaped as {type(error).__name__}: {str(error)[:200]}"
    else:
        return "was accepted"
    taken = time.process_time() - start
    if taken > SECONDS:
        return f"took {taken:.1f} s: {message[:200]}"
    if word := internals(message):
        return f"speaks of '{word}': {message[:400]}"
    if str(path) not in message or (case.place and not any(word in message for word in (*case.place, "duplicate"))):
        return f"does not name the place {'.'.join(case.place)}: {message[:300]}"
    if len(message) > 2500:
        return f"is {len(message)} characters long: {message[:300]}"
    if any(ord(sign) < 32 and sign != "\n" for sign in message):
        return f"prints control characters: {message[:200]!r}"
    return ""


def uncovered(folder: Path) -> set[str]:
    """Fields of blocks that no case spoils."""
    seen = {(spot.owner, spot.keys[-1]) for tree, stages in bases(folder).values() for spot in spots(tree, stages)}
    owners = {owner for owner, _ in seen} | {*stage_kinds().values()}
    for owner in list(owners):
        for info in owner.model_fields.values():
            owners |= {*blocks_of(info.annotation)} | {m for i in _items_of(info.annotation) for m in blocks_of(i)}
    free = {(owner, "name") for owner in stage_kinds().values()} | {(RecipeConfig, "stages")}
    wanted = {(owner, field) for owner in owners for field in owner.model_fields} - free
    return {f"{owner.__name__}.{field}" for owner, field in wanted - seen}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="try one in so many")
    every = parser.parse_args().every
    failed: list[str] = []
    tried = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = workplace(Path(scratch))
        failed += [f"no case for {field}" for field in sorted(uncovered(folder))]
        tried += len(failed)
        for case in itertools.islice(cases(folder), 0, None, every):
            tried += 1
            if problem := attempt(case, folder):
                failed.append(case.name)
                print(f"{case.name}: {problem}", flush=True)
    report(tried, failed)


if __name__ == "__main__":
    main()
