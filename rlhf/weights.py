"""From a reference in a recipe to files on this machine: a base, perhaps an adapter on it, perhaps a score head."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from rlhf import artifact as artifacts
from rlhf import intact
from rlhf.artifact import Artifact, Text
from rlhf.config import ModelRef
from rlhf.errors import ArtifactError
from rlhf.registry import ModelSource, resolve

Head = Literal["lm", "score"]
BELOW = "below"
"""Folder in `model/` of the adapters under the stage's own, numbered from the base up."""
HEADS = "heads.safetensors"
"""Holds `weight` (K, D) and `bias` (K,) of several heads and, as metadata, the attributes' names."""
_SETTINGS = ["*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken"]
"""Of a model, its tokenizer, its chat templates and how it answers."""
_HUB_FILES = ["*.safetensors", *_SETTINGS]
_HUB_COPIES = ["*/*", "consolidated*.safetensors"]
"""The same weights in other layouts, which some repositories keep beside them."""
_TEMPLATES = "additional_chat_templates/*.jinja"


@dataclass(frozen=True)
class Weights:
    """What a model is loaded from."""

    base: Path
    """Folder of whole weights."""
    name: str
    """What a person calls the base."""
    identity: str
    """Content hash of the base."""
    tokenizer: Path
    """Folder of tokenizer and chat template."""
    adapter: Path | None = None
    """Folder of an adapter on the base."""
    below: tuple[Path, ...] = ()
    """Folders of the adapters under it, from the base up: ancestors' of other shapes."""
    head: Path | None = None
    """File of a linear score head."""
    heads: Path | None = None
    """File of the several heads that `head` is made of."""
    own_head: bool = False
    """The whole weights of `base` hold a score head of one output, as a reward model from outside does."""
    score_shift: float = 0.0
    """Subtracted from the head's output."""
    quantisation: str = ""
    """Of the copy of the base that the adapter was trained on: "", `nf4` or `nf4-double`."""
    text: Text | None = None
    """How the parent formatted text; None for a model from outside."""
    trust_remote_code: bool = False
    revision: str | None = None
    """Of a base from the hub."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """What the stage that made them measured; empty for a model from outside."""
    called: str = ""
    """What the reference says: a stage's name, a folder, a registry name or a hub id."""
    folder: Path | None = None
    """Of the stage that made them; None for a model from outside."""
    lineage: str = ""
    """Hash of the artifact, or of the base and its tokenizer: what a child's hash depends on."""

    @property
    def adapters(self) -> list[Path]:
        """Folders of the adapters on the base, one on the other."""
        return [*self.below, self.adapter] if self.adapter else []

    @property
    def scores(self) -> bool:
        """Whether this is a reward model."""
        return self.head is not None or self.own_head

    @property
    def head_kind(self) -> Head:
        """The head that they are loaded with."""
        return "score" if self.scores else "lm"

    @classmethod
    def of(cls, artifact: Artifact) -> "Weights":
        """The weights that a finished stage left. Raises ArtifactError when a file is gone or the base has changed."""
        if artifact.base is None:
            raise ArtifactError(f"{artifact.folder}: stage '{artifact.name}' made no model")
        artifacts.check_files(artifact)
        base = artifact.base_folder
        if not (base / "config.json").is_file():
            raise ArtifactError(f"{artifact.folder}: its base model '{artifact.base.name}' is no longer at {base}")
        intact.check_bare(base)
        found = identity(base, artifact.base.trust_remote_code)
        if found != artifact.base.identity and not artifact.adapter:
            raise ArtifactError(f"{base}: its weights are not what the stage wrote; run the stage again")
        if found != artifact.base.identity:
            raise ArtifactError(
                f"{artifact.folder}: its adapter was trained on '{artifact.base.name}' with weights "
                f"{artifact.base.identity[:12]}, but {base} now holds {found[:12]}; an adapter fits no other base"
            )
        return cls(
            base=base,
            name=artifact.base.name,
            identity=artifact.base.identity,
            tokenizer=artifact.model,
            adapter=artifact.model if artifact.adapter else None,
            below=tuple(artifact.model / BELOW / str(i) for i in range(artifact.below)),
            head=artifact.model / "head.safetensors" if artifact.head else None,
            heads=artifact.model / HEADS if f"model/{HEADS}" in artifact.hashes else None,
            score_shift=artifact.score_shift,
            quantisation=artifact.base.quantisation,
            text=artifact.text,
            trust_remote_code=artifact.base.trust_remote_code,
            revision=artifact.base.revision,
            metrics=artifact.metrics,
            folder=artifact.folder,
            lineage=artifact.hash,
        )


