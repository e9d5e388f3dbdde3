"""Losses of policy and critic against numbers worked out by hand."""

import math

import torch

from rlhf.rl.losses import policy_loss, value_loss


def test_policy_loss_by_hand() -> None:
    new = torch.log(torch.tensor([1.5, 0.5]))
    loss, metrics = policy_loss(new, torch.zeros(2), torch.tensor([1.0, -1.0]), clip=0.2)
    # token 0: ratio 1.5, A = 1: max(-1.5, -1.2) = -1.2; token 1: ratio .5, A = -1: max(.5, .8) = .8
    assert math.isclose(float(loss), -1.2 + 0.8, rel_tol=1e-6)
    assert math.isclose(float(metrics["ratio"]), 2.0, rel_tol=1e-6)
    assert float(metrics["clipped"]) == 2.0
    expected_kl = (1.5 - 1 - math.log(1.5)) + (0.5 - 1 - math.log(0.5))
    assert math.isclose(float(metrics["approx_kl"]), expected_kl, rel_tol=1e-6)


def test_at_ratio_1_the_gradient_is_the_advantage() -> None:
    logprob = torch.tensor([-1.0, -2.0], requires_grad=True)
    loss, _ = policy_loss(logprob, logprob.detach(), torch.tensor([0.5, -2.0]), clip=0.2)
    loss.backward()
    assert logprob.grad is not None
    torch.testing.assert_close(logprob.grad, torch.tensor([-0.5, 2.0]))


def test_clipping_stops_the_gradient_only_where_it_helps_no_more() -> None:
    logprob = torch.log(torch.tensor([1.5, 1.5])).requires_grad_()
    loss, _ = policy_loss(logprob, torch.zeros(2), torch.tensor([1.0, -1.0]), clip=0.2)
    loss.backward()
    assert logprob.grad is not None
    assert logprob.grad[0] == 0  # already raised past the clip
    assert math.isclose(float(logprob.grad[1]), 1.5, rel_tol=1e-6)  # wrongly raised: pulled back in full


def test_value_loss_by_hand() -> None:
    value, old, target = torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.0]), torch.tensor([2.0, 1.0])
    loss, metrics = value_loss(value, old, target, clip=0.2)
    # token 0: clipped value .7, errors 1 and 1.69: the larger; token 1: unchanged, error 1
    assert math.isclose(float(loss), 0.5 * (1.69 + 1.0), rel_tol=1e-6)
    assert float(metrics["value_clipped"]) == 1.0


def test_value_loss_without_clip_is_half_the_squared_error() -> None:
    loss, _ = value_loss(torch.tensor([1.0, 0.0]), torch.zeros(2), torch.tensor([2.0, 1.0]), clip=None)
    assert float(loss) == 1.0


def test_micro_batches_add_up() -> None:
    torch.manual_seed(0)
    new, old, advantage = torch.randn(3, 20)
    whole, _ = policy_loss(new, old, advantage, clip=0.2)
    parts = [policy_loss(new[i : i + 5], old[i : i + 5], advantage[i : i + 5], clip=0.2)[0] for i in range(0, 20, 5)]
    torch.testing.assert_close(whole, torch.stack(parts).sum())
