"""Is the policy getting better, or only better at pleasing its reward? A second judge looks at held-out prompts.

Past some KL the score that is maximised and the quality that is meant part (Gao et al. 2023, "Scaling Laws for Reward
Model Overoptimization"). The policy of the best look is kept, and a run whose scores have parted is stopped.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from torch import nn

from rlhf import checkpoint
from rlhf.artifact import CHECKPOINT
from rlhf.data.chat import ChatFormat
from rlhf.data.records import Prompt
from rlhf.errors import GuardError
from rlhf.evaluate import kl_per_response
from rlhf.measures.frontier import Point, gamed
from rlhf.rewards import Reward
from rlhf.roles import Role
from rlhf.rollout import Engine, Sampling, sample
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
    judge_error: float = math.inf
    """Standard error of what it said; infinite of one prompt."""
    kl: float = 0.0
    """To the reference, in nats an answer."""
    judged: Sequence[float] = ()
    """What it said of each prompt."""
    fall_error: float = math.inf
    """Standard error of how far that is below the best look before, prompt by prompt."""

    @property
    def said(self) -> dict[str, float]:
        """As metrics."""
        errors = {"heldout/judge_stderr": self.judge_error, "heldout/fall_stderr": self.fall_error}
        return {
            "heldout/reward": self.reward,
            "heldout/judge": self.judge,
            **{name: error for name, error in errors.items() if math.isfinite(error)},
            "heldout/kl": self.kl,
        }

    @property
    def point(self) -> Point:
        """As `measures.frontier` has it."""
        return Point(self.step, self.kl, self.reward, self.judge, self.judge_error, self.fall_error)


def _error(values: Sequence[float]) -> float:
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf


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
    batch_size: int
    """Answers a forward pass."""
    best: Look = _NONE
    """The look with the judge's highest score; the first of equals."""
    last: Look = _NONE
    looks: int = 0
    """How many there were."""
    gamed: int = 0
    """How many of the last, one after another, were of a higher reward than the best and surely worse to the judge."""

    @property
    def parted(self) -> bool:
        """Whether the reward has been gamed for `patience` looks."""
        return self.config.patience is not None and self.gamed >= self.config.patience

    def due(self, step: int, steps: int) -> bool:
        """Whether to look after this many rollouts."""
        return step % self.config.every == 0 or step == steps

    def look(
        self,
        policy: Role,
        reference: Role,
        chat: ChatFormat,
        engine: Engine,
        trained: Sequence[nn.Parameter],
        step: int,
        metrics: Mapping[str, float],
        out: Path,
    ) -> Look:
        """Have the policy answer; keep it under `out` when it is the best yet. Leaves the random state as it was."""
        with checkpoint.aside(self.seed):  # the same luck at each look
            rollout = sample(policy, self.prompts, chat, self.sampling, engine)
        reward_B = self.reward.score(self.records, rollout)
        judge_B = reward_B if self.judge is self.reward else self.judge.score(self.records, rollout)
        for name, score_B in (("reward", reward_B), ("judge", judge_B)):
            if not bool(score_B.isfinite().all()):
                raise GuardError(f"after rollout {step}: the {name} gives a held-out answer a score that is not finite")
        with reference.present():
            kl_B = kl_per_response(policy, reference, rollout, self.sampling.temperature, self.batch_size)
        judged = judge_B.double().tolist()
        look = Look(
            step,
            float(reward_B.float().mean()),
            fmean(judged),
            dict(metrics),
            _error(judged),
            float(kl_B.mean()),
            judged,
            self.fall_error(judged),
        )
        self.take(look)
        if self.config.keep_best and self.best is look:
            checkpoint.put(out / CHECKPOINT / BEST, {"trained": [p.detach() for p in trained]})
        return look

    def fall_error(self, judged: Sequence[float]) -> float:
        """How sure it is how far these scores are below those of the best look, of the same prompts."""
        best = self.best.judged
        return _error([was - now for was, now in zip(best, judged, strict=True)]) if best else math.inf

    def take(self, look: Look) -> None:
        """Count a look, and remember it if it is the best."""
        self.last, self.looks = look, self.looks + 1
        if look.judge > self.best.judge:
            self.best, self.gamed = look, 0
        else:
            self.gamed = self.gamed + 1 if gamed(self.best.point, look.point, self.looks) else 0

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        return {"best": list(self.best), "last": list(self.last), "looks": self.looks, "gamed": self.gamed}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.best, self.last = Look(*state["best"]), Look(*state["last"])
        self.looks, self.gamed = state["looks"], state["gamed"]

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
