"""Errors in words: where in the recipe, what is wrong, what would work."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from ruamel.yaml.comments import CommentedMap

from rlhf import yamlfile
from rlhf.errors import did_you_mean
from rlhf.recipe.config import INHERITED


@dataclass
class Places:
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


def explain(error: ValidationError, model: type[BaseModel], prefix: tuple, places: Places) -> Iterator[str]:
    for item in error.errors(include_url=False):
        owner, keys, option = _owner(model, item["loc"])
        if option is not None and not option.is_meant(item["input"]):
            continue
        if item["type"] == "union_tag_invalid":
            keys.append(item.get("ctx", {})["discriminator"].strip("'"))
        yield f"{places((*prefix, *keys))}: {'.'.join(map(str, (*prefix[1:], *keys)))}: {_words(item, owner)}"


_NEEDED = {
    "float": "a number is needed",
    "int": "a whole number is needed",
    "bool": "true or false is needed",
    "string": "text is needed",
    "path": "a path is needed",
    "list": "a list is needed: [a, b]",
    "dict": "a block of settings is needed (key: value)",
    "model": "a block of settings is needed (key: value)",
    "finite": "a finite number is needed",
}
"""By the first word of pydantic's name of an error."""


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
        case "union_tag_not_found":
            return f"`{about['discriminator'].strip(chr(39))}` is required"
        case "value_error":
            return message
        case "literal_error":
            return f"must be {about['expected']}, got {given}"
        case "string_pattern_mismatch":
            return f"must fit the pattern {about['pattern']}, got {given}"
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal" | "string_too_long":
            limit = message.removeprefix("Input should be ").removeprefix("String should ")
            return f"must {'' if limit.startswith('have') else 'be '}{limit}, got {given}"
        case kind:
            return f"{_NEEDED.get(kind.split('_')[0], 'this value does not fit here')}, got {given}"


@dataclass(frozen=True)
class Option:
    """One of several forms that a value may take, of which pydantic tells what is wrong with each."""

    form: str
    """`block`, `list` or `plain`."""
    others: frozenset[str]
    """The forms of all."""

    def is_meant(self, given: Any) -> bool:
        """Whether this is the form nearest to what was given."""
        form = "block" if isinstance(given, dict) else "list" if isinstance(given, list) else "plain"
        return self.form == next(f for f in (form, "plain", "block", "list") if f in self.others)


def _owner(
    model: type[BaseModel], loc: Sequence[str | int]
) -> tuple[type[BaseModel] | None, list[str | int], Option | None]:
    """The model that the last key of `loc` belongs to, `loc` without the tags of unions, and such a tag at its end."""
    owner: type[BaseModel] | None = model
    options: list[Any] = [model]
    keys: list[str | int] = []
    option: Option | None = None
    for key in loc:
        if key == "[key]":  # of a mapping: the key itself is wrong
            continue
        known = next((o for o in options if key in getattr(o, "model_fields", ())), None)
        if known is None and len(options) > 1 and isinstance(key, str):
            forms = frozenset(map(_form, options))
            options = [o for o in options if _is_tag(key, o)] or options
            option = Option(_form(options[0]), forms)
            continue
        option = None
        keys.append(key)
        owner = known or next((o for o in options if hasattr(o, "model_fields")), None)
        within = list if isinstance(key, int) else dict
        inner = known.model_fields[str(key)].annotation if known else _held(options, within)
        options = _alternatives(inner)
    return owner, keys, option


def _alternatives(annotation: Any) -> list[Any]:
    """What an annotation says a value may be, null aside."""
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [o for option in get_args(annotation) for o in _alternatives(option)]
    return [] if annotation in (None, NoneType) else [annotation]


def _held(options: Sequence[Any], within: type) -> Any:
    """What the lists or the mappings among some options hold."""
    return next((get_args(o)[-1] for o in options if get_origin(o) is within), None)


def _form(option: Any) -> str:
    if get_origin(option) is list:
        return "list"
    return "block" if get_origin(option) is dict or hasattr(option, "model_fields") else "plain"


def _is_tag(tag: str, option: Any) -> bool:
    """Whether pydantic means an option of a union by a tag, such as `LearningRates`, `list[int]` or `function-…`."""
    if hasattr(option, "model_fields"):
        return tag in (option.__name__, _kind(option)) or tag.endswith(f", {option.__name__}]")
    origin = get_origin(option)
    return tag.startswith(f"{origin.__name__}[" if origin in (list, dict) else getattr(option, "__name__", "lit"))


def _kind(model: type[BaseModel]) -> Any:
    """What tells a model from others in a union, if anything does."""
    return model.model_fields["kind"].default if "kind" in model.model_fields else None


def blocks_of(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models an annotation may stand for."""
    if get_origin(annotation) is Annotated:
        return blocks_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [m for option in get_args(annotation) for m in blocks_of(option)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []
