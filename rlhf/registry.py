"""Model registry: families, named models, chat templates, and the special tokens that end and pad text.

A new family is one row in FAMILIES; a new named model is one row in MODELS; a new template is one file in templates/.
Light: imports no torch and no transformers; where text is rendered, the caller's tokenizer does it.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlhf.config import ModelRef
from rlhf.errors import RecipeError, did_you_mean
from rlhf.resources import resource

# ------------------------------------------------------------------------------------------------ families


@dataclass(frozen=True)
class Family:
    """What models of one architecture and vocabulary share."""

    name: str
    model_types: tuple[str, ...]
    """`model_type` values of config.json."""
    template: str
    """Chat template for a tokenizer that brings none: a file of templates/."""
    lora_targets: tuple[str, ...]
    """Last name of every linear layer of the decoder; empty: every linear layer, found when the model is loaded."""
    pad_tokens: tuple[str, ...] = ()
    """Special tokens that pretraining left unused, in order of preference; never eos."""
    stop_tokens: tuple[str, ...] = ()
    """Tokens that end an assistant turn in the family's own templates."""
    other_templates: tuple[str, ...] = ()
    """Tried in order when the vocabulary lacks the token that ends `template`'s assistant turn."""
    vocab_sizes: tuple[int, ...] = ()
    """Tells families apart that share a model type; empty: any size."""
    note: str = ""
    """What a person should know when this row applies."""


_LLAMA_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_CHATML_ENDS = ("<|im_end|>", "<|endoftext|>")

FAMILIES: tuple[Family, ...] = (
    Family(
        "smollm",
        model_types=("llama",),
        vocab_sizes=(49152,),
        template="chatml",
        lora_targets=_LLAMA_LAYERS,
        # The published instruct tokenizers pad with <|im_end|>, their eos.
        pad_tokens=("<|endoftext|>", "<empty_output>"),
        stop_tokens=_CHATML_ENDS,
    ),
    Family(
        "smollm3",
        model_types=("smollm3",),
        template="chatml",
        lora_targets=_LLAMA_LAYERS,
        pad_tokens=("<|finetune_right_pad_id|>", "<|reserved_special_token_0|>"),
        stop_tokens=("<|im_end|>", "<|end_of_text|>"),
    ),
    Family(
        "llama",
        model_types=("llama",),
        template="llama3",
        other_templates=("chatml", "llama2"),  # of Llama-shaped models with another vocabulary
        lora_targets=_LLAMA_LAYERS,
        pad_tokens=("<|finetune_right_pad_id|>", "<|reserved_special_token_0|>", "<pad>", "<unk>"),
        stop_tokens=("<|eot_id|>", "<|end_of_text|>", "</s>"),
    ),
    Family(
        "qwen2",
        model_types=("qwen2",),
        template="chatml",
        lora_targets=_LLAMA_LAYERS,
        pad_tokens=("<|endoftext|>", "<|fim_pad|>", "<|vision_pad|>"),
        stop_tokens=_CHATML_ENDS,
    ),
    Family(
        "qwen3",
        model_types=("qwen3",),
        template="chatml",
        lora_targets=_LLAMA_LAYERS,
        pad_tokens=("<|endoftext|>", "<|fim_pad|>", "<|vision_pad|>"),
        stop_tokens=_CHATML_ENDS,
    ),
    Family(
        "gemma2",
        model_types=("gemma2", "gemma"),
        template="gemma",
        lora_targets=_LLAMA_LAYERS,
        pad_tokens=("<pad>",),
        stop_tokens=("<end_of_turn>", "<eos>"),
    ),
    Family(
        "gemma3",
        model_types=("gemma3_text", "gemma3"),
        template="gemma",
        lora_targets=_LLAMA_LAYERS,
        pad_tokens=("<pad>",),
        stop_tokens=("<end_of_turn>", "<eos>"),
    ),
    Family(
        "mistral",
        model_types=("mistral",),
        template="mistral",
        lora_targets=_LLAMA_LAYERS,
        pad_tokens=("<pad>", "[PAD]", "[control_8]", "<unk>"),
        stop_tokens=("</s>",),
    ),
    Family(
        "phi3",
        model_types=("phi3",),
        template="phi3",
        other_templates=("chatml",),
        lora_targets=("qkv_proj", "o_proj", "gate_up_proj", "down_proj"),
        pad_tokens=("<|placeholder1|>", "<|dummy_85|>", "<unk>"),
        stop_tokens=("<|end|>", "<|endoftext|>"),
    ),
    Family(
        "phi",
        model_types=("phi",),
        template="zephyr",
        lora_targets=("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"),
        stop_tokens=("<|endoftext|>",),
    ),
    Family(
        "gpt_neox",
        model_types=("gpt_neox",),
        template="zephyr",
        lora_targets=("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"),
        pad_tokens=("<|padding|>",),
        stop_tokens=("<|endoftext|>",),
    ),
    Family(
        "gpt2",
        model_types=("gpt2",),
        template="zephyr",
        lora_targets=("c_attn", "c_proj", "c_fc"),
        stop_tokens=("<|endoftext|>",),
    ),
    Family(
        "olmo",
        model_types=("olmo",),
        template="olmo",
        lora_targets=_LLAMA_LAYERS,
        pad_tokens=("<|padding|>",),
        stop_tokens=("<|endoftext|>",),
    ),
    Family(
        "olmo2",
        model_types=("olmo2",),
        template="olmo",
        lora_targets=_LLAMA_LAYERS,
        pad_tokens=("<|pad|>",),
        stop_tokens=("<|endoftext|>",),
    ),
    Family(
        "olmo3",
        model_types=("olmo3",),
        template="chatml",
        other_templates=("olmo",),
        lora_targets=_LLAMA_LAYERS,
        pad_tokens=("<|pad|>",),
        stop_tokens=_CHATML_ENDS,
    ),
)

