"""Settings of direct preference optimisation."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from rlhf.config import Role, TrainConfig, TrainingStage


class DPOConfig(TrainingStage):
    """Direct preference optimisation (Rafailov et al. 2023): a policy from pairs, without a reward model."""

    makes: ClassVar[Role] = "policy"
    program: ClassVar[str] = "stages.dpo.run"
    default_lr: ClassVar[float] = 1e-6

    stage: Literal["dpo"] = "dpo"
    train: TrainConfig = TrainConfig()
    """How it steps."""
    beta: float = Field(default=0.1, gt=0)
    """KL strength of the implicit reward; larger stays nearer the reference (Rafailov et al. 2023, eq. 7)."""
    loss: Literal["sigmoid", "ipo", "hinge", "robust"] = "sigmoid"
    """Form of the loss."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Assumed share of flipped labels; read by the robust loss alone (Chowdhury et al. 2024)."""

    @model_validator(mode="after")
    def _smoothing_is_read(self) -> "DPOConfig":
        if self.label_smoothing and self.loss != "robust":
            raise ValueError(f"label_smoothing is for loss 'robust'; loss '{self.loss}' does not read it")
        return self
