"""Answers to a few prompts while the policy trains, beside the reference's, for those who follow a run."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from rlhf import checkpoint
from rlhf.data.chat import ChatFormat
from rlhf.data.records import Prompt
from rlhf.evaluate import kl_per_response
from rlhf.measures.policies import CALLED
from rlhf.rewards import Reward
from rlhf.roles import Roles
from rlhf.rollout import Engine, Sampling, sample
from rlhf.tracking import Tracker

SHOWN = 4
"""Prompts that are answered."""
LOOKS = 10
"""Times that they are, over a run."""
COLUMNS = ("prompt", CALLED["baseline"], CALLED["policy"], "score", "kl")


@dataclass
class Samples:
    """The same prompts at each look."""

    records: Sequence[Prompt]
    prompts: Sequence[list[int]]
    sampling: Sampling
    seed: int
    _before: list[str] = field(default_factory=list)
    """What the reference answers."""

    def due(self, step: int, steps: int) -> bool:
        """Whether to look after this many rollouts."""
        return step % max(steps // LOOKS, 1) == 0 or step == steps

    @torch.no_grad()
    def show(self, roles: Roles, reward: Reward, chat: ChatFormat, engine: Engine, tracker: Tracker) -> None:
        """Have the policy answer, and tell the tracker. Leaves the random state as it was."""
        with roles.reference.present():
            if not self._before:
                with checkpoint.aside(self.seed):
                    self._before = sample(roles.reference, self.prompts, chat, self.sampling).texts(chat)
            with checkpoint.aside(self.seed):  # the same luck at each look
                rollout = sample(roles.policy, self.prompts, chat, self.sampling, engine)
                score_B = reward.score(self.records, rollout).tolist()
            kl_B = kl_per_response(roles.policy, roles.reference, rollout, self.sampling.temperature, SHOWN).tolist()
        asked = [record.messages[-1]["content"] for record in self.records]
        rows = zip(asked, self._before, rollout.texts(chat), score_B, kl_B, strict=True)
        tracker.table("samples", COLUMNS, list(rows))
