"""Statistics over the tokens that count."""

# B batch, R response tokens

import torch
from torch import Tensor


def masked_mean(x_BR: Tensor, mask_BR: Tensor) -> Tensor:
    """Mean over unmasked elements, a scalar; zero when there are none."""
    return (x_BR * mask_BR).sum() / mask_BR.sum().clamp(min=1)


def masked_var(x_BR: Tensor, mask_BR: Tensor) -> Tensor:
    """Unbiased variance over unmasked elements, a scalar."""
    count = mask_BR.sum()
    centred_BR = (x_BR - masked_mean(x_BR, mask_BR)) * mask_BR
    return centred_BR.square().sum() / (count - 1).clamp(min=1)


def whiten(x_BR: Tensor, mask_BR: Tensor, keep_mean: bool = False) -> Tensor:
    """Unit variance over unmasked elements; rewards keep their mean, advantages do not. Masked elements become zero."""
    mean = masked_mean(x_BR, mask_BR)
    out_BR = (x_BR - mean) * torch.rsqrt(masked_var(x_BR, mask_BR) + 1e-8)
    return (out_BR + mean if keep_mean else out_BR) * mask_BR
