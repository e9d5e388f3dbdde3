"""Settings of Kahneman–Tversky optimisation."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from rlhf.config import Role, TrainConfig, TrainingStage
from rlhf.config.demand import Demand


class KTOConfig(TrainingStage):
    """Kahneman–Tversky optimisation (Ethayarajh et al. 2024): a policy from answers said to be good or bad."""

    makes: ClassVar[Role] = "policy"
    program: ClassVar[str] = "stages.kto.run"
    default_lr: ClassVar[float] = 1e-6

    stage: Literal["kto"] = "kto"
    train: TrainConfig = TrainConfig()
    """How it steps."""
    beta: float = Field(default=0.1, gt=0)
    """KL strength of the implicit reward; larger stays nearer the reference."""
    loss: Literal["kto", "apo_zero_unpaired"] = "kto"
    """`kto` sets rewards against an estimate of the KL (section 4.1 of the paper); `apo_zero_unpaired` against zero
    (D'Oosterlinck et al. 2024)."""
    desirable_weight: float | None = Field(default=None, gt=0)
    """Weight of good answers. Left out: such that good and bad weigh alike in all, as the authors advise, but no less
    than a quarter of a bad one's and no more than four times that."""
    undesirable_weight: float = Field(default=1.0, gt=0)
    """Weight of bad answers."""

    def demand(self) -> Demand:
        read_at_once = 2 if self.loss == "kto" else 1  # the KL is estimated on answers to other prompts
        return Demand("labels", passes=self.train.epochs, reads=read_at_once + (read_at_once - 1) * self.train.epochs)

    def reads_micro_batches(self) -> str:
        return "loss 'kto' estimates the KL over a micro-batch" if self.loss == "kto" else ""

    @model_validator(mode="after")
    def _kl_needs_two(self) -> "KTOConfig":
        if self.loss == "kto" and self.train.micro_batch < 2:
            raise ValueError("loss 'kto' estimates the KL over a micro-batch: train.micro_batch_size must be 2 or more")
        return self
