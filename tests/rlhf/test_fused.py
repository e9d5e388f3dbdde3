"""Hand-written gradients against autograd, in float64."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rlhf import fused
from rlhf.fused import GATE, PLAIN, Linear, RMSNorm, project, times


def drawn(*shape: int, grad: bool = True) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).mul_(0.5).requires_grad_(grad)


def layers(inputs: int, outputs: list[int], adapter: bool, bias: bool, trains: bool) -> list[Linear]:
    return [
        Linear(
            drawn(n, inputs, grad=trains),
            drawn(n, grad=trains) if bias else None,
            drawn(3, inputs) if adapter else None,
            drawn(n, 3) if adapter else None,
            1.7,
        )
        for n in outputs
    ]


def plainly(y: Tensor, one: Linear) -> Tensor:
    out = F.linear(y, one.weight, one.bias)
    return out if one.down is None or one.up is None else out + one.scale * y @ one.down.t() @ one.up.t()


def gradients(outs: tuple[Tensor, ...], weights: list[Tensor], leaves: list[Tensor]) -> list[Tensor]:
    total = sum(((out * weight).sum() for out, weight in zip(outs, weights, strict=True)), torch.zeros(()))
    return list(torch.autograd.grad(total, leaves))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("adapter", "trains"), [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("before", ["plain", "norm", "gate"])
def test_project(before: str, adapter: bool, trains: bool, bias: bool) -> None:
    torch.manual_seed(0)
    gain = drawn(6, grad=trains)
    transform, count, by_hand = {
        "plain": (PLAIN, 1, lambda x: x),
        "norm": (RMSNorm(gain, 1e-5), 1, lambda x: F.rms_norm(x, (6,), gain, 1e-5)),
        "gate": (GATE, 2, lambda g, u: F.silu(g) * u),
    }[before]
    inputs = [drawn(5, 6) for _ in range(count)]
    linears = layers(6, [4, 7] if before == "norm" else [4], adapter, bias, trains)
    residual = drawn(5, 4) if before != "norm" else None
    leaves = [*inputs, *([residual] if residual is not None else []), *([gain] if trains and before == "norm" else [])]
    leaves += [p for one in linears for p in one[:4] if isinstance(p, Tensor) and p.requires_grad]

    ours = project(inputs, transform, linears, residual)
    theirs = tuple(plainly(by_hand(*inputs), one) for one in linears)
    theirs = theirs if residual is None else (theirs[0] + residual,)
    weights = [torch.randn_like(out) for out in theirs]
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)
    for one, other in zip(gradients(ours, weights, leaves), gradients(theirs, weights, leaves), strict=True):
        torch.testing.assert_close(one, other)
    with torch.no_grad():
        for one, other in zip(project(inputs, transform, linears, residual), theirs, strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float64, 1e-12)])
def test_a_weight_in_the_order_of_few_rows_is_the_same_weight(dtype: torch.dtype, close: float) -> None:
    torch.manual_seed(0)
    weight = torch.randn(48, 40, dtype=dtype, requires_grad=True)
    ordered = fused.for_few_rows(weight, 16)
    for rows in (1, 16, 70):
        x = torch.randn(rows, 40, dtype=dtype)
        with torch.no_grad():
            torch.testing.assert_close(times(x, ordered), x @ weight.t(), rtol=close, atol=10 * close)


def test_an_adapter_is_not_rounded_into_a_half_precision_weight() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(4, 8).bfloat16(), torch.ones(4, 8).bfloat16()
    one = Linear(weight, None, torch.full((2, 8), 1e-3), torch.full((4, 2), 1e-3), 1.0)
    gap = project((x,), PLAIN, [one])[0].double() - x.double() @ weight.double().t()
    assert gap.abs().max() <= 2**-8 * (x.double() @ weight.double().t()).abs().max()
    (dx,) = torch.autograd.grad(project((x.requires_grad_(),), PLAIN, [one])[0].sum(), x)
    torch.testing.assert_close(dx.double(), weight.double().sum(0).expand(4, 8), rtol=1e-2, atol=0)


def test_a_layer_in_another_type_keeps_what_it_is_made_of() -> None:
    (one,) = layers(4, [6], adapter=True, bias=True, trains=False)
    half = one.of(torch.bfloat16)
    assert {t.dtype for t in half[:4] if t is not None} == {torch.bfloat16} and half.scale == one.scale
    packed = one._replace(dense=lambda: one.weight).of(torch.bfloat16)
    assert packed.weight is one.weight and packed.down is not None and packed.down.dtype == torch.bfloat16
