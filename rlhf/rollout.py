"""Sampling responses: prompts in, token ids out. Engines stand behind one small protocol."""

# B prompts, Q tokens of the longest prompt, R tokens of the longest response, M tokens of all responses

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from transformers import GenerationConfig

from rlhf.config import RolloutConfig
from rlhf.data.chat import ChatFormat
from rlhf.decoder import Decoder
from rlhf.errors import RecipeError
from rlhf.fused import for_few_rows
from rlhf.lm_head import LMHead
from rlhf.memory import spent_on
from rlhf.packing import Packed
from rlhf.roles import Role
from rlhf.stepping import Steps
from rlhf.trunk import active


class Sampling(NamedTuple):
    """How responses are drawn."""

    max_new_tokens: int
    temperature: float = 1.0
    """0 takes the likeliest token at each step."""
    at_once: int | None = None
    """Most responses drawn side by side; None for all."""

    @classmethod
    def of(cls, config: RolloutConfig) -> "Sampling":
        """As a recipe has responses drawn."""
        return cls(config.max_new_tokens, config.temperature, config.at_once or config.batch_size)


@dataclass(frozen=True)
class Rollout:
    """Prompts and the responses drawn for them, as token ids."""

    prompts: list[list[int]]
    responses: list[list[int]]
    """Up to and including the stop token."""
    finished_B: Tensor
    """Whether the response ends with a stop token."""
    logprob_M: Tensor | None = None
    """As the engine drew them; None where it does not say."""
    value_M: Tensor | None = None
    """As a critic of the policy's own states read them on the way."""
    lower: list[Tensor] | None = None
    """What the bottom layers that were asked for made of each row's tokens on the way, (T, D)."""

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each prompt and response together."""
        return [len(p) + len(r) for p, r in zip(self.prompts, self.responses, strict=True)]

    @property
    def mask_BR(self) -> Tensor:
        """1 on response tokens, the stop token included."""
        length_B = torch.tensor([len(row) for row in self.responses], device=self.finished_B.device)
        return (torch.arange(int(length_B.max()), device=length_B.device) < length_B[:, None]).long()

    def packed(self, rows: Sequence[int] | None = None) -> Packed:
        """Some rows (all when None) side by side. Their response tokens come in the order of `mask_BR[rows]`."""
        rows = range(len(self)) if rows is None else rows
        whole = [self.prompts[i] + self.responses[i] for i in rows]
        return Packed.of(whole, [len(self.prompts[i]) for i in rows], self.finished_B.device)

    def ended(self, stop_id: int) -> "Rollout":
        """As it would read had every response ended: one that was cut short gets the stop token, for the judges."""
        rows = zip(self.responses, self.finished_B.tolist(), strict=True)
        return Rollout(self.prompts, [row if done else [*row, stop_id] for row, done in rows], self.finished_B)

    def texts(self, chat: ChatFormat) -> list[str]:
        """Responses as text, without stop token."""
        return [decode(chat, row) for row in self.responses]


class Request(NamedTuple):
    """What an engine is asked for: one response after each prompt."""

    prompts: Sequence[list[int]]
    """Token ids."""
    sampling: Sampling
    chat: ChatFormat
    critic: nn.Linear | None = None
    """Reads the states on the way, where the engine sees them."""
    depth: int = 0
    """Bottom layers whose states are wanted, where the engine sees them."""


class Drawn(NamedTuple):
    """What an engine gives back, a row for each prompt."""

    responses: list[list[int]]
    """Token ids; what follows a stop token is ignored."""
    logprob_M: Tensor | None = None
    """Log-probability of each token up to the stop, response after response, where the engine knows it."""
    value_M: Tensor | None = None
    """What the critic reads in the state each token was drawn from, where a critic reads the policy's states."""
    lower: list[Tensor] | None = None
    """Of each row, what the bottom layers make of its tokens, (T, D); the last one, which none attends to, is left out
    (zero)."""

    @classmethod
    def joined(cls, parts: Sequence["Drawn"]) -> "Drawn":
        """Several one after the other."""
        if len(parts) == 1:
            return parts[0]
        responses, *tables, lower = zip(*parts, strict=True)
        logprob_M, value_M = (None if table[0] is None else torch.cat(table) for table in tables)
        return cls([*chain(*responses)], logprob_M, value_M, None if lower[0] is None else [*chain(*lower)])


class Engine(Protocol):
    """Anything that can draw responses from a role."""

    def generate(self, role: Role, request: Request) -> Drawn:
        """Draw the responses."""
        ...


def engine_for(role: Role, name: str = "auto") -> Engine:
    """The engine of a name; `auto` is the fastest one for a role. Raises RecipeError where it cannot serve the role."""
    known = isinstance(role.trunk, Decoder)
    if name == "cached" and not known:
        raise RecipeError("engine 'cached' does not know this model's family; use 'hf'")
    return CachedEngine() if known and name != "hf" else HFEngine()


