"""Every formula once more in plain Python floats, which are float64, straight from its paper: equal to 1e-6."""

import math
from collections.abc import Callable, Sequence
from statistics import fmean, stdev
from typing import Any

import pytest
import torch
from torch import Tensor

from rlhf.rl import advantages
from rlhf.rl.kl import k1, k3
from rlhf.rl.losses import policy_loss, value_loss
from rlhf.rl.masked import whiten

LENGTHS = (5, 1, 7, 3, 7, 2)
WIDTH = max(LENGTHS)
Rows = list[list[float]]


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def draw(request: pytest.FixtureRequest) -> Callable[..., Tensor]:
    """Random (B, R) tables of a type; what lies past a response is a number that must never count."""
    generator = torch.Generator().manual_seed(7)

    def table(scale: float = 1.0, shift: float = 0.0) -> Tensor:
        made = torch.full((len(LENGTHS), WIDTH), 1e3, dtype=request.param)
        for i, length in enumerate(LENGTHS):
            made[i, :length] = shift + scale * torch.randn(length, dtype=request.param, generator=generator)
        return made

    return table


@pytest.fixture
def mask() -> Tensor:
    return torch.tensor([[1] * length + [0] * (WIDTH - length) for length in LENGTHS])


def rows(table: Tensor) -> Rows:
    """The response tokens alone, as Python floats."""
    return [row[:length] for row, length in zip(table.double().tolist(), LENGTHS, strict=True)]


def same(ours: Tensor, theirs: Rows) -> None:
    """Equal on response tokens, and zero past them."""
    expected = torch.tensor([[*row, *[0.0] * (WIDTH - len(row))] for row in theirs], dtype=torch.float64)
    torch.testing.assert_close(ours.double(), expected, rtol=1e-6, atol=1e-6)


def togo(row: Sequence[float], gamma: float) -> list[float]:
    """Discounted sums of what is still to come."""
    return [sum(gamma ** (later - t) * row[later] for later in range(t, len(row))) for t in range(len(row))]


def whitened(table: Rows, keep_mean: bool = False) -> Rows:
    flat = [x for row in table for x in row]
    mean, deviation = fmean(flat), math.sqrt(stdev(flat) ** 2 + 1e-8)
    return [[(x - mean) / deviation + mean * keep_mean for x in row] for row in table]


def test_token_rewards(draw: Any, mask: Tensor) -> None:
    logprob, reference = draw(), draw()
    score = draw()[:, 0]
    ours = advantages.token_rewards(score, k1(logprob, reference), mask, 0.07)
    expected = []
    for p, q, s in zip(rows(logprob), rows(reference), score.double().tolist(), strict=True):
        row = [-0.07 * (a - b) for a, b in zip(p, q, strict=True)]
        expected.append([*row[:-1], row[-1] + s])
    same(ours, expected)


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 1.0), (0.99, 0.95), (0.9, 0.0)])
def test_gae(draw: Any, mask: Tensor, gamma: float, lam: float) -> None:
    """A_t is the sum of (gamma lambda)^l delta_{t+l} (Schulman et al. 2016, eq. 16), here as that sum."""
    reward, value = draw(), draw()
    ours, returns = advantages.gae(reward, value, mask, gamma, lam)
    expected = []
    for r, v in zip(rows(reward), rows(value), strict=True):
        delta = [r[t] + gamma * (v[t + 1] if t + 1 < len(v) else 0.0) - v[t] for t in range(len(r))]
        expected.append(togo(delta, gamma * lam))
    same(ours, expected)
    same(returns, [[a + v for a, v in zip(*pair, strict=True)] for pair in zip(expected, rows(value), strict=True)])