GENERIC = Family(
    "generic",
    model_types=(),
    template="chatml",
    lora_targets=(),
    note="this architecture is unknown to the registry: text is formatted as ChatML unless the tokenizer brings a "
    "template, and LoRA adapts every linear layer of the decoder",
)
"""What any other architecture gets."""


def family_of(config: Mapping[str, Any]) -> Family:
    """The row for a config.json; GENERIC for an unknown architecture."""
    for family in FAMILIES:
        fits = not family.vocab_sizes or config.get("vocab_size") in family.vocab_sizes
        if config.get("model_type") in family.model_types and fits:
            return family
    return GENERIC


# ------------------------------------------------------------------------------------------------ named models


@dataclass(frozen=True)
class NamedModel:
    """A model that recipes can call by a short name."""

    hub_id: str | None
    """Where the hub keeps it; None: it ships with rlhf."""
    parameters: float
    """Billions."""
    licence: str
    """As the hub's licence tag."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """What of its config.json says how large it is, so that a plan needs no hub."""


def _like(kind: str, vocabulary: int, positions: int, tied: bool = True, **others: Any) -> dict[str, Any]:
    """What of a config.json models of several sizes share."""
    shared = {"model_type": kind, "vocab_size": vocabulary, "max_position_embeddings": positions}
    return {**shared, "tie_word_embeddings": tied, **others}


def _sized(like: Mapping[str, Any], hidden: int, layers: int, heads: int, groups: int, inner: int) -> dict[str, Any]:
    """With the sizes of one. `groups`: heads that share keys and values; `inner`: of the MLP."""
    sizes = {"hidden_size": hidden, "num_hidden_layers": layers, "intermediate_size": inner}
    return {**like, **sizes, "num_attention_heads": heads, "num_key_value_heads": groups}


_SMOLLM2 = _like("llama", 49152, 8192)
_QWEN2_5 = _like("qwen2", 151936, 32768)
_QWEN2_5_LARGE = _like("qwen2", 152064, 32768, tied=False)
_QWEN3 = _like("qwen3", 151936, 40960, head_dim=128)
_QWEN3_LARGE = {**_QWEN3, "tie_word_embeddings": False}
_LLAMA_3_SMALL = _like("llama", 128256, 131072)
_LLAMA_3 = {**_LLAMA_3_SMALL, "tie_word_embeddings": False}
_GEMMA_2 = _like("gemma2", 256000, 8192, head_dim=256)
_GEMMA_3 = _like("gemma3_text", 262144, 32768, head_dim=256)
_MISTRAL = _like("mistral", 32768, 32768, tied=False)
_PHI_3 = _like("phi3", 32064, 131072, tied=False)
_PHI_4 = _like("phi3", 200064, 131072)
_PYTHIA = _like("gpt_neox", 50304, 2048, tied=False)
_GPT2 = _like("gpt2", 50257, 1024)
_OLMO_2 = _like("olmo2", 100352, 4096, tied=False)

_SMOLLM2_135M = _sized(_SMOLLM2, 576, 30, 9, 3, 1536)
_SMOLLM2_360M = _sized(_SMOLLM2, 960, 32, 15, 5, 2560)
_SMOLLM2_1_7B = _sized(_SMOLLM2, 2048, 24, 32, 32, 8192)
_QWEN2_5_0_5B = _sized(_QWEN2_5, 896, 24, 14, 2, 4864)
_QWEN2_5_1_5B = _sized(_QWEN2_5, 1536, 28, 12, 2, 8960)
_QWEN2_5_7B = _sized(_QWEN2_5_LARGE, 3584, 28, 28, 4, 18944)
_LLAMA_3_1B = _sized(_LLAMA_3_SMALL, 2048, 16, 32, 8, 8192)
_LLAMA_3_8B = _sized(_LLAMA_3, 4096, 32, 32, 8, 14336)
_LLAMA_3_70B = _sized(_LLAMA_3, 8192, 80, 64, 8, 28672)
_MISTRAL_7B = _sized(_MISTRAL, 4096, 32, 32, 8, 14336)
_OLMO_2_1B = _sized(_OLMO_2, 2048, 16, 16, 16, 8192)

TINY = "data_samples/tiny_base"

MODELS: dict[str, NamedModel] = {
    "tiny": NamedModel(None, 0.00197, "apache-2.0"),
    "smollm2-135m": NamedModel("HuggingFaceTB/SmolLM2-135M", 0.135, "apache-2.0", _SMOLLM2_135M),
    "smollm2-135m-instruct": NamedModel("HuggingFaceTB/SmolLM2-135M-Instruct", 0.135, "apache-2.0", _SMOLLM2_135M),
    "smollm2-360m": NamedModel("HuggingFaceTB/SmolLM2-360M", 0.362, "apache-2.0", _SMOLLM2_360M),
    "smollm2-360m-instruct": NamedModel("HuggingFaceTB/SmolLM2-360M-Instruct", 0.362, "apache-2.0", _SMOLLM2_360M),
    "smollm2-1.7b": NamedModel("HuggingFaceTB/SmolLM2-1.7B", 1.71, "apache-2.0", _SMOLLM2_1_7B),
    "smollm2-1.7b-instruct": NamedModel("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1.71, "apache-2.0", _SMOLLM2_1_7B),
    "qwen2.5-0.5b": NamedModel("Qwen/Qwen2.5-0.5B", 0.494, "apache-2.0", _QWEN2_5_0_5B),
    "qwen2.5-0.5b-instruct": NamedModel("Qwen/Qwen2.5-0.5B-Instruct", 0.494, "apache-2.0", _QWEN2_5_0_5B),
    "qwen2.5-1.5b-instruct": NamedModel("Qwen/Qwen2.5-1.5B-Instruct", 1.54, "apache-2.0", _QWEN2_5_1_5B),
    "qwen2.5-7b-instruct": NamedModel("Qwen/Qwen2.5-7B-Instruct", 7.62, "apache-2.0", _QWEN2_5_7B),
    "qwen3-0.6b": NamedModel("Qwen/Qwen3-0.6B", 0.596, "apache-2.0", _sized(_QWEN3, 1024, 28, 16, 8, 3072)),
    "qwen3-1.7b": NamedModel("Qwen/Qwen3-1.7B", 1.72, "apache-2.0", _sized(_QWEN3, 2048, 28, 16, 8, 6144)),
    "qwen3-4b": NamedModel("Qwen/Qwen3-4B", 4.02, "apache-2.0", _sized(_QWEN3, 2560, 36, 32, 8, 9728)),
    "qwen3-8b": NamedModel("Qwen/Qwen3-8B", 8.19, "apache-2.0", _sized(_QWEN3_LARGE, 4096, 36, 32, 8, 12288)),
    "llama-3.2-1b": NamedModel("meta-llama/Llama-3.2-1B", 1.24, "llama3.2", _LLAMA_3_1B),
    "llama-3.2-1b-instruct": NamedModel("meta-llama/Llama-3.2-1B-Instruct", 1.24, "llama3.2", _LLAMA_3_1B),
    "llama-3.1-8b": NamedModel("meta-llama/Llama-3.1-8B", 8.03, "llama3.1", _LLAMA_3_8B),
    "llama-3.1-8b-instruct": NamedModel("meta-llama/Llama-3.1-8B-Instruct", 8.03, "llama3.1", _LLAMA_3_8B),
    "llama-3.3-70b-instruct": NamedModel("meta-llama/Llama-3.3-70B-Instruct", 70.6, "llama3.3", _LLAMA_3_70B),
    "gemma-2-2b-it": NamedModel("google/gemma-2-2b-it", 2.61, "gemma", _sized(_GEMMA_2, 2304, 26, 8, 4, 9216)),
    "gemma-3-270m-it": NamedModel("google/gemma-3-270m-it", 0.268, "gemma", _sized(_GEMMA_3, 640, 18, 4, 1, 2048)),
    "gemma-3-1b-it": NamedModel("google/gemma-3-1b-it", 1.0, "gemma", _sized(_GEMMA_3, 1152, 26, 4, 1, 6912)),
    "mistral-7b-instruct": NamedModel("mistralai/Mistral-7B-Instruct-v0.3", 7.25, "apache-2.0", _MISTRAL_7B),
    "phi-3.5-mini-instruct": NamedModel(
        "microsoft/Phi-3.5-mini-instruct", 3.82, "mit", _sized(_PHI_3, 3072, 32, 32, 32, 8192)
    ),
    "phi-4-mini-instruct": NamedModel(
        "microsoft/Phi-4-mini-instruct", 3.84, "mit", _sized(_PHI_4, 3072, 32, 24, 8, 8192)
    ),
    "pythia-160m": NamedModel("EleutherAI/pythia-160m", 0.162, "apache-2.0", _sized(_PYTHIA, 768, 12, 12, 12, 3072)),
    "pythia-410m": NamedModel("EleutherAI/pythia-410m", 0.405, "apache-2.0", _sized(_PYTHIA, 1024, 24, 16, 16, 4096)),
    "pythia-1b": NamedModel("EleutherAI/pythia-1b", 1.01, "apache-2.0", _sized(_PYTHIA, 2048, 16, 8, 8, 8192)),
    "gpt2": NamedModel("openai-community/gpt2", 0.124, "mit", _sized(_GPT2, 768, 12, 12, 12, 3072)),
    "olmo-2-1b": NamedModel("allenai/OLMo-2-0425-1B", 1.48, "apache-2.0", _OLMO_2_1B),
    "olmo-2-1b-instruct": NamedModel("allenai/OLMo-2-0425-1B-Instruct", 1.48, "apache-2.0", _OLMO_2_1B),
}


def hub_name(name: str) -> str | None:
    """Where the hub keeps what a person calls so; None for what it does not."""
    if name in MODELS:
        return MODELS[name].hub_id
    return name if _HUB_ID.fullmatch(name) and not Path(name).exists() else None


# ------------------------------------------------------------------------------------------------ where a model is


@dataclass(frozen=True)
class ModelSource:
    """Where the files of a model are."""

    location: str
    """Absolute folder, or hub id."""
    is_local: bool
    name: str
    """What a person calls it."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""
    trust_remote_code: bool = False
    is_artifact: bool = False
    """The folder is the output of a finished stage."""


