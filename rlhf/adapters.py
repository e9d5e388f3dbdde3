"""LoRA adapters on a model: added, filled from disk, checked."""

import logging
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from rlhf import config as settings
from rlhf.artifact import ADAPTER
from rlhf.errors import ArtifactError, RecipeError, did_you_mean
from rlhf.intact import first_line
from rlhf.parts import Adapter, bare, decoder, matrix
from rlhf.registry import family_of
from rlhf.weights import Weights

POLICY = "default"
"""Name of the adapter that trains; TRL expects PEFT's default."""
_PARTS = r"lora_\w+|trainable_tokens_delta"
"""What an adapter's parameters are called."""
_BELOW = "below"
"""Begins the names of the adapters under it, which do not."""


def add(model: Any, name: str, folder: Path | None, config: Any) -> Any:
    """A model with one more adapter of that shape, as it was saved in `folder` where there is one."""
    import peft

    if hasattr(model, "peft_config"):
        model.add_adapter(name, config)
    else:
        model = peft.PeftModel(model, config, adapter_name=name)
    if folder is not None:
        fill(model, name, folder)
    if POLICY in model.peft_config:  # PEFT has made active what it takes for the one adapter
        activate(model, trained(model) or ())
    return model


def add_frozen(model: Any, name: str, folders: Sequence[Path]) -> tuple[Any, Adapter]:
    """A model with the saved adapters of a role, one on the other, and what makes it that role."""
    names = [*(f"{name}_{_BELOW}{i}" for i in range(len(folders) - 1)), name][: len(folders)]
    for each, folder in zip(names, folders, strict=True):
        model = add(model, each, folder, saved_config(folder, model))
    return model, tuple(names)


def fill(model: Any, name: str, folder: Path) -> None:
    """Copy a saved adapter into the adapter `name`; every tensor must find its place."""
    path = folder / ADAPTER
    try:
        state = load_file(path)
    except Exception as error:
        raise ArtifactError(f"{path}: cannot be read: {error}") from None
    places = _places(model, name)
    if bare(model).get_output_embeddings() is None:  # a reward model predicts no tokens, and has no rows for new ones
        state = {key: value for key, value in state.items() if key in places or "token_adapter" not in key}
    if odd := sorted(state.keys() ^ places.keys()):
        raise ArtifactError(f"{path}: does not fit its base (first: {odd[0]})")
    for key, value in state.items():
        if value.shape != places[key].shape:
            shapes = f"{tuple(value.shape)} and not {tuple(places[key].shape)}"
            raise ArtifactError(f"{path}: does not fit its adapter_config.json: {key} is {shapes}")
        places[key].data.copy_(value)


def save(model: Any, name: str, folder: Path) -> None:
    """Write an adapter and its shape."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({key: p.detach().cpu().contiguous() for key, p in _places(model, name).items()}, folder / ADAPTER)
    model.peft_config[name].save_pretrained(folder)


def _places(model: nn.Module, name: str) -> dict[str, nn.Parameter]:
    """An adapter's parameters by the keys that PEFT gives them in a file: without the adapter's name. Those of tied
    layers are there once.

    PEFT's own reading and writing asks every adapter on a model for the rows of new tokens that one of them has.
    """
    found = {}
    for full, parameter in model.named_parameters():
        if match := re.search(rf"^(.*\.(?:{_PARTS}))\.{re.escape(name)}(\.weight)?$", full):
            scales = match[1].endswith("lora_magnitude_vector")  # DoRA's, in PEFT's oldest form
            found[match[1] + ("" if scales else match[2] or "")] = parameter
    return found


def add_up(model: Any, names: Adapter, whole: str) -> None:
    """Put the sum of adapters on a model as one of the sum of their ranks, called `whole`: their A side by side, their
    B with what scales each, the rows of all their new tokens."""
    import peft

    shapes = [model.peft_config[name] for name in names]
    rank = sum(shape.r for shape in shapes)
    rows: dict[str, list[int]] = {}
    for shape in shapes:
        for layer, ids in (shape.trainable_token_indices or {}).items():
            rows[layer] = [*rows.get(layer, []), *ids]
    config = peft.LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=sorted({target for shape in shapes for target in shape.target_modules}),
        fan_in_fan_out=shapes[-1].fan_in_fan_out,
        trainable_token_indices=rows or None,  # type: ignore[arg-type]
    )
    model.add_adapter(whole, config)
    for layer in adapted_layers(model):
        if whole in getattr(layer, "lora_A", ()):
            down, up, at = layer.lora_A[whole].weight.data.zero_(), layer.lora_B[whole].weight.data.zero_(), 0
            for name in (name for name in names if name in layer.lora_A):
                a, b = layer.lora_A[name].weight.data, layer.lora_B[name].weight.data
                down[at : at + len(a)], up[:, at : at + len(a)] = a, b * layer.scaling[name]
                at += len(a)
        if whole in (deltas := getattr(layer, "trainable_tokens_delta", {})):
            deltas[whole].data.copy_(torch.cat([deltas[name].data for name in names if name in deltas]))


def merge(model: Any, names: Adapter) -> Any:
    """The plain model with adapters merged into its weights, each where it is."""
    for layer in adapted_layers(model):
        if hasattr(layer, "trainable_tokens_delta"):
            for name in (name for name in names if name in layer.trainable_tokens_delta):
                rows = layer.trainable_tokens_delta[name].data
                layer.get_base_layer().weight.data[layer.token_indices[name]] = rows.to(layer.weight.dtype)
        else:
            layer.merge(adapter_names=[name for name in names if name in layer.lora_A])
    return model.unload()


def activate(model: nn.Module, adapter: Adapter) -> None:
    """Make a model one of its roles. Unlike PEFT's own switches, leaves `requires_grad` alone."""
    for layer in adapted_layers(model):
        rows = getattr(layer, "trainable_tokens_delta", adapter)  # of new tokens, which not every adapter has
        layer._active_adapter = [name for name in adapter if name in rows]


