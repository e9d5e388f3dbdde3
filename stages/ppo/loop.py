"""The loop itself. Each rollout:

1. rollout      the policy answers a batch of prompts
2. score        the rewards judge each answer
3. advantages   KL to the reference enters the reward, token by token; the estimator turns rewards into advantages
4. updates      several clipped passes over the batch, in micro-batches of like length
"""

# B episodes, R tokens of the longest response, M response tokens of some rows, D hidden size

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from transformers import get_scheduler

from rlhf import checkpoint, probe, stopping
from rlhf.checkpoint import Checkpoint
from rlhf.data.chat import ChatFormat
from rlhf.data.records import Prompt
from rlhf.decoder import Decoder
from rlhf.errors import GuardError
from rlhf.evaluate import batches
from rlhf.finite import check_finite
from rlhf.job import schedule_name
from rlhf.lm_head import head_loss
from rlhf.memory import give_back
from rlhf.optimizer import adamw
from rlhf.rewards import RoleReward, WeightedSum
from rlhf.rl import advantages
from rlhf.rl.kl import AdaptiveKL, FixedKL, k1, k3
from rlhf.rl.losses import policy_loss, value_loss
from rlhf.rl.masked import masked_mean, masked_var, whiten
from rlhf.roles import Roles
from rlhf.rollout import Rollout, Sampling, engine_for, sample
from rlhf.tracking import Tracker
from stages.ppo.batch import Batch
from stages.ppo.config import PPOConfig
from stages.ppo.samples import Samples
from stages.ppo.watch import Watch


