"""Where a stage stands, so that an interrupted one goes on. One rule for every stage:

<stage>/checkpoint/00000012/
    state.pt, …       what the stage put there
    manifest.json     the hash of every file, and of the stage that they are of; written last

A checkpoint is written beside its place, flushed to the disk and renamed: it is there whole or not at all. The newest
two are kept, and a stage goes on from the newest that is still what was written. One that had to be passed over is put
aside, so that it never counts among those, and goes once another is there.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor, nn

from rlhf import disk
from rlhf.artifact import CHECKPOINT, key_of, writing_to
from rlhf.errors import ArtifactError

KEPT = 2
"""Checkpoints that are kept: the last one, and one to fall back on."""
MANIFEST = "manifest.json"
STATE = "state.pt"
_PASSED_OVER = ".damaged"


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint."""

    step: int
    """Steps, rollouts or batches that were done."""
    folder: Path

    def state(self) -> dict[str, Any]:
        """What `save` was given. Never runs code from the file."""
        return torch.load(self.folder / STATE, map_location="cpu", weights_only=True)


def save(out: Path, step: int, state: Mapping[str, Any], beside: Sequence[Path] = ()) -> None:
    """Make `state` (tensors, numbers, strings, lists and dictionaries of them) the checkpoint after a step, with the
    files `beside` as they are now. Raises SaveError where the disk does not take it; older checkpoints stay."""
    with making(out, step) as folder:
        torch.save(dict(state), folder / STATE)
        for path in beside:
            link(path, folder / path.name)


@contextmanager
def making(out: Path, step: int) -> Iterator[Path]:
    """A folder to write a checkpoint's files into: the checkpoint after a step, once all are on disk."""
    home = out / CHECKPOINT
    scratch, final = home / f".{step:08d}.partial", home / f"{step:08d}"
    try:
        with writing_to(home, f"the checkpoint after step {step}"):
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir(parents=True)
            yield scratch
            files = sorted(path for path in scratch.iterdir() if path.is_file())
            known = {"stage": key_of(out), "files": {path.name: fingerprint(path) for path in files}}
            (scratch / MANIFEST).write_text(json.dumps(known), encoding="utf-8")
            disk.sync_all(scratch)
            shutil.rmtree(final, ignore_errors=True)
            disk.move(scratch, final)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)  # what a full disk has of it
    for folder in [*_folders(out)[KEPT:], *home.glob(f".*{_PASSED_OVER}")]:
        shutil.rmtree(folder)


def newest(
    out: Path, say: Callable[[str], None], usable: Callable[[Checkpoint], bool] | None = None
) -> Checkpoint | None:
    """The newest whole checkpoint under `out`, and usable where that is asked. Says which had to be passed over."""
    for folder in _folders(out):
        found = Checkpoint(int(folder.name), folder)
        why = _damage(folder, out)
        if why is None and (usable is None or usable(found)):
            return found
        say(f"  the checkpoint after step {found.step} is passed over: {why or 'what it counts on is not there'}")
        aside = folder.with_name(f".{folder.name}{_PASSED_OVER}")
        shutil.rmtree(aside, ignore_errors=True)
        disk.move(folder, aside)
    return None


def made(out: Path) -> list[int]:
    """After which steps there are checkpoints, the last one first."""
    return [int(folder.name) for folder in _folders(out)]


def _folders(out: Path) -> list[Path]:
    """Of checkpoints, the newest first."""
    return sorted((path for path in (out / CHECKPOINT).glob("[0-9]*") if path.name.isdigit()), reverse=True)


def _damage(folder: Path, out: Path) -> str | None:
    """What is not as it was written, or not of this stage."""
    try:
        known = json.loads((folder / MANIFEST).read_text("utf-8"))
        if known["stage"] != key_of(out):
            return "it is of another stage, or of this one with other settings, data or code"
        files = known["files"]
        return next(
            (f"{name} is not what was written" for name in files if fingerprint(folder / name) != files[name]), None
        )
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        return f"it cannot be read ({error})"


def fingerprint(path: Path, end: int | None = None) -> str:
    """Hash of a file's bytes up to `end`: tells a torn file, and not a forged one."""
    return hash_of(path, end).hexdigest()


def hash_of(path: Path, end: int | None = None) -> xxhash.xxh3_128:
    """The same, to go on with as the file grows."""
    hash, left = xxhash.xxh3_128(), end
    with path.open("rb") as file:
        while block := file.read(1 << 20 if left is None else min(left, 1 << 20)):
            hash.update(block)
            left = None if left is None else left - len(block)
    return hash


# ------------------------------------------------------------------------------------------------ files beside


def put(path: Path, state: Mapping[str, Any]) -> None:
    """Replace a file that checkpoints count on, such as the best weights so far; whole or not at all."""
    with writing_to(path.parent, path.name), disk.whole(path) as scratch:
        torch.save(dict(state), scratch)


def get(path: Path) -> dict[str, Any]:
    """What was put there. Never runs code from the file. Raises ArtifactError where it cannot be read."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        why = str(error).strip().split("\n")[0] or type(error).__name__
        raise ArtifactError(f"{path}: cannot be read ({why}); run with --fresh to start this stage again") from None


def link(path: Path, to: Path) -> None:
    """The file as it is now under a second name: `put` leaves that one alone."""
    to.unlink(missing_ok=True)
    try:
        os.link(path, to)
    except OSError:  # a file system without links
        shutil.copyfile(path, to)


# ------------------------------------------------------------------------------------------------ what is in a state


def random_state() -> dict[str, Any]:
    """Of torch's generators, on the CPU and on every accelerator."""
    return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []}


def set_random_state(state: dict[str, Any]) -> None:
    """As it was taken. Of accelerators, those that were there then and are there now: a stage works on the first."""
    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available():
        for device, taken in zip(range(torch.cuda.device_count()), state["cuda"], strict=False):
            torch.cuda.set_rng_state(taken, device)


@contextmanager
def aside(seed: int | None = None) -> Iterator[None]:
    """Draw inside, from `seed` on if one is given, and leave the random state as it was."""
    before = random_state()
    if seed is not None:
        torch.manual_seed(seed)
    try:
        yield
    finally:
        set_random_state(before)


def copy_into(parameters: Sequence[nn.Parameter], saved: Sequence[Tensor]) -> None:
    """Give parameters the values that were saved of them."""
    for parameter, value in zip(parameters, saved, strict=True):
        parameter.data.copy_(value)
