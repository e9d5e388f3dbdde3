"""Which base each model of a recipe comes down to, and how large it is."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rlhf import artifact as artifacts
from rlhf.config import Full, LoRA, ModelRef, QLoRA, StageConfig, TrainingStage
from rlhf.errors import ArtifactError, RecipeError
from rlhf.intact import read_json
from rlhf.plan.shape import Shape, shape_of
from rlhf.registry import MODELS, ModelSource, resolve

BACKENDS: Mapping[str, Full | LoRA | QLoRA] = {"full": Full(), "lora": LoRA(), "qlora": QLoRA()}
"""Each lighter than the one before."""


@dataclass(frozen=True)
class Model:
    """What a stage starts from, as far as its size goes."""

    name: str
    shape: Shape
    tokenizer: Path | None
    backend: Full | LoRA | QLoRA = BACKENDS["full"]
    """Of the stage that made it; of whole weights from outside, `full`."""


class Models:
    """Finds the base that each reference of a recipe comes down to."""

    def __init__(self, stages: Mapping[str, StageConfig], folder: Path) -> None:
        self.stages, self.folder = stages, folder

    def of(self, ref: ModelRef) -> Model:
        """The base that a reference comes down to, through the stages between."""
        if ref.stage is None:
            return _outside(resolve(ref, self.folder))
        stage = self.stages[ref.stage]
        found = self.of(starts_from(stage))
        return replace(found, backend=stage.backend) if isinstance(stage, TrainingStage) else found


def starts_from(stage: StageConfig) -> ModelRef:
    """The reference that the model in question is: what trains, or the first that there is."""
    return next(ref for ref, _ in stage.references().values())


def _outside(source: ModelSource) -> Model:
    """A model from outside the recipe: a folder, another run's stage, or the hub's."""
    named = MODELS.get(source.name)
    if named is not None and named.config:
        return Model(source.name, shape_of(named.config), None)
    if not source.is_local:
        return Model(source.name, shape_of(_config_on_hub(source)), None)
    folder, backend = Path(source.location), BACKENDS["full"]
    if source.is_artifact:
        made = artifacts.read(folder)
        if made.base is None:
            raise RecipeError(f"{folder}: stage '{made.name}' made no model")
        folder, backend = made.base_folder, BACKENDS[(made.backend or {}).get("kind", "full")]
    tokenizer = folder / "tokenizer.json"
    return Model(
        source.name, shape_of(read_json(folder / "config.json")), tokenizer if tokenizer.is_file() else None, backend
    )


def _config_on_hub(source: ModelSource) -> Mapping[str, Any]:
    """Fetches the config.json alone."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        path = hf_hub_download(source.location, "config.json", revision=source.revision)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ArtifactError(
            f"model '{source.location}': its config.json could not be fetched from the hub ({why}); without a network, "
            "name a local folder or a model of `rlhf registry`"
        ) from None
    return json.loads(Path(path).read_text("utf-8"))
