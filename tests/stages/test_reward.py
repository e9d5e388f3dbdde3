"""Reward modelling: its trainer reads scores from the trunk, which gives what the model itself would."""

import pytest
import torch
from torch import nn

from rlhf import adapters, text
from rlhf.backends import backend
from rlhf.forwards import scores_from_trunk
from rlhf.parts import score_head
from rlhf.trunk import Role, trunk_of
from rlhf.weights import Weights

IDS = torch.tensor([[2, 50, 60, 70, 71, 3], [2, 80, 3, 1, 1, 1], [2, 90, 91, 92, 3, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0]])


def scored(model: nn.Module, bf16: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Scores of the rows, and the gradients of a loss on them."""
    model.zero_grad()
    with torch.autocast("cpu", enabled=bf16):
        scores = model(input_ids=IDS, attention_mask=MASK, use_cache=False).logits
    (scores.squeeze(-1).float() * torch.tensor([1.0, -2.0, 0.5])).sum().backward()
    return scores, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_trunk_gives_the_models_scores_and_gradients(finished, checkpointing: bool) -> None:
    recipe, _, made = finished
    config, weights = recipe.stages["reward"], Weights.of(made["sft"])
    how = backend(config.backend, config.precision)
    model = how.load(weights, text.load(weights), "score").train()
    bf16 = config.precision == "bf16"
    own, gradients = scored(model, bf16)
    scores_from_trunk(
        Role(model, trunk_of(model, how.dtype), adapters.trained(model), score_head(model)), checkpointing
    )
    scores, found = scored(model, bf16)
    torch.testing.assert_close(scores.float(), own.float(), rtol=0, atol=0.05 if bf16 else 1e-4)
    assert found.keys() == gradients.keys() and any("score" in name for name in found)
    for name, gradient in gradients.items():
        off = (found[name] - gradient).norm() / gradient.norm().clamp(min=1e-6)
        assert off < (0.1 if bf16 else 1e-3), name