_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


def resolve(ref: ModelRef, folder: Path | None = None) -> ModelSource:
    """Find a model: registry name, else a folder (seen from `folder`, the recipe's, or from here), else a hub id.

    Raises RecipeError when the name is none of these.
    """
    assert ref.name is not None, "a reference to a stage of this recipe is resolved by the runner"
    if ref.name in MODELS:
        hub_id = MODELS[ref.name].hub_id
        return _on_hub(ref, hub_id) if hub_id else _on_disk(ref, resource(TINY))
    if not ref.name.strip():
        raise RecipeError("a model needs a name, got nothing")
    try:
        path = Path(ref.name).expanduser()
        path.is_dir()
    except (OSError, RuntimeError, ValueError):  # such as a name too long, or no such home
        raise RecipeError(_unknown(ref.name)) from None
    places = [place for place in ((folder or Path()) / path, path) if place.is_dir()]
    for place in places:
        if (model := _model_folder(place)) is not None:
            return _on_disk(ref, model)
    if places:
        raise RecipeError(f"model '{ref.name}': {_why_no_model(places[0])}")
    if any(any((place / path.parts[0]).glob("*/stages")) for place in (folder or Path(), Path())):
        raise RecipeError(f"model '{ref.name}': there is no such stage or run in {path.parts[0]}")
    if _HUB_ID.fullmatch(ref.name):
        return _on_hub(ref, ref.name)
    raise RecipeError(_unknown(ref.name))


