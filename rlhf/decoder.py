"""A decoder of ours over a transformers model's own weights: packed tokens in, hidden states out.

For the many families that are Llama in form (root mean square norms before attention and a gated MLP, rotary
positions, grouped keys and values). No padded token passes a linear layer, the last layer ends early where only some
tokens are asked for, and adapters are chosen by name, several in one process. The parameters stay those of the
transformers model, so loading, saving and optimising know nothing of this. Whether a model is of this form is not
believed but measured: see `matches`.
"""

# N packed tokens, B sequences, T tokens of the longest, H heads, G heads that share keys and values, E size of a head

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rlhf.fused import GATE, PLAIN, Linear, RMSNorm, project
from rlhf.packing import Packed
from rlhf.parts import Adapter, decoder, embedded, matrix

_ATTENTION = {"q_proj", "k_proj", "v_proj", "o_proj"}
_LAYER = {"self_attn", "mlp", "input_layernorm", "post_attention_layernorm"}
_MLP = {"gate_proj", "up_proj", "down_proj"}
_FAMILIES = {"llama", "mistral", "qwen2", "qwen3"}
"""Model types that have been read and are tested; what else looks alike may differ where two short rows do not tell."""
_CLOSE = {torch.float32: 5e-4, torch.bfloat16: 0.05}
"""Largest difference to transformers' hidden states, relative to the largest of them."""


