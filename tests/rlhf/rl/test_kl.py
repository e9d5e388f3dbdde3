"""KL estimators and controllers."""

import math

import torch

from rlhf.rl.kl import AdaptiveKL, FixedKL, k1, k3

P, Q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.4, 0.4, 0.2])
EXACT = float((P * (P / Q).log()).sum())


def test_both_estimators_are_unbiased() -> None:
    """Their expectation under the policy, computed exactly, is the KL."""
    for estimator in (k1, k3):
        assert math.isclose(float((P * estimator(P.log(), Q.log())).sum()), EXACT, rel_tol=1e-5)


def test_k1_may_be_negative_and_k3_never_is() -> None:
    assert float(k1(P.log(), Q.log()).min()) < 0
    assert float(k3(P.log(), Q.log()).min()) >= 0


def test_adaptive_coefficient_follows_the_error_within_its_clip() -> None:
    kl = AdaptiveKL(coef=0.1, target=5.0, horizon=100)
    kl.update(50.0, episodes=10)
    assert math.isclose(kl.coef, 0.1 * (1 + 0.2 * 10 / 100))
    kl = AdaptiveKL(coef=0.1, target=5.0, horizon=100)
    kl.update(4.5, episodes=10)
    assert math.isclose(kl.coef, 0.1 * (1 - 0.1 * 10 / 100))


def test_fixed_coefficient_stays() -> None:
    kl = FixedKL(0.1)
    kl.update(50.0, 10)
    assert kl.coef == 0.1
