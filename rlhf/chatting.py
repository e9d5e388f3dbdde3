"""A conversation with a policy."""

import torch

from rlhf import text
from rlhf.backends import for_weights
from rlhf.data.chat import ChatFormat
from rlhf.data.records import Message
from rlhf.errors import ArtifactError, DataError
from rlhf.roles import Role, standalone
from rlhf.rollout import Sampling, sample
from rlhf.weights import Weights


class Chat:
    """Keeps the messages of a conversation; `say` answers the next one."""

    def __init__(self, role: Role, chat: ChatFormat, sampling: Sampling, room: int | None = None) -> None:
        self.role, self.chat, self.sampling, self.room = role, chat, sampling, room
        self.messages: list[Message] = []

    @classmethod
    def load(cls, weights: Weights, temperature: float, max_new_tokens: int, seed: int) -> "Chat":
        if weights.scores:
            raise ArtifactError(f"'{weights.called}' is a reward model: it scores (rlhf score), it does not answer")
        torch.manual_seed(seed)
        chat = text.load(weights)
        most = text.positions(weights)
        room = None if most is None else most - max_new_tokens
        sampling = Sampling(max_new_tokens, temperature)
        return cls(standalone(for_weights(weights), weights, chat), chat, sampling, room)

    def say(self, line: str) -> str:
        """The policy's answer to `line`, given all that was said before."""
        self.messages.append({"role": "user", "content": line})
        prompt = self.chat.prompt_ids(self.messages)
        if self.room is not None and len(prompt) > self.room:
            del self.messages[-1]
            raise DataError(
                f"the conversation takes {len(prompt)} tokens, and the model reads {self.room} before an answer"
            )
        reply = sample(self.role, [prompt], self.chat, self.sampling).texts(self.chat)[0]
        self.messages.append({"role": "assistant", "content": reply})
        return reply