class Loop:
    """The state of the loop: roles, optimizer, schedule and the KL controller."""

    def __init__(
        self,
        config: PPOConfig,
        roles: Roles,
        reward: WeightedSum,
        chat: ChatFormat,
        accelerator: Accelerator,
        watch: Watch | None = None,
        samples: Samples | None = None,
        probed: Sequence[list[int]] = (),
    ) -> None:
        self.config, self.roles, self.reward, self.chat, self.accelerator = config, roles, reward, chat, accelerator
        self.samples, self.watch, self.probed = samples, watch, probed
        self.updates = math.ceil(config.train.episodes / config.rollout.batch_size)
        groups: list[dict[str, Any]] = [{"params": roles.policy.parameters(), "lr": config.lr}]
        if roles.value is not None:
            groups.append({"params": roles.value.parameters(), "lr": config.value_lr})
        for group in groups:
            group["params"] = [p for p in group["params"] if p.requires_grad]
        self.trained: list[nn.Parameter] = [p for group in groups for p in group["params"]]
        # Adam's eps 1e-5 and annealing to zero: Huang et al. 2022, details 3 and 4
        bodies = [role.model for role in (roles.policy, roles.value) if role is not None]
        self.optimizer = adamw(config.train.optimizer, groups, bodies, 1e-5, config.train.weight_decay)
        self.steps_an_update = config.rl.epochs * config.rl.minibatches
        steps = self.updates * self.steps_an_update
        warmup = int(steps * config.train.warmup)
        self.schedule = get_scheduler(schedule_name(config.train), self.optimizer, warmup, steps)
        rl = config.rl
        self.kl = AdaptiveKL(rl.kl_coef, rl.kl_target, rl.kl_horizon) if rl.kl_target else FixedKL(rl.kl_coef)
        self.sampling = Sampling.of(config.rollout)
        self.engine = engine_for(roles.policy, config.rollout.engine)
        self.done, self.first_score = 0, math.nan
        self.last: dict[str, float] = {}
        """Metrics of the last rollout."""
        self.over = False
        """Whether there was a reason to stop before the last rollout."""
        give_back()  # what loading left

    # -------------------------------------------------------------------------------------------- the loop

    def train(
        self, records: Sequence[Prompt], prompts: Sequence[list[int]], tracker: Tracker, out: Path
    ) -> dict[str, Any]:
        """Every rollout that is not done yet; metrics of the last one."""
        metrics = self.last
        if not self.over:
            if self.done == 0:
                self.look({}, tracker, out)
            with stopping.patiently() as stop:
                metrics = self.rollouts(records, prompts, tracker, out, stop)
        if self.watch is not None:
            metrics = self.end_watch(self.watch, metrics, tracker, out)
        return {**metrics, "first_score": self.first_score, "updates": self.done}

    def rollouts(
        self,
        records: Sequence[Prompt],
        prompts: Sequence[list[int]],
        tracker: Tracker,
        out: Path,
        stop: Callable[[], bool],
    ) -> dict[str, float]:
        """The loop itself, until it is done or there is a reason to stop."""
        size = self.config.rollout.batch_size // self.config.rl.group
        rows = itertools.islice(_endless(len(prompts), self.config.seed), self.done * size, None)
        metrics, begun = self.last, self.done
        for update in range(begun, self.updates):
            drawn = [next(rows) for _ in range(size)]
            asked = [row for row in drawn for _ in range(self.config.rl.group)]
            # 1. rollout
            rollout = self.rollout([prompts[i] for i in asked])
            # 2. score
            batch = self.score(rollout, [records[i] for i in asked], first=update == begun)
            # 3. advantages
            metrics = self.advantages(batch)
            budget = self.config.rl.kl_budget
            if budget is not None and metrics["kl"] > budget:
                tracker.log({"episodes": self.done * len(asked), **metrics}, self.done + 1, self.updates)
                away = f"{metrics['kl']:.3g} nats from its reference"
                tracker.screen.say(f"  stopped: the policy is {away}, past rl.kl_budget {budget:g}")
                self.last, self.over = metrics, True
                self.save(out, self.done + 1)
                break
            # 4. updates
            metrics |= self.update(batch, first=update == begun)
            self.kl.update(metrics["kl"], self.config.rollout.batch_size)
            check_finite(metrics, f"rollout {update + 1}")
            self.done = update + 1
            self.first_score = metrics["score"] if update == 0 else self.first_score
            self.look(metrics, tracker, out)
            if self.samples is not None and tracker.is_followed and self.samples.due(self.done, self.updates):
                self.samples.show(self.roles, self.reward, self.chat, self.engine, tracker)
            self.last, self.over = metrics, self.watch is not None and self.watch.parted
            ends = self.over or self.done == self.updates
            if update % self.config.train.log_every == 0 or ends:
                tracker.log({"episodes": self.done * len(asked), **metrics}, self.done, self.updates)
            if self.over:
                tracker.screen.say("  stopped: the reward goes on rising and the judge does not follow")
            leave = stop()
            self.save(out, self.done, ends, leave)
            if leave or ends:
                break
        return metrics

    def save(self, out: Path, step: int, ends: bool = True, leave: bool = False) -> None:
        """Make a checkpoint when it is time to: every so often and where the loop `ends`, unless the recipe asks for
        none; where the run is about to `leave` in any case."""
        every = self.config.train.checkpoint_every
        if leave or (every and (ends or step % every == 0)):
            checkpoint.save(out, step, self.state(), self.watch.files(out) if self.watch else ())

    def look(self, metrics: Mapping[str, float], tracker: Tracker, out: Path, last: bool = False) -> None:
        """Have the judges look at answers to held-out prompts, when it is time to or for the last time."""
        if self.watch is None or not (last or self.watch.due(self.done, self.updates)):
            return
        policy, reference = self.roles.policy, self.roles.reference
        seen = self.watch.look(policy, reference, self.chat, self.engine, self.trained, self.done, metrics, out)
        tracker.log({"episodes": self.done * self.config.rollout.batch_size, **seen.said}, self.done)

    def end_watch(self, watch: Watch, metrics: Mapping[str, float], tracker: Tracker, out: Path) -> dict[str, float]:
        """Look at the last policy, and go back to the best one when asked to; metrics of the one that is kept."""
        if watch.last.step != self.done:
            self.look(metrics, tracker, out, last=True)
        if not watch.config.keep_best:
            return {**metrics, **watch.last.said}
        watch.restore_best(self.trained, out)
        same = "" if watch.best.step else ": the one that the stage started from; the judge liked none better"
        tracker.screen.say(f"  kept: the policy after rollout {watch.best.step} of {self.done}{same}")
        return {**watch.best.metrics, **watch.best.said, "best_rollout": watch.best.step}

    def state(self) -> dict[str, Any]:
        """All that the rest of the run depends on, between two rollouts."""
        return {
            "done": self.done,
            "over": self.over,
            "said": self.said(),
            "first_score": self.first_score,
            "metrics": self.last,
            "kl_coef": self.kl.coef,
            "watch": self.watch.state() if self.watch else {},
            "trained": [parameter.detach() for parameter in self.trained],
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": checkpoint.random_state(),
        }

    def said(self) -> dict[str, Tensor]:
        """What policy and reference say of a few prompts, in nats a token."""
        if not self.probed:
            return {}
        roles = {"policy": self.roles.policy, "reference": self.roles.reference}
        return {name: torch.cat(probe.said(role, self.probed)) for name, role in roles.items()}

    def restore(self, begun: Checkpoint, out: Path) -> None:
        """Go on from a checkpoint under `out`. Raises GuardError where policy or reference are not what they were."""
        state = begun.state()
        self.over = state["over"]
        self.done, self.first_score, self.kl.coef = state["done"], state["first_score"], state["kl_coef"]
        self.last = state["metrics"]
        if self.watch is not None:
            self.watch.restore(state["watch"])
            self.watch.take_back(begun.folder, out)
        checkpoint.copy_into(self.trained, state["trained"])
        for name, said in self.said().items():
            who = f"the {name} now and at the checkpoint after rollout {begun.step}"
            self.check_same(who, said, state["said"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        checkpoint.set_random_state(state["random"])

    # -------------------------------------------------------------------------------------------- 1. rollout

    def rollout(self, prompts: Sequence[list[int]]) -> Rollout:
        """The policy's answers. A critic that reads the policy's states does so on the way."""
        critic, depth = self.roles.shared_critic, self.config.train.freeze_layers
        head = critic.head if critic is not None else None
        drawn = sample(self.roles.policy, prompts, self.chat, self.sampling, self.engine, head, depth)
        give_back()
        return drawn

    # -------------------------------------------------------------------------------------------- 2. score

    @torch.no_grad()
    def score(self, rollout: Rollout, records: Sequence[Prompt], first: bool) -> Batch:
        """Judge every response, and take the log-probabilities and values that the updates start from.

        Those of generation, where the engine knows them, so that the ratio of an update is to the probabilities that
        the tokens were drawn with; the `first` rollout, of the stage or after an interruption, proves that the
        training pass agrees with them but for rounding, and the stage's that policy and reference are one.
        """
        batch = Batch.of(rollout, records)
        self.read_lower(batch)
        if rollout.logprob_M is not None:
            batch.logprob_BR[batch.mask_BR.bool()] = rollout.logprob_M
        if rollout.value_M is not None:
            batch.value_BR[batch.mask_BR.bool()] = rollout.value_M
        unvalued = self.roles.shared_critic is not None and rollout.value_M is None
        if first or unvalued or rollout.logprob_M is None:
            self.read_policy(batch, compare=first)
        self.read_reference(batch, compare=first and self.done == 0)
        known = self.read_judge_below(batch)
        self.read_values(batch)
        batch.scores = self.reward.each(records, rollout, known)
        batch.score_B = self.reward.total(batch.scores, rollout.finished_B)
        batch.check_finite(f"rollout {self.done + 1}")
        give_back()
        return batch

    def read_lower(self, batch: Batch) -> None:
        """What the frozen bottom layers make of every row, where there are any: kept from generation, or read now."""
        policy, depth, kept = self.roles.policy, self.config.train.freeze_layers, batch.rollout.lower
        if not depth:
            return
        if kept is not None:
            batch.lower, batch.depth = dict(enumerate(kept)), depth
            return
        assert isinstance(policy.trunk, Decoder)
        for rows in self.micro_batches(batch.rollout):
            batch.keep_lower(rows, policy.trunk.lower(batch.packed(rows), policy.adapter, depth))

    def read_policy(self, batch: Batch, compare: bool) -> None:
        """Log-probabilities, and the values of a critic that reads the policy's states, by the training pass, where
        generation has not left its own in the batch. `compare`: look whether it agrees where it has.
        """
        policy, critic, rollout = self.roles.policy, self.roles.shared_critic, batch.rollout
        for rows in self.micro_batches(batch.rollout):
            part, places = batch.packed(rows), batch.places(rows)
            hidden_MD = policy.hidden(part, part.predicts_M)
            logprob_M = policy.logprobs(part, self.sampling.temperature, hidden_MD)
            if rollout.logprob_M is None:
                batch.logprob_BR[places] = logprob_M
            elif compare:
                self.check_same("generation and training", logprob_M, batch.logprob_BR[places])
            if critic is not None and rollout.value_M is None:
                batch.value_BR[places] = critic.read(hidden_MD)

    def read_reference(self, batch: Batch, compare: bool) -> None:
        """Log-probabilities of the reference."""
        with self.roles.reference.present():
            for rows in self.micro_batches(batch.rollout):
                places = batch.places(rows)
                logprob_M = self.roles.reference.logprobs(batch.packed(rows), self.sampling.temperature)
                if compare:
                    who = "policy and reference, before the first update,"
                    self.check_same(who, batch.logprob_BR[places], logprob_M, self.roles.reference.exact)
                batch.ref_logprob_BR[places] = logprob_M

    def read_judge_below(self, batch: Batch) -> dict[str, Tensor]:
        """Scores of the reward model on whose states the critic's head stands, by its name, where there is one; the
        states of that pass are kept for the critic."""
        if (judge := self.roles.judge_below) is None:
            return {}
        reader = self.reward.rewards[judge][0] if judge in self.reward.rewards else None
        if isinstance(reader, RoleReward):
            scores_B, batch.states = reader.read(batch.rollout)
            return {judge: scores_B}
        one_of_several = RoleReward(self.roles.rewards[judge], self.config.micro_batch_size, self.chat.stop_ids[0])
        _, batch.states = one_of_several.read(batch.rollout)
        return {}

    def read_values(self, batch: Batch) -> None:
        """Values of a critic that does not read the policy's states."""
        value = self.roles.value
        if value is None or self.roles.shared_critic is not None:
            return
        for rows in self.micro_batches(batch.rollout):
            value_M = value.read(batch.states_of(rows)) if batch.states else value.values(batch.packed(rows))
            batch.value_BR[batch.places(rows)] = value_M

    def check_same(self, who: str, left_M: Tensor, right_M: Tensor, exact: bool = True) -> None:
        """A wrong reference or a wrong rollout would train on without a word. A quantised copy may be a little off."""
        gap_M = (left_M - right_M).abs()
        gap = float(gap_M.max() if exact and self.config.precision == "fp32" else gap_M.mean())
        if not gap <= (self.tolerance if exact else 0.5):  # also when it is not a number
            raise GuardError(f"{who} differ by {gap:.2g} nats a token: a wrong adapter or model was loaded")

    @property
    def tolerance(self) -> float:
        """Nats at any token; in bf16, whose rounding leaves single tokens far apart, on average over tokens.

        Measured on an H200 at the shape of Llama 3 8B with random weights: 0.045 between generation and training, and
        0.07 between either and float32.
        """
        return 1e-3 if self.config.precision == "fp32" else 0.1

    # -------------------------------------------------------------------------------------------- 3. advantages

    def advantages(self, batch: Batch) -> dict[str, float]:
        """Fill in advantages and returns; metrics of the rollout."""
        rl, mask_BR = self.config.rl, batch.mask_BR
        kl_BR = k1(batch.logprob_BR, batch.ref_logprob_BR) * mask_BR
        in_reward = 0.0 if rl.kl_in_loss else self.kl.coef
        reward_BR = advantages.token_rewards(batch.score_B, kl_BR, mask_BR, in_reward)
        if rl.whiten_rewards:
            reward_BR = whiten(reward_BR, mask_BR, keep_mean=True)
        batch.return_BR = reward_BR
        explained = {}
        if rl.estimator == "gae":
            advantage_BR, batch.return_BR = advantages.gae(reward_BR, batch.value_BR, mask_BR, rl.gamma, rl.lam)
            batch.advantage_BR = whiten(advantage_BR, mask_BR)
            unexplained = masked_var(batch.return_BR - batch.value_BR, mask_BR)
            explained["explained_variance"] = float(1 - unexplained / masked_var(batch.return_BR, mask_BR).clamp(1e-8))
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
            "entropy": -float(masked_mean(batch.logprob_BR, mask_BR)),  # estimated at the tokens drawn
            "reward": float(reward_BR.sum(1).mean()),
            "response_length": float(mask_BR.sum(1).float().mean()),
            "finished": float(batch.rollout.finished_B.float().mean()),
            **explained,
            **({f"score/{n}": float(s.mean()) for n, s in batch.scores.items()} if len(batch.scores) > 1 else {}),
        }

    # -------------------------------------------------------------------------------------------- 4. updates

    def update(self, batch: Batch, first: bool) -> dict[str, float]:
        """Clipped passes over the batch; metrics are means over tokens and optimizer steps."""
        rl = self.config.rl
        size = len(batch.rollout) // rl.minibatches
        steps: list[dict[str, float]] = []
        for _ in range(rl.epochs):
            order = torch.randperm(len(batch.rollout)).tolist()
            for start in range(0, len(order), size):
                metrics = self.step(batch, order[start : start + size])
                if first and not steps and not metrics["approx_kl"] <= self.tolerance**2:  # k3 is about half a square
                    apart = metrics["approx_kl"]
                    raise GuardError(
                        f"before the first step the policy is {apart:.2g} nats a token from the one that drew"
                    )
                steps.append(metrics)
                if rl.max_update_kl is not None and metrics["approx_kl"] > rl.max_update_kl:
                    break
            else:
                continue
            break
        for _ in range(self.steps_an_update - len(steps)):  # annealing goes by episodes, whether or not steps were left
            self.schedule.step()
        return {**_means(steps), "engine_kl": steps[0]["approx_kl"], "steps": len(steps)}

    def step(self, batch: Batch, rows: Sequence[int]) -> dict[str, float]:
        """One optimizer step on some rows. Losses are means over all response tokens of those rows."""
        tokens = sum(len(batch.rollout.responses[i]) for i in rows)
        totals: dict[str, float] = {}
        for some in self.micro_batches(batch.rollout, rows):
            for name, value in self.micro_step(batch, some, tokens).items():
                totals[name] = totals.get(name, 0.0) + value / tokens
        norm = self.accelerator.clip_grad_norm_(self.trained, self.config.train.max_grad_norm)
        assert norm is not None
        metrics = {**totals, "grad_norm": float(norm), "lr": float(self.schedule.get_last_lr()[0])}
        check_finite(metrics, f"rollout {self.done + 1}, updating on {batch.names(rows)}")
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        return metrics

    def micro_step(self, batch: Batch, rows: Sequence[int], tokens: int) -> dict[str, float]:
        """Gradients of some rows' share of a step; sums over their tokens."""
        rl, roles, part = self.config.rl, self.roles, batch.packed(rows)
        places = batch.places(rows)
        old_M, ref_M, advantage_M = (t[places] for t in (batch.logprob_BR, batch.ref_logprob_BR, batch.advantage_BR))
        value_M, return_M = batch.value_BR[places], batch.return_BR[places]
        sums: dict[str, Tensor] = {}

        def add(metrics: Mapping[str, Tensor]) -> None:
            for name, value in metrics.items():
                sums[name] = sums[name] + value if name in sums else value

        def token_loss(logprob_M: Tensor, some: slice) -> Tensor:
            loss, metrics = policy_loss(logprob_M, old_M[some], advantage_M[some], rl.clip)
            add({**metrics, "policy_loss": loss.detach()})
            return loss + self.kl.coef * k3(logprob_M, ref_M[some]).sum() if rl.kl_in_loss else loss

        hidden_MD = roles.policy.hidden(part, part.predicts_M, self.config.train.gradient_checkpointing)
        head = roles.policy.lm_head
        loss = head_loss(hidden_MD, head, part.target_M, self.sampling.temperature, token_loss, rl.entropy_coef)
        if roles.value is not None:
            if roles.value.owns_body:  # its own pass: the policy's activations go first
                self.accelerator.backward(loss / tokens)
                hidden_MD = roles.value.hidden(part, part.predicts_M, self.config.train.gradient_checkpointing)
            elif roles.shared_critic is None:
                hidden_MD = batch.states_of(rows)
            critic_loss, metrics = value_loss(roles.value.read(hidden_MD), value_M, return_M, rl.value_clip)
            add({**metrics, "value_loss": critic_loss.detach()})
            loss = rl.value_coef * critic_loss + (0.0 if roles.value.owns_body else loss)
        found = dict(zip(sums, torch.stack([*sums.values()]).tolist(), strict=True))  # one wait for an accelerator
        check_finite(found, f"rollout {self.done + 1}, updating on {batch.names(rows)}")
        self.accelerator.backward(loss / tokens)
        return found

    def micro_batches(self, rollout: Rollout, rows: Sequence[int] | None = None) -> Iterator[list[int]]:
        """Rows (all when None) in micro-batches of like length."""
        lengths, rows = rollout.lengths, range(len(rollout)) if rows is None else rows
        for places in batches([lengths[row] for row in rows], self.config.micro_batch_size):
            yield [rows[place] for place in places]


def _endless(count: int, seed: int) -> Iterator[int]:
    """Indices in a fresh random order each pass."""
    shuffler = random.Random(seed)
    while True:
        order = list(range(count))
        shuffler.shuffle(order)
        yield from order


def _means(steps: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(step[name] for step in steps) / len(steps) for name in steps[0]}
