"""Parameters counted from a config.json are those of the model that transformers builds."""

import re
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rlhf import registry
from rlhf.plan.shape import shape_of

SMALL = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "intermediate_size": 48, "vocab_size": 100, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
WITHOUT_GROUPS = {"gpt2", "gpt_neox", "phi"}


def config_of(kind: str, **settings: Any) -> Any:
    small = dict(SMALL)
    if kind in WITHOUT_GROUPS | {"phi3", "olmo", "olmo2", "olmo3"}:  # whose heads share out the hidden size
        del small["head_dim"]
    if kind in WITHOUT_GROUPS:
        del small["num_key_value_heads"]
    if kind == "gpt2":
        del small["intermediate_size"]
    return AutoConfig.for_model(kind, **small, **settings)


KINDS = sorted({kind for family in registry.FAMILIES for kind in family.model_types} - {"gemma3"})


@pytest.mark.parametrize("tied", [None, True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_those_of_the_model(kind: str, tied: bool | None) -> None:
    config = config_of(kind, **({} if tied is None else {"tie_word_embeddings": tied}))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    said = config.to_diff_dict()
    if tied is None:  # as the architecture has it
        said.pop("tie_word_embeddings", None)
    shape = shape_of(said)
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    layers = [module for name, module in model.named_modules() if re.search(r"\.(layers|h)\.\d+\.", name)]
    linears = [module for module in layers if type(module).__name__ in ("Linear", "Conv1D")]
    assert shape.linear == sum(module.weight.numel() for module in linears)
    assert shape.biases == sum(module.bias.numel() for module in linears if module.bias is not None)


def test_an_adapter_has_as_many_parameters_as_peft_makes() -> None:
    import peft

    config = config_of("qwen2")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        for targets in ("all-linear", ["q_proj", "v_proj"]):
            adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=targets))
            made = sum(p.numel() for n, p in adapted.named_parameters() if "lora_" in n)
            named = () if isinstance(targets, str) else tuple(targets)
            assert shape_of(config.to_dict()).adapter(4, named) == made
            model = adapted.unload()


def test_what_is_trained_with_a_bias_is_counted() -> None:
    config = config_of("llama", attention_bias=True, mlp_bias=True)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert shape_of(config.to_dict()).parameters == sum(p.numel() for p in model.parameters())
