"""What every training stage works with: weights, text, backend and examples at its start, the artifact at its end."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rlhf import reloaded, roles, text
from rlhf.artifact import ADAPTER, Artifact
from rlhf.backends import Backend, backend
from rlhf.config import Optimisation, TrainingStage
from rlhf.data.chat import ChatFormat
from rlhf.data.load import Split, load
from rlhf.data.records import Kind
from rlhf.errors import DataError
from rlhf.roles import Role
from rlhf.weights import BELOW, Weights


@dataclass(frozen=True)
class Job:
    """What a training stage works with, from its first line to the artifact it returns."""

    config: TrainingStage
    weights: Weights
    chat: ChatFormat
    how: Backend
    split: Split[Any]
    """Records, not yet tokens."""
    max_length: int
    """Most tokens of an example: the recipe's `data.max_length`, or fewer where the model has no positions for them."""

    @classmethod
    def start(
        cls,
        config: TrainingStage,
        inputs: Mapping[str, Weights],
        kind: Kind,
        out: Path,
        device: torch.device | None = None,
    ) -> "Job":
        """Find weights, text format, backend and examples of a stage; no model is loaded yet. Malformed rows are listed
        in `out`."""
        weights = inputs["model"]
        chat = text.load(weights, config.template, config.new_tokens)
        split = load(config.data, kind, out)  # type: ignore[call-overload]
        most = min(config.data.max_length, text.positions(weights) or config.data.max_length)
        return cls(config, weights, chat, backend(config.backend, config.precision, device), split, most)

    def role(self, model: nn.Module) -> Role:
        """The model that trains as a role, with its head where it has one."""
        return roles.of(model, self.how)

    def live(self, model: nn.Module) -> dict[str, Tensor]:
        """What the model that trains says of a few rows, to tell whether another is the same."""
        return reloaded.live(self.config, model, self.how, self.weights, self.chat)

    def finish(
        self,
        model: nn.Module,
        out: Path,
        ledgers: dict[str, Any],
        metrics: dict[str, Any],
        score_shift: float = 0.0,
        heads: Mapping[str, Tensor] | None = None,
    ) -> Artifact:
        """Write what trained to `out/model`; the record of it, to which the runner adds hash, parents and config. What
        the model says is noted, for the runner to compare with what it loads from there.
        `heads`: the several that a reward model's one is made of, if it is."""
        folder = out / "model"
        self.how.save(model, folder)
        text.save(self.chat, folder)
        scores = reloaded.of_heads(score_shift, heads or {}) if self.config.makes == "reward" else {}
        reloaded.note(self.live(model) | scores, out)
        return Artifact(
            name=self.config.name,
            stage=self.config.stage,
            makes=self.config.makes,
            hash="",
            backend=self.config.backend.model_dump(mode="json"),
            base=self.how.base_of(self.weights, folder),
            text=text.describe(self.chat),
            adapter=(folder / ADAPTER).is_file(),
            below=len(list((folder / BELOW).glob("*"))),
            head=(folder / "head.safetensors").is_file(),
            score_shift=score_shift,
            data={"file": self.split.ledger, **ledgers},
            metrics=metrics,
        )


def check_some_left(count: int, ledger: Mapping[str, Any], what: str = "row to train on") -> None:
    """Raises DataError, with what the ledger says of the others, when no row is left."""
    if count == 0:
        lost = ", ".join(f"{rows} {reason}" for reason, rows in ledger["dropped"].items())
        raise DataError(
            f"no {what} is left ({lost or 'none fell to its side'}); look at data.eval_fraction and data.max_length"
        )


def schedule_name(train: Optimisation) -> str:
    """transformers' name of a schedule; its plain `constant` would leave out the warm-up."""
    return "constant_with_warmup" if train.schedule == "constant" else train.schedule
