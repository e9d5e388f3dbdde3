"""Several linear heads on one state, and the one head that their mean or weighted sum is."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from rlhf.errors import DataError, did_you_mean
from rlhf.parts import put_score_head, score_head
from rlhf.weights import HEADS

# N answers, K heads, D hidden size


@dataclass(frozen=True)
class Scale:
    """Attributes that heads predict, and what their numbers are like: heads learn them with mean 0 and deviation 1."""

    names: list[str]
    weight_K: Tensor
    """Of each in the score."""
    mean_K: Tensor
    deviation_K: Tensor

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]], weights: Mapping[str, float]) -> "Scale":
        """From the numbers of the answers to train on; NaN where an answer has none of that name."""
        said_NK = torch.tensor([numbers_of(row, weights) for row in rows], dtype=torch.float64)
        count_K = (~said_NK.isnan()).sum(0)
        for name, count in zip(weights, count_K.tolist(), strict=True):
            if not count:
                known = {number for row in rows for number in row["numbers"]}
                raise DataError(f"attributes: no answer to train on has a number '{name}'{did_you_mean(name, known)}")
        mean_K = said_NK.nansum(0) / count_K
        deviation_K = ((said_NK - mean_K).square().nansum(0) / count_K).sqrt()
        alike_K = deviation_K < 1e-8
        if bool(alike_K.all()):
            raise DataError(f"every answer to train on has the same {', '.join(weights)}: there is nothing to learn")
        deviation_K[alike_K] = 1.0  # nothing to learn of these, nothing to divide by
        return cls(list(weights), torch.tensor(list(weights.values())), mean_K.float(), deviation_K.float())

    def standard(self, said: Sequence[float]) -> list[float]:
        """An answer's numbers as the heads learn them."""
        return ((torch.tensor(said) - self.mean_K) / self.deviation_K).tolist()


def numbers_of(row: Mapping[str, Any], names: Mapping[str, float]) -> list[float]:
    """An answer's numbers in the order of the names; NaN for one that it lacks."""
    return [row["numbers"].get(name, float("nan")) for name in names]


def widen(model: nn.Module, outputs: int) -> None:
    """Give a reward model as many heads, each as freshly drawn as one would be; one stays as it is."""
    one = score_head(model)
    assert one is not None
    if outputs == 1:
        return
    several = nn.Linear(one.in_features, outputs, bias=False, device=one.weight.device, dtype=torch.float32)
    nn.init.normal_(several.weight, std=(one.in_features + 1) ** -0.5)
    put_score_head(model, several)


@dataclass(frozen=True)
class Combined:
    """One head, and what it is made of."""

    weight_D: Tensor
    shift: float
    """Subtracted from what the head says."""
    weight_KD: Tensor
    bias_K: Tensor
    names: list[str]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The heads, unless they are no more than the one."""
        if len(self.weight_KD) == 1 and not self.names:
            return {}
        return {"weight": self.weight_KD.cpu().contiguous(), "bias": self.bias_K.cpu().contiguous()}

    def save(self, folder: Path) -> None:
        """Write the heads beside the one, if there are any."""
        if tensors := self.tensors:
            folder.mkdir(exist_ok=True)
            save_file(tensors, folder / HEADS, {"names": json.dumps(self.names)})

    def put(self, model: nn.Module) -> nn.Linear:
        """Make the one head the model's."""
        one = nn.Linear(len(self.weight_D), 1, bias=False, device=self.weight_D.device, dtype=torch.float32)
        one.weight.data.copy_(self.weight_D[None])
        put_score_head(model, one)
        return one


@torch.no_grad()
def ensemble(weight_KD: Tensor, state_ND: Tensor, center: bool) -> Combined:
    """The mean of all heads. With `center` the answers of `state_ND` average 0; each head is moved so that it gives
    them the score's own mean, since pairs say nothing of a head's zero and their disagreement should not either."""
    mean_K = (state_ND @ weight_KD.t()).mean(0)
    shift = float(mean_K.mean()) if center else 0.0
    return Combined(weight_KD.mean(0), shift, weight_KD.detach(), mean_K.mean() - mean_K - shift, [])


@torch.no_grad()
def attributes(weight_KD: Tensor, state_ND: Tensor, scale: Scale, center: bool) -> Combined:
    """The weighted sum of what the heads predict in the attributes' own units; with `center`, less its mean."""
    scale_K, mean_K, part_K = (t.to(weight_KD.device) for t in (scale.deviation_K, scale.mean_K, scale.weight_K))
    own_KD = weight_KD * scale_K[:, None]
    weight_D = part_K @ own_KD
    shift = float((state_ND @ weight_D).mean()) if center else -float(part_K @ mean_K)
    return Combined(weight_D, shift, own_KD, mean_K, scale.names)
