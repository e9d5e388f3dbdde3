"""Losses of policy and critic against numbers worked out by hand."""

import math

import torch

from rlhf.rl.losses import policy_loss, value_loss

MASK = torch.tensor([[1, 1, 0]])


def test_policy_loss_by_hand() -> None:
    old = torch.zeros(1, 3)
    new = torch.log(torch.tensor([[1.5, 0.5, 9.0]]))
    advantage = torch.tensor([[1.0, -1.0, 5.0]])
    loss, metrics = policy_loss(new, old, advantage, MASK, clip=0.2)
    # token 0: ratio 1.5, A = 1: max(-1.5, -1.2) = -1.2; token 1: ratio .5, A = -1: max(.5, .8) = .8; token 2 is masked
    assert math.isclose(float(loss), -1.2 + 0.8, rel_tol=1e-6)
    assert math.isclose(float(metrics["ratio"]), 2.0, rel_tol=1e-6)
    assert float(metrics["clipped"]) == 2.0
    expected_kl = (1.5 - 1 - math.log(1.5)) + (0.5 - 1 - math.log(0.5))
    assert math.isclose(float(metrics["approx_kl"]), expected_kl, rel_tol=1e-6)


def test_at_ratio_1_the_gradient_is_the_advantage() -> None:
    logprob = torch.tensor([[-1.0, -2.0, -3.0]], requires_grad=True)
    advantage = torch.tensor([[0.5, -2.0, 100.0]])
    loss, _ = policy_loss(logprob, logprob.detach(), advantage, MASK, clip=0.2)
    loss.backward()
    assert logprob.grad is not None
    torch.testing.assert_close(logprob.grad, torch.tensor([[-0.5, 2.0, 0.0]]))


def test_clipping_stops_the_gradient_only_where_it_helps_no_more() -> None:
    logprob = torch.log(torch.tensor([[1.5, 1.5, 1.0]])).requires_grad_()
    advantage = torch.tensor([[1.0, -1.0, 0.0]])
    loss, _ = policy_loss(logprob, torch.zeros(1, 3), advantage, torch.ones(1, 3), clip=0.2)
    loss.backward()
    assert logprob.grad is not None
    assert logprob.grad[0, 0] == 0  # already raised past the clip
    assert math.isclose(float(logprob.grad[0, 1]), 1.5, rel_tol=1e-6)  # wrongly raised: pulled back in full


def test_value_loss_by_hand() -> None:
    value, old, target = (
        torch.tensor([[1.0, 0.0, 7.0]]),
        torch.tensor([[0.5, 0.0, 0.0]]),
        torch.tensor([[2.0, 1.0, 0.0]]),
    )
    loss, metrics = value_loss(value, old, target, MASK, clip=0.2)
    # token 0: clipped value .7, errors 1 and 1.69: the larger; token 1: unchanged, error 1
    assert math.isclose(float(loss), 0.5 * (1.69 + 1.0), rel_tol=1e-6)
    assert float(metrics["value_clipped"]) == 1.0


def test_value_loss_without_clip_is_half_the_squared_error() -> None:
    loss, _ = value_loss(
        torch.tensor([[1.0, 0.0, 7.0]]), torch.zeros(1, 3), torch.tensor([[2.0, 1.0, 0.0]]), MASK, clip=None
    )
    assert float(loss) == 1.0


def test_micro_batches_add_up() -> None:
    torch.manual_seed(0)
    new, old, advantage = torch.randn(4, 5), torch.randn(4, 5), torch.randn(4, 5)
    mask = torch.ones(4, 5)
    whole, _ = policy_loss(new, old, advantage, mask, clip=0.2)
    parts = sum(
        policy_loss(new[i : i + 2], old[i : i + 2], advantage[i : i + 2], mask[i : i + 2], clip=0.2)[0] for i in (0, 2)
    )
    torch.testing.assert_close(whole, parts)
