"""Settings of reward modelling."""

from typing import ClassVar, Literal

from pydantic import Field

from rlhf.config import Role, TrainConfig, TrainingStage


class RewardConfig(TrainingStage):
    """A reward model: one score for a conversation, learned from pairs (Bradley–Terry). Makes a reward model."""

    makes: ClassVar[Role] = "reward"
    program: ClassVar[str] = "stages.reward.run"
    default_lr: ClassVar[float] = 1e-5

    stage: Literal["reward"] = "reward"
    train: TrainConfig = TrainConfig()
    """How it steps."""
    center_coefficient: float = Field(default=0.01, ge=0)
    """Weight of the mean squared sum of both scores, which keeps scores near zero (Eisenstein et al. 2023, eq. 2)."""
    center: bool = True
    """After training, shift scores so that chosen answers average 0; the shift is kept in the artifact."""
