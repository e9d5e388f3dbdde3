"""Is the policy getting better, or only better at pleasing its reward? A second judge looks at held-out prompts.

Past some KL the score that is maximised and the quality that is meant part (Gao et al. 2023, "Scaling Laws for Reward
Model Overoptimization"). The policy of the best look is kept, and a run whose scores have parted is stopped.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from rlhf import checkpoint
from rlhf.artifact import CHECKPOINT
from rlhf.data.chat import ChatFormat
from rlhf.data.records import Prompt
from rlhf.errors import GuardError
from rlhf.evaluate import batches
from rlhf.measures.policies import with_error
from rlhf.rewards import Reward
from rlhf.roles import Roles
from rlhf.rollout import Engine, Rollout, Sampling, sample
from stages.ppo.config import WatchConfig

BEST = "best.pt"
"""File of the policy of the best look so far."""


class Look(NamedTuple):
    """What both judges said, on average over the held-out prompts."""

    step: int
    reward: float
    """What the policy is trained on."""
    judge: float
    """What it is not."""
    metrics: Mapping[str, float]
    """Of the rollout before it."""
    judge_stderr: float = math.inf
    """Of the judge's mean, over prompts."""
    kl: float = 0.0
    """Of these answers to the reference, in nats an answer."""

    @property
    def said(self) -> dict[str, float]:
        """As metrics."""
        return {
            "heldout/reward": self.reward,
            "heldout/judge": self.judge,
            "heldout/judge_stderr": self.judge_stderr,
            "heldout/kl": self.kl,
        }


_NONE = Look(-1, -math.inf, -math.inf, {})


@dataclass
class Watch:
    """Looks at a policy while it trains."""

    config: WatchConfig
    records: Sequence[Prompt]
    prompts: Sequence[list[int]]
    reward: Reward
    judge: Reward
    sampling: Sampling
    seed: int
    best: Look = _NONE
    """The look with the judge's highest score; the first of equals."""
    last: Look = _NONE
    since: int = 0
    """Looks since the best."""

    @property
    def parted(self) -> bool:
        """Whether the reward has risen for `patience` looks since the judge's best."""
        patience = self.config.patience
        return patience is not None and self.since >= patience and self.last.reward > self.best.reward

    def due(self, step: int, steps: int) -> bool:
        """Whether to look after this many rollouts."""
        return step % self.config.every == 0 or step == steps

    def look(
        self,
        roles: Roles,
        chat: ChatFormat,
        engine: Engine,
        trained: Sequence[nn.Parameter],
        step: int,
        metrics: Mapping[str, float],
        out: Path,
        size: int,
    ) -> Look:
        """Have the policy answer; keep it under `out` when it is the best yet. Leaves the random state as it was.
        `size`: answers a forward pass."""
        before = checkpoint.random_state()
        torch.manual_seed(self.seed)  # the same luck at each look
        rollout = sample(roles.policy, self.prompts, chat, self.sampling, engine)
        checkpoint.set_random_state(before)
        reward_B = self.reward.score(self.records, rollout)
        judge_B = reward_B if self.judge is self.reward else self.judge.score(self.records, rollout)
        for name, score_B in (("reward", reward_B), ("judge", judge_B)):
            if not bool(score_B.isfinite().all()):
                raise GuardError(f"after rollout {step}: the {name} gives a held-out answer a score that is not finite")
        error = with_error("judge", judge_B.tolist())["judge_stderr"]
        kl = _kl(roles, rollout, self.sampling.temperature, size)
        look = Look(step, float(reward_B.float().mean()), float(judge_B.float().mean()), dict(metrics), error, kl)
        self.take(look)
        if self.config.keep_best and self.best is look:
            checkpoint.put(out / CHECKPOINT / BEST, {"trained": [p.detach() for p in trained]})
        return look

    def take(self, look: Look) -> None:
        """Count a look, and remember it if it is the best."""
        better = look.judge > self.best.judge
        self.last, self.since = look, 0 if better else self.since + 1
        if better:
            self.best = look

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        return {"best": list(self.best), "last": list(self.last), "since": self.since}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.best, self.last, self.since = Look(*state["best"]), Look(*state["last"]), state["since"]

    def files(self, out: Path) -> list[Path]:
        """What a checkpoint counts on."""
        return [out / CHECKPOINT / BEST] if self.config.keep_best else []

    def take_back(self, folder: Path, out: Path) -> None:
        """Of a checkpoint, the best policy that it counts on."""
        for path in self.files(out):
            checkpoint.link(folder / path.name, path)

    def restore_best(self, trained: Sequence[nn.Parameter], out: Path) -> None:
        """Give the policy its weights of the best look."""
        checkpoint.copy_into(trained, checkpoint.get(out / CHECKPOINT / BEST)["trained"])


@torch.no_grad()
def _kl(roles: Roles, rollout: Rollout, temperature: float, size: int) -> float:
    """Mean of log p(answer) - log q(answer) of policy and reference, in nats."""
    total = 0.0
    with roles.reference.present():
        for rows in batches(rollout.lengths, size):
            part = rollout.packed(rows)
            gap_M = roles.policy.logprobs(part, temperature) - roles.reference.logprobs(part, temperature)
            total += float(gap_M.sum())
    return total / len(rollout)
