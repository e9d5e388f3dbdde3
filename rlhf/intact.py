"""Whether the files of a model folder are whole, before anything reads them. Light: imports no torch."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlhf.errors import ArtifactError

_AGAIN = "a download that stopped? fetch it again"
_LONGEST_HEADER = 100_000_000
"""Bytes, as safetensors has it."""


def check(folder: Path) -> None:
    """Raise ArtifactError, which names the file, where settings, weights or their index are broken or torn, or an
    adapter lies among them."""
    config = read_json(folder / "config.json")
    if not isinstance(config.get("model_type"), str):
        raise ArtifactError(f"{folder / 'config.json'}: names no `model_type`, so nothing is known of the architecture")
    if (folder / "generation_config.json").is_file():
        read_json(folder / "generation_config.json")
    held = {path.name: set(_tensors(path)) for path in sorted(folder.glob("*.safetensors"))}
    for path in folder.glob("*.safetensors.index.json"):
        _check_index(path, held)
    check_bare(folder)


def check_bare(folder: Path) -> None:
    """Raise ArtifactError where an adapter lies beside whole weights: transformers applies it without a word."""
    if (beside := folder / "adapter_config.json").exists():
        raise ArtifactError(
            f"{beside}: an adapter among the files of a whole model, which would change what the model computes; move "
            "its adapter_config.json and adapter_model.* out of there, or merge it into the weights and save those"
        )


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file. Raises ArtifactError."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise ArtifactError(f"{path}: is not JSON; {_AGAIN}") from None
    if not isinstance(found, dict):
        raise ArtifactError(f"{path}: holds no mapping of settings; {_AGAIN}")
    return found


def _tensors(path: Path) -> Iterator[str]:
    """The names in the header of a file of weights, which also says how long the file is."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = file.read(length) if length <= min(size - 8, _LONGEST_HEADER) else b""
            file.seek(0)
            is_pointer = file.read(40).startswith(b"version https://git-lfs")
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from None
    if is_pointer:
        raise ArtifactError(f"{path}: is a pointer to the file and not the file; `git lfs pull` in {path.parent}")
    try:
        tensors = {name: about for name, about in json.loads(header).items() if name != "__metadata__"}
        end = max((about["data_offsets"][1] for about in tensors.values()), default=0)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ArtifactError(f"{path}: has no safetensors header; {_AGAIN}") from None
    if end != (there := size - 8 - length):
        raise ArtifactError(f"{path}: holds {there} bytes of weights, and its header says {end}; {_AGAIN}")
    yield from tensors


def _check_index(path: Path, held: dict[str, set[str]]) -> None:
    places = read_json(path).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ArtifactError(f"{path}: has no `weight_map`; {_AGAIN}")
    for tensor, file in places.items():
        if file not in held:
            raise ArtifactError(f"{path.parent / str(file)}: missing, and {path.name} says that it holds {tensor}")
        if tensor not in held[file]:
            raise ArtifactError(f"{path.parent / file}: lacks {tensor}, which {path.name} says that it holds")


def first_line(error: Exception) -> str:
    """A library's error in one line, without names of classes."""
    first, *more = (str(error).strip() or type(error).__name__).splitlines()
    line = f"{first} {more[0].strip()}" if first.endswith(":") and more else first
    return re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", re.sub(r"\b\w+Error: ", "", line))[:200]
