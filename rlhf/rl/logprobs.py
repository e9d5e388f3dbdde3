"""Log-probabilities and entropy of sampled tokens."""

# B batch, R response tokens, V vocabulary

import torch
from torch import Tensor


def token_logprobs(logits_BRV: Tensor, token_BR: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    """Log-probability of each token and entropy of the distribution it was drawn from, both (B, R) float32.

    Logits are divided by the sampling temperature, in rollout and update alike (Huang et al. 2024, detail 4); the
    log-softmax is in float32 whatever the logits are. One row at a time, so that no float32 copy of all logits exists.
    """
    logprobs, entropies = [], []
    for logits_RV, token_R in zip(logits_BRV, token_BR, strict=True):
        log_RV = torch.log_softmax(logits_RV.float() / temperature, dim=-1)
        logprobs.append(log_RV.gather(-1, token_R.unsqueeze(-1)).squeeze(-1))
        with torch.no_grad():
            entropies.append(-(log_RV.exp() * log_RV).sum(-1))
    return torch.stack(logprobs), torch.stack(entropies)
