"""What a stage leaves on disk.

<run>/stages/<name>/
    artifact.json     written last, atomically: a stage without it never happened
    model/            weights (a whole model, or an adapter and its head) with tokenizer and chat template
    examples.jsonl    of a stage that makes examples for others
    metrics.jsonl     everything the stage logged; the last line accounts for it as artifact.json does
    tables.jsonl      samples that trackers were told of, where a recipe names any
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from rlhf import disk
from rlhf.errors import ArtifactError, SaveError

FORMAT = 4
FILE = "artifact.json"
EXAMPLES = "examples.jsonl"
ROWS = ("pairs.jsonl", "samples.jsonl", "refusals.jsonl", "harness.jsonl", "losses.jsonl")
"""Files of an evaluation, from which its numbers follow."""
METRICS = "metrics.jsonl"
TABLES = "tables.jsonl"
ADAPTER = "adapter_model.safetensors"
_OWN_WEIGHTS = (ADAPTER, "head.safetensors", "heads.safetensors")
CHECKPOINT = "checkpoint"
"""Folder inside a stage's working folder from which an interrupted stage goes on."""
KEY = "hash"
"""File in a stage's working folder that holds the hash of what is being made."""


@dataclass(frozen=True)
class Base:
    """The frozen weights an artifact rests on; for a full stage, its own."""

    location: str
    """Local folder; relative to the artifact's folder when it lies in the same run."""
    name: str
    """What a person calls it: registry name, hub id or folder."""
    identity: str
    """Content hash of the weights (`weights.identity`): roles share a trunk when theirs agree."""
    quantisation: str = ""
    """Of the copy of these weights that the adapter was trained on: "", `nf4` or `nf4-double`."""
    trust_remote_code: bool = False
    revision: str | None = None
    """Of a hub model."""


TRAINED_WHOLE = " (full)"
"""Ends the name of a base that a stage has trained whole."""


@dataclass(frozen=True)
class Text:
    """How text becomes tokens; locked along a recipe."""

    template_sha256: str
    pad_token: str
    stop_tokens: tuple[str, ...]


@dataclass(frozen=True)
class Artifact:
    """The record of a finished stage."""

    name: str
    stage: str
    makes: str
    """`policy`, `reward`, `dataset` or `evaluation`."""
    hash: str
    """Of config, parents, data and the stage's code: unchanged means that the stage need not run again."""
    backend: dict[str, Any] | None = None
    base: Base | None = None
    text: Text | None = None
    adapter: bool = False
    """`model/` holds an adapter on `base` rather than whole weights."""
    below: int = 0
    """Adapters under it, `model/below/0` and so on from the base up: ancestors' of other shapes, which do not train."""
    head: bool = False
    """`model/head.safetensors` holds a linear score head."""
    score_shift: float = 0.0
    """Subtracted from the head's output, so that demonstrations score 0 on average."""
    parents: dict[str, str] = field(default_factory=dict)
    """Field that names a model to the hash of what it named."""
    data: dict[str, Any] = field(default_factory=dict)
    """Source to content hash and ledger."""
    metrics: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)
    """What making it took: `seconds`, and at the peak bytes of main `memory` and, if there is one, of `accelerator`."""
    files: dict[str, int] = field(default_factory=dict)
    """Sizes of what is in `model/`, and of examples and rows."""
    hashes: dict[str, str] = field(default_factory=dict)
    """sha256 of what is in `model/`, and of examples and rows; whole weights, if any, are known by `base.identity`."""
    folder: Path = Path()
    """Where it was read from; not stored."""

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def base_folder(self) -> Path:
        """Folder of the base weights, absolute."""
        assert self.base is not None, f"stage '{self.name}' has no model"
        return (self.folder / self.base.location).resolve()