def _on_hub(ref: ModelRef, hub_id: str) -> ModelSource:
    return ModelSource(hub_id, False, str(ref.name), ref.revision, ref.trust_remote_code)


def _on_disk(ref: ModelRef, path: Path) -> ModelSource:
    if ref.revision is not None:
        raise RecipeError(f"model '{ref.name}': `revision` picks a version on the hub, but this is the folder {path}")
    is_artifact = (path / "artifact.json").is_file()
    return ModelSource(str(path.resolve()), True, str(ref.name), None, ref.trust_remote_code, is_artifact)


def _model_folder(path: Path) -> Path | None:
    """The folder that holds a model: `path`, or its parent when `path` is the `model/` of a stage's output."""
    if (path / "artifact.json").is_file():
        return path
    if (path.resolve().parent / "artifact.json").is_file() and path.resolve().name == "model":
        return path.resolve().parent  # its artifact knows the base and how text was formatted
    return path if (path / "config.json").is_file() else None


def _why_no_model(path: Path) -> str:
    """Why an existing folder is not a model, and what would be."""
    if (path / "stages").is_dir():
        stages = sorted(stage.parent.name for stage in path.glob("stages/*/artifact.json"))
        if not stages:
            return f"{path} is a run, but none of its stages has finished"
        return f"{path} is a run; name one of its stages: {', '.join(str(path / 'stages' / stage) for stage in stages)}"
    if (path / "adapter_config.json").is_file():
        return (
            f"{path} holds a bare adapter; name a stage's output (it knows its base), or merge the adapter into a model"
        )
    return f"{path} holds neither config.json (a model) nor artifact.json (a stage's output)"


