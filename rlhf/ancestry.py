"""The stages that a model came from, as their artifacts tell."""

from collections.abc import Iterator
from pathlib import Path

from rlhf import artifact as artifacts
from rlhf.artifact import Artifact
from rlhf.config import ModelRef
from rlhf.errors import ArtifactError, RLHFError
from rlhf.registry import resolve


def ancestors(made: Artifact) -> list[Artifact]:
    """Stages of the same run that it came from, the first one first."""
    beside = {found.hash: found for found in _beside(made.folder)}
    chain: list[Artifact] = []
    wanted = list(made.parents.values())
    while wanted:
        found = beside.pop(wanted.pop(0), None)
        if found is not None:
            chain.insert(0, found)
            wanted += found.parents.values()
    return chain


def trained_from(made: Artifact) -> list[Artifact]:
    """The stages whose weights it was trained from, one after the other and itself last; of other runs too, where they
    still are what they were."""
    chain = [made]
    while (parent := named(chain[0], "model")) is not None:
        chain.insert(0, parent)
    return chain


def relatives(folder: Path) -> dict[str, str]:
    """What a policy in a stage's folder can be compared with: the `baseline` that it was trained from, and the
    `reward_model` that it was trained with, where there is one."""
    made = artifacts.read(folder)
    *before, _ = trained_from(made)
    judge = named(made, "reward_model")
    parent = str(before[-1].folder) if before else root([made]).name
    return {"baseline": str(parent), **({"reward_model": str(judge.folder)} if judge else {})}


def root(chain: list[Artifact]) -> ModelRef:
    """The model that the first stage of a chain started from."""
    first = chain[0]
    if first.adapter and first.base is not None:
        return ModelRef(name=str(first.base_folder), trust_remote_code=first.base.trust_remote_code)
    return ModelRef.model_validate(first.config["model"])


def named(made: Artifact, field: str) -> Artifact | None:
    """The stage that a field of a stage's settings names, such as `model`; None for a model from outside, and for what
    has changed since."""
    key, ref = made.parents.get(field), made.config.get(field) or {}
    found = next((one for one in _beside(made.folder) if one.hash == key), None)
    if found is not None or not ref.get("name"):
        return found
    try:
        source = resolve(ModelRef(name=ref["name"]))
        other = artifacts.read(Path(source.location)) if source.is_artifact else None
    except RLHFError:
        return None
    return other if other is not None and other.hash == key else None


def _beside(folder: Path) -> Iterator[Artifact]:
    """The finished stages of a run."""
    for path in sorted(folder.parent.glob(f"*/{artifacts.FILE}")):
        try:
            yield artifacts.read(path.parent)
        except ArtifactError:
            continue
