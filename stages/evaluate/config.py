"""Settings of evaluation."""

from typing import ClassVar, Literal

from pydantic import Field

from rlhf.config import DataConfig, ModelRef, Role, RuleConfig, StageConfig


class EvaluateConfig(StageConfig):
    """Held-out evaluation of a policy against its parent. Every part runs when its inputs are named."""

    makes: ClassVar[Role] = "evaluation"
    program: ClassVar[str] = "stages.evaluate.run"

    stage: Literal["evaluate"] = "evaluate"
    policy: ModelRef
    """The policy in question."""
    baseline: ModelRef | None = None
    """The policy it is compared with, usually its parent: win rates and KL are against this one."""
    reward_model: ModelRef | None = None
    """Judge of the win rate and of the policy's score; its own accuracy is measured on `preferences`."""
    rule: RuleConfig | None = None
    """A rule as a second judge, one that no training saw."""
    prompts: DataConfig | None = None
    """Held-out prompts that policy and baseline answer."""
    preferences: DataConfig | None = None
    """Held-out pairs for the reward model's accuracy."""
    demonstrations: DataConfig | None = None
    """Held-out demonstrations for perplexity before and after."""
    max_prompts: int = Field(default=200, ge=1)
    """Most prompts to answer."""
    max_new_tokens: int = Field(default=128, ge=1)
    """Most tokens of an answer."""
    temperature: float = Field(default=1.0, ge=0)
    """Sampling temperature; 0 is greedy."""
    batch_size: int = Field(default=32, ge=1)
    """Rows a forward pass."""
    show: int = Field(default=3, ge=0)
    """Before/after samples to print; all are in samples.jsonl."""

    def references(self) -> dict[str, tuple[ModelRef, Role]]:
        named = {
            "policy": (self.policy, "policy"),
            "baseline": (self.baseline, "policy"),
            "reward_model": (self.reward_model, "reward"),
        }
        return {field: (ref, role) for field, (ref, role) in named.items() if ref is not None}  # type: ignore[misc]

    def sizes(self) -> dict[str, tuple[str, int]]:
        return dict.fromkeys(("answers", "batch"), ("batch_size", self.batch_size))