class Decoder:
    """Runs the trunk of a model, in arithmetic of `dtype` (that of the embeddings when None)."""

    def __init__(self, model: nn.Module, dtype: torch.dtype | None = None) -> None:
        self.trunk: Any = decoder(model)
        self.dtype = dtype or matrix(self.trunk.embed_tokens).dtype
        self.layers: list[Any] = list(self.trunk.layers)

    def hidden(
        self, batch: Packed, adapter: Adapter | None, rows: Tensor | None = None, checkpointing: bool = False
    ) -> Tensor:
        """Last hidden states of the tokens `rows` (all when None), (rows, D). `adapter`: as in `Role`."""
        x = self.embedded(batch.ids_N, adapter) if batch.lower_ND is None else batch.lower_ND.to(self.dtype)
        rotary = self.rotary(x, batch.position_N)
        for i, layer in enumerate(self.layers[batch.depth :], batch.depth):
            ends = rows if i + 1 == len(self.layers) else None
            if checkpointing and torch.is_grad_enabled():
                x = checkpoint(block, x, layer, adapter, batch, rotary, ends, use_reentrant=False)
            else:
                x = block(x, layer, adapter, batch, rotary, ends)
        return rms_norm(x, self.trunk.norm)

    @torch.no_grad()
    def lower(self, batch: Packed, adapter: Adapter | None, depth: int) -> Packed:
        """The batch with what its first `depth` layers, which must not train, make of the tokens: (N, D)."""
        x = self.embedded(batch.ids_N, adapter)
        rotary = self.rotary(x, batch.position_N)
        for layer in self.layers[:depth]:
            x = block(x, layer, adapter, batch, rotary, None)
        return replace(batch, depth=depth, lower_ND=x)

    def embedded(self, ids_N: Tensor, adapter: Adapter | None) -> Tensor:
        """Token embeddings as a role has them, (N, D)."""
        return embedded(self.trunk.embed_tokens, ids_N, adapter).to(self.dtype)

    def bottom(self, depth: int) -> list[nn.Parameter]:
        """Parameters of the embeddings and the first `depth` layers, of every adapter."""
        modules = [self.trunk.embed_tokens, *self.layers[:depth]] if depth else []
        return [parameter for module in modules for parameter in module.parameters()]

    def rotary(self, x: Tensor, position_N: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines at each position, (N, 1, E)."""
        cos, sin = self.trunk.rotary_emb(x[None], position_N[None])
        half = sin.shape[-1] // 2
        return cos[0, :, None], torch.cat([-sin[0, :, None, :half], sin[0, :, None, half:]], -1)


# ------------------------------------------------------------------------------------------------ with gradients


def block(
    x: Tensor, layer: Any, adapter: Adapter | None, batch: Packed, rotary: tuple[Tensor, Tensor], rows: Tensor | None
) -> Tensor:
    """One layer. With `rows`, only these tokens go on past attention."""
    attention, mlp = layer.self_attn, layer.mlp
    linears = [linear(attention.q_proj, adapter), linear(attention.k_proj, adapter), linear(attention.v_proj, adapter)]
    q, k, v = project((x,), norm(layer.input_layernorm), linears)
    q, k, v = heads(attention, q, k, v, rotary)
    mixed = attend(q, k, v, batch, attention.scaling)
    if rows is not None:
        mixed, x = mixed[rows], x[rows]
    (x,) = project((mixed,), PLAIN, [linear(attention.o_proj, adapter)], residual=x)
    inner = project(
        (x,), norm(layer.post_attention_layernorm), [linear(mlp.gate_proj, adapter), linear(mlp.up_proj, adapter)]
    )
    (x,) = project(inner, GATE, [linear(mlp.down_proj, adapter)], residual=x)
    return x


def heads(
    attention: Any, q: Tensor, k: Tensor, v: Tensor, rotary: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Split into heads, (N, heads, E); queries and keys are normed where the family does that, and rotated."""
    q, k, v = (t.unflatten(-1, (-1, attention.head_dim)) for t in (q, k, v))
    if hasattr(attention, "q_norm"):
        q, k = rms_norm(q, attention.q_norm), rms_norm(k, attention.k_norm)
    return rotate(q, rotary), rotate(k, rotary), v


def rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary position embedding (Su et al. 2021) in the half-split layout."""
    cos, sin = rotary
    half = x.shape[-1] // 2
    return torch.addcmul(x * cos, torch.cat([x[..., half:], x[..., :half]], -1), sin)


def attend(q: Tensor, k: Tensor, v: Tensor, batch: Packed, scale: float) -> Tensor:
    """Causal attention within each sequence: (N, H, E) in, (N, H · E) out."""
    if q.device.type == "cpu":
        return _RowByRow.apply(q, k, v, batch, scale).flatten(1)  # type: ignore[union-attr]
    width = max(batch.lengths)
    even = min(batch.lengths) == width and not batch.lent

    def spread(t_NHE: Tensor) -> Tensor:
        if not even:
            held = t_NHE.index_select(0, batch.token_R) if batch.lent else t_NHE
            t_NHE = t_NHE.new_zeros(len(batch) * width, *t_NHE.shape[1:]).index_copy(0, batch.slot_R, held)
        return t_NHE.view(len(batch), width, *t_NHE.shape[1:]).transpose(1, 2)

    grouped = q.shape[1] > k.shape[1]
    if grouped and q.dtype == torch.float32:
        # only the kernels of half precision share keys and values there; the one left would keep all scores
        k, v = (t.repeat_interleave(q.shape[1] // t.shape[1], 1) for t in (k, v))
        grouped = False
    mixed = F.scaled_dot_product_attention(
        spread(q), spread(k), spread(v), is_causal=True, scale=scale, enable_gqa=grouped
    )
    mixed = mixed.transpose(1, 2).flatten(2).flatten(0, 1)
    return mixed if even else mixed[batch.slot_N]


class _RowByRow(torch.autograd.Function):
    """Attention on a CPU: its kernel is as fast on one sequence as on many, so nothing is padded, and only what is not
    padded is kept. In float32: in bf16 the backward pass is twice as slow there, and no less memory-bound."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, batch: Packed, scale: float) -> Tensor:
        ctx.batch, ctx.scale = batch, scale
        out, logsumexps = torch.empty_like(q), []
        for spans in batch.spans:
            row, logsumexp = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                *(_row(t, spans) for t in (q, k, v)), is_causal=True, scale=scale
            )
            lent, own = spans
            out[own] = row[0].transpose(0, 1)[lent.stop - lent.start :]
            logsumexps.append(logsumexp)
        ctx.save_for_backward(q, k, v, out, torch.cat(logsumexps, -1))
        return out

    @staticmethod
    def backward(ctx: Any, *douts: Tensor) -> Any:
        *kept, logsumexp_HR = ctx.saved_tensors
        grads = [torch.zeros_like(t) for t in kept[:3]]
        logsumexps = logsumexp_HR.split(ctx.batch.lengths, -1)
        for spans, logsumexp in zip(ctx.batch.spans, logsumexps, strict=True):
            lent, own = spans
            count = lent.stop - lent.start
            dout = _row(douts[0], spans)
            if count:
                dout[:, :, :count] = 0  # what the lender's own row has to answer for
            parts = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
                dout, *(_row(t, spans) for t in kept), logsumexp, 0.0, True, scale=ctx.scale
            )
            for grad, part in zip(grads, parts, strict=True):
                part = part[0].transpose(0, 1)
                grad[lent] += part[:count]
                grad[own] += part[count:]
        return *grads, None, None


def _row(t_NHE: Tensor, spans: tuple[slice, slice]) -> Tensor:
    """One sequence with what is lent to it, (1, H, T, E) float32; of what it holds itself, without a copy."""
    lent, own = spans
    t_THE = t_NHE[own] if lent.start == lent.stop else torch.cat([t_NHE[lent], t_NHE[own]])
    return t_THE.float().transpose(0, 1)[None]


