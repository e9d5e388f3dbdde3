"""Reinforcement learning from a reward model: one explicit loop for PPO, RLOO, GRPO and REINFORCE++.

They differ in the advantage estimator and in whether there is a critic. Each update:

    1. rollout      the policy answers a batch of prompts
    2. score        the reward model judges each finished answer
    3. advantages   KL to the reference enters the reward, token by token; the estimator turns rewards into advantages
    4. updates      several clipped passes over the batch, in micro-batches of like length

Details and their sources: Huang et al. 2024, "The N Implementation Details of RLHF with PPO".
"""

# B batch, Q prompt tokens, R response tokens

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import get_scheduler

from rlhf import text, training
from rlhf.artifact import Artifact
from rlhf.data.chat import ChatFormat, encode_prompts
from rlhf.data.records import Prompt
from rlhf.errors import DataError, GuardError, RecipeError
from rlhf.evaluate import batches
from rlhf.reward_model import RewardModel
from rlhf.rl import advantages
from rlhf.rl.kl import AdaptiveKL, FixedKL, k1
from rlhf.rl.losses import policy_loss, value_loss
from rlhf.rl.masked import masked_mean, masked_var, whiten
from rlhf.rollout import HFEngine, Rollout, Sampling, sample
from rlhf.tracking import Tracker, check_finite
from rlhf.trunk import Roles
from rlhf.trunk import load as load_roles
from rlhf.weights import Weights
from stages.ppo.config import PPOConfig


@dataclass
class Batch:
    """A scored rollout, ready for updates. All tensors are masked to the response and detached."""

    rollout: Rollout
    score_B: Tensor
    logprob_BR: Tensor
    ref_logprob_BR: Tensor
    value_BR: Tensor | None = None
    advantage_BR: Tensor = field(default_factory=lambda: torch.empty(0))
    return_BR: Tensor = field(default_factory=lambda: torch.empty(0))


def run(config: PPOConfig, inputs: Mapping[str, Weights], out: Path, tracker: Tracker) -> Artifact:
    """Train the policy; write it to `out/model`."""
    accelerator = Accelerator(
        mixed_precision="bf16" if config.precision == "bf16" else "no", cpu=not torch.cuda.is_available()
    )
    if accelerator.num_processes > 1:
        raise RecipeError("the RL stage runs on one process; start the recipe without a launcher")
    torch.manual_seed(config.seed)
    job = training.Job.start(config, inputs, "prompts", accelerator.device)
    room = (text.positions(job.weights) or math.inf) - config.rollout.max_new_tokens
    if room < 8:
        raise RecipeError(f"stage '{config.name}': rollout.max_new_tokens leaves no room for a prompt in this model")
    records, prompts, ledger = encode_prompts(job.split.train, job.chat, int(min(config.data.max_length, room)))
    if not prompts:
        raise DataError(f"stage '{config.name}': no prompt to train on")
    reward = inputs["reward_model"]
    roles = load_roles(job.how, job.weights, reward, job.chat, critic=config.rl.estimator == "gae")
    judge = None if roles.reward else RewardModel.load(reward, config.precision, _micro(config))
    loop = _Loop(config, roles, judge, job.chat, accelerator)
    metrics = loop.train(records, prompts, tracker)
    return job.finish(roles.policy.model, out, {"train": ledger}, metrics)


