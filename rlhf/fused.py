"""Operations of a decoder with gradients written by hand: they keep less, and pass over memory less often.

`project` is a linear layer, or several that read the same input, with what stands before them (a norm, a gate) inside:
only the raw input is kept for the backward pass and the rest is computed again. A low-rank adapter is merged into a
copy of its layer's weight on the fly where the arithmetic is float32, so that one product does the work of three.
Tested against autograd in float64.
"""

# N tokens, K inputs of a layer, O outputs of a layer, P rank of an adapter

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Linear(NamedTuple):
    """One linear layer as a role sees it: its weight and, perhaps, an adapter."""

    weight: Tensor
    """(O, K); in 4 bit when `dense` is given."""
    bias: Tensor | None = None
    down: Tensor | None = None
    """The adapter's A, (P, K)."""
    up: Tensor | None = None
    """The adapter's B, (O, P)."""
    scale: float = 1.0
    """Of the adapter's output."""
    dense: Callable[[], Tensor] | None = None
    """Dequantises `weight`."""

    def whole(self, dtype: torch.dtype) -> Tensor:
        """The weight without its adapter, (O, K)."""
        return (self.dense() if self.dense is not None else self.weight).to(dtype)

    def of(self, dtype: torch.dtype) -> "Linear":
        """With all that is stored whole in that type."""
        bias, down, up = (None if t is None else t.to(dtype) for t in (self.bias, self.down, self.up))
        weight = self.weight if self.dense is not None else self.weight.to(dtype)
        return Linear(weight, bias, down, up, self.scale, self.dense)

    def merged(self, dtype: torch.dtype) -> Tensor:
        """The weight with its adapter, (O, K); a new tensor where there is an adapter."""
        whole = self.whole(dtype)
        if self.down is None or self.up is None:
            return whole
        return torch.addmm(whole, self.up.to(dtype), self.down.to(dtype), alpha=self.scale)


