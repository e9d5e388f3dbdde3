"""Settings of reward modelling."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from rlhf.config import DataConfig, Role, TrainConfig, TrainingStage
from rlhf.config.demand import Demand


class RewardConfig(TrainingStage):
    """A reward model: one score for a conversation, learned from pairs or from scores. Makes a reward model."""

    makes: ClassVar[Role] = "reward"
    program: ClassVar[str] = "stages.reward.run"
    default_lr: ClassVar[float] = 1e-5

    stage: Literal["reward"] = "reward"
    train: TrainConfig = TrainConfig()
    """How it steps."""
    loss: Literal["pairs", "scores"] = "pairs"
    """`pairs`: which of two answers is better (Bradley & Terry 1952); `scores`: regression on the numbers that each
    answer has (Wang et al. 2024)."""
    margin_coef: float = Field(default=0.0, ge=0)
    """What the rows' margins are multiplied by before they are demanded of the scores (Touvron et al. 2023, eq. 2)."""
    ties: Literal["drop", "half", "rao_kupper"] = "drop"
    """Pairs of which neither is better: left out, half a win of each, or with a probability of their own (Rao & Kupper
    1967)."""
    tie_threshold: float = Field(default=0.5, gt=0)
    """For `rao_kupper`: differences of scores up to about this read as ties (log theta of the paper)."""
    heads: int = Field(default=1, ge=1)
    """Score heads on one body, of which the score is the mean. Their disagreement is an uncertainty that `ppo` can
    subtract (`rewards.….uncertainty`); several reward stages of other seeds disagree more honestly, and cost more."""
    attributes: dict[str, float] = Field(default_factory=dict)
    """For `scores`: the numbers to predict, by name, each by a head of its own, and their weights in the score. Left
    out: `score` alone."""
    center_coefficient: float = Field(default=0.01, ge=0)
    """Weight of the mean squared sum of both scores, which keeps scores near zero (Eisenstein et al. 2023, eq. 2)."""
    center: bool = True
    """After training, shift scores so that chosen answers average 0; the shift is kept in the artifact."""
    demonstrations: DataConfig | None = None
    """Answers that average 0 in place of the chosen ones, usually those that the policy was fine-tuned on."""

    def demand(self) -> Demand:
        if self.loss == "scores":
            return Demand("scores", reads_head=False, passes=self.train.epochs)
        return Demand("preferences", 2, shares_prompt=True, reads_head=False, passes=self.train.epochs)

    @property
    def predicted(self) -> dict[str, float]:
        """Attributes and their weights."""
        return self.attributes or {"score": 1.0}

    @model_validator(mode="after")
    def _nothing_is_in_vain(self) -> "RewardConfig":
        of_pairs = {"margin_coef", "ties", "tie_threshold", "heads", "center_coefficient"}
        given = {
            name for name in type(self).model_fields if getattr(self, name) != type(self).model_fields[name].default
        }
        if self.loss == "scores" and (vain := sorted(given & of_pairs)):
            raise ValueError(f"{vain[0]} does nothing with loss 'scores': leave it out")
        if self.loss == "pairs" and self.attributes:
            raise ValueError("attributes are predicted with loss 'scores': set it, or leave them out")
        if self.attributes and not any(self.attributes.values()):
            raise ValueError("every attribute has weight 0: there is no score")
        if self.ties != "rao_kupper" and "tie_threshold" in given:
            raise ValueError("tie_threshold does nothing without ties: rao_kupper")
        if not self.center and self.demonstrations is not None:
            raise ValueError("demonstrations do nothing without center: leave one of the two out")
        return self
