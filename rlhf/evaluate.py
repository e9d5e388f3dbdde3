"""What models say of held-out rows, for `rlhf.measures`: scores of pairs, losses of text, log-probabilities, KL."""

# B sequences, M tokens of all of them that are predicted

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from rlhf.data.chat import ChatFormat, Encoded
from rlhf.finite import check_finite
from rlhf.measures import pairs as measures
from rlhf.memory import spent_on
from rlhf.packing import Packed
from rlhf.roles import Role
from rlhf.rollout import Rollout


def batches(keys: Sequence[Any], size: int) -> Iterator[list[int]]:
    """Indices in batches by the order of their keys, of which lengths come first: little of a batch is padding."""
    order = sorted(range(len(keys)), key=lambda i: keys[i])
    for start in range(0, len(order), size):
        yield order[start : start + size]


# ------------------------------------------------------------------------------------------------ reward models


def score_rows(judge: Role, rows: Sequence[list[int]], size: int) -> Tensor:
    """Score of each row of token ids, (N,) float32 on the CPU."""
    return read_rows(judge, rows, size, judge.read)


@spent_on("batch")
@torch.no_grad()
def read_rows(judge: Role, rows: Sequence[list[int]], size: int, read: Callable[[Tensor], Tensor]) -> Tensor:
    """What `read` makes of the judge's state at the end of each row, (N, …) float32 on the CPU."""
    found: dict[int, Tensor] = {}
    with judge.present():
        for index in batches([len(row) for row in rows], size):
            batch = Packed.of([rows[i] for i in index], [len(rows[i]) for i in index], judge.device)
            said = read(judge.hidden(batch, batch.last_B)).cpu()
            found |= dict(zip(index, said, strict=True))
    return torch.stack([found[i] for i in range(len(rows))]) if rows else torch.empty(0)


def pair_rows(judge: Role, pairs: Sequence[dict[str, Any]], size: int) -> list[dict[str, Any]]:
    """What a reward model says of each pair, as `measures.pairs` reads it. Raises GuardError for a score that is not
    finite: no comparison would tell it from a loss."""
    chosen, rejected = (
        score_rows(judge, [p["prompt_ids"] + p[side] for p in pairs], size).tolist()
        for side in ("chosen_ids", "rejected_ids")
    )
    for pair, better, worse in zip(pairs, chosen, rejected, strict=True):
        check_finite({"the chosen answer's score": better, "the rejected answer's score": worse}, pair["where"])
    return [
        {
            "chosen_score": better,
            "rejected_score": worse,
            "chosen_tokens": len(pair["chosen_ids"]),
            "rejected_tokens": len(pair["rejected_ids"]),
            "margin": better - worse,
            "correct": measures.right(better - worse),
        }
        for pair, better, worse in zip(pairs, chosen, rejected, strict=True)
    ]


# ------------------------------------------------------------------------------------------------ policies


@spent_on("batch")
@torch.no_grad()
def losses(policy: Role, rows: Sequence[Encoded], size: int) -> list[dict[str, Any]]:
    """Of each row where it stands, how many tokens the assistant has in it, and their mean loss in nats."""
    found: list[dict[str, Any]] = [{} for _ in rows]
    for index in batches([len(row.ids) for row in rows], size):
        logprob_M = policy.logprobs(Packed.of([rows[i].ids for i in index], [1] * len(index), policy.device), 1.0)
        parts = logprob_M.cpu().split([len(rows[i].ids) - 1 for i in index])
        for i, part in zip(index, parts, strict=True):
            said = torch.tensor(rows[i].assistant_mask[1:])
            count = int(said.sum())
            nats = -float((part * said).sum()) / max(count, 1)
            found[i] = {"where": rows[i].where, "tokens": count, "loss": nats}
    return found


@spent_on("batch")
@torch.no_grad()
def answer_logprobs(policy: Role, answers: Sequence[tuple[list[int], list[int]]], size: int) -> Tensor:
    """Log-probability of each answer after its prompt (token ids), in nats, (N,) float32 on the CPU. Answers to one
    prompt go together, and it is read once."""
    found, prompts = torch.empty(len(answers)), [tuple(prompt) for prompt, _ in answers]
    longest: dict[tuple[int, ...], int] = {}
    for prompt, (_, answer) in zip(prompts, answers, strict=True):
        longest[prompt] = max(longest.get(prompt, 0), len(prompt) + len(answer))
    for index in batches([(longest[prompt], prompt) for prompt in prompts], size):
        some, first = [answers[i] for i in index], dict[tuple[int, ...], int]()
        lenders = [first.setdefault(prompts[i], at) for at, i in enumerate(index)]
        batch = Packed.of([p + a for p, a in some], [len(p) for p, _ in some], policy.device, lenders)
        parts = policy.logprobs(batch, 1.0).split([len(answer) for _, answer in some])
        found[index] = torch.stack([part.sum() for part in parts]).cpu()
    return found


@torch.no_grad()
def kl_per_response(policy: Role, reference: Role, rollout: Rollout, temperature: float, size: int) -> Tensor:
    """log p(response) - log q(response) of each sampled response, in nats, (B,): its mean estimates the sequence KL."""
    gap_B = torch.empty(len(rollout), device=rollout.finished_B.device)
    for rows in batches(rollout.lengths, size):
        batch = rollout.packed(rows)
        gap_M = policy.logprobs(batch, temperature) - reference.logprobs(batch, temperature)
        gap_B[rows] = torch.stack([part.sum() for part in gap_M.split([len(rollout.responses[row]) for row in rows])])
    return gap_B


def conversations(prompts: Sequence[Any], responses: Sequence[str]) -> list[list[dict[str, str]]]:
    """Each prompt's messages with the response as the assistant's answer."""
    return [
        [*prompt.messages, {"role": "assistant", "content": text}]
        for prompt, text in zip(prompts, responses, strict=True)
    ]


def encode_conversations(chat: ChatFormat, rows: Sequence[list[dict[str, str]]]) -> list[list[int]]:
    """Token ids of whole conversations, each ending with the stop token."""
    return [list(chat.encode(messages).ids) for messages in rows]
