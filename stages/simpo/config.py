"""Settings of simple preference optimisation."""

from typing import ClassVar, Literal

from pydantic import Field

from rlhf.config import Role, TrainConfig, TrainingStage
from rlhf.config.demand import Demand


class SimPOConfig(TrainingStage):
    """Simple preference optimisation (Meng et al. 2024): mean log-probabilities as rewards, and a target margin."""

    makes: ClassVar[Role] = "policy"
    program: ClassVar[str] = "stages.simpo.run"
    default_lr: ClassVar[float] = 1e-6

    stage: Literal["simpo"] = "simpo"
    train: TrainConfig = TrainConfig()
    """How it steps."""
    beta: float = Field(default=2.0, gt=0)
    """Scale of the reward, which is beta times an answer's mean log-probability (eq. 4)."""
    gamma: float = Field(default=1.0, ge=0)
    """Target margin between both rewards (eq. 5)."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Assumed share of flipped labels."""
    sft_coef: float = Field(default=0.0, ge=0)
    """Weight of the chosen answers' negative log-likelihood a token."""

    def demand(self) -> Demand:
        return Demand("preferences", 2, shares_prompt=True, passes=self.train.epochs)
