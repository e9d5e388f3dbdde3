"""Settings on the command line: `key=value` over what a recipe says."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlhf import yamlfile
from rlhf.config import BackendConfig
from rlhf.errors import RecipeError, did_you_mean
from rlhf.recipe.config import RecipeConfig
from rlhf.recipe.words import blocks_of

_SOURCES = {
    "path": {"hub", "subset", "split", "revision", "stage", "mix"},
    "hub": {"path", "eval_path", "stage", "mix"},
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
    known = {k.model_fields["kind"].default: k for k in blocks_of(BackendConfig)}
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
