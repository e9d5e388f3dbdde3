"""Losses of policy and critic. Tensors in, `(loss, metrics)` out; sums over tokens, so that micro-batches add up."""

# B batch, R response tokens

import torch
from torch import Tensor

Metrics = dict[str, Tensor]


def policy_loss(
    logprob_BR: Tensor, old_logprob_BR: Tensor, advantage_BR: Tensor, mask_BR: Tensor, clip: float
) -> tuple[Tensor, Metrics]:
    """PPO's clipped surrogate (Schulman et al. 2017, eq. 7), negated and summed over unmasked tokens.

    Metrics are sums over tokens too: `ratio`, `clipped` (the clip binds) and `approx_kl` (k3 of old to new).
    """
    logratio_BR = (logprob_BR - old_logprob_BR) * mask_BR
    ratio_BR = logratio_BR.exp()
    plain_BR = -advantage_BR * ratio_BR
    clipped_BR = -advantage_BR * ratio_BR.clamp(1 - clip, 1 + clip)
    loss = (torch.max(plain_BR, clipped_BR) * mask_BR).sum()
    with torch.no_grad():
        metrics = {
            "ratio": (ratio_BR * mask_BR).sum(),
            "clipped": ((clipped_BR > plain_BR) * mask_BR).sum(),
            "approx_kl": ((ratio_BR - 1 - logratio_BR) * mask_BR).sum(),
        }
    return loss, metrics


def value_loss(
    value_BR: Tensor, old_value_BR: Tensor, return_BR: Tensor, mask_BR: Tensor, clip: float | None
) -> tuple[Tensor, Metrics]:
    """Half the squared error of the critic, summed; with `clip`, the larger of clipped and unclipped error.

    The clipped form follows PPO's reference code (Huang et al. 2022, detail 9).
    """
    error_BR = (value_BR - return_BR).square()
    if clip is not None:
        near_BR = old_value_BR + (value_BR - old_value_BR).clamp(-clip, clip)
        clipped_BR = (near_BR - return_BR).square()
        error_BR, binds_BR = torch.max(error_BR, clipped_BR), clipped_BR > error_BR
    else:
        binds_BR = torch.zeros_like(error_BR, dtype=torch.bool)
    metrics = {"value_clipped": (binds_BR * mask_BR).sum().detach()}
    return 0.5 * (error_BR * mask_BR).sum(), metrics
