"""Losses of policy and critic. Tensors in, `(loss, metrics)` out; sums over tokens, so that micro-batches add up."""

# M tokens that count: response tokens of any number of sequences

import torch
from torch import Tensor

Metrics = dict[str, Tensor]


def policy_loss(logprob_M: Tensor, old_logprob_M: Tensor, advantage_M: Tensor, clip: float) -> tuple[Tensor, Metrics]:
    """PPO's clipped surrogate (Schulman et al. 2017, eq. 7), negated and summed over tokens.

    Metrics are sums over tokens too: `ratio`, `clipped` (the clip binds) and `approx_kl` (k3 of old to new).
    """
    logratio_M = logprob_M - old_logprob_M
    ratio_M = logratio_M.exp()
    plain_M = -advantage_M * ratio_M
    clipped_M = -advantage_M * ratio_M.clamp(1 - clip, 1 + clip)
    with torch.no_grad():
        metrics = {
            "ratio": ratio_M.sum(),
            "clipped": (clipped_M > plain_M).float().sum(),
            "approx_kl": (ratio_M - 1 - logratio_M).sum(),
        }
    return torch.max(plain_M, clipped_M).sum(), metrics


def value_loss(value_M: Tensor, old_value_M: Tensor, return_M: Tensor, clip: float | None) -> tuple[Tensor, Metrics]:
    """Half the squared error of the critic, summed; with `clip`, the larger of clipped and unclipped error.

    The clipped form follows PPO's reference code (Huang et al. 2022, detail 9).
    """
    error_M = (value_M - return_M).square()
    binds_M = torch.zeros_like(error_M)
    if clip is not None:
        near_M = old_value_M + (value_M - old_value_M).clamp(-clip, clip)
        clipped_M = (near_M - return_M).square()
        error_M, binds_M = torch.max(error_M, clipped_M), (clipped_M > error_M).float()
    return 0.5 * error_M.sum(), {"value_clipped": binds_M.sum()}
