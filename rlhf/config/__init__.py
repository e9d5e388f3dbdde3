"""Blocks of configuration that stages share. Light: imports no torch.

Every field has its bounds in the type and its meaning in the docstring below it; both end up in the JSON schema.
"""

import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    Field,
    PositiveFloat,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from rlhf.config.data import DataConfig
from rlhf.config.demand import Demand
from rlhf.config.strict import CodeConfig, RecipePath, Strict, from_recipe, items
from rlhf.errors import RecipeError
from rlhf.privacy import MASK

__all__ = ["DataConfig", "RecipePath", "Strict", "items"]


def _jinja_is_a_path(template: Any, info: ValidationInfo) -> Any:
    return from_recipe(Path(template), info) if isinstance(template, str) and template.endswith(".jinja") else template


Template = Annotated[str | Path, BeforeValidator(_jinja_is_a_path)]
"""The name of a chat template, or a .jinja file."""


# ------------------------------------------------------------------------------------------------ models


class ModelRef(Strict):
    """Where a stage's weights come from: exactly one of `stage`, `name`."""

    stage: str | None = None
    """An earlier stage of this recipe."""
    name: str | None = None
    """A registry name (`tiny`, `qwen3-0.6b`), a folder, another run's stage (`runs/…/stages/sft`), or a hub id."""
    revision: str | None = None
    """Branch, tag or commit of a hub model."""
    trust_remote_code: bool = False
    """Run Python that a hub model brings along. Off unless you have read that code."""

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_source(self) -> "ModelRef":
        if (self.stage is None) == (self.name is None):
            raise ValueError("name exactly one of `stage` (an earlier stage) and `name` (registry, folder or hub)")
        return self


# ------------------------------------------------------------------------------------------------ backends


class Full(Strict):
    """Every weight trains; the output is a whole model."""

    lr_scale: ClassVar[float] = 1.0
    kind: Literal["full"] = "full"
    frozen_bits: Literal[4, 8] | None = None
    """Hold frozen copies (reference, reward models) in 4 or 8 bit: smaller, and near what they copy but not equal."""
    offload: bool = False
    """Have frozen copies of the RL stage wait elsewhere while they are not read: in main memory where they work on an
    accelerator, in a file under TMPDIR where they work in main memory."""

    @model_validator(mode="after")
    def _one_saving(self) -> "Full":
        if self.frozen_bits and self.offload:
            raise ValueError("set `frozen_bits` or `offload`, not both: quantised weights do not move between devices")
        return self


class LoRA(Strict):
    """Low-rank adapters on a frozen base (Hu et al. 2021).

    A stage continues its parent's adapter. Where it names another shape, it trains an adapter of that shape on top of
    the parent's, which stays as it is.
    """

    lr_scale: ClassVar[float] = 10.0
    """The best learning rate of LoRA is about ten times that of full fine-tuning (Schulman et al. 2025)."""
    kind: Literal["lora"] = "lora"
    r: int | None = Field(default=None, ge=1)
    """Rank of the update. Left out: that of the parent's adapter, which is continued, or 16."""
    alpha: float | None = Field(default=None, gt=0)
    """Scale of the update: it is multiplied by alpha / r (alpha / sqrt(r) with rsLoRA). Left out: the parent's, or
    twice the rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the adapter's input in supervised fine-tuning; other stages train without (Huang et al. 2024)."""
    targets: list[str] | None = None
    """Names of the linear layers to adapt. Left out: the parent's, or all of the family's (Dettmers et al. 2023 §4)."""
    dora: bool | None = None
    """Weight-decomposed LoRA (Liu et al. 2024). Left out: as the parent's adapter is, or not."""
    rslora: bool | None = None
    """Rank-stabilised scale (Kalajdzievski 2023). Left out: as the parent's adapter is, or not."""


class QLoRA(LoRA):
    """LoRA on a base held in 4-bit NormalFloat (Dettmers et al. 2023)."""

    kind: Literal["qlora"] = "qlora"  # type: ignore[assignment]
    double_quant: bool = True
    """Quantise the quantisation constants too: 0.4 bits a weight less."""


def _kind_alone(backend: Any) -> Any:
    return {"kind": backend} if isinstance(backend, str) else backend


BackendConfig = Annotated[Full | LoRA | QLoRA, Field(discriminator="kind"), BeforeValidator(_kind_alone)]
"""`backend: qlora` is short for `backend: {kind: qlora}`."""


# ------------------------------------------------------------------------------------------------ training


class LearningRates(Strict):
    """A learning rate for each backend, so that a recipe may change its backend and nothing else."""

    full: float = Field(gt=0)
    lora: float = Field(gt=0)
    qlora: float | None = Field(default=None, gt=0)
    """As LoRA's when left out."""

    def of(self, kind: str) -> float:
        return {"full": self.full, "lora": self.lora, "qlora": self.qlora or self.lora}[kind]


