"""A data block out of command-line words, for commands that work on data alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rlhf import yamlfile
from rlhf.config.data import DataConfig
from rlhf.errors import RecipeError
from rlhf.recipe.words import Places, explain


def data_block(words: Sequence[str]) -> DataConfig:
    """`pairs.jsonl columns.prompt=question`: a path, and settings of a recipe's `data`. Raises RecipeError."""
    raw: dict[str, Any] = {}
    set_by: dict[tuple[str, ...], str] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or Path(word).exists():
            if "path" in raw:
                raise RecipeError(f"{word}: one path is read, {raw['path']}; use a folder, a pattern, or `mix`")
            raw["path"] = word
            continue
        keys = tuple(key.removeprefix("data.").split("."))  # as messages write settings
        node = raw
        for part in keys[:-1]:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                raise RecipeError(f"{word}: '{part}' is not a block of settings")
        node[keys[-1]] = yamlfile.value(text)
        set_by |= {keys[:depth]: word for depth in range(1, len(keys) + 1)}
    try:
        data = DataConfig.model_validate(raw)
    except ValidationError as error:
        raise RecipeError("\n".join(explain(error, DataConfig, (), Places(None, None, set_by)))) from None
    if data.stages():
        raise RecipeError("stage: only a recipe has stages; name the file that it wrote")
    return data
