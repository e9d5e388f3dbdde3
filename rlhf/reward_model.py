"""A reward model by itself, with its own text format: conversations in, scores out."""

import math
from collections.abc import Sequence

from torch import Tensor

from rlhf import text
from rlhf.backends import Backend, for_weights
from rlhf.data.chat import ChatFormat
from rlhf.errors import ArtifactError, RewardError
from rlhf.evaluate import encode_conversations, read_rows, score_rows
from rlhf.roles import Role, standalone
from rlhf.weights import Weights


class RewardModel:
    """Scores conversations."""

    def __init__(self, role: Role, chat: ChatFormat, batch_size: int = 16, longest: int | None = None) -> None:
        """`longest`: tokens that it was built to read, where its architecture sets a limit."""
        self.role, self.chat, self.batch_size, self.longest = role, chat, batch_size, longest

    @classmethod
    def load(
        cls, weights: Weights, precision: str = "fp32", batch_size: int = 16, beside: Backend | None = None
    ) -> "RewardModel":
        """Load on its own, held as the backend `beside` holds frozen models where there is one. Raises ArtifactError
        when the weights have no score head."""
        if not weights.scores:
            raise ArtifactError(f"'{weights.called}' has no score head: it is no reward model")
        chat = text.load(weights)
        role = standalone(for_weights(weights, precision, beside), weights, chat)
        return cls(role, chat, batch_size, text.positions(weights))

    def score(self, conversations: Sequence[list[dict[str, str]]]) -> list[float]:
        """One score a conversation; the last message is the assistant's."""
        return self.score_ids(encode_conversations(self.chat, conversations)).tolist()

    def score_what_fits(self, conversations: Sequence[list[dict[str, str]]]) -> list[float]:
        """As `score`; `nan` for a conversation that is longer than it reads."""
        rows = encode_conversations(self.chat, conversations)
        fitting = [i for i, row in enumerate(rows) if self.longest is None or len(row) <= self.longest]
        scores = [math.nan] * len(rows)
        for i, score in zip(fitting, self.score_ids([rows[i] for i in fitting]).tolist(), strict=True):
            scores[i] = score
        return scores

    def score_ids(self, rows: Sequence[list[int]]) -> Tensor:
        """One score for each row of token ids, (N,) float32 on the CPU. Raises RewardError for a row that is longer
        than it reads."""
        self._check_room(rows)
        return score_rows(self.role, rows, self.batch_size)

    def opinions_of(self, rows: Sequence[list[int]]) -> Tensor:
        """What each head scores for each row of token ids, (N, K) float32 on the CPU; one head says the score."""
        self._check_room(rows)
        return read_rows(self.role, rows, self.batch_size, self.role.opinions)

    def attributes(self, conversations: Sequence[list[dict[str, str]]]) -> list[dict[str, float]]:
        """What a model with a head for each attribute says of each conversation; empty for any other."""
        heads = self.role.heads
        if heads is None or not heads.names:
            return [{} for _ in conversations]
        rows = encode_conversations(self.chat, conversations)
        said = read_rows(self.role, rows, self.batch_size, lambda hidden: heads.linear(hidden.float()))
        return [dict(zip(heads.names, one, strict=True)) for one in said.tolist()]

    def disagreement(self, conversations: Sequence[list[dict[str, str]]]) -> list[float] | None:
        """Standard deviation of an ensemble's heads over each conversation; None for a model that is none."""
        if self.role.heads is None or self.role.heads.names:
            return None
        said = self.opinions_of(encode_conversations(self.chat, conversations))
        return said.std(1, unbiased=False).tolist()

    def _check_room(self, rows: Sequence[list[int]]) -> None:
        most = max(map(len, rows), default=0)
        if self.longest is not None and most > self.longest:
            raise RewardError(
                f"the reward model reads {self.longest} tokens, and a conversation has {most}: use shorter ones "
                "(data.max_length and rollout.max_new_tokens, in the stage `ppo`)"
            )
