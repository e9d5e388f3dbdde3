"""The adapter system: what trains, how it is loaded, kept apart from its reference, saved and merged.

The only module that knows which backend it is. Everything else holds a `Backend` and calls it.
With LoRA and QLoRA the base is frozen and every role is an adapter on it. With Full what trains is a model, and frozen
roles are adapters on one copy where they have one base, or models too.
"""

import logging
import re
import tempfile
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GenerationConfig,
    PreTrainedModel,
)

from rlhf import config as settings
from rlhf.artifact import Base
from rlhf.data.chat import ChatFormat
from rlhf.errors import ArtifactError, RecipeError
from rlhf.fused import Head as LMHead
from rlhf.registry import family_of
from rlhf.weights import Weights, identity

Head = Literal["lm", "score"]
Placed = tuple[nn.Module, str | None]
"""A role's model and its adapter there: "" for the plain base, None on a model of the role's own."""
POLICY = "default"
"""Name of the adapter that trains; TRL expects PEFT's default."""

DOUBLE = "nf4-double"
"""4-bit NormalFloat with quantised constants, as artifacts record it."""

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
    def trainer_reference(self, weights: Weights, chat: ChatFormat) -> PreTrainedModel | None:
        """The frozen parent to hand to a TRL trainer; None when the trainer copies the parent's adapter itself."""

    @abstractmethod
    def save(self, model: nn.Module, out: Path) -> None:
        """Write what trained to `out`, with `head.safetensors` when there is a score head."""

    @abstractmethod
    def base_of(self, weights: Weights, out: Path) -> Base:
        """The base of what `save` wrote to `out`."""

    @abstractmethod
    def takes(self, weights: Weights, beside: Weights) -> bool:
        """Whether `role` can make a role of `weights` beside a model loaded from `beside`."""

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
        model = merged(weights, chat, head) if weights.adapter else _base(weights, chat, head, torch.float32)
        model.to(device=self.device, dtype=torch.float32)  # type: ignore[arg-type]
        return model

    def trained_role(self, model: nn.Module, name: str, weights: Weights, chat: ChatFormat) -> Placed:
        return self.load(weights, chat, "score" if weights.scores else "lm"), None

    def frozen_roles(self, model: nn.Module, roles: Mapping[str, Weights], chat: ChatFormat) -> dict[str, Placed]:
        """Roles of one base are adapters on one frozen copy of it; weights of their own are models of their own."""
        found: dict[str, Placed] = {}
        for group in _by_base(roles):
            (first, weights), *others = group.items()
            if not others:
                found[first] = self.frozen(weights, chat, "score" if weights.scores else "lm"), None
                continue
            trunk: nn.Module = self.frozen(replace(weights, adapter=None, head=None), chat)
            for name, one in group.items():
                trunk = _with_adapter(trunk, name, one, _saved_config(one.adapter)) if one.adapter else trunk
            trunk.eval().requires_grad_(False)
            found |= {name: (trunk, name if one.adapter else "") for name, one in group.items()}
        return found

    def frozen(self, weights: Weights, chat: ChatFormat, head: Head = "lm") -> PreTrainedModel:
        """A copy that does not train: in the arithmetic's own precision, or quantised."""
        if self.config.frozen_bits is None:
            where = torch.device("cpu") if self.offloads else self.device
            model = merged(weights, chat, head).to(device=where, dtype=self.dtype)  # type: ignore[arg-type]
        else:
            how = _nf4(self.dtype) if self.config.frozen_bits == 4 else _int8()
            with _whole(weights, chat, head) as whole:
                model = _quantised(whole, chat, head, self.dtype, how, self.device)
        return model.eval().requires_grad_(False)

    def trainer_reference(self, weights: Weights, chat: ChatFormat) -> PreTrainedModel | None:
        model = self.frozen(weights, chat)
        return model.to(self.device) if self.offloads else model  # type: ignore[arg-type]

    def save(self, model: nn.Module, out: Path) -> None:
        whole = _unwrapped(model)
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

    quantisation = ""

    def __init__(self, config: settings.LoRA, precision: str = "fp32", device: torch.device | None = None) -> None:
        super().__init__(precision, device)
        self.config = config

    def load(self, weights: Weights, chat: ChatFormat, head: Head = "lm") -> PreTrainedModel:
        import peft

        base = self._base(weights, chat, head)
        config = self._adapter_config(weights, base)
        with warnings.catch_warnings():  # PEFT warns that a frozen tied embedding will not train: so it should not
            warnings.filterwarnings("ignore", message=".*tie_word_embeddings.*")
            model = (
                peft.PeftModel(base, config, adapter_name=POLICY)
                if head == "score"
                else peft.get_peft_model(base, config)
            )
        _check_targets(model)
        _load_adapter(model, POLICY, weights)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(of_adapter(name, POLICY))
        if score := score_head(model):
            score.requires_grad_(True).float()
            if weights.head:
                score.weight.data.copy_(load_file(weights.head)["weight"])
        return model.to(self.device)  # type: ignore[return-value]

    def trained_role(self, model: nn.Module, name: str, weights: Weights, chat: ChatFormat) -> Placed:
        return _with_adapter(model, name, weights, self._adapter_config(weights, _plain(model))), name

    def frozen_roles(self, model: nn.Module, roles: Mapping[str, Weights], chat: ChatFormat) -> dict[str, Placed]:
        return {
            name: self.trained_role(model, name, weights, chat) if weights.adapter else (model, "")
            for name, weights in roles.items()
        }

    def trainer_reference(self, weights: Weights, chat: ChatFormat) -> PreTrainedModel | None:
        return None

    def save(self, model: nn.Module, out: Path) -> None:
        import peft

        whole = _unwrapped(model)
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
        return _base(weights, chat, head, self.dtype)

    def _adapter_config(self, weights: Weights, base: PreTrainedModel) -> Any:
        import peft

        if weights.adapter is not None:
            saved = _saved_config(weights.adapter, trainable=True)
            _check_shape(self.config, saved, weights.adapter)
            saved.lora_dropout = self.config.dropout  # how a stage trains is its own, the adapter's shape is not
            return saved
        targets = self.config.targets or lora_targets(base)
        return peft.LoraConfig(
            r=self.config.r,
            lora_alpha=self.config.alpha,  # type: ignore[arg-type]
            lora_dropout=self.config.dropout,
            target_modules=targets,
            use_dora=self.config.dora,
            use_rslora=self.config.rslora,
            fan_in_fan_out=_is_conv1d(base, targets),
        )