def adapted_layers(model: nn.Module) -> list[Any]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [layer for layer in model.modules() if isinstance(layer, BaseTunerLayer)]


def saved_config(folder: Path, model: nn.Module | None = None, trainable: bool = False) -> Any:
    """The shape of a saved adapter, as it is on `model`: without a language head, without that head's rows."""
    import peft

    try:
        config: Any = peft.LoraConfig.from_pretrained(str(folder))
    except Exception as error:  # whatever a setting makes the library stumble over
        raise ArtifactError(f"{folder}: its adapter_config.json is not understood: {first_line(error)}") from None
    config.inference_mode = not trainable
    if model is not None:  # the same adapter on a quantised base is not transposed
        config.fan_in_fan_out = is_conv1d(model, config.target_modules)
    if model is not None and config.trainable_token_indices is not None:
        here = token_layers(model)
        config.trainable_token_indices = {n: ids for n, ids in config.trainable_token_indices.items() if n in here}
    return config


def token_layers(model: nn.Module) -> list[str]:
    """Last names of the modules that hold a row for each token: the embedding and, where it is not tied, the head."""
    plain = bare(model)
    layers = [plain.get_input_embeddings(), plain.get_output_embeddings()]
    if layers[1] is None or matrix(layers[0]) is matrix(layers[1]):
        layers = layers[:1]
    return [name.rsplit(".", 1)[-1] for name, module in plain.named_modules() if any(module is one for one in layers)]


def continues(asked: settings.LoRA, weights: Weights, new_ids: Sequence[int] = ()) -> bool:
    """Whether a stage goes on with its parent's adapter: it asks for no other shape and adds no tokens.

    Raises ArtifactError where it does and either is DoRA's, which scales the whole weight: such do not add up.
    """
    if weights.adapter is None:
        return False
    saved = saved_config(weights.adapter)
    has = {"r": saved.r, "alpha": saved.lora_alpha, "dora": saved.use_dora, "rslora": saved.use_rslora}
    has["targets"] = sorted(saved.target_modules)
    if new_ids:
        if saved.use_dora:
            raise ArtifactError(f"{weights.adapter}: new tokens need an adapter of their own, and DoRA's do not add up")
        return False
    for key, value in has.items():
        wants = sorted(asked.targets) if key == "targets" and asked.targets else getattr(asked, key)
        if wants is None or wants == value:
            continue
        if asked.dora or saved.use_dora:
            raise ArtifactError(
                f"{weights.adapter}: has {key} {value}, but backend.{key} is {wants}: an adapter of another shape goes "
                f"on top of its parent's, and DoRA's do not add up; leave backend.{key} out"
            )
        return False
    return True


def trained(model: nn.Module) -> Adapter | None:
    """What makes a model that a backend loaded the role that trains; None for a model without adapters."""
    names = getattr(getattr(model, "module", model), "peft_config", None)
    return None if names is None else (*(name for name in names if name.startswith(_BELOW)), POLICY)


def below(i: int) -> str:
    """Name of an adapter under the one that trains."""
    return f"{_BELOW}{i}"


def check_names(model: nn.Module, targets: Sequence[str]) -> None:
    """Raise RecipeError for a target that no layer is called."""
    for target in targets:
        if not any(f".{name}".endswith(f".{target}") for name, _ in model.named_modules()):
            leaves = (name for name, layer in decoder(model).named_modules() if not list(layer.children()))
            hint = did_you_mean(target, {name.rsplit(".", 1)[-1] for name in leaves})
            raise RecipeError(f"backend.targets: no layer of the model is called '{target}'{hint}")


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


def is_conv1d(model: nn.Module, targets: Collection[str]) -> bool:
    """GPT-2 stores its linear layers transposed."""
    layers: list[Any] = [m for name, m in model.named_modules() if name.rsplit(".", 1)[-1] in targets]
    plain = [layer.get_base_layer() if hasattr(layer, "get_base_layer") else layer for layer in layers]
    return bool(plain) and all(type(layer).__name__ == "Conv1D" for layer in plain)


def of_adapter(parameter: str, adapter: Adapter) -> bool:
    """Whether a parameter of that name is one of the adapters'."""
    return any(re.search(rf"\.(?:{_PARTS})\.{re.escape(name)}(\.|$)", parameter) for name in adapter)
