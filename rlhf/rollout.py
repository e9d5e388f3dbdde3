"""Sampling responses: prompts in, token ids and masks out. Engines stand behind one small protocol."""

# B batch, Q prompt tokens (left-padded), R response tokens (right-padded)

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from transformers import GenerationConfig

from rlhf.data.chat import ChatFormat
from rlhf.trunk import Role


class Sampling(NamedTuple):
    """How responses are drawn."""

    max_new_tokens: int
    temperature: float = 1.0
    """0 takes the likeliest token at each step."""


class Rollout(NamedTuple):
    """A batch of prompts and the responses drawn for them."""

    query_BQ: Tensor
    query_mask_BQ: Tensor
    response_BR: Tensor
    """Up to and including the stop token; pad after it."""
    mask_BR: Tensor
    """1 on response tokens, the stop token included."""
    finished_B: Tensor
    """Whether the response ends with a stop token."""

    @property
    def ids_BT(self) -> Tensor:
        return torch.cat([self.query_BQ, self.response_BR], 1)

    @property
    def mask_BT(self) -> Tensor:
        return torch.cat([self.query_mask_BQ, self.mask_BR], 1)

    def texts(self, chat: ChatFormat) -> list[str]:
        """Responses as text, without stop token or padding."""
        rows = zip(self.response_BR.tolist(), self.mask_BR.sum(1).tolist(), strict=True)
        return [decode(chat, row[:length]) for row, length in rows]

    def rows(self, index: Tensor) -> "Rollout":
        """Some rows, without the padding that none of them needs."""
        query_mask, mask = self.query_mask_BQ[index], self.mask_BR[index]
        q, r = int(query_mask.sum(1).max()), int(mask.sum(1).max())
        return Rollout(
            self.query_BQ[index][:, -q:],
            query_mask[:, -q:],
            self.response_BR[index][:, :r],
            mask[:, :r],
            self.finished_B[index],
        )


class Engine(Protocol):
    """Anything that can draw responses from a role."""

    def generate(self, role: Role, query_BQ: Tensor, mask_BQ: Tensor, sampling: Sampling, chat: ChatFormat) -> Tensor:
        """Token ids drawn after each prompt, (B, R); what follows a stop token is ignored."""
        ...


class HFEngine:
    """transformers' own `generate`."""

    @torch.no_grad()
    def generate(self, role: Role, query_BQ: Tensor, mask_BQ: Tensor, sampling: Sampling, chat: ChatFormat) -> Tensor:
        draw = sampling.temperature > 0
        config = GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            do_sample=draw,
            temperature=sampling.temperature if draw else 1.0,
            top_k=0,
            top_p=1.0,
            eos_token_id=list(chat.stop_ids),
            pad_token_id=chat.pad_id,
        )
        with role.active():
            whole = role.model.generate(input_ids=query_BQ, attention_mask=mask_BQ, generation_config=config)
        return whole[:, query_BQ.shape[1] :]


def sample(engine: Engine, role: Role, prompts: Sequence[list[int]], chat: ChatFormat, sampling: Sampling) -> Rollout:
    """Draw one response for each prompt (token ids). The same stop set ends generation and defines `finished`."""
    device = next(role.model.parameters()).device
    query_BQ, query_mask_BQ = left_pad(prompts, chat.pad_id, device)
    response_BR = engine.generate(role, query_BQ, query_mask_BQ, sampling, chat)
    mask_BR, finished_B = cut(response_BR, chat.stop_ids)
    length = int(mask_BR.sum(1).max())
    response_BR = response_BR[:, :length].masked_fill(~mask_BR[:, :length].bool(), chat.pad_id)
    return Rollout(query_BQ, query_mask_BQ, response_BR, mask_BR[:, :length], finished_B)


def cut(response_BR: Tensor, stop_ids: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Mask up to and including the first stop token, and whether there is one: `(mask_BR, finished_B)`."""
    stop_BR = torch.isin(response_BR, torch.tensor(list(stop_ids), device=response_BR.device))
    before_BR = stop_BR.long().cumsum(1) - stop_BR.long()
    return (before_BR == 0).long(), stop_BR.any(1)


def left_pad(rows: Sequence[list[int]], pad_id: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token lists as `(ids, mask)`, padded on the left."""
    width = max(map(len, rows))
    ids = torch.tensor([[pad_id] * (width - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def decode(chat: ChatFormat, ids: list[int]) -> str:
    """A response as text, without its stop token."""
    kept = [i for i in ids if i not in chat.stop_ids and i != chat.pad_id]
    return str(chat.tokenizer.decode(kept, skip_special_tokens=False)).strip()