class QLoRABackend(LoRABackend):
    """LoRA on a base held in 4-bit NormalFloat; the original weights stay the base and are quantised at load."""

    config: settings.QLoRA

    @property
    def quantisation(self) -> str:  # type: ignore[override]
        return DOUBLE if self.config.double_quant else "nf4"

    def _base(self, weights: Weights, chat: ChatFormat, head: Head) -> PreTrainedModel:
        return _quantised(weights, chat, head, self.dtype, _nf4(self.dtype, self.config.double_quant), self.device)


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
    return QLoRABackend(settings.QLoRA(double_quant=weights.quantisation == DOUBLE), precision)


# ------------------------------------------------------------------------------------------------ merging


def merged(
    weights: Weights, chat: ChatFormat, head: Head = "lm", dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """Base and adapter as one plain model on the CPU; a QLoRA adapter goes into the base it saw, dequantised."""
    model = _base(weights, chat, head, dtype)
    if weights.quantisation:
        how = _nf4(dtype, weights.quantisation == DOUBLE)
        _dequantise_into(model, _quantised(weights, chat, head, dtype, how, torch.device("cpu")))
    if weights.adapter is None:
        return model
    return _with_adapter(model, POLICY, weights, _saved_config(weights.adapter)).merge_and_unload()


def _dequantise_into(model: PreTrainedModel, quantised: PreTrainedModel) -> None:
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn.modules import Linear4bit

    for name, layer in quantised.named_modules():
        if isinstance(layer, Linear4bit):
            plain = dequantize_4bit(layer.weight.data, layer.weight.quant_state)  # type: ignore[arg-type]
            model.get_parameter(f"{name}.weight").data.copy_(plain)


# ------------------------------------------------------------------------------------------------ loading


def _base(weights: Weights, chat: ChatFormat, head: Head, dtype: torch.dtype, **extra: Any) -> PreTrainedModel:
    """Whole weights from a folder, with a score head when asked (loaded if there is one, else freshly initialised)."""
    options = {"dtype": dtype, "trust_remote_code": weights.trust_remote_code, "use_safetensors": True, **extra}
    try:
        with _quiet_loading():
            if head == "lm":
                model = AutoModelForCausalLM.from_pretrained(weights.base, **options)
            else:
                model = AutoModelForSequenceClassification.from_pretrained(weights.base, num_labels=1, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise ArtifactError(f"{weights.base}: the model does not load: {str(error).strip().splitlines()[0]}") from None
    _fit_vocabulary(model, chat)
    model.config.pad_token_id = chat.pad_id
    if head == "score":
        _init_head(model, weights)
    else:  # whole and bare: `generate` fills what is not set from here, and a penalty would bend the policy's samples
        model.generation_config = GenerationConfig(pad_token_id=chat.pad_id, eos_token_id=list(chat.stop_ids))
    return model


@contextmanager
def _whole(weights: Weights, chat: ChatFormat, head: Head) -> Iterator[Weights]:
    """The same weights without an adapter; for a while in a folder of their own where there was one."""
    if weights.adapter is None:
        yield weights
        return
    with tempfile.TemporaryDirectory() as folder:
        merged(weights, chat, head).save_pretrained(folder)
        yield replace(weights, base=Path(folder), adapter=None)


_WHOLE_PARTS = ["lm_head", "embed_out", "score"]
"""Heads stay whole: they are small and most sensitive."""


def _nf4(dtype: torch.dtype, double_quant: bool = True) -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double_quant,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=_WHOLE_PARTS,
    )


def _int8() -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=_WHOLE_PARTS)


