"""Stop at the first number that is none, before it reaches a weight, and say of which rows it came."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from rlhf.errors import GuardError

Inputs = Mapping[str, Any]


def check_finite(metrics: Mapping[str, Any], where: str) -> None:
    """Raise GuardError when a loss, reward or gradient norm is NaN or infinite. `where`: which step, which rows."""
    for name, value in metrics.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise GuardError(f"{where}: {name} is {value}; lower the learning rate, or look at these rows")


def check_step(step: int, taken: Sequence[tuple[Inputs, Tensor]], norm: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise GuardError when the loss of a micro-batch or the gradient of their sum is not finite. `taken`: each
    micro-batch with its loss; `rows`: what they were taken from, each with its place `where`."""
    losses = torch.stack([loss for _, loss in taken]).tolist()  # one look at the device for all
    bad = [inputs for (inputs, _), loss in zip(taken, losses, strict=True) if not math.isfinite(loss)]
    norm = float("nan") if norm is None else float(norm)
    if not bad and math.isfinite(norm):
        return
    places = list(
        dict.fromkeys(where for inputs in bad or [one for one, _ in taken] for where in _places(inputs, rows))
    )
    more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
    at = f", on {', '.join(places[:_NAMED])}{more}" if places else ""
    first = next(loss for loss in losses if not math.isfinite(loss)) if bad else norm
    check_finite({"the loss" if bad else "the gradient's norm": first}, f"step {step}{at}")


_NAMED = 8


def _places(inputs: Inputs, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Where the rows of a micro-batch stand in their files; none for those that were packed together."""
    seen = set(_read(inputs))
    for row in rows:
        if "where" in row and any(tuple(ids) in seen for ids in _texts(row)):
            yield row["where"]


def _read(inputs: Inputs) -> Iterator[tuple[int, ...]]:
    """The tokens of each row that a model reads, without padding."""
    for name, ids in inputs.items():
        mask = inputs.get(name.removesuffix("input_ids") + "attention_mask")
        if name.endswith("input_ids") and torch.is_tensor(ids) and torch.is_tensor(mask) and ids.ndim == 2:
            yield from (tuple(row[kept.bool()].tolist()) for row, kept in zip(ids, mask, strict=True))


def _texts(row: Mapping[str, Any]) -> list[Sequence[int]]:
    """What a model reads of a row of a data set."""
    if "prompt_ids" in row:
        sides = ("chosen_ids", "rejected_ids", "completion_ids")
        return [row["prompt_ids"] + row[side] for side in sides if side in row]
    return row["texts"] if "texts" in row else [row["input_ids"]]
