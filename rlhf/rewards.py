"""What a response is worth: a reward model on the trunk or on its own, a rule, an HTTP endpoint, or a sum of them."""

# B responses

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from rlhf import text
from rlhf.data.chat import ChatFormat
from rlhf.data.records import Prompt
from rlhf.endpoint import Endpoint
from rlhf.errors import DataError
from rlhf.evaluate import batches, conversations, encode_conversations, read_rows
from rlhf.reward_model import RewardModel
from rlhf.roles import Role
from rlhf.rollout import Rollout
from rlhf.rules import Rule


class Reward(Protocol):
    """Judges the responses of a rollout."""

    def score(self, prompts: Sequence[Prompt], rollout: Rollout) -> Tensor:
        """One score a response, (B,) float32, on the rollout's device."""
        ...


@dataclass
class RoleReward:
    """A reward model that reads the policy's own tokens."""

    role: Role
    batch_size: int
    stop_id: int | None
    """Ends responses that were cut short: the model has learned from answers that end. None leaves them as they are."""

    def score(self, prompts: Sequence[Prompt], rollout: Rollout) -> Tensor:
        return self._at_the_end(rollout, self.role.read)

    def opinions(self, prompts: Sequence[Prompt], rollout: Rollout) -> Tensor:
        """What each of the model's heads scores, (B, K)."""
        return self._at_the_end(rollout, self.role.opinions)

    @property
    def voices(self) -> int:
        return self.role.voices

    def _at_the_end(self, rollout: Rollout, read: Callable[[Tensor], Tensor]) -> Tensor:
        """What `read` makes of the model's state at the end of each response, (B, …)."""
        ended = self._ended(rollout)
        rows = [p + r for p, r in zip(ended.prompts, ended.responses, strict=True)]
        return read_rows(self.role, rows, self.batch_size, read).to(rollout.finished_B.device)

    @torch.no_grad()
    def read(self, rollout: Rollout) -> tuple[Tensor, dict[int, Tensor]]:
        """Scores, (B,), and from the same pass what a critic's head can read on this model: of each row, the states
        before its response tokens, (R, D)."""
        ended, states = self._ended(rollout), {}
        scores_B = torch.empty(len(rollout), device=rollout.finished_B.device)
        with self.role.present():
            for rows in batches(ended.lengths, self.batch_size):
                part = ended.packed(rows)
                hidden = self.role.hidden(part, torch.cat([part.predicts_M, part.last_B]))
                *before, last_BD = hidden.split([*(len(ended.responses[row]) for row in rows), len(rows)])
                scores_B[rows] = self.role.read(last_BD)
                states |= {row: s[: len(rollout.responses[row])] for row, s in zip(rows, before, strict=True)}
        return scores_B, states

    def _ended(self, rollout: Rollout) -> Rollout:
        return rollout if self.stop_id is None else rollout.ended(self.stop_id)


class TextReward:
    """A reward model with a base or a tokenizer of its own; text is the meeting point.

    It reads whole answers, as `rlhf score` does: one that was cut short ends where it was cut.
    """

    def __init__(self, judge: RewardModel, chat: ChatFormat) -> None:
        self.judge, self.chat = judge, chat
        self.same_tokens = text.same(chat, judge.chat)

    def score(self, prompts: Sequence[Prompt], rollout: Rollout) -> Tensor:
        return self.judge.score_ids(self._rows(prompts, rollout)).to(rollout.finished_B.device)

    def opinions(self, prompts: Sequence[Prompt], rollout: Rollout) -> Tensor:
        """What each of the model's heads scores, (B, K)."""
        return self.judge.opinions_of(self._rows(prompts, rollout)).to(rollout.finished_B.device)

    @property
    def voices(self) -> int:
        return self.judge.role.voices

    def _rows(self, prompts: Sequence[Prompt], rollout: Rollout) -> list[list[int]]:
        if not self.same_tokens:
            return encode_conversations(self.judge.chat, conversations(prompts, rollout.texts(self.chat)))
        ended = rollout.ended(self.chat.stop_ids[0])
        return [p + r for p, r in zip(ended.prompts, ended.responses, strict=True)]


@dataclass
class CautiousReward:
    """The mean of several opinions, those of models and of their heads, less their disagreement.

    Where they part, the answers are unlike those that they have learned from, and their mean is easily gamed (Coste et
    al. 2024, who subtract the variance; a deviation is in the score's own unit, as Zhai et al. 2024 have it).
    """

    judges: Sequence[RoleReward | TextReward]
    uncertainty: float
    """Standard deviations that are subtracted."""

    def score(self, prompts: Sequence[Prompt], rollout: Rollout) -> Tensor:
        said_BK = torch.cat([judge.opinions(prompts, rollout) for judge in self.judges], 1)
        return said_BK.mean(1) - self.uncertainty * said_BK.std(1, unbiased=False)


@dataclass
class RuleReward:
    """A Python function of the messages and the response's text."""

    rule: Rule
    chat: ChatFormat

    def score(self, prompts: Sequence[Prompt], rollout: Rollout) -> Tensor:
        scores = [self._one(p, words) for p, words in zip(prompts, rollout.texts(self.chat), strict=True)]
        return torch.tensor(scores, device=rollout.finished_B.device)

    def _one(self, prompt: Prompt, words: str) -> float:
        try:
            return self.rule(prompt.messages, words, prompt.answer)
        except DataError as error:
            raise DataError(f"{prompt.where}: {error}") from None


@dataclass
class EndpointReward:
    """A server that is sent `{"conversations": [[{role, content}, …], …]}` and answers `{"scores": [number, …]}`."""

    server: Endpoint
    chat: ChatFormat

    def score(self, prompts: Sequence[Prompt], rollout: Rollout) -> Tensor:
        talks = conversations(prompts, rollout.texts(self.chat))
        scores = self._read(self.server.ask({"conversations": talks}), len(talks))
        return torch.tensor(scores, dtype=torch.float32, device=rollout.finished_B.device)

    def _read(self, said: bytes, count: int) -> list[float]:
        try:
            scores = json.loads(said)["scores"]
        except (ValueError, KeyError, TypeError):
            scores = None
        if not isinstance(scores, list) or any(type(score) not in (int, float) for score in scores):
            got = said[:80].decode(errors="replace")
            raise self.server.wrong(f'expected {{"scores": [number, …]}} and got {got!r}')
        if len(scores) != count:
            raise self.server.wrong(f"{len(scores)} scores for {count} conversations")
        return scores


@dataclass
class WeightedSum:
    """Several rewards, each times its weight."""

    rewards: Mapping[str, tuple[Reward, float]]
    unfinished: float | None = None
    """Stands instead of the sum for a response without a stop token (Huang et al. 2024, detail 4.2)."""

    def score(self, prompts: Sequence[Prompt], rollout: Rollout) -> Tensor:
        return self.total(self.each(prompts, rollout), rollout.finished_B)

    def each(
        self, prompts: Sequence[Prompt], rollout: Rollout, known: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Each reward's own scores, (B,). `known`: those that need not be asked for any more."""
        known = known or {}
        return {
            name: known[name] if name in known else reward.score(prompts, rollout)
            for name, (reward, _) in self.rewards.items()
        }

    def total(self, each: Mapping[str, Tensor], finished_B: Tensor) -> Tensor:
        """What a response is worth, (B,)."""
        sum_B = torch.stack([self.rewards[name][1] * scores for name, scores in each.items()]).sum(0)
        return sum_B if self.unfinished is None else torch.where(finished_B, sum_B, self.unfinished)