def _unknown(name: str) -> str:
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        return f"model '{name}': no such folder"
    return (
        f"model '{name}' is neither a registry name, a folder with config.json or artifact.json, nor a hub id like "
        f"'org/name' (an earlier stage of the recipe is written {{stage: {name}}})"
        f"{did_you_mean(name.lower(), MODELS)}"
    )


# ------------------------------------------------------------------------------------------------ chat templates

ANY_VOCABULARY = "zephyr"
"""Template for vocabularies without turn markers: those are plain text in it, and eos ends a turn."""

_TEMPLATES = Path(__file__).resolve().parent / "templates"


def template_names() -> list[str]:
    """Names of the templates that ship with rlhf."""
    return sorted(path.stem for path in _TEMPLATES.glob("*.jinja"))


def template_text(template: str | Path) -> str:
    """Source of a chat template: a name of ours, or a .jinja file. Raises RecipeError."""
    names = template_names()
    path = _TEMPLATES / f"{template}.jinja" if template in names else Path(template)
    if path.suffix != ".jinja":
        raise RecipeError(f"no chat template '{template}', and it is not a .jinja file{did_you_mean(path.name, names)}")
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"chat template {path}: {error}") from None


def choose_template(tokenizer: Any, family: Family, explicit: str | Path | None) -> str:
    """Source of the template to use: the one asked for, else the tokenizer's own, else the family's."""
    if explicit is not None:
        return template_text(explicit)
    if isinstance(tokenizer.chat_template, dict):  # several templates, by purpose
        own = tokenizer.chat_template
        return own.get("default") or next(iter(own.values()))
    if tokenizer.chat_template:
        return tokenizer.chat_template
    for name in (family.template, *family.other_templates):
        if _turn_end(tokenizer, template_text(name)) is not None:
            return template_text(name)
    return template_text(ANY_VOCABULARY)


