"""Settings of contrastive preference optimisation."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from rlhf.config import Role, TrainConfig, TrainingStage
from rlhf.config.demand import Demand


class CPOConfig(TrainingStage):
    """Contrastive preference optimisation (Xu et al. 2024): DPO with a uniform reference, and the chosen answers'
    likelihood beside it."""

    makes: ClassVar[Role] = "policy"
    program: ClassVar[str] = "stages.cpo.run"
    default_lr: ClassVar[float] = 1e-6

    stage: Literal["cpo"] = "cpo"
    train: TrainConfig = TrainConfig()
    """How it steps."""
    beta: float = Field(default=0.1, gt=0)
    """Scale of the difference of log-probabilities."""
    loss: Literal["sigmoid", "hinge", "ipo"] = "sigmoid"
    """Form of the loss: the authors', SLiC's hinge (Zhao et al. 2023), or IPO's square on means (Azar et al. 2023)."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Assumed share of flipped labels, for `sigmoid`."""
    sft_coef: float = Field(default=1.0, ge=0)
    """Weight of the chosen answers' negative log-likelihood a token."""

    @model_validator(mode="after")
    def _smoothing_is_read(self) -> "CPOConfig":
        if self.label_smoothing and self.loss != "sigmoid":
            raise ValueError(f"loss '{self.loss}' does not read label_smoothing: leave it out")
        return self

    def demand(self) -> Demand:
        return Demand("preferences", 2, shares_prompt=True, passes=self.train.epochs)