Optimizer = Literal["adamw", "adamw_8bit", "paged_adamw_8bit"]


class Optimisation(Strict):
    """How weights are stepped, in every training stage."""

    unhashed: ClassVar[frozenset[str]] = frozenset({"log_every", "checkpoint_every"})
    lr: PositiveFloat | LearningRates | None = None
    """Peak learning rate: a number, or one for each backend; the stage's own customary rate when left out."""
    micro_batch_size: int | None = Field(default=None, ge=1)
    """Examples a forward pass on one process; the whole batch when left out. The rest is accumulated."""
    auto_batch: bool = False
    """Where memory runs out, halve `micro_batch_size` and go on from the last checkpoint: batch and loss stay as they
    are. Refused where a loss reads its micro-batch as a whole."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    optimizer: Optimizer = "adamw"
    """AdamW (Loshchilov & Hutter 2019). `adamw_8bit` holds its two moments in 8 bit, a quarter of the memory, but for
    embeddings (Dettmers et al. 2022); `paged_adamw_8bit` has them wait in main memory where an accelerator's runs
    out."""
    warmup: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps over which the learning rate rises."""
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    """Learning rate after warm-up."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are clipped to this norm."""
    log_every: int = Field(default=10, ge=1)
    """Steps between lines of metrics."""


class TrainConfig(Optimisation):
    """How a supervised stage goes through its examples."""

    epochs: float = Field(default=1.0, gt=0)
    """Passes over the data."""
    max_steps: int | None = Field(default=None, ge=1)
    """Stop after this many optimizer steps, whatever `epochs` says."""
    batch_size: int = Field(default=16, ge=1)
    """Examples an optimizer step, over all processes and accumulation."""
    checkpoint_every: int = Field(default=100, ge=0)
    """Steps between checkpoints, from which an interrupted stage goes on bit for bit; 0 for none."""

    @property
    def micro_batch(self) -> int:
        """Examples a forward pass on one process."""
        return self.micro_batch_size or self.batch_size

    @model_validator(mode="after")
    def _batches_divide(self) -> "TrainConfig":
        if self.micro_batch_size and self.batch_size % self.micro_batch_size:
            raise ValueError(f"micro_batch_size {self.micro_batch_size} must divide batch_size {self.batch_size}")
        return self


# ------------------------------------------------------------------------------------------------ tracking


class WandB(Strict):
    """Weights & Biases. Without a key the run is kept offline; it is never stopped for want of one."""

    project: str = "rlhf"
    """Project the run is filed under."""
    entity: str | None = None
    """Team or user."""
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """`auto`: online when a key is found, offline otherwise."""
    tags: list[str] = Field(default_factory=list)
    """Tags of the run."""
    upload: bool = False
    """Upload what stages make. Left out, and of offline runs, W&B is told their files' names and hashes."""


class TrackingConfig(Strict):
    """Where metrics go besides each stage's `metrics.jsonl`, which is always written."""

    wandb: WandB | None = None
    """Track in Weights & Biases."""
    tensorboard: bool = False
    """Track in TensorBoard, in each stage's folder."""
    mlflow: bool = False
    """Track in MLflow, in each stage's folder unless MLFLOW_TRACKING_URI says otherwise."""
    trackio: bool = False
    """Track in trackio, in each stage's folder unless TRACKIO_DIR says otherwise."""
    price_per_hour: float | None = Field(default=None, ge=0)
    """What an hour on this machine costs, in any currency: the report tells what each stage cost."""

    @property
    def others(self) -> list[str]:
        """Trackers of accelerate's that are asked for."""
        return [name for name in ("tensorboard", "mlflow", "trackio") if getattr(self, name)]

    @field_validator("tensorboard", "mlflow", "trackio")
    @classmethod
    def _is_installed(cls, asked: bool, field: ValidationInfo) -> bool:
        if asked and find_spec(str(field.field_name)) is None:
            raise ValueError(f"it is not installed: pip install {field.field_name}")
        return asked

    @model_validator(mode="before")
    @classmethod
    def _wandb_true(cls, value: Any) -> Any:
        """`wandb: true` means its defaults."""
        if isinstance(value, dict) and isinstance(value.get("wandb"), bool):
            return {**value, "wandb": {} if value["wandb"] else None}
        return value


# ------------------------------------------------------------------------------------------------ stages

Role = Literal["policy", "reward", "dataset", "evaluation"]


