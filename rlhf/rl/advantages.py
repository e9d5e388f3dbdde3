"""Advantage estimators. Tensors in, `(advantage_BR, return_BR)` out; masked positions come out as zero."""

# B batch, R response tokens

import torch
from torch import Tensor

from rlhf.rl.masked import whiten


def token_rewards(score_B: Tensor, kl_BR: Tensor, mask_BR: Tensor, kl_coef: float) -> Tensor:
    """Reward of each token, (B, R): the KL penalty everywhere, the score at the last token of the response."""
    reward_BR = -kl_coef * kl_BR * mask_BR
    last_B = mask_BR.long().sum(1) - 1
    rows_B = torch.arange(len(score_B), device=score_B.device)
    reward_BR[rows_B, last_B] += score_B
    return reward_BR


def gae(reward_BR: Tensor, value_BR: Tensor, mask_BR: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16); the value after the last token is zero.

    Also where a response was cut short: it has been scored as it stands, and nothing more will be.

    Returns unwhitened advantages and the returns `advantage + value` that the critic learns, both (B, R).
    """
    value_BR = value_BR * mask_BR
    advantage_BR = torch.zeros_like(reward_BR)
    carry_B = torch.zeros_like(reward_BR[:, 0])
    for t in reversed(range(reward_BR.shape[1])):
        after_B = value_BR[:, t + 1] if t + 1 < reward_BR.shape[1] else torch.zeros_like(carry_B)
        delta_B = reward_BR[:, t] + gamma * after_B - value_BR[:, t]
        carry_B = (delta_B + gamma * lam * carry_B) * mask_BR[:, t]
        advantage_BR[:, t] = carry_B
    return advantage_BR, (advantage_BR + value_BR) * mask_BR


def rloo(reward_BR: Tensor, mask_BR: Tensor, group: int) -> Tensor:
    """REINFORCE leave-one-out (Ahmadian et al. 2024, eq. 8), (B, R): the baseline is the mean of the others.

    Rows come in runs of `group` responses to one prompt; the sequence's whole reward (KL penalty included) is judged.
    """
    total_GN = (reward_BR * mask_BR).sum(1).view(-1, group)
    baseline_GN = (total_GN.sum(1, keepdim=True) - total_GN) / (group - 1)
    return (total_GN - baseline_GN).view(-1, 1) * mask_BR


def grpo(reward_BR: Tensor, mask_BR: Tensor, group: int, eps: float = 1e-4) -> Tensor:
    """Group-relative advantage (Shao et al. 2024, §4.1.2), (B, R): totals normalised within their group."""
    total_GN = (reward_BR * mask_BR).sum(1).view(-1, group)
    centred_GN = total_GN - total_GN.mean(1, keepdim=True)
    return (centred_GN / (total_GN.std(1, keepdim=True) + eps)).view(-1, 1) * mask_BR


def reinforce_pp(reward_BR: Tensor, mask_BR: Tensor, gamma: float) -> Tensor:
    """REINFORCE++ (Hu 2025), (B, R): discounted reward-to-go with token-level KL, normalised over the whole batch."""
    return_BR = torch.zeros_like(reward_BR)
    carry_B = torch.zeros_like(reward_BR[:, 0])
    for t in reversed(range(reward_BR.shape[1])):
        carry_B = (reward_BR[:, t] + gamma * carry_B) * mask_BR[:, t]
        return_BR[:, t] = carry_B
    return whiten(return_BR, mask_BR)
