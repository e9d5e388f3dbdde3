"""Settings of direct preference optimisation."""

from typing import ClassVar, Literal

from pydantic import Field, PositiveFloat, model_validator

from rlhf.config import Role, TrainConfig, TrainingStage
from rlhf.config.demand import Demand

LossName = Literal[
    "sigmoid",
    "sigmoid_norm",
    "hinge",
    "ipo",
    "robust",
    "exo_pair",
    "nca_pair",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
]
_SMOOTHED = {"sigmoid", "robust", "exo_pair", "aot", "aot_unpaired"}
"""Losses that read `label_smoothing`."""


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
    loss: LossName | dict[LossName, PositiveFloat] = "sigmoid"
    """Form of the loss, or several with their weights. `sigmoid_norm` is a token's mean in place of an answer's sum, as
    `ipo` has it too; `robust` is unbiased under flipped labels, `sigmoid` with `label_smoothing` is conservative."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Assumed share of flipped labels: conservative DPO with `sigmoid` (Mitchell 2023), unbiased with `robust`
    (Chowdhury et al. 2024, eq. 9); `exo_pair` and the `aot` losses read it too."""
    sft_coef: float = Field(default=0.0, ge=0)
    """Weight of the chosen answers' negative log-likelihood a token (of a micro-batch, as TRL has it), which keeps them
    likely (Liu et al. 2024; Pang et al. 2024)."""
    reference_free: bool = False
    """Take a uniform reference in place of the parent; the policy may then drift from it without bound."""

    @property
    def losses(self) -> dict[str, float]:
        """Every form with its weight."""
        return {self.loss: 1.0} if isinstance(self.loss, str) else {**self.loss}

    def demand(self) -> Demand:
        reads = 0 if self.reference_free else 1
        return Demand("preferences", 2, shares_prompt=True, passes=self.train.epochs, reads=reads)

    def reads_micro_batches(self) -> str:
        if sorts := sorted({"aot", "aot_unpaired"} & self.losses.keys()):
            return f"loss '{sorts[0]}' sorts a micro-batch"
        return "sft_coef weighs a mean over the tokens of a micro-batch" if self.sft_coef else ""

    @model_validator(mode="after")
    def _smoothing_is_read(self) -> "DPOConfig":
        if not self.losses:
            raise ValueError("name at least one loss")
        unread = [name for name in self.losses if name not in _SMOOTHED]
        if self.label_smoothing and unread:
            reads = ", ".join(sorted(_SMOOTHED))
            raise ValueError(f"loss '{unread[0]}' does not read label_smoothing; these do: {reads}")
        if "robust" in self.losses and not self.label_smoothing:
            raise ValueError("loss 'robust' without label_smoothing is 'sigmoid': name the share of flipped labels")
        if (sorts := sorted({"aot", "aot_unpaired"} & self.losses.keys())) and self.train.micro_batch < 2:
            raise ValueError(f"loss '{sorts[0]}' sorts a micro-batch: train.micro_batch_size must be 2 or more")
        if "exo_pair" in self.losses and not self.label_smoothing:
            raise ValueError("loss 'exo_pair' needs label_smoothing above 0, such as 0.001 (Ji et al. 2024, eq. 16)")
        return self
