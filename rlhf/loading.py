"""Weights from disk as a model: whole, quantised, or with their adapter merged into them."""

import logging
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GenerationConfig,
    PreTrainedModel,
)

from rlhf import adapters, intact
from rlhf.data.chat import ChatFormat
from rlhf.errors import ArtifactError
from rlhf.intact import first_line
from rlhf.memory import ran_out
from rlhf.parts import matrix, score_head
from rlhf.weights import Head, Weights

DOUBLE = "nf4-double"
"""4-bit NormalFloat with quantised constants, as artifacts record it."""
_WHOLE_PARTS = ["lm_head", "embed_out", "score"]
"""Heads stay whole: they are small and most sensitive."""


def whole(weights: Weights, chat: ChatFormat, head: Head, dtype: torch.dtype, **extra: Any) -> PreTrainedModel:
    """Whole weights from a folder, with a score head when asked (loaded if there is one, else freshly initialised)."""
    options = {"dtype": dtype, "trust_remote_code": weights.trust_remote_code, "use_safetensors": True, **extra}
    options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}  # we tell which, and they do not
    if not weights.trust_remote_code:
        _check_attention(weights.base, intact.read_json(weights.base / "config.json"))
    loaded: Any
    try:
        with quiet_loading():
            if head == "lm":
                loaded = AutoModelForCausalLM.from_pretrained(weights.base, **options)
            else:
                loaded = AutoModelForSequenceClassification.from_pretrained(weights.base, num_labels=1, **options)
    except Exception as error:  # whatever its files make the library stumble over
        if ran_out(error):
            raise
        if isinstance(error, ValueError) and "Unrecognized configuration class" in str(error):
            what = "continues text" if head == "lm" else "classifies text"
            why = f"config.json names an architecture of which transformers has no model that {what}"
            raise ArtifactError(f"{weights.base}: {why}") from None
        raise ArtifactError(f"{weights.base}: the model does not load: {first_line(error)}") from None
    model, told = loaded
    _check_complete(model, told, weights, head)
    _align(model)
    _fit_vocabulary(model, chat)
    model.config.pad_token_id = chat.pad_id
    if head == "score":
        _init_head(model, weights)
    else:  # whole and bare: `generate` fills what is not set from here, and a penalty would bend the policy's samples
        model.generation_config = GenerationConfig(pad_token_id=chat.pad_id, eos_token_id=list(chat.stop_ids))
    return model


def _check_attention(base: Path, config: Mapping[str, Any]) -> None:
    """Raise ArtifactError where config.json names attention that transformers would fetch from the hub, as code."""
    for key, value in config.items():
        if "attn_implementation" in key and value not in (None, "eager", "sdpa", "flex_attention"):
            raise ArtifactError(
                f"{base}: config.json asks for the attention {value!r}, which may be code from the hub: take {key} out "
                "of it, or set trust_remote_code where you name the model"
            )
        if isinstance(value, dict):
            _check_attention(base, value)


def _check_complete(model: PreTrainedModel, told: Mapping[str, Any], weights: Weights, head: Head) -> None:
    """Raise ArtifactError where a parameter is not what the files say, which transformers fills with noise unasked."""
    for name, there, wanted in sorted(told["mismatched_keys"]):
        shapes = f"has shape {tuple(there)}, and config.json makes it {tuple(wanted)}"
        raise ArtifactError(f"{weights.base}: {name} {shapes}: weights and config are not of one model")
    fresh = {"score.weight"} if head == "score" and not weights.own_head else set()
    if missing := sorted(set(told["missing_keys"]) - fresh):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ArtifactError(f"{weights.base}: the weights lack {missing[0]}{more}, which config.json asks for")
    shapes = {re.sub(r"\d+", "#", name) for name, _ in model.named_parameters()}
    if layers := sorted(name for name in told["unexpected_keys"] if re.sub(r"\d+", "#", name) in shapes):
        raise ArtifactError(f"{weights.base}: the weights hold {layers[0]}, and config.json has fewer layers")
    for name, parameter in model.named_parameters():
        if name in fresh or not parameter.is_floating_point():  # 4-bit weights are no numbers by themselves
            continue
        if not parameter.detach().sum(dtype=torch.float32).isfinite():
            raise ArtifactError(f"{weights.base}: {name} holds numbers that are not finite")


def _align(model: nn.Module) -> None:
    """Have every parameter begin where a fresh tensor would.

    They are views of a mapped file, at whatever place its header ends, and kernels on a CPU sum in another order where
    memory begins elsewhere: the same weights would compute other last bits in another process.
    """
    for parameter in model.parameters():
        if parameter.data_ptr() % _ALIGNED:
            parameter.data = parameter.data.clone()


_ALIGNED = 64
"""Bytes, as PyTorch allocates."""


