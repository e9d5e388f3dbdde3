"""The language model's head against autograd, in float64."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rlhf import lm_head
from rlhf.lm_head import LMHead, head_loss, logprobs, said
from tests.rlhf.test_fused import drawn


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("cap", [None, 2.0])
@pytest.mark.parametrize("entropy_coef", [0.0, 0.3])
def test_head_loss(monkeypatch: pytest.MonkeyPatch, temperature: float, cap: float | None, entropy_coef: float) -> None:
    monkeypatch.setattr(lm_head, "ROWS", 3)  # three chunks, the last one short
    torch.manual_seed(0)
    hidden, weight, bias = drawn(7, 5), drawn(11, 5), drawn(11)
    target, old = torch.randint(11, (7,)), drawn(7, grad=False)
    head = LMHead(weight, bias, cap)

    def loss(logprob: Tensor, rows: slice) -> Tensor:
        return ((logprob - old[rows]).exp() * (1 + old[rows])).sum()

    logits = F.linear(hidden, weight, bias)
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    log_NV = (logits / temperature).log_softmax(-1)
    entropy = -(log_NV.exp() * log_NV).sum(-1)
    logprob = log_NV.gather(1, target[:, None])[:, 0]
    by_hand = loss(logprob, slice(0, 7)) - entropy_coef * entropy.sum()

    ours = head_loss(hidden, head, target, temperature, loss, entropy_coef)
    torch.testing.assert_close(ours, by_hand)
    leaves = [hidden, weight, bias]
    for one, other in zip(torch.autograd.grad(2 * ours, leaves), torch.autograd.grad(2 * by_hand, leaves), strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(logprobs(hidden, head, target, temperature), logprob)


def test_head_loss_keeps_no_logits() -> None:
    """Nothing of the size of rows times vocabulary waits for the backward pass."""
    sizes: list[int] = []
    pack: Callable[[Tensor], Tensor] = lambda t: (sizes.append(t.numel()), t)[1]  # noqa: E731
    hidden, weight = torch.randn(64, 8, requires_grad=True), torch.randn(1000, 8)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        head_loss(hidden, LMHead(weight), torch.zeros(64, dtype=torch.long), 1.0, lambda lp, _: lp.sum()).backward()
    assert max(sizes, default=0) < 64 * 1000


def test_probabilities_of_a_half_precision_head_add_up() -> None:
    """The softmax is float32 whatever the logits come in: in bf16 a thousand tokens would not add up to one."""
    torch.manual_seed(0)
    hidden, weight = torch.randn(1, 64).bfloat16(), torch.randn(1000, 64).bfloat16().requires_grad_()
    targets, kept = torch.arange(1000), []
    found = logprobs(hidden.repeat(1000, 1), LMHead(weight.detach()), targets, 1.0)

    def loss(logprob: Tensor, rows: slice) -> Tensor:
        kept.append(logprob)
        return -logprob.sum()

    head_loss(hidden.repeat(1000, 1), LMHead(weight), targets, 1.0, loss)
    for one in (found, torch.cat(kept)):
        assert one.dtype == torch.float32 and one.exp().sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("trains", [True, False])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("cap", [None, 2.0])
def test_said(monkeypatch: pytest.MonkeyPatch, cap: float | None, bias: bool, trains: bool) -> None:
    """In several chunks of rows, of which the last is shorter; by a head that trains, or is frozen."""
    monkeypatch.setattr(lm_head, "ROWS", 3)
    torch.manual_seed(0)
    hidden, weight = drawn(7, 5), drawn(11, 5, grad=trains)
    shift = drawn(11, grad=trains) if bias else None
    target = torch.randint(11, (7,))
    leaves = [t for t in (hidden, weight, shift) if t is not None and t.requires_grad]
    found = said(hidden, LMHead(weight, shift, cap), target)
    logits = F.linear(hidden, weight, shift)
    logits = logits if cap is None else cap * torch.tanh(logits / cap)
    logprob = logits.log_softmax(-1)
    torch.testing.assert_close(found.logprob_N, logprob.gather(1, target[:, None])[:, 0])
    torch.testing.assert_close(found.entropy_N, -(logprob.exp() * logprob).sum(-1).detach())
    torch.testing.assert_close(found.mean_logit_N, logits.mean(-1).detach())
    assert torch.equal(found.is_top_N, logits.argmax(-1) == target)
    slope = torch.randn(7, dtype=torch.float64)
    ours = torch.autograd.grad((found.logprob_N * slope).sum(), leaves)
    theirs = torch.autograd.grad((logprob.gather(1, target[:, None])[:, 0] * slope).sum(), leaves)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)