class StageConfig(Strict):
    """What every stage has. A stage adds its own fields and says what it makes and where its program is."""

    makes: ClassVar[Role]
    program: ClassVar[str]
    """Module whose `run(config, inputs, out, tracker)` does the work; imported only then."""

    name: str
    stage: str
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of initialisation, order and sampling."""
    deterministic: bool = False
    """Have PyTorch compute by deterministic algorithms alone, slower on an accelerator: the same bits again on the same
    machine with the same libraries."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Arithmetic of the forward and backward passes, and storage of frozen weights; what trains is held in fp32."""
    template: Template | None = None
    """Chat template: a registry name or a .jinja file. Left out: the parent's, the tokenizer's, or the family's."""

    def references(self) -> dict[str, tuple[ModelRef, Role]]:
        """Fields that name a model, with the role that model must have."""
        raise NotImplementedError

    def sizes(self) -> dict[str, tuple[str, int]]:
        """Settings that memory goes by, with their values: of a `batch` that is computed at once, and of `answers` that
        are drawn side by side."""
        return {}

    def demand(self) -> Demand:
        """What the stage asks of a machine."""
        raise NotImplementedError

    def data_stages(self) -> dict[str, str]:
        """Where an earlier stage makes the examples, such as `data` or `data.mix.0`, with that stage's name."""
        return {
            ".".join(filter(None, (name, key))): stage
            for name, block in self.data_blocks().items()
            for key, stage in block.stages().items()
        }

    def data_blocks(self) -> dict[str, DataConfig]:
        """Fields that hold examples."""
        blocks = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: block for name, block in blocks.items() if isinstance(block, DataConfig)}


class TrainingStage(StageConfig):
    """A stage that trains a model by a backend."""

    default_lr: ClassVar[float]
    """Learning rate of full fine-tuning when the recipe names none."""

    model: ModelRef
    """The weights this stage starts from."""
    backend: BackendConfig = Field(default_factory=LoRA)
    """What trains: every weight, LoRA adapters, or LoRA on a 4-bit base."""
    data: DataConfig
    """The examples."""
    train: Optimisation = TrainConfig()
    """How it steps."""
    new_tokens: list[Annotated[str, StringConstraints(pattern=r"^\S(.*\S)?$")]] = Field(default_factory=list)
    """Special tokens to add to the vocabulary, such as <think>. Their rows start as the mean of all others and train,
    whatever the backend; stages that follow go on with them."""

    @model_validator(mode="after")
    def _tokens_differ(self) -> "TrainingStage":
        if twice := [token for token in self.new_tokens if self.new_tokens.count(token) > 1]:
            raise ValueError(f"new_tokens: '{twice[0]}' is named twice")
        return self

    def references(self) -> dict[str, tuple[ModelRef, Role]]:
        return {"model": (self.model, "policy")}

    @model_validator(mode="after")
    def _batches_may_be_smaller(self) -> "TrainingStage":
        if self.train.auto_batch and (why := self.reads_micro_batches()):
            raise ValueError(f"train.auto_batch would change what is learned: {why}; set train.micro_batch_size")
        return self

    def reads_micro_batches(self) -> str:
        """Why micro-batches of another size would train otherwise than by rounding; empty where they would not."""
        return ""

    @property
    def step_size(self) -> int:
        """Examples an optimizer step."""
        assert isinstance(self.train, TrainConfig), f"stage '{self.name}' says itself how many it steps on"
        return self.train.batch_size

    def sizes(self) -> dict[str, tuple[str, int]]:
        return {"batch": ("train.micro_batch_size", self.train.micro_batch_size or self.step_size)}

    @property
    def lr(self) -> float:
        """The learning rate for this stage's backend."""
        rates = self.train.lr
        if rates is None:
            return self.default_lr * self.backend.lr_scale
        return rates.of(self.backend.kind) if isinstance(rates, LearningRates) else rates


# ------------------------------------------------------------------------------------------------ rollouts and rewards


class RolloutConfig(Strict):
    """How responses are drawn."""

    batch_size: int = Field(default=64, ge=1)
    """Episodes (responses) a rollout; the policy is updated after each rollout."""
    max_new_tokens: int = Field(default=128, ge=1)
    """Most tokens of a response."""
    temperature: float = Field(default=1.0, gt=0)
    """Sampling temperature; policy and reference log-probabilities are at this temperature too."""
    engine: Literal["auto", "cached", "hf"] = "auto"
    """What draws them: `cached`, our decoder with keys and values in place; `hf`, transformers' generate; `auto`, the
    faster one that knows the model's family."""
    at_once: int | None = Field(default=None, ge=1)
    """Most responses drawn side by side, which bounds the memory of keys and values; null for the whole rollout.
    Another number draws other answers."""

    def size(self) -> tuple[str, int]:
        """The setting that memory goes by, with its value."""
        return "rollout.at_once", self.at_once or self.batch_size


