"""Settings of direct preference optimisation."""

from typing import ClassVar, Literal

from pydantic import Field

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
    """Assumed share of flipped labels (cDPO; robust DPO)."""
