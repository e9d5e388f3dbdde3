"""The adapter system: what trains, how it is loaded, kept apart from its reference, saved and merged.

The only module that knows which backend it is. Everything else holds a `Backend` and calls it.
With LoRA and QLoRA the base is frozen and every role is an adapter on it. With Full what trains is a model, and frozen
roles are adapters on one copy where they have one base, or models too.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from rlhf import adapters, loading
from rlhf import config as settings
from rlhf.artifact import Base
from rlhf.data.chat import ChatFormat
from rlhf.parts import bare, score_head, unwrapped
from rlhf.weights import Head, Weights, identity

Placed = tuple[nn.Module, str | None]
"""A role's model and its adapter there: "" for the plain base, None on a model of the role's own."""
POLICY = "default"
"""Name of the adapter that trains; TRL expects PEFT's default."""

_DTYPE = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Backend(ABC):
    """What trains. `precision` is the storage of whatever is frozen; what trains is held in float32."""

    def __init__(self, precision: str = "fp32", device: torch.device | None = None) -> None:
        self.dtype = _DTYPE[precision]
        self.device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @abstractmethod
    def load(self, weights: Weights, chat: ChatFormat, head: Head = "lm") -> PreTrainedModel:
        """A model ready to train, started from `weights`; head `score` has a linear layer with one output."""

    def frozen(self, weights: Weights, chat: ChatFormat, head: Head = "lm") -> PreTrainedModel:
        """A model that does not train, held as the settings for such models say."""
        return self.load(weights, chat, head).eval().requires_grad_(False)

    @abstractmethod
    def trained_role(self, model: nn.Module, name: str, weights: Weights, chat: ChatFormat) -> Placed:
        """A further role beside `model` that trains; on a trunk, weights without an adapter are given a fresh one."""

    @abstractmethod
    def frozen_roles(self, model: nn.Module, roles: Mapping[str, Weights], chat: ChatFormat) -> dict[str, Placed]:
        """Further roles beside `model` that do not train, by name, on as few models as there can be."""

    @abstractmethod
    def save(self, model: nn.Module, out: Path) -> None:
        """Write what trained to `out`, with `head.safetensors` when there is a score head."""

    @abstractmethod
    def base_of(self, weights: Weights, out: Path) -> Base:
        """The base of what `save` wrote to `out`."""

    @abstractmethod
    def takes(self, weights: Weights, beside: Weights) -> bool:
        """Whether `role` can make a role of `weights` beside a model loaded from `beside`."""

    quantisation = ""
    """Of the copy of the base that adapters are trained on: "", `nf4` or `nf4-double`."""
    exact = True
    """Whether frozen roles compute what the model they copy does."""
    offloads = False
    """Whether frozen models wait elsewhere between their uses, and are loaded to main memory first."""


# ------------------------------------------------------------------------------------------------ full


class FullBackend(Backend):
    """Every weight trains. Its output is the base of what follows."""

    def __init__(
        self, config: settings.Full | None = None, precision: str = "fp32", device: torch.device | None = None
    ) -> None:
        super().__init__(precision, device)
        self.config = config or settings.Full()
        self.exact, self.offloads = self.config.frozen_bits is None, self.config.offload

    def load(self, weights: Weights, chat: ChatFormat, head: Head = "lm") -> PreTrainedModel:
        return loading.merged(weights, chat, head).to(self.device)  # type: ignore[arg-type]

    def trained_role(self, model: nn.Module, name: str, weights: Weights, chat: ChatFormat) -> Placed:
        return self.load(weights, chat, weights.head_kind), None

    def frozen_roles(self, model: nn.Module, roles: Mapping[str, Weights], chat: ChatFormat) -> dict[str, Placed]:
        """Roles of one base are adapters on one frozen copy of it; weights of their own are models of their own."""
        found: dict[str, Placed] = {}
        for group in _by_base(roles):
            (first, weights), *others = group.items()
            if not others:
                found[first] = self.frozen(weights, chat, weights.head_kind), None
                continue
            trunk: nn.Module = self.frozen(replace(weights, adapter=None, head=None), chat)
            for name, one in group.items():
                trunk = adapters.add(trunk, name, one, adapters.saved_config(one.adapter)) if one.adapter else trunk
            trunk.eval().requires_grad_(False)
            found |= {name: (trunk, name if one.adapter else "") for name, one in group.items()}
        return found

    def frozen(self, weights: Weights, chat: ChatFormat, head: Head = "lm") -> PreTrainedModel:
        """A copy that does not train: in the arithmetic's own precision, or quantised."""
        if self.config.frozen_bits is None:
            model = loading.in_precision(loading.merged(weights, chat, head), self.dtype)
            model.to("cpu" if self.offloads else self.device)  # type: ignore[arg-type]
        else:
            how = loading.nf4(self.dtype) if self.config.frozen_bits == 4 else loading.int8()
            with loading.without_adapter(weights, chat, head) as whole:
                model = loading.quantised(whole, chat, head, self.dtype, how, self.device)
        return model.eval().requires_grad_(False)

    def save(self, model: nn.Module, out: Path) -> None:
        whole = unwrapped(model)
        whole.save_pretrained(out)
        if score := score_head(whole):
            save_file({"weight": score.weight.detach().float().cpu().contiguous()}, out / "head.safetensors")

    def base_of(self, weights: Weights, out: Path) -> Base:
        return Base("model", f"{weights.name} (full)", identity(out), trust_remote_code=weights.trust_remote_code)

    def takes(self, weights: Weights, beside: Weights) -> bool:
        return True


# ------------------------------------------------------------------------------------------------ lora


