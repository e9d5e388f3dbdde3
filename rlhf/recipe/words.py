"""Errors in words: where in the recipe, what is wrong, what would work."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
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
        options, choice = blocks_of(annotation), _is_union(annotation)
    return owner, keys, tag


def _kind(model: type[BaseModel]) -> Any:
    """What tells a model from others in a union, if anything does."""
    return model.model_fields["kind"].default if "kind" in model.model_fields else None


def _is_union(annotation: Any) -> bool:
    inner = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    return get_origin(inner) in (Union, UnionType)


def blocks_of(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models an annotation may stand for."""
    if get_origin(annotation) is Annotated:
        return blocks_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [m for option in get_args(annotation) for m in blocks_of(option)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []
