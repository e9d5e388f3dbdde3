"""Settings of evaluation."""

import importlib.util
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from rlhf.config import DataConfig, ModelRef, RecipePath, Role, RuleConfig, Server, StageConfig, Strict
from rlhf.config.data import path_alone
from rlhf.config.demand import Demand
from rlhf.errors import RecipeError


class Example(Strict):
    """One exchange to imitate."""

    prompt: str
    """What a user says."""
    response: str
    """What is to be answered."""


class Prompted(Strict):
    """A model that was not trained for the task but is told what to do: a baseline, since prompting may be enough."""

    model: ModelRef | None = None
    """The model that is told. Left out: the base that the policy was trained from."""
    system: str = ""
    """What it is told before each prompt."""
    examples: list[Example] = Field(default_factory=list)
    """Exchanges that stand before each prompt."""

    @model_validator(mode="after")
    def _is_told_something(self) -> "Prompted":
        if not (self.system or self.examples):
            raise ValueError("name a `system` text, or `examples`, or both")
        return self


class LLMJudgeConfig(Server):
    """An LLM that says which of two answers is better. It is asked twice, with the answers in either order; where the
    order decides, neither wins."""

    url: str = Field(pattern=r"^https?://")  # type: ignore[assignment]
    """A server with OpenAI's API, up to its version: `http://localhost:8000/v1`."""
    model: str = Field(min_length=1)
    """The model's name on that server."""
    prompt: str | None = None
    """What it is asked, with {conversation}, {a} and {b} in it; to end with [[A]], [[B]], or [[C]] for a tie."""
    at_once: int = Field(default=8, ge=1, le=256)
    """Most questions that wait for an answer at the same time."""

    @model_validator(mode="after")
    def _prompt_has_places(self) -> "LLMJudgeConfig":
        lacking = [place for place in ("{conversation}", "{a}", "{b}") if self.prompt and place not in self.prompt]
        if lacking:
            raise ValueError(f"prompt lacks {' and '.join(lacking)}, where what is judged is put")
        return self


class HarnessConfig(Strict):
    """Public benchmarks by lm-evaluation-harness: `pip install rlhf[harness]`. It fetches what its tasks need."""

    tasks: list[str] = Field(default_factory=list)
    """Names of tasks or groups, such as `arc_easy`."""
    file: RecipePath | None = None
    """A task of your own (.yaml)."""
    limit: int | None = Field(default=None, ge=1)
    """Most examples of each task; all where left out."""
    examples: int | None = Field(default=None, ge=0)
    """Examples before each question; as the task says where left out."""
    chat: bool = False
    """Ask by the chat template, rather than as plain text."""
    trust_code: bool = False
    """Run the Python that a task of your own may name. Needed for a `file`: read it first."""

    def check_there(self) -> None:
        if importlib.util.find_spec("lm_eval") is None:
            raise RecipeError("harness: lm-evaluation-harness is not installed: pip install 'rlhf[harness]'")

    @model_validator(mode="after")
    def _names_what_is_trusted(self) -> "HarnessConfig":
        if not (self.tasks or self.file):
            raise ValueError("name some `tasks`, or a `file` with one of your own")
        if self.file is not None and not self.trust_code:
            raise ValueError(f"{self.file} may run Python code; read it, then set trust_code: true")
        return self


def _held_out(data: Any) -> Any:
    """All rows of a file that nothing is trained on."""
    data = path_alone(data)
    return {"eval_fraction": 1, **data} if isinstance(data, dict) and not data.get("eval_path") else data


HeldOut = Annotated[DataConfig, BeforeValidator(_held_out)]
"""Held out as a whole, unless it says otherwise."""


