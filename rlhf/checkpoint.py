"""Where a stage stands, so that an interrupted one goes on: written whole or not at all."""

import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rlhf.artifact import CHECKPOINT, sha256, sync
from rlhf.errors import ArtifactError

_SEAL = "whole.json"
"""In a folder of files that make up one checkpoint: their hashes, written last."""
_AFRESH = "run with --fresh to start this stage again"


def save(out: Path, state: dict[str, Any], name: str = "state") -> None:
    """Replace a checkpoint under `out` by `state` (tensors, numbers, strings, lists and dictionaries of them)."""
    folder = out / CHECKPOINT
    folder.mkdir(exist_ok=True)
    scratch = folder / f"{name}.partial"
    torch.save(state, scratch)
    sync(scratch)
    scratch.replace(folder / f"{name}.pt")
    sync(folder)


def load(out: Path, name: str = "state") -> dict[str, Any] | None:
    """The state last saved under `out`, or None. Never runs code from the file."""
    path = out / CHECKPOINT / f"{name}.pt"
    if not path.is_file():
        return None
    try:
        with zipfile.ZipFile(path) as file:
            if damaged := file.testzip():  # torch writes checksums, and does not look at them
                raise ValueError(f"{damaged} is not what was written")
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        why = str(error).strip().split("\n")[0] or type(error).__name__
        raise ArtifactError(f"{path}: cannot be read ({why}); {_AFRESH}") from None


def seal(folder: Path) -> None:
    """Say that all files of a checkpoint are on disk; older checkpoints beside it go."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for path in files:
        sync(path)
    scratch = folder / f"{_SEAL}.partial"
    scratch.write_text(json.dumps({path.name: sha256(path) for path in files}), encoding="utf-8")
    sync(scratch)
    scratch.replace(folder / _SEAL)
    sync(folder)
    for other in folder.parent.iterdir():
        if other.is_dir() and other != folder:
            shutil.rmtree(other)


def sealed(out: Path) -> Path | None:
    """The newest whole checkpoint of several files under `out`, or None. Raises ArtifactError where it is damaged."""
    seals = sorted((out / CHECKPOINT).glob(f"*/{_SEAL}"), key=lambda path: path.stat().st_mtime_ns)
    if not seals:
        return None
    folder = seals[-1].parent
    for name, known in json.loads(seals[-1].read_text("utf-8")).items():
        if not (folder / name).is_file() or sha256(folder / name) != known:
            raise ArtifactError(f"{folder / name}: is missing or not what was written; {_AFRESH}")
    return folder


def keep_only(out: Path, prefix: str, name: str) -> None:
    """Of the checkpoints under `out` whose names begin with `prefix`, delete all but one."""
    for path in (out / CHECKPOINT).glob(f"{prefix}*.pt"):
        if path.stem != name:
            path.unlink()


def random_state() -> dict[str, Any]:
    """Of torch's generators, on the CPU and on every accelerator."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])


def copy_into(parameters: Sequence[nn.Parameter], saved: Sequence[Tensor]) -> None:
    """Give parameters the values that were saved of them."""
    for parameter, value in zip(parameters, saved, strict=True):
        parameter.data.copy_(value)
