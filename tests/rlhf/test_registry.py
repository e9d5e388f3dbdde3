"""Model registry: LoRA targets against the real classes, where names lead, what templates write, which token pads."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from rlhf.config import ModelRef
from rlhf.errors import ArtifactError, RecipeError
from rlhf.registry import (
    FAMILIES,
    GENERIC,
    MODELS,
    NEW_PAD,
    Family,
    choose_template,
    choose_tokens,
    family_of,
    resolve,
    template_names,
    template_text,
)
from rlhf.resources import is_shipped, recipe_names, resource

BY_NAME = {family.name: family for family in FAMILIES}

# ------------------------------------------------------------------------------------------------ families

SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}


def tiny_config(model_type: str):
    if model_type == "gpt2":
        ends = {"bos_token_id": 0, "eos_token_id": 1}
        return AutoConfig.for_model(model_type, vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=32, **ends)
    if model_type == "gemma3":
        return AutoConfig.for_model(model_type, text_config=SIZES, vision_config=VISION)
    return AutoConfig.for_model(model_type, **SIZES)


@pytest.mark.parametrize(("family", "model_type"), [(f, kind) for f in FAMILIES for kind in f.model_types])
def test_lora_targets_are_every_linear_layer_of_the_decoder(family: Family, model_type: str):
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(tiny_config(model_type))
    head = model.get_output_embeddings()
    linear = {
        name.rsplit(".", 1)[-1]
        for name, layer in model.named_modules()
        if ("Linear" in type(layer).__name__ or type(layer).__name__ == "Conv1D")
        and layer is not head
        and "vision_tower" not in name
    }
    assert set(family.lora_targets) == linear


def test_family_of_a_config():
    assert family_of({"model_type": "qwen3", "vocab_size": 151936}).name == "qwen3"
    assert family_of({"model_type": "llama", "vocab_size": 49152}).name == "smollm"
    assert family_of({"model_type": "llama", "vocab_size": 32000}).name == "llama"
    assert family_of({"model_type": "gemma3"}).name == "gemma3"
    assert family_of(json.loads((resource("data_samples/tiny_base") / "config.json").read_text())).name == "llama"


@pytest.mark.parametrize("config", [{}, {"model_type": "brand_new"}])
def test_unknown_architecture_is_generic_and_says_so(config: dict):
    assert family_of(config) is GENERIC
    assert GENERIC.lora_targets == ()
    assert "unknown" in GENERIC.note
    assert "every linear layer" in GENERIC.note


@pytest.mark.parametrize("family", [*FAMILIES, GENERIC], ids=lambda family: family.name)
def test_families_name_templates_that_exist(family: Family):
    assert {family.template, *family.other_templates} <= set(template_names())


def test_registry_is_light():
    code = "import sys, rlhf.registry; sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'jinja2')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ------------------------------------------------------------------------------------------------ named models


def test_named_models_are_sane():
    assert MODELS["tiny"].hub_id is None
    hub_ids = [model.hub_id for model in MODELS.values() if model.hub_id]
    assert len(set(hub_ids)) == len(hub_ids) == len(MODELS) - 1
    for name, model in MODELS.items():
        assert name == name.lower()
        assert 0 < model.parameters < 1000
        assert model.licence
        assert "/" not in name
        if model.hub_id:
            assert model.hub_id.count("/") == 1


def test_parameters_agree_with_the_size_in_the_name():
    for name, model in MODELS.items():
        sizes = [part for part in name.split("-") if part[0].isdigit() and part[-1] in "bm"]
        for size in sizes:
            stated = float(size[:-1]) * (1e-3 if size[-1] == "m" else 1)
            assert model.parameters == pytest.approx(stated, rel=0.5), name


# ------------------------------------------------------------------------------------------------ resolve


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("{}")
    return folder


def named(name: str, **settings) -> ModelRef:
    return ModelRef(name=name, **settings)


def test_tiny_is_embedded():
    source = resolve(named("tiny"))
    assert source.is_local
    assert not source.is_artifact
    assert source.name == "tiny"
    assert Path(source.location).is_absolute()
    assert (Path(source.location) / "config.json").is_file()


def test_registry_name_leads_to_the_hub():
    source = resolve(named("qwen3-0.6b", revision="abc", trust_remote_code=True))
    assert (source.location, source.is_local, source.name) == ("Qwen/Qwen3-0.6B", False, "qwen3-0.6b")
    assert (source.revision, source.trust_remote_code) == ("abc", True)


def test_registry_name_wins_over_a_folder_of_that_name(here: Path):
    put(here / "gpt2", "config.json")
    assert not resolve(named("gpt2")).is_local
    assert resolve(named("./gpt2")).location == str(here / "gpt2")


def test_folder_is_looked_up_from_the_recipe_then_from_here(here: Path):
    put(here / "m", "config.json")
    put(here / "recipes", "x.yaml")
    assert resolve(named("m"), here / "recipes").location == str(here / "m")
    put(here / "recipes" / "m", "config.json")
    assert resolve(named("m"), here / "recipes").location == str(here / "recipes" / "m")
    assert resolve(named(str(here / "m")), here / "recipes").location == str(here / "m")


def test_folder_without_a_model_beside_the_recipe_does_not_hide_one_here(here: Path):
    put(here / "recipes" / "m")
    put(here / "m", "config.json")
    assert resolve(named("m"), here / "recipes").location == str(here / "m")


def test_existing_folder_wins_over_a_hub_id(here: Path):
    put(here / "org" / "model", "config.json")
    assert resolve(named("org/model")).is_local
    source = resolve(named("org/other"))
    assert (source.location, source.is_local) == ("org/other", False)


def test_stage_output_is_an_artifact_even_with_whole_weights(here: Path):
    stage = put(here / "runs" / "a" / "stages" / "sft", "artifact.json")
    put(stage / "model", "config.json")
    for name in ("runs/a/stages/sft", "runs/a/stages/sft/model"):
        source = resolve(named(name))
        assert (source.location, source.is_artifact, source.is_local) == (str(stage), True, True)


def test_run_folder_asks_for_a_stage(here: Path):
    put(here / "runs" / "a" / "stages" / "sft", "artifact.json")
    put(here / "runs" / "a" / "stages" / "ppo", "artifact.json")
    put(here / "runs" / "a" / "stages" / "torn")
    with pytest.raises(RecipeError, match=r"is a run; name one of its stages: .*stages/ppo, .*stages/sft$"):
        resolve(named("runs/a"))


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ((), "neither config.json"),
        (("adapter_config.json",), "bare adapter"),
        (("stages/",), "none of its stages has finished"),
    ],
)
def test_folder_that_is_no_model_says_why(here: Path, files: tuple[str, ...], says: str):
    put(here / "m", *(file for file in files if not file.endswith("/")))
    for file in files:
        if file.endswith("/"):
            (here / "m" / file).mkdir()
    with pytest.raises(RecipeError, match=says):
        resolve(named("m"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("qwen3-06b", "did you mean 'qwen3-0.6b'"),
        ("Qwen3-0.6B", "did you mean 'qwen3-0.6b'"),
        ("sft", r"\{stage: sft\}"),
        ("zzzzzzzz", "known: gemma-2-2b-it"),
        ("./nowhere", "no such folder"),
        ("/no/where", "no such folder"),
        ("runs/a/stages/sft", "no such folder"),
    ],
)
def test_unknown_name_says_what_would_work(here: Path, name: str, says: str):
    with pytest.raises(RecipeError, match=says):
        resolve(named(name))


def test_revision_of_a_folder_is_refused(here: Path):
    put(here / "m", "config.json")
    for name in ("m", "tiny"):
        with pytest.raises(RecipeError, match="revision"):
            resolve(named(name, revision="main"))


# ------------------------------------------------------------------------------------------------ resources


def test_resources(tmp_path: Path):
    assert "quickstart" in recipe_names()
    with pytest.raises(ArtifactError, match="no/such"):
        resource("no/such")
    assert is_shipped(resource("data_samples/corner_shop"))
    (tmp_path / "rule.py").write_text("")
    assert not is_shipped(tmp_path / "rule.py")
    assert not is_shipped(resource("data_samples") / ".." / ".." / "other.py")


# ------------------------------------------------------------------------------------------------ templates


def make_tokenizer(*special: str, **named_tokens: str) -> PreTrainedTokenizerFast:
    """A tokenizer whose vocabulary is a few words, the tokens named by keyword, and further special tokens."""
    words = {"question": 0, "answer": 1, "?": 2}
    backend = Tokenizer(models.WordLevel(words, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, extra_special_tokens=list(special), **named_tokens)


def render(template: str, messages: list[dict[str, str]], prompt: bool = False) -> str:
    text = make_tokenizer(bos_token="<s>", eos_token="</s>").apply_chat_template(
        messages, chat_template=template_text(template), tokenize=False, add_generation_prompt=prompt
    )
    assert isinstance(text, str)
    return text


def say(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


TALK = [say("system", "Be brief."), say("user", "Hi"), say("assistant", "Hello")]
WRITTEN = {
    "chatml": (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
    ),
    "llama3": (
        "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>"
    ),
    "llama2": "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello </s>",
    "gemma": ("<s><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n"),
    "mistral": "<s>[INST] Be brief.\n\nHi[/INST] Hello</s>",
    "phi3": "<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHello<|end|>\n",
    "zephyr": "<s><|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello</s>\n",
    "olmo": "<s><|system|>\nBe brief.\n<|user|>\nHi\n<|assistant|>\nHello</s>",
    "plain": "<s>Be brief.HiHello</s>",
}
PROMPTS = {
    "chatml": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "llama3": (
        "<s><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    ),
    "llama2": "<s>[INST] Hi [/INST]",
    "gemma": "<s><start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n",
    "mistral": "<s>[INST] Hi[/INST]",
    "phi3": "<|user|>\nHi<|end|>\n<|assistant|>\n",
    "zephyr": "<s><|user|>\nHi</s>\n<|assistant|>\n",
    "olmo": "<s><|user|>\nHi\n<|assistant|>\n",
    "plain": "<s>Hi",
}


def test_every_template_is_tested():
    assert set(template_names()) == set(WRITTEN) == set(PROMPTS)


@pytest.mark.parametrize("template", WRITTEN)
def test_template_writes(template: str):
    assert render(template, TALK) == WRITTEN[template]
    assert render(template, [say("user", "Hi")], prompt=True) == PROMPTS[template]


@pytest.mark.parametrize("template", WRITTEN)
@pytest.mark.parametrize("start", [0, 1], ids=["with-system", "without"])
def test_prompt_is_a_prefix_of_prompt_and_answer(template: str, start: int):
    """Training splits a conversation where generation would start; both must be the same text."""
    turns = [say("user", "one\n"), say("assistant", " two\n\n"), say("user", " three"), say("assistant", "four ")]
    talk = [*TALK[start:], *turns]
    for i, message in enumerate(talk[1:], start=1):
        longer = render(template, talk[: i + 1])
        assert longer.startswith(render(template, talk[:i]))
        if message["role"] == "assistant":
            prompt = render(template, talk[:i], prompt=True)
            assert longer.startswith(prompt)
            assert longer.removeprefix(prompt).lstrip(" ").startswith(message["content"].lstrip(" "))


@pytest.mark.parametrize("template", WRITTEN)
def test_template_refuses_unknown_roles(template: str):
    with pytest.raises(Exception, match="role 'human'"):
        render(template, [say("human", "Hi")])


@pytest.mark.parametrize("template", ["llama2", "gemma", "mistral"])
def test_template_without_a_system_role_refuses_a_late_system_message(template: str):
    with pytest.raises(Exception, match="a system message comes first"):
        render(template, [say("user", "Hi"), say("system", "Be brief.")])


def test_template_text_of_a_name_or_a_file(here: Path):
    assert "<|im_start|>" in template_text("chatml")
    (here / "mine.jinja").write_text("{{ messages }}")
    assert template_text("mine.jinja") == "{{ messages }}"
    assert template_text(str(here / "mine.jinja")) == "{{ messages }}"
    with pytest.raises(RecipeError, match="did you mean 'chatml'"):
        template_text("chatlm")
    with pytest.raises(RecipeError, match=r"absent\.jinja"):
        template_text("absent.jinja")


# ------------------------------------------------------------------------------------------------ which template


def test_template_order_is_explicit_own_family():
    tokenizer = make_tokenizer("<|im_end|>", eos_token="</s>")
    assert choose_template(tokenizer, GENERIC, None) == template_text("chatml")
    tokenizer.chat_template = "own"
    assert choose_template(tokenizer, GENERIC, None) == "own"
    assert choose_template(tokenizer, GENERIC, "zephyr") == template_text("zephyr")
    tokenizer.chat_template = {"tool_use": "tools", "default": "own"}
    assert choose_template(tokenizer, GENERIC, None) == "own"


@pytest.mark.parametrize(
    ("family", "special", "chosen"),
    [
        ("llama", ["<|eot_id|>", "<|im_end|>"], "llama3"),
        ("llama", ["<|im_end|>"], "chatml"),
        ("llama", [], "llama2"),
        ("phi3", ["<|end|>"], "phi3"),
        ("phi3", ["<|im_end|>"], "chatml"),
        ("qwen2", [], "zephyr"),
        ("gpt2", [], "zephyr"),
        ("olmo3", [], "olmo"),
    ],
)
def test_family_template_fits_the_vocabulary(family: str, special: list[str], chosen: str):
    tokenizer = make_tokenizer(*special, bos_token="<s>", eos_token="</s>")
    assert choose_template(tokenizer, BY_NAME[family], None) == template_text(chosen)


def test_template_whose_end_is_not_one_token_is_refused():
    tokenizer = make_tokenizer(eos_token="<|endoftext|>")
    with pytest.raises(RecipeError, match="could not learn to stop; set `template`: 'zephyr'"):
        choose_tokens(tokenizer, BY_NAME["gpt2"], template_text("chatml"))


@pytest.mark.parametrize("template", ["{% if %}", "{{ raise_exception('no') }}"])
def test_broken_template_is_a_recipe_error(template: str):
    with pytest.raises(RecipeError, match="chat template fails"):
        choose_tokens(make_tokenizer(eos_token="</s>"), GENERIC, template)


# ------------------------------------------------------------------------------------------------ which tokens

END, EOT = "<|endoftext|>", "<|eot_id|>"
TOKENIZERS = {
    # name: (special tokens, named tokens, family, template, pad, pad_is_new, stops)
    "gpt2": ((), {"bos_token": END, "eos_token": END, "unk_token": END}, "gpt2", "zephyr", NEW_PAD, True, (END,)),
    "gpt2-padded-with-eos": ((), {"eos_token": END, "pad_token": END}, "gpt2", "plain", NEW_PAD, True, (END,)),
    "pythia": (("<|padding|>",), {"eos_token": END}, "gpt_neox", "zephyr", "<|padding|>", False, (END,)),
    "smollm-base": (
        ("<|im_start|>", "<|im_end|>", "<empty_output>"),
        {"bos_token": END, "eos_token": END, "unk_token": END},
        "smollm", "chatml", "<empty_output>", False, ("<|im_end|>", END),
    ),
    "smollm-instruct": (
        ("<empty_output>",),
        {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "pad_token": "<|im_end|>", "unk_token": END},
        "smollm", "chatml", END, False, ("<|im_end|>",),
    ),
    "qwen-base": (
        ("<|im_start|>", "<|im_end|>", "<|fim_pad|>"),
        {"eos_token": END, "pad_token": END},
        "qwen2", "chatml", "<|fim_pad|>", False, ("<|im_end|>", END),
    ),
    "qwen-instruct": (
        ("<|im_start|>",), {"eos_token": "<|im_end|>", "pad_token": END},
        "qwen2", "chatml", END, False, ("<|im_end|>",),
    ),
    "llama-3.0": (
        (EOT, "<|reserved_special_token_0|>", "<|start_header_id|>"),
        {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"},
        "llama", "llama3", "<|reserved_special_token_0|>", False, (EOT, "<|end_of_text|>"),
    ),
    "llama-2": (
        (), {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
        "llama", "llama2", "<unk>", False, ("</s>",),
    ),
    "gemma": (
        ("<start_of_turn>", "<end_of_turn>"), {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"},
        "gemma3", "gemma", "<pad>", False, ("<end_of_turn>", "<eos>"),
    ),
    "phi3-last-resort": (
        ("<|user|>", "<|assistant|>", "<|spare|>", "<|end|>"), {"eos_token": END, "pad_token": END},
        "phi3", "phi3", "<|spare|>", False, ("<|end|>", END),
    ),
    "phi3-markers-are-no-pad": (
        ("<|user|>", "<|assistant|>", "<|end|>"), {"eos_token": END}, "phi3", "phi3", NEW_PAD, True, ("<|end|>", END),
    ),
    "pad-known-by-name": ((NEW_PAD,), {"eos_token": "</s>"}, "mistral", "mistral", NEW_PAD, False, ("</s>",)),
    "pad-is-bos": (
        (), {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<s>"},
        "mistral", "mistral", NEW_PAD, True, ("</s>",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", TOKENIZERS)
def test_pad_and_stop_tokens(case: str):
    special, names, family, template, pad, is_new, stops = TOKENIZERS[case]
    tokenizer = make_tokenizer(*special, **names)
    tokens = choose_tokens(tokenizer, BY_NAME[family], template_text(template))
    assert (tokens.pad, tokens.pad_is_new, tokens.stops) == (pad, is_new, stops)
    assert tokens.pad not in (*stops, tokenizer.eos_token, tokenizer.bos_token)
    assert tokens.pad_is_new == (tokens.pad not in tokenizer.get_vocab())


@pytest.mark.parametrize("template", [*WRITTEN])
@pytest.mark.parametrize("names", [{"eos_token": END}, {"eos_token": END, "pad_token": END, "unk_token": END}])
def test_pad_is_never_eos_nor_a_stop_token(template: str, names: dict[str, str]):
    tokenizer = make_tokenizer("<|im_end|>", EOT, "<end_of_turn>", "<|end|>", **names)
    tokens = choose_tokens(tokenizer, GENERIC, template_text(template))
    assert tokens.pad != END
    assert tokens.pad not in tokens.stops
    assert END in tokens.stops


def test_stop_of_an_unknown_template_is_the_token_it_writes_after_an_answer():
    template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|{{ 'ev' }}al|>{% endfor %}"
    tokens = choose_tokens(make_tokenizer("<|user|>", "<|eval|>", eos_token="</s>"), GENERIC, template)
    assert tokens.stops == ("<|eval|>", "</s>")
    assert (tokens.pad, tokens.pad_is_new) == (NEW_PAD, True)


def test_tiny_keeps_its_own_tokens():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(resource("data_samples/tiny_base"))
    template = choose_template(tokenizer, BY_NAME["llama"], None)
    tokens = choose_tokens(tokenizer, BY_NAME["llama"], template)
    assert (tokens.pad, tokens.pad_is_new, tokens.stops) == ("<|pad|>", False, ("<|im_end|>",))
    assert tokenizer.apply_chat_template(TALK, tokenize=False) == WRITTEN["chatml"]
