"""The adapter system: what trains, how it is loaded, kept apart from its reference, saved and merged.

The only module that knows which backend it is. Everything else holds a `Backend` and calls it.
With LoRA and QLoRA the base is frozen and every role is an adapter on it. With Full what trains is a model, and frozen
roles are adapters on one copy where they have one base, or models too.
"""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedModel

from rlhf import adapters, loading
from rlhf import config as settings
from rlhf.adapters import POLICY
from rlhf.artifact import TRAINED_WHOLE, Base
from rlhf.data.chat import ChatFormat
from rlhf.parts import Adapter, bare, score_head, unwrapped
from rlhf.weights import BELOW, Head, Weights, identity

Placed = tuple[nn.Module, Adapter | None]
"""A role's model and its adapters there: none for the plain base, None on a model of the role's own."""

_DTYPE = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Backend(ABC):
    """What trains. `precision` is the storage of whatever is frozen; what trains is held in float32."""

    def __init__(self, precision: str = "fp32", device: torch.device | None = None) -> None:
        self.dtype = _DTYPE[precision]
        self.device = device or loading.default_device()

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

    def quantisation(self, weights: Weights) -> str:
        """Of the copy of their base that adapters are trained on: "", `nf4` or `nf4-double`."""
        return ""

    drops_out = False
    """Whether what trains drops out a part of its input."""
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
            trunk: nn.Module = self.frozen(replace(weights, adapter=None, below=(), head=None), chat)
            placed: dict[str, Adapter] = {}
            for name, one in group.items():
                trunk, placed[name] = adapters.add_frozen(trunk, name, one.adapters)
            trunk.eval().requires_grad_(False)
            found |= {name: (trunk, adapter) for name, adapter in placed.items()}
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
        name, trusted = f"{weights.name.removesuffix(TRAINED_WHOLE)}{TRAINED_WHOLE}", weights.trust_remote_code
        return Base("model", name, identity(out, trusted), "", trusted, weights.revision)

    def takes(self, weights: Weights, beside: Weights) -> bool:
        return True


# ------------------------------------------------------------------------------------------------ lora


class LoRABackend(Backend):
    """Adapters on a frozen base that no stage of a recipe changes."""

    def __init__(self, config: settings.LoRA, precision: str = "fp32", device: torch.device | None = None) -> None:
        super().__init__(precision, device)
        self.config, self.drops_out = config, config.dropout > 0

    def load(self, weights: Weights, chat: ChatFormat, head: Head = "lm") -> PreTrainedModel:
        import peft

        base = self._base(weights, chat, head)
        config, goes_on = self._adapter_config(weights, base, chat.new_ids)
        with warnings.catch_warnings():  # PEFT warns that a frozen tied embedding will not train: so it should not
            warnings.filterwarnings("ignore", message=".*tie_word_embeddings.*")
            model = (
                peft.PeftModel(base, config, adapter_name=POLICY)
                if head == "score"
                else peft.get_peft_model(base, config)
            )
        adapters.check_targets(model)
        if goes_on:
            adapters.fill(model, POLICY, weights.adapters[-1])
        for i, folder in enumerate(weights.below if goes_on else weights.adapters):
            adapters.add(model, adapters.below(i), folder, adapters.saved_config(folder, model))
        for name, parameter in model.named_parameters():
            if adapters.of_adapter(name, (POLICY,)):
                parameter.data = parameter.data.float()
            parameter.requires_grad_(adapters.of_adapter(name, (POLICY,)))
        if score := score_head(model):
            score.requires_grad_(True).float()
            if weights.head:
                score.weight.data.copy_(load_file(weights.head)["weight"])
        return model.to(self.device)  # type: ignore[return-value]

    def trained_role(self, model: nn.Module, name: str, weights: Weights, chat: ChatFormat) -> Placed:
        config, goes_on = self._adapter_config(weights, bare(model))
        under: Adapter = ()
        if lower := weights.below if goes_on else tuple(weights.adapters):
            model, under = adapters.add_frozen(model, f"{name}_under", lower)
        return adapters.add(model, name, weights.adapter if goes_on else None, config), (*under, name)

    def frozen_roles(self, model: nn.Module, roles: Mapping[str, Weights], chat: ChatFormat) -> dict[str, Placed]:
        placed: dict[str, Placed] = {}
        for name, weights in roles.items():
            model, adapter = adapters.add_frozen(model, name, weights.adapters)  # of their own shape
            placed[name] = model, adapter
        return placed

    def save(self, model: nn.Module, out: Path) -> None:
        whole = unwrapped(model)
        for i, name in enumerate(adapters.trained(whole) or ()):
            adapters.save(whole, name, out if name == POLICY else out / BELOW / str(i))
        if score := score_head(whole):
            save_file({"weight": score.weight.detach().float().cpu().contiguous()}, out / "head.safetensors")

    def base_of(self, weights: Weights, out: Path) -> Base:
        copy = self.quantisation(weights)
        return Base(
            str(weights.base), weights.name, weights.identity, copy, weights.trust_remote_code, weights.revision
        )

    def takes(self, weights: Weights, beside: Weights) -> bool:
        same_copy = weights.quantisation == self.quantisation(beside)  # scores on another copy are not its scores
        return weights.adapter is not None and weights.identity == beside.identity and same_copy

    def quantisation(self, weights: Weights) -> str:
        """As the parent's adapter was trained: what follows QLoRA starts from the base that QLoRA saw."""
        return weights.quantisation

    def _base(self, weights: Weights, chat: ChatFormat, head: Head) -> PreTrainedModel:
        return loading.dequantised(weights, chat, head, self.dtype)

    def _adapter_config(self, weights: Weights, base: PreTrainedModel, new_ids: Sequence[int] = ()) -> tuple[Any, bool]:
        """The shape of the adapter that trains, and whether it is the parent's, continued."""
        import peft

        asked = self.config
        if weights.adapter is not None and adapters.continues(asked, weights, new_ids):
            saved = adapters.saved_config(weights.adapter, base, trainable=True)
            saved.lora_dropout = asked.dropout  # how a stage trains is its own, the adapter's shape is not
            return saved, True
        targets = asked.targets or adapters.lora_targets(base)
        adapters.check_names(base, targets)
        rank = asked.r or _RANK
        config = peft.LoraConfig(
            r=rank,
            lora_alpha=asked.alpha or 2 * rank,  # type: ignore[arg-type]
            lora_dropout=asked.dropout,
            target_modules=targets,
            use_dora=bool(asked.dora),
            use_rslora=bool(asked.rslora),
            fan_in_fan_out=adapters.is_conv1d(base, targets),
            trainable_token_indices={n: list(new_ids) for n in adapters.token_layers(base)} if new_ids else None,
        )
        return config, False


_RANK = 16
"""Of an adapter whose recipe names none."""


class QLoRABackend(LoRABackend):
    """LoRA on a base held in 4-bit NormalFloat; the original weights stay the base and are quantised at load."""

    config: settings.QLoRA

    def quantisation(self, weights: Weights) -> str:
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
