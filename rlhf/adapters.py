"""LoRA adapters on a model: added, filled from disk, checked."""

import logging
import re
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedModel

from rlhf import config as settings
from rlhf.errors import ArtifactError, RecipeError
from rlhf.parts import decoder
from rlhf.registry import family_of
from rlhf.weights import Weights


def add(model: Any, name: str, weights: Weights, config: Any) -> Any:
    """A model with one more adapter of that shape, as it was saved where it was."""
    import peft

    if hasattr(model, "peft_config"):
        model.add_adapter(name, config)
    else:
        model = peft.PeftModel(model, config, adapter_name=name)
    fill(model, name, weights)
    return model


def fill(model: Any, name: str, weights: Weights) -> None:
    """Copy a saved adapter into the adapter `name`; every tensor must find its place."""
    if weights.adapter is None:
        return
    import peft

    path = weights.adapter / "adapter_model.safetensors"
    try:
        state = load_file(path)
    except Exception as error:
        raise ArtifactError(f"{path}: cannot be read: {error}") from None
    try:
        result = peft.set_peft_model_state_dict(model, state, adapter_name=name)
    except RuntimeError as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise ArtifactError(f"{path}: does not fit its adapter_config.json: {first}") from None
    missing = [key for key in result.missing_keys if of_adapter(key, name)]
    if result.unexpected_keys or missing:
        odd = (list(result.unexpected_keys) + missing)[0]
        raise ArtifactError(f"{path}: does not fit base '{weights.name}' (first: {odd})")


def saved_config(folder: Path, trainable: bool = False) -> Any:
    import peft

    config = peft.LoraConfig.from_pretrained(str(folder))
    config.inference_mode = not trainable
    return config


def check_shape(asked: settings.LoRA, saved: Any, adapter: Path) -> None:
    """An adapter that is continued keeps its shape; a setting that says otherwise would not be read."""
    has = {"r": saved.r, "alpha": saved.lora_alpha, "dora": saved.use_dora, "rslora": saved.use_rslora}
    has["targets"] = sorted(saved.target_modules)
    for key in asked.model_fields_set & has.keys():
        wants = sorted(asked.targets) if key == "targets" and asked.targets else getattr(asked, key)
        if wants is not None and wants != has[key]:
            raise ArtifactError(
                f"{adapter}: this adapter is continued and has {key} {has[key]}, but backend.{key} is {wants}; "
                f"leave backend.{key} out, or make it agree"
            )


def check_targets(model: nn.Module) -> None:
    """Adapters belong on the decoder's linear layers: heads and embeddings are read without them."""
    inside = set(decoder(model).modules())
    for name, layer in model.named_modules():
        if hasattr(layer, "lora_A") and (layer not in inside or len(layer.lora_embedding_A)):  # type: ignore[arg-type]
            raise RecipeError(f"backend.targets: {name} is no linear layer of the decoder; leave it out")


def lora_targets(model: PreTrainedModel) -> list[str]:
    """The linear layers LoRA adapts: the family's, or every linear layer of the decoder for an unknown architecture."""
    family = family_of(model.config.to_dict())
    if family.lora_targets:
        return list(family.lora_targets)
    linear = [name for name, layer in decoder(model).named_modules() if isinstance(layer, nn.Linear)]
    plain = [name for name in linear if ".lora_" not in name]  # the model may have adapters already
    names = sorted({name.removesuffix(".base_layer").rsplit(".", 1)[-1] for name in plain})
    if len(plain) == len(linear):
        logging.getLogger("rlhf").warning(
            "architecture '%s' is unknown to the registry: LoRA adapts every linear layer (%s)",
            model.config.model_type,
            ", ".join(names),
        )
    return names


def is_conv1d(model: PreTrainedModel, targets: list[str]) -> bool:
    """GPT-2 stores its linear layers transposed."""
    layers = [m for name, m in model.named_modules() if name.rsplit(".", 1)[-1] in targets]
    return bool(layers) and all(type(layer).__name__ == "Conv1D" for layer in layers)


def of_adapter(parameter: str, adapter: str) -> bool:
    """Whether a parameter of that name is the adapter's."""
    return re.search(rf"\.lora_\w+\.{re.escape(adapter)}(\.|$)", parameter) is not None