# ------------------------------------------------------------------------------------------------ special tokens


@dataclass(frozen=True)
class Tokens:
    """The special tokens that end and pad text."""

    pad: str
    """Never a stop token, eos or bos: aliasing them hides the end of an answer from the loss."""
    pad_is_new: bool
    """The vocabulary lacks `pad`: add it and resize the embeddings."""
    stops: tuple[str, ...]
    """Tokens that end an answer; the first is the one the template writes after it."""


NEW_PAD = "<|pad|>"
TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "</s>", "<|endoftext|>")
"""Tokens that end a turn in common templates."""


def choose_tokens(tokenizer: Any, family: Family, template: str) -> Tokens:
    """Pad and stop tokens for a tokenizer and the source of its template.

    Raises RecipeError when the template ends an answer with no special token: a model could not learn to stop.
    """
    vocab = tokenizer.get_vocab()
    stops = _stops(tokenizer, family, template, vocab)
    taken = {*stops, tokenizer.eos_token, tokenizer.bos_token}
    markup = template + _probe(tokenizer, template)  # rendered too: a template may put its markers together from parts
    for token in _pad_candidates(tokenizer, family):
        if token in vocab and token not in taken and token not in markup:
            return Tokens(token, False, stops)
    return Tokens(NEW_PAD, True, stops)


def _stops(tokenizer: Any, family: Family, template: str, vocab: Collection[str]) -> tuple[str, ...]:
    first = _turn_end(tokenizer, template)
    if first is None:
        raise RecipeError(
            "the chat template ends an answer with no special token of this tokenizer's vocabulary, so a model could "
            f"not learn to stop; set `template`: '{ANY_VOCABULARY}' and 'plain' work with every tokenizer that has eos"
        )
    written = [token for token in (*family.stop_tokens, *TURN_ENDS) if token in vocab and token in template]
    eos = [tokenizer.eos_token] if tokenizer.eos_token else []
    return tuple(dict.fromkeys([first, *written, *eos]))


def _pad_candidates(tokenizer: Any, family: Family) -> Iterator[str]:
    """From the best to the last resort; those that are taken or absent are for the caller to skip."""
    if tokenizer.pad_token:
        yield tokenizer.pad_token
    yield from family.pad_tokens
    if tokenizer.unk_token:
        yield tokenizer.unk_token
    yield NEW_PAD
    # Vocabularies end with their reserved tokens, so the last special token is the least likely to mean anything.
    yield from (token for token in reversed(_special_tokens(tokenizer)) if token not in TURN_ENDS)


def _special_tokens(tokenizer: Any) -> list[str]:
    """Special tokens of the vocabulary, by id."""
    return [str(token) for _, token in sorted(tokenizer.added_tokens_decoder.items()) if token.special]


def _turn_end(tokenizer: Any, template: str) -> str | None:
    """The first special token that a template writes after an assistant's message; None when it writes none."""
    tail = _probe(tokenizer, template).rpartition(_ANSWER)[2]
    found = {token for token in (*_special_tokens(tokenizer), tokenizer.eos_token) if token and token in tail}
    return min(found, key=lambda token: (tail.index(token), -len(token)), default=None)


_ANSWER = "an-unlikely-answer"


def _probe(tokenizer: Any, template: str) -> str:
    """How a template writes a user's message and its answer. Raises RecipeError when it cannot."""
    messages = [{"role": "user", "content": "question"}, {"role": "assistant", "content": _ANSWER}]
    try:
        text = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False)
    except Exception as error:  # whatever the template's own code comes to
        raise RecipeError(f"the chat template fails on a user's message and its answer: {error}") from None
    if not ("question" in text and _ANSWER in text):
        raise RecipeError("the chat template leaves out a user's message or its answer; choose another with `template`")
    return text