def named(model: str) -> Weights:
    """The weights of a registry name, a folder or a hub id (fetched), as a command line gives them."""
    return find(ModelRef(name=model), {}, Path.cwd())


def find(ref: ModelRef, stages: Mapping[str, Artifact], folder: Path | None = None) -> Weights:
    """The weights a reference names: an earlier stage, another run's stage, a local folder, or the hub (fetched)."""
    if ref.stage is not None:
        return replace(Weights.of(stages[ref.stage]), called=ref.stage)
    source = resolve(ref, folder)
    if source.is_artifact:
        made = Weights.of(artifacts.read(Path(source.location)))
        return replace(made, called=str(ref.name), trust_remote_code=made.trust_remote_code and ref.trust_remote_code)
    base = Path(source.location) if source.is_local else _fetch(source)
    known = identity(base, source.trust_remote_code)
    intact.check(base)
    return Weights(
        base=base,
        name=source.name,
        identity=known,
        tokenizer=base,
        own_head=_has_head(base),
        called=str(ref.name),
        trust_remote_code=source.trust_remote_code,
        revision=source.revision,
        lineage=artifacts.digest([known, _settings_hash(base)]),
    )


def _has_head(base: Path) -> bool:
    """Whether a model folder is a classifier of one output. Raises ArtifactError for one of several."""
    config = intact.read_json(base / "config.json")
    if not any(name.endswith("ForSequenceClassification") for name in config.get("architectures") or ()):
        return False
    outputs = len(config.get("id2label") or {0: "", 1: ""})
    if outputs != 1:
        raise ArtifactError(f"{base}: a classifier of {outputs} outputs; a reward model has one, a policy none")
    return True


def identity(folder: Path, trusted: bool = False) -> str:
    """sha256 over the weights and the config of a model folder, and over the code in it where that is `trusted` to run;
    the same wherever the folder stands."""
    files = sorted([*folder.glob("*.safetensors"), folder / "config.json"])
    if len(files) < 2 or not files[-1].parent.is_dir():
        pickles = [path.name for path in folder.glob("*.bin")]
        why = f"only pickled weights ({pickles[0]}), which are never loaded" if pickles else "no *.safetensors"
        raise ArtifactError(f"{folder}: {why}; save the model with save_pretrained(…) to get safetensors")
    total = hashlib.sha256()
    for file in files:
        if not file.is_file():
            raise ArtifactError(f"{file}: {'is no file' if file.exists() else 'missing'}")
        stat = file.stat()
        if file.suffix == ".safetensors":
            total.update(_file_hash(os.fspath(file), stat.st_size, stat.st_mtime_ns).encode())
        else:
            total.update(file.read_bytes())
    if trusted:
        _add_files(total, folder, sorted(folder.rglob("*.py")))
    return total.hexdigest()


def is_whole(artifact: Artifact) -> bool:
    """Whether the whole weights that a stage left, if it left any, are those that it wrote.

    They are read once a run: gigabytes take seconds, a model trained from torn ones would take the run.
    """
    if artifact.base is None or artifact.adapter:
        return True
    try:
        return identity(artifact.base_folder, artifact.base.trust_remote_code) == artifact.base.identity
    except (ArtifactError, OSError):
        return False


def _settings_hash(folder: Path) -> str:
    """sha256 over what makes tokens of text and answers of a model: tokenizer, chat templates, settings of generation.

    Of any name that such files have: one too many makes a child run again, one too few keeps it on what has changed.
    """
    total = hashlib.sha256()
    _add_files(total, folder, sorted(path for pattern in [*_SETTINGS, _TEMPLATES] for path in folder.glob(pattern)))
    return total.hexdigest()


def _add_files(total: "hashlib._Hash", folder: Path, paths: Sequence[Path]) -> None:
    for path in paths:
        if path.is_file():
            total.update(f"\n{path.relative_to(folder)}\n".encode() + path.read_bytes())


@cache
def _file_hash(path: str, size: int, changed: int) -> str:
    """sha256 of a file; size and time of change are part of the key, so that an edited file is read again."""
    return artifacts.sha256(Path(path))


def _fetch(source: ModelSource) -> Path:
    """Download a hub model without pickles, and without code unless that was asked for."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = [*_HUB_FILES, "*.py"] if source.trust_remote_code else _HUB_FILES
    try:
        return Path(
            snapshot_download(
                source.location, revision=source.revision, allow_patterns=wanted, ignore_patterns=_HUB_COPIES
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ArtifactError(
            f"model '{source.location}' could not be fetched from the hub ({first}); "
            "without a network, name a local folder; else check the id, and `hf auth login` for gated models"
        ) from None
