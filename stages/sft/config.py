"""Settings of supervised fine-tuning."""

from typing import ClassVar, Literal

from rlhf.config import LoRA, Role, TrainConfig, TrainingStage
from rlhf.config.demand import Demand


class SFTConfig(TrainingStage):
    """Supervised fine-tuning: next-token loss on demonstrations. Makes a policy."""

    makes: ClassVar[Role] = "policy"
    program: ClassVar[str] = "stages.sft.run"
    default_lr: ClassVar[float] = 2e-5

    stage: Literal["sft"] = "sft"
    train: TrainConfig = TrainConfig()
    """How it steps."""
    loss_on: Literal["assistant", "completion", "all"] = "assistant"
    """Tokens that are learned: every answer, the last answer only, or the whole text."""
    packing: bool = False
    """Fill every row of a batch with several short examples; exact, since position ids keep them apart."""

    def demand(self) -> Demand:
        return Demand("demonstrations", passes=self.train.epochs)

    def reads_micro_batches(self) -> str:
        dropout = self.backend.dropout if isinstance(self.backend, LoRA) else 0
        return "backend.dropout draws anew for each micro-batch" if dropout else ""
