"""Generation on `Decoder`: keys and values in place, one token at a time.

Prompts are read packed. Weights are made ready once for the many small steps: layers that read the same input become
one product, in float32 with the adapters merged, in the order in which few rows read them. In bf16 merging would round
adapters away, so they stay beside it, side by side; and on an accelerator, where a copy might not fit, layers stay as
they are, in the arithmetic's own type. There a step is recorded once and replayed: its kernels are many and small, and
launching them one by one takes longer than they do.
"""

# B rows that go on, N packed tokens of the prompts, H heads, G heads that share keys and values, E size of a head

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from rlhf.decoder import Decoder, attend, heads, linear, norm, rms_norm
from rlhf.fused import GATE, PLAIN, Linear, for_few_rows, project
from rlhf.packing import Packed
from rlhf.parts import Adapter, matrix


class Cache:
    """Keys and values of the tokens so far. All prompts end at the same column, so that a step writes one column.

    On a CPU in float32 whatever the arithmetic is: its small batched products are slower in bf16.
    """

    def __init__(self, config: Any, batch: Packed, most: int, dtype: torch.dtype) -> None:
        dtype = torch.float32 if batch.device.type == "cpu" else dtype
        groups, size = config.num_key_value_heads, getattr(config, "head_dim", None)
        size = size or config.hidden_size // config.num_attention_heads
        self.width = max(batch.lengths)
        shape = (len(batch), groups, self.width + most, size)
        self.keys, self.values = (
            [torch.zeros(shape, dtype=dtype, device=batch.device) for _ in range(config.num_hidden_layers)]
            for _ in range(2)
        )
        length_B = torch.tensor(batch.lengths, device=batch.device)
        self.row_N = torch.arange(len(batch), device=batch.device).repeat_interleave(length_B)
        self.column_N = (self.width - length_B)[self.row_N] + batch.position_N
        before = torch.arange(shape[2], device=batch.device) < (self.width - length_B)[:, None]
        before[:, self.width :] = True  # no step has been there yet
        self.bias = torch.zeros(before.shape, dtype=dtype, device=batch.device).masked_fill_(before, float("-inf"))

    def fill(self, layer: int, k_NGE: Tensor, v_NGE: Tensor) -> None:
        """Put the prompts' keys and values in place."""
        keys, values = self.keys[layer], self.values[layer]
        keys[self.row_N, :, self.column_N] = k_NGE.to(keys.dtype)
        values[self.row_N, :, self.column_N] = v_NGE.to(keys.dtype)

    def keep(self, rows: Tensor) -> None:
        """Only these rows go on; one that is named more than once does so more than once."""
        for table in (self.keys, self.values):
            for layer, old in enumerate(table):  # one by one, so that two copies exist of one layer at most
                table[layer] = old[rows]
        self.bias = self.bias[rows]

    def attend(self, layer: int, at: "Column", q_BHE: Tensor, k_BGE: Tensor, v_BGE: Tensor, scale: float) -> Tensor:
        """Write a column and attend to all up to it: (B, H · E)."""
        keys, values = self.keys[layer], self.values[layer]
        at.write(keys, k_BGE)
        at.write(values, v_BGE)
        keys, values, bias = keys[:, :, : at.seen], values[:, :, : at.seen], self.bias[:, None, None, : at.seen]
        q = q_BHE.to(keys.dtype).unflatten(1, (keys.shape[1], -1))  # heads that share keys as if one after the other
        if q.device.type != "cpu":  # scores in float32, and none in memory
            return F.scaled_dot_product_attention(q, keys, values, attn_mask=bias, scale=scale).flatten(1)
        scores = torch.matmul(q, keys.transpose(2, 3)).mul_(scale).add_(bias)
        weights = scores.softmax(-1, dtype=torch.float32).to(keys.dtype)
        return torch.matmul(weights, values).flatten(1).to(q_BHE.dtype)


class Column(NamedTuple):
    """The column of the cache that a step writes."""

    index: int | Tensor
    """(1,) where the step is replayed, each time with another."""
    seen: int
    """Columns that attention reads; those that are not written yet have a bias of minus infinity."""

    def open(self, bias_BC: Tensor) -> None:
        """Let attention see the column."""
        if isinstance(self.index, int):
            bias_BC[:, self.index] = 0
        else:
            bias_BC.index_fill_(1, self.index, 0)

    def write(self, table_BGCE: Tensor, value_BGE: Tensor) -> None:
        if isinstance(self.index, int):
            table_BGCE[:, :, self.index] = value_BGE
        else:
            table_BGCE.index_copy_(2, self.index, value_BGE[:, :, None].to(table_BGCE.dtype))