class RuleConfig(CodeConfig):
    """A Python function that scores a response: `function(messages, response) -> float`.

    With a third argument it is told the right answer too: the field `answer` of the prompt's row.
    """

    function: str = Field(default="score", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Function in that file."""


class Server(Strict):
    """A server that is asked over HTTP, where one is named."""

    unhashed: ClassVar[frozenset[str]] = frozenset({"token_env", "timeout_s"})
    url: str | None = Field(default=None, pattern=r"^https?://")
    token_env: str | None = None
    """Environment variable with the server's token, which is sent as `Authorization: Bearer` and never written down."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Longest that a server may take over an answer, in seconds."""

    def token(self) -> str | None:
        """The server's token, if it takes one. Raises RecipeError where its variable is not set."""
        if self.token_env is None:
            return None
        if not (value := os.environ.get(self.token_env, "").strip()):
            raise RecipeError(f"{self.url}: its token is to be in the environment variable {self.token_env}: set it")
        return value

    def check_there(self) -> None:
        self.token()

    @model_validator(mode="after")
    def _secrets_stand_elsewhere(self) -> "Server":
        if self.url is None and self.timeout_s != type(self).model_fields["timeout_s"].default:
            raise ValueError("timeout_s does nothing without a `url`: leave it out")
        if self.token_env is not None and self.url is None:
            raise ValueError("token_env does nothing without a `url`: leave it out")
        if self.token_env is not None and not re.fullmatch("[A-Z][A-Z0-9_]*", self.token_env):  # and is not told
            raise ValueError("token_env names an environment variable, in capitals: a token itself stands in no recipe")
        if self.url is not None and MASK in self.url:
            raise ValueError(
                f"{MASK} stands where a secret was in the recipe that this was written from: put it there again, or "
                "name the environment variable that holds it by token_env"
            )
        return self


class RewardSource(Server):
    """One of several things that score a response: a model or several, a rule, or a server."""

    model: ModelRef | list[ModelRef] | None = None
    """A reward model; of several, the mean."""
    uncertainty: float = Field(default=0.0, ge=0)
    """Standard deviations of disagreement that are subtracted from the score: between several models, or between the
    heads of one (Coste et al. 2024; Zhai et al. 2024, eq. 6)."""
    rule: RuleConfig | None = None
    """A Python function `(messages, response) -> float`."""
    url: str | None = Field(default=None, pattern=r"^https?://")
    """A server that takes {"conversations": [...]} and answers {"scores": [...]}.

    A name and a password in it (https://name:password@host) are sent as HTTP's basic authentication; they and its query
    are used and never written down."""
    weight: float = 1.0
    """What its score is multiplied by in the sum; 0 only reports it."""

    @property
    def models(self) -> list[ModelRef]:
        """The reward models, if it is any."""
        return self.model if isinstance(self.model, list) else [self.model] if self.model else []

    @model_validator(mode="after")
    def _one_kind(self) -> "RewardSource":
        if sum(bool(kind) for kind in (self.models, self.rule, self.url)) != 1:
            raise ValueError("name exactly one of `model`, `rule` and `url`")
        if self.uncertainty and not self.models:
            raise ValueError("uncertainty is the disagreement of reward models or of their heads: name a `model`")
        return self


RewardName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


class Judged(Strict):
    """What a stage has that scores responses."""

    reward_model: ModelRef | None = None
    """What scores responses."""
    rewards: dict[RewardName, RewardSource] = Field(default_factory=dict)
    """Further things that score responses, by name; the score is the weighted sum of all."""

    @property
    def sources(self) -> dict[str, RewardSource]:
        """Everything that scores responses, by the field that names it."""
        first = {"reward_model": RewardSource(model=self.reward_model)} if self.reward_model else {}
        return first | {f"rewards.{name}": source for name, source in self.rewards.items()}

    @model_validator(mode="after")
    def _something_scores(self) -> "Judged":
        if not self.sources:
            raise ValueError("nothing scores responses: name a `reward_model`, or a model, rule or url in `rewards`")
        if all(source.weight == 0 for source in self.sources.values()):
            raise ValueError("every reward has weight 0: there is nothing to learn from")
        if "reward_model" in self.rewards:
            raise ValueError("a source in `rewards` may not be called reward_model, as the field is: name it otherwise")
        return self


def models_of(sources: Mapping[str, RewardSource]) -> dict[str, tuple[ModelRef, Role]]:
    """The reward models of some sources as references: by the field of each, numbered where it has several."""
    found: dict[str, tuple[ModelRef, Role]] = {}
    for where, source in sources.items():
        for i, ref in enumerate(source.models):
            found[where if len(source.models) == 1 else f"{where}.{i}"] = (ref, "reward")
    return found