def _quantised(
    weights: Weights, chat: ChatFormat, head: Head, dtype: torch.dtype, how: Any, device: torch.device
) -> PreTrainedModel:
    keep_nf4_layout()
    return _base(weights, chat, head, dtype, quantization_config=how, device_map={"": device})


def keep_nf4_layout() -> None:
    """Have 4-bit weights stay as they are on a CPU; to be said before a model is quantised.

    An eval-mode forward on a CPU with AVX512-BF16 repacks them in place, after which gradients are wrong
    (bitsandbytes 0.50).
    """
    with _quiet_loading():
        from bitsandbytes.nn import modules

    modules.has_avx512bf16 = lambda: False  # type: ignore[attr-defined, reportPrivateImportUsage]


def _init_head(model: PreTrainedModel, weights: Weights) -> None:
    """A fresh score head: std 1/sqrt(d+1) (Huang et al. 2024, detail 20); the parent's when it has one."""
    score = score_head(model)
    assert score is not None, f"{type(model).__name__} has no linear `score`"
    if weights.head:
        score.weight.data.copy_(load_file(weights.head)["weight"])
    elif not weights.own_head:
        nn.init.normal_(score.weight, std=(score.in_features + 1) ** -0.5)


def _fit_vocabulary(model: PreTrainedModel, chat: ChatFormat) -> None:
    """A row for a pad token that the vocabulary lacked: the mean of the others, so that it is never sampled."""
    rows = len(_matrix(model.get_input_embeddings()))
    needed = len(chat.tokenizer)
    if needed <= rows:
        return
    model.resize_token_embeddings(needed, mean_resizing=False)
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        if layer is not None:
            _matrix(layer)[rows:] = _matrix(layer)[:rows].mean(0)


def _matrix(layer: nn.Module) -> torch.Tensor:
    """The weight of an embedding or a linear layer."""
    return layer.get_parameter("weight").data


def _load_adapter(model: Any, name: str, weights: Weights) -> None:
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


def _with_adapter(model: Any, name: str, weights: Weights, config: Any) -> Any:
    """A model with one more adapter of that shape, as it was saved where it was."""
    import peft

    if hasattr(model, "peft_config"):
        model.add_adapter(name, config)
    else:
        model = peft.PeftModel(model, config, adapter_name=name)
    _load_adapter(model, name, weights)
    return model


def _by_base(roles: Mapping[str, Weights]) -> list[dict[str, Weights]]:
    """Roles that are one base, plain or with an adapter that was trained on it whole, together; any other alone."""
    groups: dict[str, dict[str, Weights]] = {}
    for name, weights in roles.items():
        shares = not weights.quantisation and (weights.adapter is not None or not weights.scores)
        groups.setdefault(weights.identity if shares else f"{name} alone", {})[name] = weights
    return list(groups.values())