class _Loop:
    """The state of the loop: roles, optimizer, schedule and the KL controller."""

    def __init__(
        self, config: PPOConfig, roles: Roles, judge: RewardModel | None, chat: ChatFormat, accelerator: Accelerator
    ) -> None:
        self.config, self.roles, self.judge, self.chat, self.accelerator = config, roles, judge, chat, accelerator
        self.updates = math.ceil(config.train.episodes / config.rollout.batch_size)
        groups: list[dict[str, Any]] = [{"params": roles.policy.parameters(), "lr": config.lr}]
        if roles.value is not None:
            groups.append({"params": roles.value.parameters(), "lr": config.train.value_lr or config.lr})
        self.trained: list[nn.Parameter] = [p for group in groups for p in group["params"]]
        # Adam's eps 1e-5 and annealing to zero: Huang et al. 2022, details 3 and 4
        self.optimizer = torch.optim.AdamW(groups, eps=1e-5, weight_decay=config.train.weight_decay)
        steps = self.updates * config.rl.epochs * config.rl.minibatches
        self.schedule = get_scheduler(
            training.schedule_name(config.train), self.optimizer, int(steps * config.train.warmup), steps
        )
        rl = config.rl
        self.kl = AdaptiveKL(rl.kl_coef, rl.kl_target, rl.kl_horizon) if rl.kl_target else FixedKL(rl.kl_coef)
        self.sampling = Sampling(config.rollout.max_new_tokens, config.rollout.temperature)

    # -------------------------------------------------------------------------------------------- the loop

    def train(self, records: Sequence[Prompt], prompts: Sequence[list[int]], tracker: Tracker) -> dict[str, Any]:
        rows = _endless(len(prompts), self.config.seed)
        history: list[dict[str, float]] = []
        for update in range(self.updates):
            drawn = [next(rows) for _ in range(self.config.rollout.batch_size // self.config.rl.group)]
            asked = [row for row in drawn for _ in range(self.config.rl.group)]
            # 1. rollout
            with self.accelerator.autocast():
                rollout = sample(HFEngine(), self.roles.policy, [prompts[i] for i in asked], self.chat, self.sampling)
            # 2. score
            batch = self.score(rollout, [records[i] for i in asked])
            if update == 0:
                self.check_starts_at_reference(batch)
            # 3. advantages
            metrics = self.advantages(batch)
            # 4. updates
            metrics |= self.update(batch, first=update == 0)
            self.kl.update(metrics["kl"], self.config.rollout.batch_size)
            check_finite(metrics, update + 1)
            history.append(metrics)
            if update % self.config.train.log_every == 0 or update + 1 == self.updates:
                tracker.log({"episodes": (update + 1) * len(asked), **metrics}, update + 1, self.updates)
        return {**history[-1], "first_score": history[0]["score"], "updates": self.updates}

    # -------------------------------------------------------------------------------------------- 2. score

    @torch.no_grad()
    def score(self, rollout: Rollout, records: Sequence[Any]) -> Batch:
        """Judge every response, and take the log-probabilities and values that the updates start from.

        Old log-probabilities come from the same forward pass as the updates', not from generation, whose numerics
        differ. A response without a stop token gets a constant instead of its score (Huang et al. 2024, detail 4.2).
        """
        score_B = torch.zeros(len(rollout.response_BR), device=rollout.response_BR.device)
        logprob_BR, ref_BR, value_BR = (torch.zeros_like(rollout.mask_BR, dtype=torch.float32) for _ in range(3))
        for index, part in self.micro_batches(rollout, torch.arange(len(score_B))):
            size = part.response_BR.shape[1]
            temperature = self.sampling.temperature
            with self.accelerator.autocast():
                logprob_BR[index, :size] = self.roles.policy.logprobs(part.ids_BT, part.mask_BT, size, temperature)[0]
                ref_BR[index, :size] = self.roles.reference.logprobs(part.ids_BT, part.mask_BT, size, temperature)[0]
                if self.roles.value is not None:
                    value_BR[index, :size] = self.roles.value.values(part.ids_BT, part.mask_BT, size)
                if self.roles.reward is not None:
                    score_B[index] = self.roles.reward.scores(part.ids_BT, part.mask_BT)
        if self.judge is not None:
            score_B = self.judge.score_rollout(records, rollout, self.chat)
        if self.config.rl.missing_stop_score is not None:
            score_B = torch.where(rollout.finished_B, score_B, self.config.rl.missing_stop_score)
        mask_BR = rollout.mask_BR
        value = value_BR * mask_BR if self.roles.value is not None else None
        return Batch(rollout, score_B, logprob_BR * mask_BR, ref_BR * mask_BR, value)

    def check_starts_at_reference(self, batch: Batch) -> None:
        """Before the first update the policy is the reference; anything else means that a wrong one was loaded."""
        gap = float((batch.logprob_BR - batch.ref_logprob_BR).abs().max())
        if gap > self.tolerance:
            raise GuardError(
                f"before the first update, policy and reference differ by {gap:.2g} nats at some token: "
                "the reference is not the policy's parent"
            )

    @property
    def tolerance(self) -> float:
        return 1e-4 if self.config.precision == "fp32" else 0.1

    # -------------------------------------------------------------------------------------------- 3. advantages

    def advantages(self, batch: Batch) -> dict[str, float]:
        """Fill in advantages and returns; metrics of the rollout."""
        rl, mask_BR = self.config.rl, batch.rollout.mask_BR
        kl_BR = k1(batch.logprob_BR, batch.ref_logprob_BR) * mask_BR
        reward_BR = advantages.token_rewards(batch.score_B, kl_BR, mask_BR, self.kl.coef)
        if rl.whiten_rewards:
            reward_BR = whiten(reward_BR, mask_BR, keep_mean=True)
        batch.return_BR = reward_BR
        explained = 0.0
        if rl.estimator == "gae":
            assert batch.value_BR is not None
            advantage_BR, batch.return_BR = advantages.gae(reward_BR, batch.value_BR, mask_BR, rl.gamma, rl.lam)
            batch.advantage_BR = whiten(advantage_BR, mask_BR)
            unexplained = masked_var(batch.return_BR - batch.value_BR, mask_BR)
            explained = float(1 - unexplained / masked_var(batch.return_BR, mask_BR).clamp(min=1e-8))
        elif rl.estimator == "rloo":
            batch.advantage_BR = advantages.rloo(reward_BR, mask_BR, rl.group)
        elif rl.estimator == "grpo":
            batch.advantage_BR = advantages.grpo(reward_BR, mask_BR, rl.group)
        else:
            batch.advantage_BR = advantages.reinforce_pp(reward_BR, mask_BR, rl.gamma)
        return {
            "score": float(batch.score_B.mean()),
            "score_std": float(batch.score_B.std(unbiased=False)),
            "kl": float(kl_BR.sum(1).mean()),
            "kl_per_token": float(masked_mean(kl_BR, mask_BR)),
            "kl_coef": self.kl.coef,
            "reward": float(reward_BR.sum(1).mean()),
            "response_length": float(mask_BR.sum(1).float().mean()),
            "finished": float(batch.rollout.finished_B.float().mean()),
            "explained_variance": explained,
        }

    # -------------------------------------------------------------------------------------------- 4. updates

    def update(self, batch: Batch, first: bool) -> dict[str, float]:
        """Clipped passes over the batch; metrics are means over tokens and optimizer steps."""
        rl = self.config.rl
        size = len(batch.score_B) // rl.minibatches
        steps: list[dict[str, float]] = []
        for _ in range(rl.epochs):
            order = torch.randperm(len(batch.score_B))
            for start in range(0, len(order), size):
                metrics = self.step(batch, order[start : start + size])
                if first and not steps and abs(metrics["ratio"] - 1) > self.tolerance:
                    raise GuardError(f"at the first step the policy ratio is {metrics['ratio']:.5f}, not 1")
                steps.append(metrics)
                if rl.max_update_kl is not None and metrics["approx_kl"] > rl.max_update_kl:
                    return _means(steps)
        return _means(steps)

    def step(self, batch: Batch, rows: Tensor) -> dict[str, float]:
        """One optimizer step on some rows. Losses are means over all valid tokens of those rows."""
        rl = self.config.rl
        tokens = batch.rollout.mask_BR[rows].sum()
        totals: dict[str, Tensor] = {}
        for index, part in self.micro_batches(batch.rollout, rows):
            size, mask_BR = part.response_BR.shape[1], part.mask_BR
            with self.accelerator.autocast():
                logprob_BR, entropy_BR = self.roles.policy.logprobs(
                    part.ids_BT, part.mask_BT, size, self.sampling.temperature
                )
            loss, found = policy_loss(
                logprob_BR, batch.logprob_BR[index, :size], batch.advantage_BR[index, :size], mask_BR, rl.clip
            )
            found |= {"policy_loss": loss.detach(), "entropy": (entropy_BR * mask_BR).sum()}
            self.accelerator.backward(loss / tokens)
            if self.roles.value is not None and batch.value_BR is not None:
                with self.accelerator.autocast():
                    value_BR = self.roles.value.values(part.ids_BT, part.mask_BT, size)
                loss, more = value_loss(
                    value_BR, batch.value_BR[index, :size], batch.return_BR[index, :size], mask_BR, rl.value_clip
                )
                found |= {**more, "value_loss": loss.detach()}
                self.accelerator.backward(rl.value_coef * loss / tokens)
            for name, value in found.items():
                totals[name] = totals.get(name, torch.zeros_like(value)) + value
        norm = self.accelerator.clip_grad_norm_(self.trained, self.config.train.max_grad_norm)
        assert norm is not None
        metrics = {name: float(value / tokens) for name, value in totals.items()}
        metrics |= {"grad_norm": float(norm), "lr": float(self.schedule.get_last_lr()[0])}
        check_finite(metrics, self.schedule.last_epoch)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        return metrics

    def micro_batches(self, rollout: Rollout, rows: Tensor) -> Iterator[tuple[Tensor, Rollout]]:
        """Rows in micro-batches of like length, without the padding that none of them needs."""
        lengths = rollout.mask_BT.sum(1)[rows].tolist()
        for places in batches(lengths, _micro(self.config)):
            index = rows[torch.tensor(places)]
            yield index, rollout.rows(index)


def _micro(config: PPOConfig) -> int:
    return config.train.micro_batch_size or config.rollout.batch_size


def _endless(count: int, seed: int) -> Iterator[int]:
    """Indices in a fresh random order each pass."""
    shuffler = random.Random(seed)
    while True:
        order = list(range(count))
        shuffler.shuffle(order)
        yield from order


def _means(steps: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(step[name] for step in steps) / len(steps) for name in steps[0]}
