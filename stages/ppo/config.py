"""Settings of reinforcement learning against a reward model."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from rlhf.config import (
    Judged,
    ModelRef,
    Optimisation,
    RewardSource,
    Role,
    RolloutConfig,
    Strict,
    TrainingStage,
    models_of,
)
from rlhf.config.demand import Demand


class RLConfig(Strict):
    """The algorithm. Defaults follow Huang et al. 2024, "The N Implementation Details of RLHF with PPO"."""

    estimator: Literal["gae", "rloo", "grpo", "reinforce++"] = "gae"
    """Advantages: `gae` trains a critic; the others need none. Losses are means over all tokens of a step, for `grpo`
    too, whose authors average over each response first (Yu et al. 2025, §3.3, for why)."""
    critic: Literal["shared", "reward_head", "reward", "policy"] = "shared"
    """What learns values, for `gae`. `shared`: a head on the policy's own states, which costs no pass of its own;
    `reward_head`: a head on the reward model's frozen states, which are read once a rollout, at first the head that
    scores; else a role of its own, started from the reward model (Stiennon et al. 2020) or from the policy."""
    group: int = Field(default=1, ge=1)
    """Responses drawn for each prompt; `rloo` and `grpo` compare within a group and need at least 2."""
    epochs: int = Field(default=4, ge=1)
    """Passes over each rollout."""
    minibatches: int = Field(default=1, ge=1)
    """Optimizer steps a pass."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    """Discount."""
    lam: float = Field(default=1.0, ge=0, le=1)
    """GAE's lambda: 1 is the Monte-Carlo return, 0 one-step bootstrapping. With one score at the end and a young
    critic, bootstrapping mostly adds its errors: 1 gained more for each nat of KL on the quickstart."""
    clip: float = Field(default=0.2, gt=0)
    """Clip range of the policy ratio."""
    value_clip: float | None = Field(default=0.2, gt=0)
    """Clip range of the critic's change; null for none."""
    value_coef: float = Field(default=0.1, ge=0)
    """Weight of the critic's loss."""
    kl_coef: float = Field(default=0.05, ge=0)
    """Penalty a nat of KL to the reference, per token."""
    kl_in: Literal["reward", "loss"] | None = None
    """`reward`: k1 at each token inside the reward; `loss`: k3 beside the policy's loss (Shao et al. 2024, eq. 4).
    Left out: `loss` for `grpo`, `reward` for the others, as their authors have it."""
    entropy_coef: float = Field(default=0.0, ge=0)
    """Bonus a nat of entropy, per token."""
    kl_target: float | None = Field(default=None, gt=0)
    """Hold KL per response near this many nats by adapting `kl_coef`; null keeps it fixed."""
    kl_horizon: int = Field(default=10_000, ge=1)
    """Episodes over which the adaptive coefficient moves."""
    whiten_rewards: bool = False
    """Scale tokens' rewards to unit variance about their mean (Huang et al. 2024, detail 4.3); for `gae` alone."""
    missing_stop_score: float | None = -1.0
    """Replaces the score of a response that did not finish; null scores it as ending where it was cut."""
    kl_budget: float | None = Field(default=None, gt=0)
    """End the stage once a rollout's mean KL per response passes this many nats."""
    max_update_kl: float | None = Field(default=None, gt=0)
    """Stop the passes over a rollout once the mean KL per token from the old policy passes this."""

    @property
    def critic_is_a_head(self) -> bool:
        """Whether the critic is no more than a head on states that another role makes."""
        return self.critic in ("shared", "reward_head")

    @property
    def kl_in_loss(self) -> bool:
        """Whether the KL penalty stands in the loss and not in the reward."""
        return (self.kl_in or ("loss" if self.estimator == "grpo" else "reward")) == "loss"

    @model_validator(mode="after")
    def _settings_agree(self) -> "RLConfig":
        if self.estimator in ("rloo", "grpo") and self.group < 2:
            raise ValueError(
                f"estimator '{self.estimator}' compares responses to one prompt: set rl.group to 2 or more"
            )
        if self.estimator != "gae" and self.whiten_rewards:
            raise ValueError(f"whiten_rewards would pay for length under '{self.estimator}', which sums over tokens")
        if self.kl_target is not None and self.kl_coef == 0:
            raise ValueError("kl_target adapts kl_coef by multiplying it: start kl_coef above 0")
        return self

    @model_validator(mode="after")
    def _nothing_is_in_vain(self) -> "RLConfig":
        """A setting that is given and would do nothing is a mistake about what runs."""
        set_here = {name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default}
        of_critic = set() if self.estimator == "gae" else {"critic", "lam", "value_clip", "value_coef"}
        of_tokens = {"gamma"} if self.estimator in ("rloo", "grpo") else set()
        if vain := sorted(set_here & (of_critic | of_tokens)):
            raise ValueError(f"{vain[0]} does nothing under estimator '{self.estimator}': leave it out")
        if "kl_horizon" in set_here and self.kl_target is None:
            raise ValueError("kl_horizon does nothing without kl_target: leave it out, or set a target")
        return self


class PPOTrainConfig(Optimisation):
    """How policy and critic step; the batch of a step is the rollout's, split into `rl.minibatches`."""

    episodes: int = Field(default=6400, ge=1)
    """Responses drawn over the whole stage, rounded up to whole rollouts."""
    value_lr: float | None = Field(default=None, gt=0)
    """Learning rate of the critic; when left out, the policy's, and at least 1e-3 for a critic that is a head alone."""
    checkpoint_every: int = Field(default=10, ge=0)
    """Rollouts between checkpoints, from which an interrupted stage goes on bit for bit; 0 for none."""
    freeze_layers: int = Field(default=0, ge=0)
    """Bottom layers that do not train: what they make of a token is computed once a rollout and serves the reference,
    a shared critic and every pass. The embeddings freeze with them, and a head that is tied to these. Faster and
    smaller, and something else than training all layers."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Learning rate over the stage."""


