"""Losses on judged answers against numbers worked out by hand, and against autograd where a form is rearranged."""

import math

import pytest
import torch
from torch import Tensor

from rlhf.rl import preferences as p


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def test_cpo_by_hand() -> None:
    # two pairs: differences 3 and -1, beta 0.5
    loss = p.cpo(t(-2.0, -4.0), t(-5.0, -3.0), beta=0.5)
    assert float(loss) == pytest.approx(-(log_sigmoid(1.5) + log_sigmoid(-0.5)) / 2)
    smooth = p.cpo(t(-2.0), t(-5.0), beta=0.5, label_smoothing=0.1)
    assert float(smooth) == pytest.approx(-(0.9 * log_sigmoid(1.5) + 0.1 * log_sigmoid(-1.5)))


def test_hinge_and_ipo_by_hand() -> None:
    assert float(p.hinge(t(-1.0, -1.0), t(-2.0, -9.0), beta=0.5)) == pytest.approx((0.5 + 0.0) / 2)
    assert float(p.ipo(t(-0.5), t(-1.5), beta=0.25)) == pytest.approx((1.0 - 2.0) ** 2)


def test_simpo_by_hand() -> None:
    loss = p.simpo(t(-0.5), t(-1.0), beta=2.0, gamma=0.6)
    assert float(loss) == pytest.approx(-log_sigmoid(2.0 * 0.5 - 0.6))


def test_orpo_by_hand() -> None:
    """Probabilities a token of 0.8 and 0.2: odds 4 and 1/4, log odds ratio log 16."""
    loss = p.orpo(t(math.log(0.8)), t(math.log(0.2)))
    assert float(loss) == pytest.approx(-log_sigmoid(math.log(16)))


@pytest.mark.parametrize("x", [-1e-9, -1e-3, -0.5, -0.6931, -0.7, -3.0, -40.0])
def test_log_1m_exp_keeps_its_digits(x: float) -> None:
    value = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    found = p.log_1m_exp(value)
    found.backward()
    expected = math.log(-math.expm1(x))
    assert float(found.detach()) == pytest.approx(expected, rel=1e-12)
    assert value.grad is not None and float(value.grad) == pytest.approx(math.exp(x) / math.expm1(x), rel=1e-9)


def test_an_answer_that_is_certain_has_finite_odds() -> None:
    certain = torch.zeros(1, requires_grad=True)
    loss = p.orpo(certain, torch.tensor([-1.0]))
    loss.backward()
    assert bool(loss.isfinite()) and certain.grad is not None and bool(certain.grad.isfinite().all())


NONE = torch.zeros(2, dtype=torch.bool)


def test_bradley_terry_by_hand() -> None:
    plain = p.bradley_terry(t(1.0, -2.0), t(0.0, 0.0), NONE, 0.0)
    assert float(plain) == pytest.approx(-(log_sigmoid(1.0) + log_sigmoid(-2.0)) / 2)
    demanded = p.bradley_terry(t(1.0, -2.0), t(0.5, 1.0), NONE, 0.0)
    assert float(demanded) == pytest.approx(-(log_sigmoid(0.5) + log_sigmoid(-3.0)) / 2)


def test_half_a_win_each() -> None:
    loss = p.bradley_terry(t(1.0, 0.4), t(0.0, 0.0), torch.tensor([True, False]), 0.0)
    tied = -(log_sigmoid(1.0) + log_sigmoid(-1.0)) / 2
    assert float(loss) == pytest.approx((tied - log_sigmoid(0.4)) / 2)


@pytest.mark.parametrize("difference", [-3.0, 0.0, 0.7])
def test_a_tie_has_what_the_wins_leave(difference: float) -> None:
    """Rao & Kupper: the probabilities of both wins and of a tie add up to 1."""
    one, threshold = t(difference), 0.8

    def loss(d: Tensor, tie: bool) -> float:
        return float(p.bradley_terry(d, t(0.0), torch.tensor([tie]), threshold))

    chances = [math.exp(-loss(one, False)), math.exp(-loss(-one, False)), math.exp(-loss(one, True))]
    assert sum(chances) == pytest.approx(1.0)
    assert chances[2] == pytest.approx(1 - 1 / (1 + math.exp(0.8 - difference)) - 1 / (1 + math.exp(0.8 + difference)))


def test_several_heads_are_averaged() -> None:
    both = torch.tensor([[1.0, -1.0], [0.5, 2.0]])
    together = p.bradley_terry(both, torch.zeros(2, 1), torch.zeros(2, 1, dtype=torch.bool), 0.0)
    apart = [p.bradley_terry(both[:, k], torch.zeros(2), NONE, 0.0) for k in range(2)]
    assert float(together) == pytest.approx(float(sum(apart)) / 2)


def test_regression_leaves_out_what_nobody_said() -> None:
    said = torch.tensor([[1.0, math.nan], [3.0, 0.0]])
    predicted = torch.tensor([[2.0, 5.0], [3.0, 2.0]], requires_grad=True)
    loss = p.regression(predicted, said)
    loss.backward()
    assert float(loss.detach()) == pytest.approx((1 + 0 + 4) / 3)
    assert predicted.grad is not None and predicted.grad.tolist()[0][1] == 0.0


def test_centred_by_hand() -> None:
    assert float(p.centred(t(1.0, 2.0), t(0.0, -1.0))) == pytest.approx((1.0 + 1.0) / 2)
