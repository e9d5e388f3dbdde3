"""Estimates of KL(policy‖reference) from sampled tokens (Schulman 2020, "Approximating KL divergence")."""

# B batch, R response tokens

from dataclasses import dataclass

from torch import Tensor


def k1(logprob_BR: Tensor, ref_logprob_BR: Tensor) -> Tensor:
    """log p - log q at each sampled token: unbiased, may be negative, never clamped. For use in the reward."""
    return logprob_BR - ref_logprob_BR


def k3(logprob_BR: Tensor, ref_logprob_BR: Tensor) -> Tensor:
    """(q/p - 1) - log(q/p) at each sampled token: unbiased, never negative, lower variance. For use as a loss."""
    logratio_BR = ref_logprob_BR - logprob_BR
    return logratio_BR.exp() - 1 - logratio_BR


@dataclass
class FixedKL:
    """A constant coefficient of the KL penalty."""

    coef: float

    def update(self, kl: float, episodes: int) -> None:
        """Nothing to adapt."""


@dataclass
class AdaptiveKL:
    """A proportional controller that holds KL per response near a target (Ziegler et al. 2019, §2.2)."""

    coef: float
    target: float
    horizon: int

    def update(self, kl: float, episodes: int) -> None:
        """Move the coefficient by the clipped relative error, scaled by `episodes / horizon`."""
        error = min(max(kl / self.target - 1, -0.2), 0.2)
        self.coef *= 1 + error * episodes / self.horizon
