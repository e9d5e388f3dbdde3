"""Held-out measures that stages share: perplexity, pair accuracy and calibration, win rates, KL to the reference."""

# B sequences, M tokens of all of them that are predicted

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from rlhf.data.chat import ChatFormat, Encoded
from rlhf.memory import spent_on
from rlhf.packing import Packed
from rlhf.roles import Role
from rlhf.rollout import Rollout


def batches(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Indices in batches of like length, so that little of a batch is padding."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
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


def pair_metrics(judge: Role, pairs: Sequence[dict[str, list[int]]], size: int) -> dict[str, float]:
    """Accuracy on held-out pairs with its standard error, calibration, and what length alone would explain."""
    chosen = score_rows(judge, [p["prompt_ids"] + p["chosen_ids"] for p in pairs], size)
    rejected = score_rows(judge, [p["prompt_ids"] + p["rejected_ids"] for p in pairs], size)
    lengths = [len(p[side]) for side in ("chosen_ids", "rejected_ids") for p in pairs]
    longer = [len(p["chosen_ids"]) - len(p["rejected_ids"]) for p in pairs]
    margin = (chosen - rejected).double()
    return {
        **preference_metrics(margin),
        "pairs": len(pairs),
        "length_correlation": correlation(torch.cat([chosen, rejected]).tolist(), lengths),
        "longer_wins": fmean(0.5 if d == 0 else float(d > 0) for d in longer),
    }


def preference_metrics(margin_N: Tensor, bins: int = 10) -> dict[str, float]:
    """From score differences chosen - rejected, (N,): accuracy (ties count half) and calibration of sigmoid(margin).

    Brier score is the mean squared error of the predicted preference; ECE is the expected calibration error of the
    predicted winner's probability over equal-width bins (Guo et al. 2017, eq. 3).
    """
    right = (margin_N > 0).double() + 0.5 * (margin_N == 0).double()
    accuracy = float(right.mean())
    probability = torch.sigmoid(margin_N)
    confidence = torch.maximum(probability, 1 - probability)
    bucket = ((confidence - 0.5) * 2 * bins).long().clamp(max=bins - 1)
    gaps = [
        float((bucket == b).double().mean() * (confidence[bucket == b].mean() - right[bucket == b].mean()).abs())
        for b in range(bins)
        if bool((bucket == b).any())
    ]
    return {
        "accuracy": accuracy,
        "accuracy_stderr": math.sqrt(accuracy * (1 - accuracy) / len(margin_N)),
        "margin": float(margin_N.mean()),
        "brier": float((1 - probability).square().mean()),
        "ece": sum(gaps),
    }


def correlation(left: Sequence[float], right: Sequence[float]) -> float:
    """Pearson's correlation; 0 when either side is constant."""
    x, y = torch.tensor(left, dtype=torch.float64), torch.tensor(right, dtype=torch.float64)
    x, y = x - x.mean(), y - y.mean()
    scale = float(x.norm() * y.norm())
    return float(x @ y) / scale if scale > 0 else 0.0


# ------------------------------------------------------------------------------------------------ policies


@spent_on("batch")
@torch.no_grad()
def perplexity(policy: Role, rows: Sequence[Encoded], size: int) -> dict[str, float]:
    """Mean loss of the assistant's tokens, in nats, and its exponential."""
    total, count = 0.0, 0
    for index in batches([len(row.ids) for row in rows], size):
        logprob_M = policy.logprobs(Packed.of([rows[i].ids for i in index], [1] * len(index), policy.device), 1.0)
        said_M = torch.tensor([said for i in index for said in rows[i].assistant_mask[1:]], device=policy.device)
        total -= float((logprob_M * said_M).sum())
        count += int(said_M.sum())
    loss = total / max(count, 1)
    return {"loss": loss, "perplexity": math.exp(min(loss, 50.0))}


@spent_on("batch")
@torch.no_grad()
def answer_logprobs(policy: Role, answers: Sequence[tuple[list[int], list[int]]], size: int) -> Tensor:
    """Log-probability of each answer after its prompt (token ids), in nats, (N,) float32 on the CPU."""
    found = torch.empty(len(answers))
    for index in batches([len(prompt) + len(answer) for prompt, answer in answers], size):
        some = [answers[i] for i in index]
        batch = Packed.of([p + a for p, a in some], [len(p) for p, _ in some], policy.device)
        parts = policy.logprobs(batch, 1.0).split([len(answer) for _, answer in some])
        found[index] = torch.stack([part.sum() for part in parts]).cpu()
    return found


@torch.no_grad()
def kl_per_response(policy: Role, reference: Role, rollout: Rollout, temperature: float) -> Tensor:
    """log p(response) - log q(response) of each sampled response, in nats, (B,): its mean estimates the sequence KL."""
    batch = rollout.packed()
    gap_M = policy.logprobs(batch, temperature) - reference.logprobs(batch, temperature)
    return torch.stack([part.sum() for part in gap_M.split([len(row) for row in rollout.responses])])


def win_rate(mine: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Share of prompts on which the first score is higher, ties counting half, with a 95 % normal interval."""
    results = [0.5 if a == b else float(a > b) for a, b in zip(mine, theirs, strict=True)]
    rate = fmean(results)
    spread = math.sqrt(fmean((r - rate) ** 2 for r in results) / len(results))
    return {
        "rate": rate,
        "low": max(rate - 1.96 * spread, 0.0),
        "high": min(rate + 1.96 * spread, 1.0),
        "ties": fmean(float(r == 0.5) for r in results),
        "prompts": len(results),
    }


def conversations(prompts: Sequence[Any], responses: Sequence[str]) -> list[list[dict[str, str]]]:
    """Each prompt's messages with the response as the assistant's answer."""
    return [
        [*prompt.messages, {"role": "assistant", "content": text}]
        for prompt, text in zip(prompts, responses, strict=True)
    ]


def encode_conversations(chat: ChatFormat, rows: Sequence[list[dict[str, str]]]) -> list[list[int]]:
    """Token ids of whole conversations, each ending with the stop token."""
    return [list(chat.encode(messages).ids) for messages in rows]