def test_rloo(draw: Any, mask: Tensor) -> None:
    reward = draw()
    totals = [sum(row) for row in rows(reward)]
    expected = []
    for i, length in enumerate(LENGTHS):
        others = [totals[j] for j in range(len(LENGTHS)) if j // 3 == i // 3 and j != i]
        expected.append([totals[i] - fmean(others)] * length)
    same(advantages.rloo(reward, mask, group=3), expected)


def test_grpo(draw: Any, mask: Tensor) -> None:
    reward = draw()
    totals = [sum(row) for row in rows(reward)]
    expected = []
    for i, length in enumerate(LENGTHS):
        group = totals[i // 3 * 3 : i // 3 * 3 + 3]
        expected.append([(totals[i] - fmean(group)) / (stdev(group) + 1e-4)] * length)
    same(advantages.grpo(reward, mask, group=3), expected)


def test_reinforce_pp(draw: Any, mask: Tensor) -> None:
    reward = draw()
    same(advantages.reinforce_pp(reward, mask, 0.97), whitened([togo(row, 0.97) for row in rows(reward)]))


@pytest.mark.parametrize("keep_mean", [False, True])
def test_whiten(draw: Any, mask: Tensor, keep_mean: bool) -> None:
    table = draw(scale=2.0, shift=1.0)
    same(whiten(table, mask, keep_mean), whitened(rows(table), keep_mean))


def test_kl(draw: Any) -> None:
    logprob, reference = draw()[0], draw()[0]
    pairs = list(zip(logprob.double().tolist(), reference.double().tolist(), strict=True))[: LENGTHS[0]]
    close = {"rtol": 1e-6, "atol": 1e-6}
    for ours, formula in (
        (k1(logprob, reference), lambda p, q: p - q),
        (k3(logprob, reference), lambda p, q: math.exp(q - p) - 1 - (q - p)),
    ):
        expected = torch.tensor([formula(*pair) for pair in pairs], dtype=torch.float64)
        torch.testing.assert_close(ours[: LENGTHS[0]].double(), expected, **close)


def test_policy_loss(draw: Any, mask: Tensor) -> None:
    """Value and gradient of the clipped surrogate (Schulman et al. 2017, eq. 7)."""
    old, advantage = draw()[mask.bool()], draw()[mask.bool()]
    new = (old + 0.3 * draw()[mask.bool()]).requires_grad_()
    loss, metrics = policy_loss(new, old, advantage, clip=0.2)
    loss.backward()
    value, slope, clipped, kl = 0.0, [], 0, 0.0
    for n, o, a in zip(new.double().tolist(), old.double().tolist(), advantage.double().tolist(), strict=True):
        ratio = math.exp(n - o)
        cut = min(max(ratio, 0.8), 1.2)
        value -= min(ratio * a, cut * a)
        binds = cut * a < ratio * a
        slope.append(0.0 if binds else -ratio * a)
        clipped += binds
        kl += ratio - 1 - (n - o)
    assert float(loss.detach()) == pytest.approx(value, rel=1e-6)
    assert new.grad is not None and 0 < clipped < len(slope)
    torch.testing.assert_close(new.grad.double(), torch.tensor(slope, dtype=torch.float64), rtol=1e-6, atol=1e-6)
    assert float(metrics["clipped"]) == clipped
    assert float(metrics["approx_kl"]) == pytest.approx(kl, rel=1e-5)


@pytest.mark.parametrize("clip", [0.2, None])
def test_value_loss(draw: Any, mask: Tensor, clip: float | None) -> None:
    old, returns = draw()[mask.bool()], draw()[mask.bool()]
    new = (old + 0.3 * draw()[mask.bool()]).requires_grad_()
    loss, _ = value_loss(new, old, returns, clip)
    loss.backward()
    value, slope = 0.0, []
    for v, o, r in zip(new.double().tolist(), old.double().tolist(), returns.double().tolist(), strict=True):
        near = v if clip is None else o + min(max(v - o, -clip), clip)
        value += 0.5 * max((v - r) ** 2, (near - r) ** 2)
        slope.append(v - r if (v - r) ** 2 >= (near - r) ** 2 else 0.0)
    assert float(loss.detach()) == pytest.approx(value, rel=1e-6)
    assert new.grad is not None
    assert clip is None or 0.0 in slope, "the clip must bind somewhere for this to say much"
    torch.testing.assert_close(new.grad.double(), torch.tensor(slope, dtype=torch.float64), rtol=1e-6, atol=1e-6)
