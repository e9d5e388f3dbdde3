"""The shape of a decoder from its config.json alone: which matrices it has, and how many parameters.

Counted by hand for the families of the registry, so that no model is built and nothing heavy is imported; the counts
are tested against transformers' own. Other architectures are refused with a word.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rlhf.errors import RecipeError

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Matrix:
    """A linear layer that every decoder layer has one of."""

    name: str
    """Last name of the module."""
    into: int
    """Inputs."""
    out: int
    """Outputs."""
    bias: bool = False

    @property
    def weights(self) -> int:
        return self.into * self.out

    @property
    def parameters(self) -> int:
        return self.weights + self.bias * self.out


@dataclass(frozen=True)
class Shape:
    """A decoder: layers that are all alike, embeddings and a head."""

    model_type: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_size: int
    inner: int
    """Outputs of the MLP's first layer."""
    gated: bool
    """Whether the MLP has a gate beside it."""
    vocabulary: int
    positions: int
    """Most tokens of a sequence."""
    tied: bool
    """Whether the head is the embedding."""
    matrices: tuple[Matrix, ...]
    """Of each layer."""
    vectors: int
    """Other parameters of a layer: norms."""
    around: int
    """Parameters beside the layers, embedding and head: the last norm, learned positions, the head's bias."""

    @property
    def embedding(self) -> int:
        """Parameters of the embedding."""
        return self.vocabulary * self.hidden

    @property
    def head(self) -> int:
        """Parameters of a head that is not the embedding."""
        return 0 if self.tied else self.embedding

    @property
    def linear(self) -> int:
        """Weights of all linear layers of the decoder, which a 4-bit base holds in 4 bit."""
        return self.layers * sum(matrix.weights for matrix in self.matrices)

    @property
    def biases(self) -> int:
        """Of all linear layers of the decoder."""
        return self.layers * sum(matrix.out for matrix in self.matrices if matrix.bias)

    @property
    def decoder(self) -> int:
        """Parameters without embedding and head."""
        return self.linear + self.biases + self.layers * self.vectors + self.around

    @property
    def parameters(self) -> int:
        """All of a language model's."""
        return self.decoder + self.embedding + self.head

    def adapter(self, rank: int, targets: tuple[str, ...] = ()) -> int:
        """Parameters of LoRA's A and B on all linear layers, or on those named `targets`."""
        chosen = [matrix for matrix in self.matrices if not targets or matrix.name in targets]
        return self.layers * rank * sum(matrix.into + matrix.out for matrix in chosen)


def shape_of(config: Config) -> Shape:
    """The shape that a config.json says. Raises RecipeError for an architecture that is not known here."""
    text = config.get("text_config") or config  # of a model that sees too
    kind = str(text.get("model_type", ""))
    if kind not in _FAMILIES:
        known = ", ".join(sorted(_FAMILIES))
        raise RecipeError(f"architecture '{kind}': its size cannot be told from its config.json; known are {known}")
    return _FAMILIES[kind](kind, text)


# ------------------------------------------------------------------------------------------------ families

_ATTENTION, _MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")


def _llama(
    kind: str,
    config: Config,
    *,
    norms: int = 2,
    of_head: bool = False,
    of_all: bool = False,
    fused: bool = False,
    biased: Sequence[str] = (),
    tied: bool = False,
) -> Shape:
    """Grouped attention and a gated MLP.

    `norms`: of a layer, beside those of queries and keys, which are over a head (`of_head`) or all (`of_all`); 0 where
    norms have no weights. `fused`: what reads the same input is one matrix. `biased`: the matrices with a bias.
    """
    hidden, heads, inner = config["hidden_size"], config["num_attention_heads"], config["intermediate_size"]
    groups = config.get("num_key_value_heads") or heads
    size = config.get("head_dim") or hidden // heads
    q, kv = heads * size, groups * size
    biased = (*biased, *_ATTENTION * bool(config.get("attention_bias")), *_MLP * bool(config.get("mlp_bias")))
    if fused:
        sizes = {"qkv_proj": (hidden, q + 2 * kv), "o_proj": (q, hidden), "gate_up_proj": (hidden, 2 * inner)}
    else:
        sizes = {"q_proj": (hidden, q), "k_proj": (hidden, kv), "v_proj": (hidden, kv), "o_proj": (q, hidden)}
        sizes |= {"gate_proj": (hidden, inner), "up_proj": (hidden, inner)}
    sizes["down_proj"] = (inner, hidden)
    return Shape(
        model_type=kind,
        layers=config["num_hidden_layers"],
        hidden=hidden,
        heads=heads,
        kv_heads=groups,
        head_size=size,
        inner=inner,
        gated=True,
        vocabulary=config["vocab_size"],
        positions=config.get("max_position_embeddings", 2048),
        tied=config.get("tie_word_embeddings", tied),
        matrices=tuple(Matrix(name, *of, name in biased) for name, of in sizes.items()),
        vectors=norms * hidden + (2 * size if of_head else q + kv if of_all else 0),
        around=hidden if norms else 0,
    )


def _gpt(
    kind: str, config: Config, names: Sequence[str], *, tied: bool = False, norms: int = 2, learned: bool = False,
    head_bias: bool = False,
) -> Shape:  # fmt: skip
    """Attention over all heads, an MLP without a gate, and a bias everywhere. `names`: of the matrices, of which four
    are queries, keys and values in one, and six each; `norms`: of a layer; `learned`: positions are parameters."""
    hidden, heads = config.get("hidden_size") or config["n_embd"], config.get("num_attention_heads") or config["n_head"]
    inner = config.get("intermediate_size") or config.get("n_inner") or 4 * hidden
    positions = config.get("max_position_embeddings") or config["n_positions"]
    reads = [(hidden, 3 * hidden)] if len(names) == 4 else [(hidden, hidden)] * 3
    sizes = [*reads, (hidden, hidden), (hidden, inner), (inner, hidden)]
    vocabulary = config["vocab_size"]
    return Shape(
        model_type=kind,
        layers=config.get("num_hidden_layers") or config["n_layer"],
        hidden=hidden,
        heads=heads,
        kv_heads=heads,
        head_size=hidden // heads,
        inner=inner,
        gated=False,
        vocabulary=vocabulary,
        positions=positions,
        tied=config.get("tie_word_embeddings", tied),
        matrices=tuple(Matrix(name, *of, True) for name, of in zip(names, sizes, strict=True)),
        vectors=2 * norms * hidden,
        around=2 * hidden + learned * positions * hidden + head_bias * vocabulary,
    )


_FAMILIES: dict[str, Callable[[str, Config], Shape]] = {
    "llama": _llama,
    "mistral": _llama,
    "smollm3": partial(_llama, tied=True),
    "qwen2": partial(_llama, biased=_ATTENTION[:3]),
    "qwen3": partial(_llama, of_head=True),
    "gemma": partial(_llama, tied=True),
    "gemma2": partial(_llama, norms=4, tied=True),
    "gemma3_text": partial(_llama, norms=4, of_head=True, tied=True),
    "phi3": partial(_llama, fused=True),
    "olmo": partial(_llama, norms=0),
    "olmo2": partial(_llama, of_all=True),
    "olmo3": partial(_llama, of_all=True),
    "phi": partial(_gpt, names=("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"), norms=1, head_bias=True),
    "gpt_neox": partial(_gpt, names=("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")),
    "gpt2": partial(_gpt, names=("c_attn", "c_proj", "c_fc", "c_proj"), tied=True, learned=True),
}
