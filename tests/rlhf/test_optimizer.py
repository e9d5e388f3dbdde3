"""AdamW in 8 bit: what of its state is in 8 bit, and that it steps much as the other does."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rlhf.optimizer import adamw


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.linear = nn.Embedding(64, 128), nn.Linear(128, 128, bias=False)

    def forward(self, ids_N: Tensor) -> Tensor:
        return self.linear(self.embedding(ids_N))


def stepped(name: Any, steps: int = 20) -> tuple[Model, torch.optim.Optimizer, float]:
    """A model that learns to map tokens to fixed targets, its optimizer, and the last loss."""
    model = Model()
    target_ND = torch.randn(64, 128, generator=torch.Generator().manual_seed(1))
    optimizer = adamw(name, [{"params": list(model.parameters()), "lr": 1e-2}], [model], 1e-5, 0.0)
    loss = torch.tensor(0.0)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (model(torch.arange(64)) - target_ND).square().mean()
        loss.backward()
        optimizer.step()
    return model, optimizer, float(loss.detach())


def bytes_of(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> int:
    moments = [value for value in optimizer.state[parameter].values() if torch.is_tensor(value) and value.ndim == 2]
    return sum(moment.nbytes for moment in moments)


def test_moments_are_in_8_bit_but_for_embeddings() -> None:
    model, optimizer, _ = stepped("adamw_8bit")
    assert bytes_of(optimizer, model.linear.weight) == 2 * model.linear.weight.numel()
    assert bytes_of(optimizer, model.embedding.weight) == 8 * model.embedding.weight.numel()


def test_it_learns_as_the_other_does() -> None:
    _, _, whole = stepped("adamw")
    _, _, coarse = stepped("adamw_8bit")
    assert whole < 0.7 and coarse == pytest.approx(whole, rel=0.02)


def test_a_paged_one_is_bitsandbytes_own() -> None:
    model = Model()
    optimizer = adamw("paged_adamw_8bit", [{"params": list(model.parameters()), "lr": 1e-2}], [model], 1e-5, 0.0)
    assert type(optimizer).__name__ == "PagedAdamW8bit" and optimizer.is_paged  # type: ignore[attr-defined]
