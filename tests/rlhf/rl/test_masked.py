"""Statistics over the tokens that count."""

import torch

from rlhf.rl.masked import masked_mean, masked_var, whiten

X = torch.tensor([[1.0, 2.0, 999.0], [3.0, -999.0, 999.0]])
MASK = torch.tensor([[1, 1, 0], [1, 0, 0]])


def test_mean_and_variance_ignore_masked_elements() -> None:
    assert float(masked_mean(X, MASK)) == 2.0
    assert float(masked_var(X, MASK)) == 1.0


def test_whitening_removes_or_keeps_the_mean() -> None:
    without, kept = whiten(X, MASK), whiten(X, MASK, keep_mean=True)
    torch.testing.assert_close(without[MASK.bool()], torch.tensor([-1.0, 0.0, 1.0]))
    torch.testing.assert_close(kept[MASK.bool()], torch.tensor([1.0, 2.0, 3.0]))
    assert (without[~MASK.bool()] == 0).all() and (kept[~MASK.bool()] == 0).all()


def test_nothing_unmasked_gives_zero_not_nan() -> None:
    assert float(masked_mean(X, torch.zeros_like(MASK))) == 0.0
