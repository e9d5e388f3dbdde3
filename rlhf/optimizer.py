"""AdamW as a recipe asks for it: PyTorch's, or bitsandbytes' with its state in 8 bit (Dettmers et al. 2022)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from rlhf.config import Optimizer

TRL_NAMES: Mapping[Optimizer, str] = {
    "adamw": "adamw_torch_fused",
    "adamw_8bit": "adamw_8bit",
    "paged_adamw_8bit": "paged_adamw_8bit",
}
"""What TRL's trainers call each."""


def adamw(
    name: Optimizer, groups: Sequence[dict[str, Any]], models: Sequence[nn.Module], eps: float, weight_decay: float
) -> torch.optim.Optimizer:
    """An optimizer of the parameters in `groups`, each with its own `lr`. The embeddings of `models` keep their state
    in 32 bit, as their authors advise and TRL's trainers do."""
    if name == "adamw":
        return torch.optim.AdamW(groups, eps=eps, weight_decay=weight_decay, fused=True)
    from bitsandbytes.optim.adamw import AdamW8bit, PagedAdamW8bit
    from bitsandbytes.optim.optimizer import GlobalOptimManager

    manager = GlobalOptimManager.get_instance()
    for module in (module for model in models for module in model.modules()):
        if isinstance(module, nn.Embedding):
            manager.register_module_override(module, "weight", {"optim_bits": 32})
    kind = PagedAdamW8bit if name == "paged_adamw_8bit" else AdamW8bit
    return kind(groups, eps=eps, weight_decay=weight_decay)