def _saved_config(folder: Path, trainable: bool = False) -> Any:
    import peft

    config = peft.LoraConfig.from_pretrained(str(folder))
    config.inference_mode = not trainable
    return config


def _check_shape(asked: settings.LoRA, saved: Any, adapter: Path) -> None:
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


def _check_targets(model: nn.Module) -> None:
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


def _is_conv1d(model: PreTrainedModel, targets: list[str]) -> bool:
    """GPT-2 stores its linear layers transposed."""
    layers = [m for name, m in model.named_modules() if name.rsplit(".", 1)[-1] in targets]
    return bool(layers) and all(type(layer).__name__ == "Conv1D" for layer in layers)


# ------------------------------------------------------------------------------------------------ parts of a model


def decoder(model: nn.Module) -> nn.Module:
    """The trunk without any head: token ids in, hidden states out."""
    whole = _plain(model)
    return getattr(whole, whole.base_model_prefix, whole)


def score_head(model: nn.Module) -> nn.Linear | None:
    head = getattr(_plain(model), "score", None)
    return head if isinstance(head, nn.Linear) else None


def lm_head(model: nn.Module) -> LMHead:
    """The head of a language model, as `check_lm_head` has found it to be."""
    plain = _plain(model)
    layer = plain.get_output_embeddings()
    return LMHead(layer.weight, layer.bias, getattr(plain.config.get_text_config(), "final_logit_softcapping", None))


@torch.no_grad()
def check_lm_head(model: nn.Module) -> None:
    """Raise ArtifactError where logits are made in a way that is not known here, such as scaled: not believed, but
    measured on a few tokens."""
    plain, size = _plain(model), len(_matrix(_plain(model).get_input_embeddings()))
    ids_BT = torch.tensor([[(7 * i + 3) % size for i in range(5)]], device=next(plain.parameters()).device)
    theirs_NV = plain(input_ids=ids_BT, use_cache=False).logits[0].float()
    hidden_ND = decoder(plain)(input_ids=ids_BT, use_cache=False).last_hidden_state[0]
    ours_NV, _ = lm_head(plain).logits(hidden_ND, 1.0)
    if not (ours_NV - theirs_NV).abs().max() <= 0.05 * theirs_NV.abs().max():
        raise ArtifactError(
            f"architecture '{plain.config.model_type}' makes its logits in a way that rlhf does not know: they are not "
            "its head's product with the last hidden state"
        )


def of_adapter(parameter: str, adapter: str) -> bool:
    """Whether a parameter of that name is the adapter's."""
    return re.search(rf"\.lora_\w+\.{re.escape(adapter)}(\.|$)", parameter) is not None


def trained_adapter(model: nn.Module) -> str | None:
    """Name of the adapter that `load` made; None for a model without."""
    return POLICY if hasattr(_unwrapped(model), "peft_config") else None


@contextmanager
def trainable_kept(model: nn.Module) -> Iterator[None]:
    """What trains keeps its float32 values while a TRL trainer is built around the model.

    TRL rounds what trains on a quantised base to bf16; then a parent's adapter is no longer the parent's, DPO's first
    loss is not ln 2, rewards in float32 fail and resume diverges.
    """
    before = {name: parameter.data for name, parameter in model.named_parameters() if parameter.requires_grad}
    yield
    for name, parameter in model.named_parameters():
        if name in before:
            parameter.data = before[name]


def _unwrapped(model: nn.Module) -> Any:
    return getattr(model, "module", model)


def _plain(model: nn.Module) -> Any:
    """The transformers model inside a PEFT or DDP wrapper."""
    model = _unwrapped(model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]


class _quiet_loading:
    """Loading notices (fresh heads, missing optional CPU kernels) are expected here and kept off the user's screen."""

    loggers = ("transformers", "transformers.modeling_utils", "bitsandbytes", "bitsandbytes.backends.cpu.ops")

    def __enter__(self) -> None:
        self.levels = {name: logging.getLogger(name).level for name in self.loggers}
        for name in self.loggers:
            logging.getLogger(name).setLevel(logging.ERROR if name.startswith("transformers") else logging.CRITICAL)

    def __exit__(self, *_: object) -> None:
        for name, level in self.levels.items():
            logging.getLogger(name).setLevel(level)
