"""Advantage estimators against numbers worked out by hand."""

import pytest
import torch

from rlhf.rl.advantages import gae, grpo, reinforce_pp, rloo, token_rewards

MASK = torch.tensor([[1, 1, 1], [1, 1, 0]])


def test_score_lands_on_the_last_token_and_kl_on_every_token() -> None:
    kl = torch.tensor([[0.1, -0.2, 0.3], [0.4, 0.0, 9.0]])
    reward = token_rewards(torch.tensor([2.0, -1.0]), kl, MASK, kl_coef=0.5)
    torch.testing.assert_close(reward, torch.tensor([[-0.05, 0.10, 1.85], [-0.20, -1.0, 0.0]]))


def test_negative_kl_is_not_clamped() -> None:
    kl = torch.tensor([[-1.0, 0.0, 0.0]])
    reward = token_rewards(torch.tensor([0.0]), kl, torch.ones(1, 3), kl_coef=1.0)
    assert reward[0, 0] == 1.0


def test_gae_by_hand() -> None:
    reward = torch.tensor([[0.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
    value = torch.tensor([[0.5, 0.4, 0.6], [1.0, 0.5, 7.0]])  # the last is masked and must not count
    advantage, returns = gae(reward, value, MASK, gamma=0.9, lam=0.5)
    # row 0: d2 = 1 - .6 = .4; d1 = .9*.6 - .4 = .14; d0 = .9*.4 - .5 = -.14
    #        A2 = .4; A1 = .14 + .45*.4 = .32; A0 = -.14 + .45*.32 = .004
    # row 1: d1 = 2 - .5 = 1.5; d0 = .9*.5 - 1 = -.55; A1 = 1.5; A0 = -.55 + .45*1.5 = .125
    torch.testing.assert_close(advantage, torch.tensor([[0.004, 0.32, 0.4], [0.125, 1.5, 0.0]]))
    torch.testing.assert_close(returns, torch.tensor([[0.504, 0.72, 1.0], [1.125, 2.0, 0.0]]))


def test_gae_with_lambda_1_is_the_return_minus_the_value() -> None:
    torch.manual_seed(0)
    reward, value = torch.randn(4, 6), torch.randn(4, 6)
    mask = torch.ones(4, 6)
    advantage, _ = gae(reward, value, mask, gamma=1.0, lam=1.0)
    togo = reward.flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(advantage, togo - value)


def test_rloo_by_hand() -> None:
    reward = torch.tensor([[0.0, 0.0, 3.0], [0.0, 1.0, 5.0]])  # totals 3 and 1: the last is masked
    advantage = rloo(reward, MASK, group=2)
    torch.testing.assert_close(advantage, torch.tensor([[2.0, 2.0, 2.0], [-2.0, -2.0, 0.0]]))


def test_grpo_by_hand() -> None:
    reward = torch.tensor([[0.0, 0.0, 3.0], [0.0, 1.0, 5.0]])
    deviation = 2**0.5  # of (3, 1), unbiased
    advantage = grpo(reward, MASK, group=2, eps=0.0)
    torch.testing.assert_close(advantage, torch.tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, 0.0]]) / deviation)


def test_groups_do_not_mix() -> None:
    reward = torch.tensor([[1.0], [3.0], [10.0], [10.0]])
    advantage = rloo(reward, torch.ones(4, 1), group=2)
    assert advantage.flatten().tolist() == [-2.0, 2.0, 0.0, 0.0]


def test_reinforce_pp_discounts_and_normalises_over_the_batch() -> None:
    reward = torch.tensor([[0.0, 0.0, 1.0], [0.0, 2.0, 0.0]])
    advantage = reinforce_pp(reward, MASK, gamma=0.5)
    togo = torch.tensor([0.25, 0.5, 1.0, 1.0, 2.0])
    expected = (togo - togo.mean()) / togo.std()
    got = advantage[MASK.bool()]
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    assert advantage[1, 2] == 0


@pytest.mark.parametrize("estimator", [rloo, grpo])
def test_equal_rewards_give_no_signal(estimator) -> None:
    advantage = estimator(torch.ones(4, 3), torch.ones(4, 3), group=4)
    assert advantage.abs().max() < 1e-6