class HFEngine:
    """transformers' own `generate`."""

    @torch.no_grad()
    def generate(self, role: Role, request: Request) -> Drawn:
        prompts, sampling, chat = request[:3]
        samples = sampling.temperature > 0
        config = GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            do_sample=samples,
            temperature=sampling.temperature if samples else 1.0,
            top_k=0,
            top_p=1.0,
            eos_token_id=list(chat.stop_ids),
            pad_token_id=chat.pad_id,
        )
        query_BQ, mask_BQ = left_pad(prompts, chat.pad_id, role.device)
        dtype = role.trunk.dtype
        with (
            active(role.model, role.adapter),
            torch.autocast(role.device.type, dtype, enabled=dtype != torch.float32),
        ):
            whole = role.model.generate(input_ids=query_BQ, attention_mask=mask_BQ, generation_config=config)
        return Drawn(whole[:, query_BQ.shape[1] :].tolist())


class CachedEngine:
    """Our decoder with keys and values in place; rows that have stopped leave the batch."""

    @torch.inference_mode()
    def generate(self, role: Role, request: Request) -> Drawn:
        assert isinstance(role.trunk, Decoder)
        prompts, sampling, chat, critic, depth = request
        steps = Steps(role.trunk, prompts, role.adapter, sampling.max_new_tokens, depth)
        head = role.lm_head
        head = head._replace(weight=for_few_rows(head.weight.to(role.trunk.dtype), len(prompts)))
        stop_S = torch.tensor(chat.stop_ids, device=role.device)
        size = len(prompts), sampling.max_new_tokens
        drawn_BR = torch.full(size, chat.stop_ids[0], device=role.device)
        logprob_BR, value_BR = (torch.zeros(size, device=role.device) for _ in range(2))
        for step in range(sampling.max_new_tokens):
            token, logprob = draw(steps.hidden, head, sampling.temperature)
            drawn_BR[steps.rows, step], logprob_BR[steps.rows, step] = token, logprob
            if critic is not None:
                value_BR[steps.rows, step] = critic(steps.hidden.float())[:, 0]
            left = steps.stop(torch.isin(token, stop_S))
            if step + 1 == sampling.max_new_tokens or not left:
                break
            steps.go_on(token)
        responses = [cut(row, chat.stop_ids) for row in drawn_BR[:, : step + 1].tolist()]
        lengths = [len(row) for row in responses]

        def flat(table_BR: Tensor) -> Tensor:
            return torch.cat([row[:length] for row, length in zip(table_BR, lengths, strict=True)])

        lower = steps.lower_of(lengths) if depth else None
        return Drawn(responses, flat(logprob_BR), None if critic is None else flat(value_BR), lower)


def draw(hidden_BD: Tensor, head: LMHead, temperature: float) -> tuple[Tensor, Tensor]:
    """A token for each row and its log-probability; at temperature 0 the likeliest."""
    logits_BV, _ = head.logits(hidden_BD, temperature or 1.0)
    logits_BV.sub_(logits_BV.amax(-1, keepdim=True))
    weight_BV = logits_BV.exp()  # of each token; divided by their sum, its probability
    token_B = pick(weight_BV) if temperature else logits_BV.argmax(-1)
    return token_B, logits_BV.gather(1, token_B[:, None])[:, 0] - weight_BV.sum(-1).log()


def pick(weight_BV: Tensor) -> Tensor:
    """A column of each row, drawn in proportion to its weight.

    On a CPU by inverse transform, from one random number a row: one a column took a third of a small model's step. In
    float64, so that no column's share is lost in a sum over a large vocabulary. Elsewhere the first of exponential
    clocks to ring, which needs no wait for the accelerator.
    """
    if weight_BV.device.type != "cpu":
        return (weight_BV / torch.empty_like(weight_BV).exponential_()).argmax(-1)
    sum_BV = weight_BV.cumsum(-1, dtype=torch.float64)
    at_B = torch.rand(len(sum_BV), 1, dtype=torch.float64) * sum_BV[:, -1:]
    return torch.searchsorted(sum_BV, at_B, right=True)[:, 0].clamp_(max=sum_BV.shape[1] - 1)


@spent_on("answers")
def sample(
    role: Role,
    prompts: Sequence[list[int]],
    chat: ChatFormat,
    sampling: Sampling,
    engine: Engine | None = None,
    critic: nn.Linear | None = None,
    depth: int = 0,
) -> Rollout:
    """Draw one response for each prompt (token ids). The same stop set ends generation and defines `finished`."""
    engine, size = engine or engine_for(role), sampling.at_once or len(prompts)
    parts = [prompts[start : start + size] for start in range(0, len(prompts), size)]
    drawn = Drawn.joined([engine.generate(role, Request(part, sampling, chat, critic, depth)) for part in parts])
    responses = [cut(row, chat.stop_ids) for row in drawn.responses]
    finished_B = torch.tensor([row[-1] in chat.stop_ids for row in responses], device=role.device)
    whole = [list(row) for row in prompts]
    return Rollout(whole, responses, finished_B, drawn.logprob_M, drawn.value_M, drawn.lower)


def cut(response: list[int], stop_ids: Sequence[int]) -> list[int]:
    """A response up to and including its first stop token."""
    ends = next((i + 1 for i, token in enumerate(response) if token in stop_ids), len(response))
    return response[:ends]


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