class EvaluateConfig(StageConfig):
    """Held-out evaluation of a policy against its parent, or of a reward model. Every part runs when its inputs are
    named."""

    makes: ClassVar[Role] = "evaluation"
    program: ClassVar[str] = "stages.evaluate.run"

    stage: Literal["evaluate"] = "evaluate"
    policy: ModelRef | None = None
    """The policy in question."""
    baseline: ModelRef | None = None
    """The policy it is compared with, usually its parent: win rates and KL are against this one."""
    prompted: Prompted | None = None
    """A model with a prompt, which the policy is compared with as well."""
    reward_model: ModelRef | None = None
    """Judge of the win rate and of the policy's score; its own accuracy is measured on `preferences`."""
    held_out_reward: ModelRef | None = None
    """A reward model that the policy was not trained on, as a second judge; it is measured on `preferences` too."""
    rule: RuleConfig | None = None
    """A rule as a judge, one that no training saw."""
    llm_judge: LLMJudgeConfig | None = None
    """An LLM as a judge of pairs of answers."""
    prompts: DataConfig | None = None
    """Held-out prompts that policy and baseline answer."""
    preferences: DataConfig | None = None
    """Held-out pairs for the reward models' accuracy. It is told by `subset`, `category` or `source` where rows have
    such a field, by file otherwise."""
    demonstrations: DataConfig | None = None
    """Held-out demonstrations for perplexity before and after; rows that are not held out tell over-fitting."""
    refusals: HeldOut | None = None
    """Prompts that say in a field `label` whether they are `safe` or `unsafe`, or as XSTest in `type` (contrast_… is
    unsafe): which of them are refused? All rows are held out unless `eval_fraction` says otherwise."""
    general_text: HeldOut | None = None
    """Text of no task, of which the policy is to forget nothing. All rows are held out here too."""
    harness: HarnessConfig | None = None
    """Public benchmarks, of policy and baseline."""
    forgetting: bool = True
    """Measure the loss of each model that the policy came from, stage by stage, on the held-out examples of each stage
    and on `general_text`."""
    max_prompts: int = Field(default=200, ge=1)
    """Most prompts to answer."""
    max_rows: int = Field(default=200, ge=1)
    """Most examples of one kind that a loss is measured on."""
    max_new_tokens: int = Field(default=128, ge=1)
    """Most tokens of an answer."""
    temperature: float = Field(default=1.0, ge=0)
    """Sampling temperature; 0 is greedy."""
    copied_words: int = Field(default=20, ge=2)
    """Words in a row, of an answer and of one training text, that count as copied."""
    batch_size: int = Field(default=32, ge=1)
    """Rows a forward pass."""
    show: int = Field(default=3, ge=0)
    """Before/after samples to print; all are in samples.jsonl."""

    @model_validator(mode="after")
    def _nothing_is_for_nothing(self) -> "EvaluateConfig":
        judges = self.reward_model or self.held_out_reward
        if self.policy is None and not (judges and self.preferences):
            raise ValueError("nothing to evaluate: name a `policy`, or a `reward_model` and `preferences`")
        needs = {
            "policy": (
                "baseline",
                "prompted",
                "rule",
                "prompts",
                "demonstrations",
                "refusals",
                "general_text",
                "harness",
            ),
            "prompts": ("llm_judge",),
        }
        for needed, fields in needs.items():
            idle = [name for name in fields if getattr(self, name) is not None]
            if idle and getattr(self, needed) is None:
                raise ValueError(f"`{idle[0]}` does nothing without `{needed}`: name that too, or leave it out")
        if self.llm_judge and not (self.baseline or self.prompted):
            raise ValueError("`llm_judge` compares two answers: name a `baseline` or `prompted`")
        if self.preferences and not judges:
            raise ValueError("`preferences` measure reward models: name a `reward_model` or a `held_out_reward`")
        return self

    def references(self) -> dict[str, tuple[ModelRef, Role]]:
        named = {
            "policy": (self.policy, "policy"),
            "baseline": (self.baseline, "policy"),
            "prompted.model": (self.prompted and self.prompted.model, "policy"),
            "reward_model": (self.reward_model, "reward"),
            "held_out_reward": (self.held_out_reward, "reward"),
        }
        return {field: (ref, role) for field, (ref, role) in named.items() if ref is not None}  # type: ignore[misc]

    def demand(self) -> Demand:
        answered = 1 + (self.baseline is not None) + (self.prompted is not None)
        fields = ("reward_model", "held_out_reward")
        return Demand(
            "prompts",
            sequences=answered,
            trains=False,
            judges=tuple(field for field in fields if getattr(self, field) is not None),
            drawn=self.batch_size if self.prompts else 0,
            new_tokens=self.max_new_tokens if self.prompts else 0,
            examples=self.max_prompts if self.prompts else self.max_rows,
        )

    def sizes(self) -> dict[str, tuple[str, int]]:
        return dict.fromkeys(("answers", "batch"), ("batch_size", self.batch_size))