def wide(x: Tensor) -> Tensor:
    """At least float32."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _merges(dtype: torch.dtype, one: Linear) -> bool:
    """Whether one product with a merged weight is as exact as two; in bf16, merging would round the adapter away."""
    return one.down is None or dtype.itemsize >= 4


# ------------------------------------------------------------------------------------------------ products


@cache
def _has_onednn() -> bool:
    """Whether oneDNN's float32 products may stand in for MKL's, which on CPUs that are not Intel's leave out AVX512.

    Decided by what the machine has and not by a race, so that two runs on it take the same path.
    """
    return (
        torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def times(x: Tensor, weight: Tensor, onto: Tensor | None = None) -> Tensor:
    """x · weightᵀ for x (N, K) and weight (O, K), plus `onto` (N, O), without a graph. On AMD: 2.3 × MKL's sgemm on
    Zen 5, 1.1 on Zen 4."""
    if weight.is_mkldnn or (x.dtype == torch.float32 and x.device.type == "cpu" and _has_onednn()):
        out = torch.ops.mkldnn._linear_pointwise(x, weight, None, "none", [], "")
        return out if onto is None else out.add_(onto)
    return x @ weight.t() if onto is None else torch.addmm(onto, x, weight.t())


def for_few_rows(weight: Tensor, rows: int) -> Tensor:
    """A copy of a weight in the order in which products of about `rows` rows read it, for `times` alone; the weight
    itself where there is no such order. Without it, a product of 16 rows spends a third of its time on reordering."""
    blocked = weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.bfloat16) and _has_onednn()
    return torch.ops.mkldnn._reorder_linear_weight(weight.detach(), rows) if blocked else weight


# ------------------------------------------------------------------------------------------------ what stands before


class Transform(Protocol):
    """What turns a layer's raw inputs into what is multiplied; recomputed in the backward pass."""

    @property
    def gain(self) -> Tensor | None: ...

    def forward(self, *inputs: Tensor) -> Tensor: ...

    def backward(self, dy: Tensor, *inputs: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """Gradients of the inputs, and of `gain`."""
        ...


class Plain:
    """The input as it is."""

    gain = None

    def forward(self, *inputs: Tensor) -> Tensor:
        return inputs[0]

    def backward(self, dy: Tensor, *inputs: Tensor) -> tuple[list[Tensor], None]:
        return [dy], None


class RMSNorm:
    """Root mean square normalisation (Zhang & Sennrich 2019), in float32."""

    gain: Tensor

    def __init__(self, gain: Tensor, eps: float) -> None:
        self.gain, self.eps = gain, eps

    def forward(self, *inputs: Tensor) -> Tensor:
        (x,) = inputs
        if x.device.type == "cuda":  # one kernel there, with one rounding less
            return F.rms_norm(x, x.shape[-1:], self.gain.to(x.dtype), self.eps)
        return self._unit(x)[0].to(x.dtype) * self.gain.to(x.dtype)

    def backward(self, dy: Tensor, *inputs: Tensor) -> tuple[list[Tensor], Tensor | None]:
        (x,) = inputs
        if x.device.type == "cuda" and not self.gain.requires_grad:
            x = x.detach().requires_grad_()
            with torch.enable_grad():
                y = self.forward(x)
            return [*torch.autograd.grad(y, x, dy)], None
        unit, inverse = self._unit(x)
        dy = wide(dy)
        dgain = (dy * unit).sum(0).to(self.gain.dtype) if self.gain.requires_grad else None
        dunit = dy * wide(self.gain)
        dx = dunit.addcmul_(unit, (dunit * unit).mean(-1, keepdim=True), value=-1).mul_(inverse)
        return [dx.to(x.dtype)], dgain

    def _unit(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = wide(x)
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        inverse = torch.rsqrt(length.square_().div_(x.shape[-1]).add_(self.eps))
        return x * inverse, inverse


class Gate:
    """SwiGLU's product silu(gate) · up (Shazeer 2020)."""

    gain = None

    def forward(self, *inputs: Tensor) -> Tensor:
        gate, up = inputs
        return F.silu(gate).mul_(up)

    def backward(self, dy: Tensor, *inputs: Tensor) -> tuple[list[Tensor], None]:
        gate, up = inputs
        dup = F.silu(gate).mul_(dy)
        return [torch.ops.aten.silu_backward(dy * up, gate), dup], None


PLAIN, GATE = Plain(), Gate()


# ------------------------------------------------------------------------------------------------ linear layers


def project(
    inputs: Sequence[Tensor], transform: Transform, linears: Sequence[Linear], residual: Tensor | None = None
) -> tuple[Tensor, ...]:
    """`transform(*inputs)` through each layer: outputs (N, O). `residual` is added to the only output."""
    if not torch.is_grad_enabled():
        return _multiply(transform.forward(*inputs), linears, residual)
    parameters = [p for one in linears for p in (one.weight, one.bias, one.down, one.up)]
    return _Project.apply(transform, tuple(linears), len(inputs), *inputs, residual, transform.gain, *parameters)  # type: ignore[return-value]


def _multiply(y: Tensor, linears: Sequence[Linear], residual: Tensor | None) -> tuple[Tensor, ...]:
    outs = []
    for one in linears:
        if _merges(y.dtype, one):
            out = times(y, one.merged(y.dtype), residual)
        else:
            assert one.down is not None and one.up is not None
            out = times(y, one.whole(y.dtype), residual)
            out.addmm_(times(y, one.down.to(y.dtype)), one.up.to(y.dtype).t(), alpha=one.scale)
        if one.bias is not None:
            out.add_(one.bias.to(y.dtype))
        outs.append(out)
    return tuple(outs)


class _Project(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, transform: Transform, linears: tuple[Linear, ...], count: int, *tensors: Tensor) -> Any:
        inputs, residual = tensors[:count], tensors[count]
        ctx.transform, ctx.linears, ctx.count = transform, linears, count
        ctx.save_for_backward(*inputs)
        return _multiply(transform.forward(*inputs), linears, residual)

    @staticmethod
    def backward(ctx: Any, *douts: Tensor) -> Any:
        inputs, transform, linears = ctx.saved_tensors, ctx.transform, ctx.linears
        needs = ctx.needs_input_grad[3:]
        before = any(needs[: ctx.count]) or needs[ctx.count + 1]  # whatever stands before the layers
        y = transform.forward(*inputs) if any(needs[ctx.count + 2 :]) else None
        dy: Tensor | None = None
        grads: list[Tensor | None] = []
        for one, dout, wanted in zip(linears, douts, _fours(needs[ctx.count + 2 :]), strict=True):
            if before:
                dy = _before(dout, one, dy)
            grads += _parameters(y, dout, one, wanted)
        dinputs, dgain = transform.backward(dy, *inputs) if dy is not None else ([None] * ctx.count, None)
        dresidual = douts[0] if needs[ctx.count] else None
        return None, None, None, *dinputs, dresidual, dgain, *grads


def _fours(flags: Sequence[bool]) -> list[Sequence[bool]]:
    return [flags[i : i + 4] for i in range(0, len(flags), 4)]


def _before(dout: Tensor, one: Linear, total: Tensor | None) -> Tensor:
    """Add the gradient of a layer's input to `total`, (N, K)."""
    weight = one.merged(dout.dtype) if _merges(dout.dtype, one) else one.whole(dout.dtype)
    dy = times(dout, weight.t())
    if not _merges(dout.dtype, one):
        assert one.down is not None and one.up is not None
        dy.addmm_(dout @ one.up.to(dout.dtype), one.down.to(dout.dtype), alpha=one.scale)
    return dy if total is None else total.add_(dy)


def _parameters(y: Tensor | None, dout: Tensor, one: Linear, wanted: Sequence[bool]) -> list[Tensor | None]:
    """Gradients of weight, bias, A and B."""
    grads: list[Tensor | None] = [None, None, None, None]
    if wanted[0]:
        assert y is not None
        grads[0] = times(dout.t(), y.t()).to(one.weight.dtype)
    if wanted[1] and one.bias is not None:
        grads[1] = dout.sum(0).to(one.bias.dtype)
    if wanted[2] or wanted[3]:
        assert y is not None and one.down is not None and one.up is not None
        inner = times(dout, one.up.to(dout.dtype).t())
        grads[2] = times(inner.t(), y.t()).to(one.down.dtype).mul_(one.scale)
        low = times(y, one.down.to(y.dtype))
        grads[3] = times(low.t(), dout.t()).t().to(one.up.dtype).mul_(one.scale)
    return grads