class WatchConfig(Strict):
    """Looks at held-out prompts while the policy trains, with a judge that it is not trained on."""

    judge: RewardSource | None = None
    """Another reward model, a rule or a server. Left out: the training reward itself, which cannot tell whether it is
    being gamed."""
    every: int = Field(default=5, ge=1)
    """Rollouts between looks; there is one before the first and one after the last too."""
    prompts: int = Field(default=64, ge=2)
    """Most held-out prompts (`data.eval_fraction`, `data.eval_path`) to answer."""
    keep_best: bool = True
    """The stage's output is the policy of the judge's best look, not that of the last rollout."""
    patience: int | None = Field(default=None, ge=1)
    """Stop when at this many looks, one after another, the judge is below its best by more than chance, prompt by
    prompt, and the reward is above what it was there: over-optimisation, as the report has it."""

    @model_validator(mode="after")
    def _two_look(self) -> "WatchConfig":
        if self.patience is not None and self.judge is None:
            raise ValueError("patience waits for a judge and the reward to part: name a `judge` of its own")
        if self.judge is not None and self.judge.weight == 0:
            raise ValueError("a judge of weight 0 likes every policy the same: leave `weight` out")
        return self


class PPOConfig(TrainingStage, Judged):
    """Reinforcement learning from a reward model: PPO, RLOO, GRPO or REINFORCE++. Makes a policy."""

    makes: ClassVar[Role] = "policy"
    program: ClassVar[str] = "stages.ppo.run"
    default_lr: ClassVar[float] = 1e-6

    stage: Literal["ppo"] = "ppo"
    gate: Literal["off", "warn", "refuse"] = "warn"
    """What to do when the reward looks easily gamed: held-out accuracy no better than chance, scores that follow
    length, degenerate answers that outscore the policy's own."""
    watch: WatchConfig | None = None
    """Look at held-out prompts on the way, keep the best policy, stop when its reward is being gamed."""
    rl: RLConfig = RLConfig()
    """The algorithm."""
    rollout: RolloutConfig = RolloutConfig()
    """How responses are drawn."""
    train: PPOTrainConfig = PPOTrainConfig()
    """How it steps."""

    @model_validator(mode="after")
    def _critic_starts_somewhere(self) -> "PPOConfig":
        starts_there = self.rl.estimator == "gae" and self.rl.critic in ("reward", "reward_head")
        if starts_there and not any(source.models for source in self.sources.values()):
            raise ValueError(f"rl.critic '{self.rl.critic}' starts from a reward model, and there is none")
        return self

    @model_validator(mode="after")
    def _critic_reads_what_trains(self) -> "PPOConfig":
        if self.train.freeze_layers and self.rl.estimator == "gae" and not self.rl.critic_is_a_head:
            raise ValueError("train.freeze_layers freezes the policy's bottom: the critic must be a head alone")
        if self.train.value_lr is not None and self.rl.estimator != "gae":
            raise ValueError(f"train.value_lr does nothing under estimator '{self.rl.estimator}': leave it out")
        return self

    @model_validator(mode="after")
    def _batches_divide(self) -> "PPOConfig":
        if self.rollout.batch_size % (self.rl.group * self.rl.minibatches):
            raise ValueError(
                f"rollout.batch_size {self.rollout.batch_size} must be a multiple of rl.group × rl.minibatches "
                f"= {self.rl.group} × {self.rl.minibatches}"
            )
        if self.rl.kl_target is not None and self.rl.kl_horizon <= (least := 0.2 * self.rollout.batch_size):
            raise ValueError(f"rl.kl_horizon must be above {least:g}, or one rollout could turn kl_coef negative")
        return self

    @model_validator(mode="after")
    def _something_is_held_out(self) -> "PPOConfig":
        if self.watch is not None and not (self.data.eval_fraction or self.data.eval_path):
            raise ValueError("watch needs held-out prompts: set data.eval_fraction or data.eval_path")
        return self

    @property
    def judges(self) -> dict[str, RewardSource]:
        """All of these and the watch's judge."""
        judge = self.watch.judge if self.watch else None
        return self.sources | ({"watch.judge": judge} if judge else {})

    @property
    def value_lr(self) -> float:
        """The critic's learning rate."""
        return self.train.value_lr or (max(self.lr, 1e-3) if self.rl.critic_is_a_head else self.lr)

    @property
    def micro_batch_size(self) -> int:
        """Episodes a forward pass."""
        return self.train.micro_batch_size or self.rollout.batch_size

    @property
    def step_size(self) -> int:
        return self.rollout.batch_size // self.rl.minibatches

    def sizes(self) -> dict[str, tuple[str, int]]:
        return {**super().sizes(), "answers": self.rollout.size()}

    def demand(self) -> Demand:
        own_critic = self.rl.estimator == "gae" and not self.rl.critic_is_a_head
        return Demand(
            "prompts",
            passes=self.rl.epochs,
            reads=2 if own_critic else 1,  # by the reference, and by a critic of its own
            copies=1,
            critics=int(own_critic),
            judges=tuple(models_of(self.judges)),
            drawn=self.rollout.size()[1],
            new_tokens=self.rollout.max_new_tokens,
            examples=self.train.episodes,
        )

    def references(self) -> dict[str, tuple[ModelRef, Role]]:
        return {"model": (self.model, "policy"), **models_of(self.judges)}
