"""A reward model by itself, with its own text format: conversations in, scores out."""

from collections.abc import Sequence

from rlhf import text
from rlhf.backends import Backend, for_weights
from rlhf.data.chat import ChatFormat
from rlhf.errors import ArtifactError
from rlhf.evaluate import encode_conversations, score_rows
from rlhf.trunk import Role, standalone
from rlhf.weights import Weights


class RewardModel:
    """Scores conversations."""

    def __init__(self, role: Role, chat: ChatFormat, batch_size: int = 16) -> None:
        self.role, self.chat, self.batch_size = role, chat, batch_size

    @classmethod
    def load(
        cls, weights: Weights, precision: str = "fp32", batch_size: int = 16, beside: Backend | None = None
    ) -> "RewardModel":
        """Load on its own, held as the backend `beside` holds frozen models where there is one. Raises ArtifactError
        when the weights have no score head."""
        if not weights.scores:
            raise ArtifactError(f"'{weights.called}' has no score head: it is no reward model")
        chat = text.load(weights)
        return cls(standalone(for_weights(weights, precision, beside), weights, chat), chat, batch_size)

    def score(self, conversations: Sequence[list[dict[str, str]]]) -> list[float]:
        """One score a conversation; the last message is the assistant's."""
        rows = encode_conversations(self.chat, conversations)
        return score_rows(self.role, rows, self.batch_size).tolist()