def norm(module: Any) -> RMSNorm:
    return RMSNorm(module.weight, module.variance_epsilon)


def rms_norm(x: Tensor, module: Any) -> Tensor:
    """A norm by itself, in float32."""
    return F.rms_norm(x.float(), x.shape[-1:], eps=module.variance_epsilon).to(x.dtype) * module.weight.to(x.dtype)


def linear(layer: Any, adapter: Adapter | None) -> Linear:
    """A layer's weight and bias, and of a role's adapters those that it has, side by side as one."""
    plain = layer.get_base_layer() if hasattr(layer, "get_base_layer") else layer
    dense = _dequantiser(plain.weight)
    here = [name for name in adapter or () if name in getattr(layer, "lora_A", ())]
    parts = [(layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]) for name in here]
    if not parts:
        return Linear(plain.weight, plain.bias, dense=dense)
    if len(parts) == 1:
        return Linear(plain.weight, plain.bias, *parts[0], dense)
    down = torch.cat([down for down, _, _ in parts])
    up = torch.cat([scale * up for _, up, scale in parts], 1)
    return Linear(plain.weight, plain.bias, down, up, dense=dense)


def _dequantiser(weight: Any) -> Any:
    if not hasattr(weight, "quant_state"):
        return None
    from bitsandbytes.functional import dequantize_4bit

    return lambda: dequantize_4bit(weight.data, weight.quant_state)


# ------------------------------------------------------------------------------------------------ which models


def has_form(model: nn.Module) -> bool:
    """Whether a model is of a family of the form above, with plain LoRA at most. `matches` proves the rest."""
    trunk: Any = decoder(model)
    if trunk.config.model_type not in _FAMILIES or not _reads_all_alike(trunk.config):
        return False
    return _is_norm(trunk.norm) and all(_layer_has_form(layer) for layer in trunk.layers)


def _reads_all_alike(config: Any) -> bool:
    """Whether every token may see all before it, at positions that do not depend on how long the batch is."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    rope = getattr(config, "rope_parameters", None) or {}
    window = getattr(config, "sliding_window", None) or config.max_position_embeddings
    sees_all = kinds == {"full_attention"} and window >= config.max_position_embeddings
    return sees_all and rope.get("rope_type", "default") not in ("dynamic", "longrope")


def _is_norm(module: Any) -> bool:
    return hasattr(module, "weight") and hasattr(module, "variance_epsilon")


def _layer_has_form(layer: Any) -> bool:
    if {name for name, _ in layer.named_children()} != _LAYER:
        return False
    attention, mlp = layer.self_attn, layer.mlp
    inside = {name for name, _ in attention.named_children()} - {"q_norm", "k_norm"}
    gated = {name for name, _ in mlp.named_children()} - {"act_fn"}
    linears = [getattr(attention, name) for name in _ATTENTION & inside] + [getattr(mlp, name) for name in _MLP & gated]
    return (
        inside == _ATTENTION
        and gated == _MLP
        and _is_norm(layer.input_layernorm)
        and _is_norm(layer.post_attention_layernorm)
        and all(_is_plain(one) for one in linears)
    )


def _is_plain(layer: Any) -> bool:
    """A linear layer, whole or in 4 bit, with adapters that are no more than B·A."""
    plain = layer.get_base_layer() if hasattr(layer, "get_base_layer") else layer
    extra = [*getattr(layer, "lora_magnitude_vector", {}), *getattr(layer, "lora_embedding_A", {})]
    biased = any(one.bias is not None for one in getattr(layer, "lora_B", {}).values())
    return isinstance(plain, nn.Linear) and not extra and not biased


@torch.no_grad()
def matches(model: Any) -> bool:
    """Whether this decoder computes what the model itself does, on two short sequences of different length."""
    if not has_form(model):
        return False
    device = next(model.parameters()).device
    vocabulary = model.get_input_embeddings().weight.shape[0]
    rows = [[(7 * i + 3) % vocabulary for i in range(n)] for n in (9, 5)]
    batch = Packed.of(rows, (9, 5), device)
    ids_BT, mask_BT = batch.padded()
    was_training = model.training
    model.eval()
    theirs = decoder(model)(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False).last_hidden_state
    model.train(was_training)
    active = next((m.active_adapters for m in model.modules() if hasattr(m, "lora_A")), [])
    ours = Decoder(model).hidden(batch, tuple(active))
    theirs = theirs.flatten(0, 1)[batch.slot_N].float()
    return bool((ours.float() - theirs).abs().max() <= _CLOSE[ours.dtype] * theirs.abs().max())
