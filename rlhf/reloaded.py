"""What a stage saved, loaded anew as a stage that follows loads it, says what the model that trained said."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rlhf import probe, text
from rlhf.artifact import CHECKPOINT, Artifact
from rlhf.backends import Backend, backend
from rlhf.config import StageConfig, TrainingStage
from rlhf.data.chat import ChatFormat
from rlhf.errors import ArtifactError, GuardError
from rlhf.roles import Role, head_of, heads_of, of
from rlhf.weights import HEADS, Weights

_LIVE = "live.safetensors"
"""Beside a stage's checkpoints: a few rows of tokens, and what the model that trained says of them."""
_ROWS, _TOKENS = 4, 64
_APART = {"fp32": 1e-4, "bf16": 2e-2}
"""Nats at a token, or score, relative to the largest above 1. On a CPU it is the same bits; an accelerator may take
another kernel."""


def live(
    config: TrainingStage, model: nn.Module, how: Backend, weights: Weights, chat: ChatFormat
) -> dict[str, Tensor]:
    """A few rows of tokens, and what a model says of them."""
    was_training = model.training
    role = of(model.eval(), how)
    rows = _rows(config, chat, role.head is not None, weights)
    said = probe.said(role, rows)
    model.train(was_training)
    kept = {f"ids/{i}": torch.tensor(row) for i, row in enumerate(rows)}
    return kept | {f"said/{i}": one for i, one in enumerate(said)}


def note(said: Mapping[str, Tensor], out: Path) -> None:
    """Write down what the `live` model says, for `check` to compare once it has left memory."""
    (out / CHECKPOINT).mkdir(exist_ok=True)
    save_file(dict(said), out / CHECKPOINT / _LIVE)


def gap(then: Tensor, now: Tensor, precision: str) -> float | None:
    """How far numbers are from what they were; None where it is rounding."""
    if then.shape != now.shape:
        return math.inf
    apart = float((now.double() - then.double()).abs().max())
    fine = apart <= _APART[precision] * max(1.0, float(then.abs().max()))  # false where one is not a number
    return None if fine else apart


def check(config: StageConfig, made: Artifact) -> None:
    """Raise GuardError where what lies in the artifact's folder is not the model that trained, or reads text otherwise.
    Stages that keep no such notes are left alone."""
    live = made.folder / CHECKPOINT / _LIVE
    if not isinstance(config, TrainingStage) or not live.is_file():
        return
    noted = load_file(live)
    before = f"stage '{config.name}': what was saved is not the model that trained, and is not kept"
    try:
        weights = Weights.of(made)
        heads = made.model / HEADS  # which the record, that is yet to be written, will name
        weights = replace(weights, heads=heads if heads.is_file() else None)
        chat = text.load(weights)
        how = backend(config.backend, config.precision)
        role = of(how.load(weights, chat, weights.head_kind).eval(), how)
    except ArtifactError as error:
        raise GuardError(f"{before}: {error}") from None
    if unlike := _unlike_heads(noted, weights, role):
        raise GuardError(f"{before}: {unlike}")
    rows = _rows(config, chat, weights.scores, weights)
    if rows != [noted[f"ids/{i}"].tolist() for i in range(_ROWS)]:
        raise GuardError(f"{before}: its tokenizer or chat template makes other tokens of the same text")
    for i, now in enumerate(probe.said(role, rows)):
        if (apart := gap(noted[f"said/{i}"], now, config.precision)) is not None:
            raise GuardError(
                f"{before}: loaded anew, it is {apart:.2g} {'in score' if role.head else 'nats a token'} away"
            )


def of_heads(shift: float, heads: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What there is of a reward model besides its head, to be noted with what it says: what its score is centred by,
    and of several heads that the one is made of `weight` (K, D) and `bias` (K,)."""
    return {"heads/shift": torch.tensor([-shift])} | {f"heads/{name}": one for name, one in heads.items()}


def _unlike_heads(noted: Mapping[str, Tensor], weights: Weights, role: Role) -> str:
    """What of these is not what it was, as a stage that follows loads it; empty for nothing."""
    found: dict[str, Tensor] = {}
    if weights.scores:
        found["heads/shift"] = head_of(weights, role.model, role.device).bias.detach()
    if (heads := heads_of(weights, role.device)) is not None:
        found |= {"heads/weight": heads.linear.weight, "heads/bias": heads.linear.bias}
    known = {name: one for name, one in noted.items() if name.startswith("heads/")}
    for name in sorted(known.keys() | found.keys()):
        if name not in known or name not in found or not torch.equal(known[name].cpu(), found[name].cpu()):
            return "its scores are centred otherwise" if name == "heads/shift" else "its several heads are others"
    return ""


def _rows(config: TrainingStage, chat: ChatFormat, scores: bool, weights: Weights) -> list[probe.Row]:
    """Text, with the tokens in its midst that the stage is new to."""
    most = min(_TOKENS, text.positions(weights) or _TOKENS)
    fresh = chat.tokenizer.convert_tokens_to_ids(list(config.new_tokens))
    rows = probe.rows(chat, scores, most)[:_ROWS]
    return [[*row[: most // 2], *fresh, *row[most // 2 :]][:most] for row in rows]