class LoRABackend(Backend):
    """Adapters on a frozen base that no stage of a recipe changes."""

    def __init__(self, config: settings.LoRA, precision: str = "fp32", device: torch.device | None = None) -> None:
        super().__init__(precision, device)
        self.config = config

    def load(self, weights: Weights, chat: ChatFormat, head: Head = "lm") -> PreTrainedModel:
        import peft

        base = self._base(weights, chat, head)
        config = self._adapter_config(weights, base)
        if weights.adapter is not None:
            adapters.check_shape(self.config, config, weights.adapter)
        with warnings.catch_warnings():  # PEFT warns that a frozen tied embedding will not train: so it should not
            warnings.filterwarnings("ignore", message=".*tie_word_embeddings.*")
            model = (
                peft.PeftModel(base, config, adapter_name=POLICY)
                if head == "score"
                else peft.get_peft_model(base, config)
            )
        adapters.check_targets(model)
        adapters.fill(model, POLICY, weights)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(adapters.of_adapter(name, POLICY))
        if score := score_head(model):
            score.requires_grad_(True).float()
            if weights.head:
                score.weight.data.copy_(load_file(weights.head)["weight"])
        return model.to(self.device)  # type: ignore[return-value]

    def trained_role(self, model: nn.Module, name: str, weights: Weights, chat: ChatFormat) -> Placed:
        return adapters.add(model, name, weights, self._adapter_config(weights, bare(model))), name

    def frozen_roles(self, model: nn.Module, roles: Mapping[str, Weights], chat: ChatFormat) -> dict[str, Placed]:
        placed: dict[str, Placed] = {}
        for name, weights in roles.items():
            if weights.adapter is not None:  # of its own shape, which need not be that of what trains
                model = adapters.add(model, name, weights, adapters.saved_config(weights.adapter))
            placed[name] = model, name if weights.adapter else ""
        return placed

    def save(self, model: nn.Module, out: Path) -> None:
        import peft

        whole = unwrapped(model)
        out.mkdir(parents=True, exist_ok=True)
        state = peft.get_peft_model_state_dict(whole, adapter_name=POLICY, save_embedding_layers=False)
        save_file({k: v.detach().cpu().contiguous() for k, v in state.items()}, out / "adapter_model.safetensors")
        whole.peft_config[POLICY].save_pretrained(out)
        if score := score_head(whole):
            save_file({"weight": score.weight.detach().float().cpu().contiguous()}, out / "head.safetensors")

    def base_of(self, weights: Weights, out: Path) -> Base:
        return Base(str(weights.base), weights.name, weights.identity, self.quantisation, weights.trust_remote_code)

    def takes(self, weights: Weights, beside: Weights) -> bool:
        same_copy = weights.quantisation == self.quantisation  # scores on another copy of the base are not its scores
        return weights.adapter is not None and weights.identity == beside.identity and same_copy

    def _base(self, weights: Weights, chat: ChatFormat, head: Head) -> PreTrainedModel:
        return loading.whole(weights, chat, head, self.dtype)

    def _adapter_config(self, weights: Weights, base: PreTrainedModel) -> Any:
        import peft

        if weights.adapter is not None:
            saved = adapters.saved_config(weights.adapter, trainable=True)
            saved.lora_dropout = self.config.dropout  # how a stage trains is its own, the adapter's shape is not
            return saved
        targets = self.config.targets or adapters.lora_targets(base)
        return peft.LoraConfig(
            r=self.config.r,
            lora_alpha=self.config.alpha,  # type: ignore[arg-type]
            lora_dropout=self.config.dropout,
            target_modules=targets,
            use_dora=self.config.dora,
            use_rslora=self.config.rslora,
            fan_in_fan_out=adapters.is_conv1d(base, targets),
        )


class QLoRABackend(LoRABackend):
    """LoRA on a base held in 4-bit NormalFloat; the original weights stay the base and are quantised at load."""

    config: settings.QLoRA

    @property
    def quantisation(self) -> str:  # type: ignore[override]
        return loading.DOUBLE if self.config.double_quant else "nf4"

    def _base(self, weights: Weights, chat: ChatFormat, head: Head) -> PreTrainedModel:
        return loading.quantised(
            weights, chat, head, self.dtype, loading.nf4(self.dtype, self.config.double_quant), self.device
        )


def backend(
    config: settings.Full | settings.LoRA | settings.QLoRA, precision: str = "fp32", device: torch.device | None = None
) -> Backend:
    """The backend a stage's config names."""
    if isinstance(config, settings.QLoRA):
        return QLoRABackend(config, precision, device)
    if isinstance(config, settings.LoRA):
        return LoRABackend(config, precision, device)
    return FullBackend(config, precision, device)


def for_weights(weights: Weights, precision: str = "fp32", beside: Backend | None = None) -> Backend:
    """The backend that loads `weights` as they were trained; `beside` itself where its settings hold for any model."""
    if isinstance(beside, FullBackend):
        return beside
    if weights.adapter is None:
        return FullBackend(precision=precision)
    if not weights.quantisation:
        return LoRABackend(settings.LoRA(), precision)
    return QLoRABackend(settings.QLoRA(double_quant=weights.quantisation == loading.DOUBLE), precision)


def _by_base(roles: Mapping[str, Weights]) -> list[dict[str, Weights]]:
    """Roles that are one base, plain or with an adapter that was trained on it whole, together; any other alone."""
    groups: dict[str, dict[str, Weights]] = {}
    for name, weights in roles.items():
        shares = not weights.quantisation and (weights.adapter is not None or not weights.scores)
        groups.setdefault(weights.identity if shares else f"{name} alone", {})[name] = weights
    return list(groups.values())


def trained_adapter(model: nn.Module) -> str | None:
    """Name of the adapter that `load` made; None for a model without."""
    return POLICY if hasattr(unwrapped(model), "peft_config") else None
