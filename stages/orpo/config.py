"""Settings of odds ratio preference optimisation."""

from typing import ClassVar, Literal

from pydantic import Field

from rlhf.config import Role, TrainConfig, TrainingStage
from rlhf.config.demand import Demand


class ORPOConfig(TrainingStage):
    """Odds ratio preference optimisation (Hong et al. 2024): fine-tuning on chosen answers and preference in one."""

    makes: ClassVar[Role] = "policy"
    program: ClassVar[str] = "stages.orpo.run"
    default_lr: ClassVar[float] = 5e-6

    stage: Literal["orpo"] = "orpo"
    train: TrainConfig = TrainConfig()
    """How it steps."""
    odds_coef: float = Field(default=0.1, gt=0)
    """Weight of the odds ratio's loss, lambda of eq. 6. Likelihoods are of the answer alone, a mean over its tokens
    (eq. 2)."""

    def demand(self) -> Demand:
        return Demand("preferences", 2, shares_prompt=True, passes=self.train.epochs)