def _init_head(model: PreTrainedModel, weights: Weights) -> None:
    """A fresh score head: std 1/sqrt(d+1) (Huang et al. 2024, detail 20); the parent's when it has one."""
    score = score_head(model)
    assert score is not None, f"{type(model).__name__} has no linear `score`"
    if weights.head:
        score.weight.data.copy_(load_file(weights.head)["weight"])
    elif not weights.own_head:
        nn.init.normal_(score.weight, std=(score.in_features + 1) ** -0.5)


def _fit_vocabulary(model: PreTrainedModel, chat: ChatFormat) -> None:
    """Rows for tokens that the vocabulary lacked: the mean of the others, so that they are never sampled untrained."""
    rows = len(matrix(model.get_input_embeddings()))
    needed = len(chat.tokenizer)
    if needed > rows:
        model.resize_token_embeddings(needed, mean_resizing=False)
    fresh = sorted({*range(rows, needed), *chat.new_ids})
    known = sorted({*range(min(rows, needed))} - {*fresh})
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        if layer is not None and fresh:
            matrix(layer).data[fresh] = matrix(layer).data[known].mean(0)


def default_device() -> torch.device:
    """Where models go: the accelerator where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def quantised(
    weights: Weights, chat: ChatFormat, head: Head, dtype: torch.dtype, how: Any, device: torch.device
) -> PreTrainedModel:
    """A frozen copy in 4 or 8 bit. An accelerator and a CPU round a few weights apart (0.005 nats a token)."""
    keep_nf4_layout()
    return whole(weights, chat, head, dtype, quantization_config=how, device_map={"": device})


def nf4(dtype: torch.dtype, double_quant: bool = True) -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double_quant,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=_WHOLE_PARTS,
    )


def int8() -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=_WHOLE_PARTS)


def keep_nf4_layout() -> None:
    """Have 4-bit weights stay as they are on a CPU; to be said before a model is quantised.

    An eval-mode forward on a CPU with AVX512-BF16 repacks them in place, after which gradients are wrong
    (bitsandbytes 0.50).
    """
    with quiet_loading():
        from bitsandbytes.nn import modules

    modules.has_avx512bf16 = lambda: False  # type: ignore[attr-defined, reportPrivateImportUsage]


def merged(
    weights: Weights, chat: ChatFormat, head: Head = "lm", dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """Base and adapter as one plain model on the CPU; a QLoRA adapter goes into the base it saw, dequantised."""
    model = dequantised(weights, chat, head, dtype)
    if weights.adapter is None:
        return model
    adapted, names = adapters.add_frozen(model, "merged", weights.adapters)
    return adapters.merge(adapted, names)


def dequantised(weights: Weights, chat: ChatFormat, head: Head, dtype: torch.dtype) -> PreTrainedModel:
    """Whole weights on the CPU with the values that their adapter saw: after QLoRA, those of the copy in 4 bit, which
    is made where training makes it."""
    model = whole(weights, chat, head, dtype)
    if weights.quantisation:
        how = nf4(dtype, weights.quantisation == DOUBLE)
        _dequantise_into(model, quantised(weights, chat, head, dtype, how, default_device()))
    return model


def in_precision(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """A model with its parameters cast, as transformers loads one: rotary frequencies are no parameters and stay
    float32. In bf16 they would read far tokens at other places than the model that trains does."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model


@contextmanager
def without_adapter(weights: Weights, chat: ChatFormat, head: Head) -> Iterator[Weights]:
    """The same weights without an adapter; for a while in a folder of their own where there was one."""
    if weights.adapter is None:
        yield weights
        return
    with tempfile.TemporaryDirectory() as folder:
        merged(weights, chat, head).save_pretrained(folder)
        yield replace(weights, base=Path(folder), adapter=None, below=())


def _dequantise_into(model: PreTrainedModel, quantised: PreTrainedModel) -> None:
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn.modules import Linear4bit

    for name, layer in quantised.named_modules():
        if isinstance(layer, Linear4bit):
            plain = dequantize_4bit(layer.weight.data, layer.weight.quant_state)  # type: ignore[arg-type]
            turned = type(model.get_submodule(name)).__name__ == "Conv1D"  # GPT-2's, which 4-bit layers are not
            model.get_parameter(f"{name}.weight").data.copy_(plain.t() if turned else plain)


class quiet_loading:
    """Loading notices (fresh heads, missing optional CPU kernels) are expected here and kept off the user's screen."""

    loggers = ("transformers", "transformers.modeling_utils", "bitsandbytes", "bitsandbytes.backends.cpu.ops")

    def __enter__(self) -> None:
        self.levels = {name: logging.getLogger(name).level for name in self.loggers}
        for name in self.loggers:
            logging.getLogger(name).setLevel(logging.ERROR if name.startswith("transformers") else logging.CRITICAL)

    def __exit__(self, *_: object) -> None:
        for name, level in self.levels.items():
            logging.getLogger(name).setLevel(level)
