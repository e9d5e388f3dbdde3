"""A conversation with a policy."""

import torch

from rlhf import text
from rlhf.backends import for_weights
from rlhf.data.chat import ChatFormat
from rlhf.data.records import Message
from rlhf.errors import ArtifactError
from rlhf.rollout import Sampling, sample
from rlhf.trunk import Role, standalone
from rlhf.weights import Weights


class Chat:
    """Keeps the messages of a conversation; `say` answers the next one."""

    def __init__(self, role: Role, chat: ChatFormat, sampling: Sampling) -> None:
        self.role, self.chat, self.sampling = role, chat, sampling
        self.messages: list[Message] = []

    @classmethod
    def load(cls, weights: Weights, temperature: float, max_new_tokens: int, seed: int) -> "Chat":
        if weights.head is not None:
            raise ArtifactError(f"'{weights.name}' is a reward model: it scores (rlhf score), it does not answer")
        torch.manual_seed(seed)
        chat = text.load(weights)
        return cls(standalone(for_weights(weights), weights, chat), chat, Sampling(max_new_tokens, temperature))

    def say(self, line: str) -> str:
        """The policy's answer to `line`, given all that was said before."""
        self.messages.append({"role": "user", "content": line})
        prompt = self.chat.prompt_ids(self.messages)
        reply = sample(self.role, [prompt], self.chat, self.sampling).texts(self.chat)[0]
        self.messages.append({"role": "assistant", "content": reply})
        return reply