def write(artifact: Artifact, folder: Path) -> Artifact:
    """Write `artifact.json` after everything beside it is on disk; atomic."""
    disk.sync_all(folder, leave_out=(CHECKPOINT,))
    record = {"format": FORMAT, **asdict(artifact)}
    record.pop("folder")
    record["files"] = _sizes(folder)
    known = [path for path in _files(folder) if path.suffix != ".safetensors" or path.name in _OWN_WEIGHTS]
    record["hashes"] = {str(path.relative_to(folder)): sha256(path) for path in known}
    record["seal"] = digest(record)
    disk.put(folder / FILE, json.dumps(record, indent=2, default=str) + "\n")
    return read(folder)


ACCOUNTS = "spent/seconds"
"""A number that the line of a log has, the last, which accounts for the whole stage."""


def numbers(artifact: Artifact) -> dict[str, float]:
    """What a stage came to, what became of its rows and what it took, by paths in its record: `data/train/rows`."""
    found = {"metrics": artifact.metrics, "data": artifact.data, "spent": artifact.spent}
    return dict(_numbers(found, ()))


def _numbers(value: Any, path: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _numbers(item, (*path, str(key)))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield "/".join(path), value


@contextmanager
def writing_to(folder: Path, what: str) -> Iterator[None]:
    """Raises SaveError where the disk does not take what is written inside."""
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        if (reason := disk.refused(error)) is None:
            raise
        raise SaveError(
            f"{folder}: {what} cannot be written ({reason}); make room there and run the same command again: it goes "
            "on from the last checkpoint"
        ) from error


def key_of(folder: Path) -> str:
    """The hash of what is being made in a stage's working folder; empty where none says."""
    path = folder / KEY
    return path.read_text("utf-8") if path.is_file() else ""


def commit(scratch: Path, home: Path) -> Artifact:
    """Move a finished stage to its place, without what it needed to go on; what stood there goes only once it has been
    replaced."""
    shutil.rmtree(scratch / CHECKPOINT, ignore_errors=True)
    (scratch / KEY).unlink(missing_ok=True)
    old = home.with_name(f".{home.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if home.exists():
        disk.move(home, old)
    disk.move(scratch, home)
    shutil.rmtree(old, ignore_errors=True)
    return read(home)


def read(folder: Path) -> Artifact:
    """The artifact of a finished stage. Raises ArtifactError."""
    path = folder / FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{folder}: no {FILE}: not the output of a finished stage") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: cannot be read: {error}; run the stage again") from None
    try:
        if record.pop("seal") != digest(record):
            raise ArtifactError(f"{path}: was changed after it was written; run the stage again")
        if record.pop("format") != FORMAT:
            raise ArtifactError(f"{path}: written by another version of rlhf; run the stage again")
        base, text = record.pop("base"), record.pop("text")
        if text:
            text["stop_tokens"] = tuple(text["stop_tokens"])
        return Artifact(
            **record, base=Base(**base) if base else None, text=Text(**text) if text else None, folder=folder.resolve()
        )
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: not an artifact: {error}") from None


def finished(folder: Path) -> Artifact | None:
    """The artifact in a folder, or None where no stage finished whole; a torn or damaged one never happened."""
    try:
        made = read(folder)
        check_files(made)
    except ArtifactError:
        return None
    return made if _sizes(folder) == made.files else None


def check_files(artifact: Artifact) -> None:
    """Raise ArtifactError when adapter, head, settings or tokenizer are not the bytes that the stage wrote."""
    for name, known in artifact.hashes.items():
        path = artifact.folder / name
        if not path.is_file() or sha256(path) != known:
            raise ArtifactError(f"{path}: is missing or not what its stage wrote; run the stage again")


def sha256(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sizes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_size for path in _files(folder)}


def _files(folder: Path) -> list[Path]:
    """What others read of an artifact."""
    beside = [folder / name for name in (EXAMPLES, *ROWS)]
    return sorted(path for path in [*(folder / "model").rglob("*"), *beside] if path.is_file())


def digest(value: Any) -> str:
    """Hash of plain values, the same in every process."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
