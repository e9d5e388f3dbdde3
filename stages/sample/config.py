"""Settings of sampling."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from rlhf.config import DataConfig, Judged, ModelRef, Role, RolloutConfig, StageConfig, models_of
from rlhf.config.demand import Demand


class SampleConfig(StageConfig, Judged):
    """Several answers of a policy's own to each prompt, scored: pairs for preference stages (the best against the
    worst), demonstrations of the best for `sft`, ratings for `reward` and `kto`. Repeated, it is online DPO."""

    makes: ClassVar[Role] = "dataset"
    program: ClassVar[str] = "stages.sample.run"

    stage: Literal["sample"] = "sample"
    model: ModelRef
    """The policy that answers."""
    data: DataConfig
    """The prompts; `max_rows` answers only the first. Those that `eval_fraction` holds out are answered too, and held
    out again by the stages that read the answers, for which it must be the same; those of an `eval_path` are not."""
    n: int = Field(default=4, ge=2)
    """Answers to each prompt."""
    rollout: RolloutConfig = RolloutConfig()
    """How answers are drawn; `batch_size` is of answers."""
    keep_unfinished: bool = False
    """Keep answers that were cut short, which would be learned as if they ended there."""

    def references(self) -> dict[str, tuple[ModelRef, Role]]:
        return {"model": (self.model, "policy"), **models_of(self.sources)}

    def demand(self) -> Demand:
        return Demand(
            "prompts",
            sequences=self.n,
            trains=False,
            judges=tuple(models_of(self.sources)),
            drawn=self.rollout.size()[1],
            new_tokens=self.rollout.max_new_tokens,
        )

    def sizes(self) -> dict[str, tuple[str, int]]:
        return {"answers": self.rollout.size(), "batch": ("rollout.batch_size", self.rollout.batch_size)}

    @model_validator(mode="after")
    def _a_batch_has_room(self) -> "SampleConfig":
        if self.rollout.batch_size < self.n:
            raise ValueError(
                f"rollout.batch_size {self.rollout.batch_size} has no room for {self.n} answers to a prompt"
            )
        return self