class Layer(NamedTuple):
    """A layer made ready for many small steps."""

    module: Any
    qkv: list[Linear]
    out: list[Linear]
    gated: list[Linear]
    down: list[Linear]

    @classmethod
    def of(cls, module: Any, adapter: Adapter | None, dtype: torch.dtype, rows: int) -> "Layer":
        """Weights of a module as the role `adapter` sees them, for steps of about so many rows."""
        attention, mlp = module.self_attn, module.mlp
        inputs = (
            (attention.q_proj, attention.k_proj, attention.v_proj),
            (attention.o_proj,),
            (mlp.gate_proj, mlp.up_proj),
            (mlp.down_proj,),
        )
        return cls(module, *(_ready([linear(one, adapter) for one in group], dtype, rows) for group in inputs))

    def read(
        self, x: Tensor, batch: Packed, rotary: tuple[Tensor, Tensor], cache: Cache, index: int, last: bool
    ) -> Tensor:
        """Prompts through the layer; past the last layer's attention only their last tokens go on."""
        q, k, v = heads(self.module.self_attn, *self._qkv(x), rotary)
        cache.fill(index, k, v)
        mixed = attend(q, k, v, batch, self.module.self_attn.scaling)
        if last:
            mixed, x = mixed[batch.last_B], x[batch.last_B]
        return self._after(mixed, x)

    def step(self, x: Tensor, rotary: tuple[Tensor, Tensor], cache: Cache, index: int, at: Column) -> Tensor:
        """One more token of each row."""
        q, k, v = heads(self.module.self_attn, *self._qkv(x), rotary)
        return self._after(cache.attend(index, at, q, k, v, self.module.self_attn.scaling), x)

    def _qkv(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        attention = self.module.self_attn
        outs = project((x,), norm(self.module.input_layernorm), self.qkv)
        if len(outs) == 1:
            outs = outs[0].split(
                [one.out_features for one in (attention.q_proj, attention.k_proj, attention.v_proj)], -1
            )
        q, k, v = outs
        return q, k, v

    def _after(self, mixed: Tensor, x: Tensor) -> Tensor:
        (x,) = project((mixed,), PLAIN, self.out, residual=x)
        inner = project((x,), norm(self.module.post_attention_layernorm), self.gated)
        (x,) = project(inner[0].chunk(2, -1) if len(inner) == 1 else inner, GATE, self.down, residual=x)
        return x


def _ready(linears: list[Linear], dtype: torch.dtype, rows: int) -> list[Linear]:
    """Layers that read the same input as one, with their adapters merged where that is exact, else beside it."""
    merges = dtype.itemsize >= 4
    if not merges and linears[0].weight.device.type != "cpu":
        return [one.of(dtype) for one in linears]
    weights = [one.merged(dtype) if merges else one.whole(dtype) for one in linears]
    bias = [one.bias for one in linears if one.bias is not None]
    weight = torch.cat(weights) if len(weights) > 1 else weights[0]
    whole = Linear(for_few_rows(weight, rows), torch.cat(bias) if bias else None)
    downs = [one.down for one in linears if one.down is not None]
    if merges or not downs:
        return [whole]
    outs = zip(weights, linears, strict=True)
    ups = [w.new_zeros(len(w), 0) if one.up is None else one.scale * one.up for w, one in outs]
    return [whole._replace(down=torch.cat(downs).to(dtype), up=torch.block_diag(*ups).to(dtype))]


_REPLAYED = 128
"""Columns that a recorded step may see more than there are: it is recorded anew that seldom."""
_WORTH = 16
"""Steps for which one is recorded at least."""

States = tuple[Tensor, Tensor | None]
"""What a step makes of its tokens: the last state of each, and that below the layers that train."""


class Replay:
    """A step recorded as a CUDA graph. What it returns is overwritten by the next one."""

    def __init__(
        self, step: Callable[[Tensor, Tensor, Column], States], token_B: Tensor, position_B: Tensor, seen: int
    ) -> None:
        self.seen = seen
        self.token_B, self.position_B = token_B.clone(), position_B.clone()
        self.index = torch.zeros(1, dtype=torch.long, device=token_B.device)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.made = step(self.token_B, self.position_B, Column(self.index, seen))

    def __call__(self, token_B: Tensor, position_B: Tensor, column: int) -> States:
        self.token_B.copy_(token_B)
        self.position_B.copy_(position_B)
        self.index.fill_(column)
        self.graph.replay()
        return self.made


def replays(device: torch.device) -> bool:
    """Whether steps are recorded there."""
    return device.type == "cuda"


class Steps:
    """Responses on their way. `hidden` is the last state of each row still here, `rows` says which those are, and
    `live` which of them have not stopped."""

    def __init__(
        self, decoder: Decoder, prompts: Sequence[list[int]], adapter: Adapter | None, most: int, depth: int = 0
    ) -> None:
        """Read prompts, each once however often it is asked, and be ready to go on for up to `most` tokens.

        `depth`: bottom layers whose states are kept for `lower_of`.
        """
        self.decoder, self.adapter, self.depth = decoder, adapter, depth
        self.layers = [Layer.of(module, adapter, decoder.dtype, len(prompts)) for module in decoder.layers]
        places: dict[tuple[int, ...], int] = {}
        asked = [places.setdefault(tuple(prompt), len(places)) for prompt in prompts]
        batch = Packed.of(list(places), list(map(len, places)), matrix(decoder.trunk.embed_tokens).device)
        self.cache = Cache(decoder.trunk.config, batch, most, decoder.dtype)
        x = decoder.embedded(batch.ids_N, adapter)
        rotary = decoder.rotary(x, batch.position_N)
        for i, layer in enumerate(self.layers):
            if i == depth:
                lower = x.split(batch.lengths)
                self.prompt_lower = [lower[place] for place in asked] if depth else []
            x = layer.read(x, batch, rotary, self.cache, i, last=i + 1 == len(self.layers))
        self.hidden = rms_norm(x, decoder.trunk.norm)
        self.position_B = torch.tensor(batch.lengths, device=batch.device)
        if len(asked) > len(places):
            row_B = torch.tensor(asked, device=batch.device)
            self.cache.keep(row_B)
            self.hidden, self.position_B = self.hidden[row_B], self.position_B[row_B]
        self.rows = torch.arange(len(asked), device=batch.device)
        self.live = torch.ones(len(asked), dtype=torch.bool, device=batch.device)
        self.left = len(asked)
        self.column = self.cache.width
        self.last = self.cache.width + most - 1  # no step is taken past it
        self.replay: Replay | None = None
        self.step_lower: list[tuple[Tensor, Tensor]] = []
        """Of each step, rows and what the bottom layers made of their tokens."""

    def stop(self, stops_B: Tensor) -> int:
        """Of the rows still here, some stop; how many go on. The one wait for an accelerator in a step."""
        self.live &= ~stops_B
        self.left = int(self.live.sum())
        return self.left

    def go_on(self, token_B: Tensor) -> None:
        """One step for the rows that are live; those that have stopped leave once they are a fifth."""
        if self.left <= 0.8 * len(self.live):
            keep = self.live.nonzero()[:, 0]
            token_B, self.rows, self.live = token_B[keep], self.rows[keep], self.live[keep]
            self.position_B = self.position_B[keep]
            self.cache.keep(keep)
            self.replay = None
        self.hidden, lower = self._next(token_B)
        if lower is not None:
            self.step_lower.append((self.rows, lower.clone()))
        self.position_B, self.column = self.position_B + 1, self.column + 1

    def _next(self, token_B: Tensor) -> States:
        """A step at the next column: replayed where one is recorded, else taken, and recorded for those that follow."""
        if self.replay is not None and self.column < self.replay.seen:
            return self.replay(token_B, self.position_B, self.column)
        self.replay = None  # its memory goes first
        made = self._step(token_B, self.position_B, Column(self.column, self.column + 1))
        if replays(token_B.device) and self.last - self.column >= _WORTH:
            seen = min(self.last, self.column + 1 + _REPLAYED)
            self.replay = Replay(self._step, token_B, self.position_B, seen)
        return made

    def _step(self, token_B: Tensor, position_B: Tensor, at: Column) -> States:
        x, lower = self.decoder.embedded(token_B, self.adapter), None
        rotary = self.decoder.rotary(x, position_B)
        at.open(self.cache.bias)
        for i, layer in enumerate(self.layers):
            if i == self.depth > 0:
                lower = x
            x = layer.step(x, rotary, self.cache, i, at)
        return rms_norm(x, self.decoder.trunk.norm), lower

    def lower_of(self, lengths: Sequence[int]) -> list[Tensor]:
        """What the bottom layers made of each prompt and of its response of this length, (T, D); of the last token of
        a response, which nothing is drawn after, zeros."""
        width = self.prompt_lower[0].shape[1]
        step_BRD = self.hidden.new_zeros(len(lengths), max(lengths), width)
        for step, (rows, x) in enumerate(self.step_lower):
            step_BRD[rows, step] = x
        parts = zip(self.prompt_lower, step_BRD, lengths, strict=True)
        return [torch.cat([prompt, steps[:length]]) for prompt, steps, length in parts]
