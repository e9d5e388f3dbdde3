"""What models are asked for: answers to label, and which pairs a reward model is least sure of."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from rlhf import evaluate, text
from rlhf.backends import for_weights
from rlhf.config.data import DataConfig
from rlhf.data.chat import encode_prompts
from rlhf.data.load import load
from rlhf.errors import ArtifactError
from rlhf.labels.pairs import Answer, Asked, Pair
from rlhf.reward_model import RewardModel
from rlhf.roles import standalone
from rlhf.rollout import Sampling, sample
from rlhf.weights import Weights


def drawn(policy: Weights, prompts: Path, sampling: Sampling, seed: int, batch_size: int = 32) -> list[Asked]:
    """Two answers of a policy to each prompt of a file; prompts to which both are alike are left out."""
    if policy.scores:
        raise ArtifactError(f"'{policy.called}' is a reward model: it scores, it does not answer; name a policy")
    chat = text.load(policy)
    records = load(DataConfig(path=prompts, eval_fraction=0.0), "prompts").train
    most = text.positions(policy)
    room = text.prompt_room("label", [policy], most or 1 << 20, sampling.max_new_tokens)
    kept, rows, _ = encode_prompts(records, chat, room)
    role = standalone(for_weights(policy), policy, chat)
    torch.manual_seed(seed)
    answers: list[list[str]] = [[] for _ in rows]
    for index in evaluate.batches([len(row) for row in rows], batch_size):
        twice = [i for i in index for _ in range(2)]
        said = sample(role, [rows[i] for i in twice], chat, sampling).texts(chat)
        for i, one in zip(twice, said, strict=True):
            answers[i].append(one)
    return [
        Asked(record.messages, tuple(Answer(one, policy.called) for one in both), record.where)
        for record, both in zip(kept, answers, strict=True)
        if len({*both, ""}) == 3
    ]


def least_sure(asked: Sequence[Asked], judge: RewardModel) -> list[Pair]:
    """Of each prompt the pair that a reward model is least sure of, the least sure first: those whose scores are
    nearest to each other, and for an ensemble those on whose difference its heads are furthest apart. Pairs that are
    longer than it reads come last."""
    talks = [[*one.prompt, {"role": "assistant", "content": answer.text}] for one in asked for answer in one.answers]
    rows = evaluate.encode_conversations(judge.chat, talks)
    fits = [judge.longest is None or len(row) <= judge.longest for row in rows]
    said = iter(judge.opinions_of([row for row, fit in zip(rows, fits, strict=True) if fit]).tolist())
    opinions = iter([next(said) if fit else None for fit in fits])
    found: list[tuple[float, Pair]] = []
    for one in asked:
        of = {answer.text: next(opinions) for answer in one.answers}
        found.append(min((_sureness(pair, of) for pair in one.pairs()), key=lambda rated: rated[0]))
    return [pair for _, pair in sorted(found, key=lambda rated: rated[0])]


def _sureness(pair: Pair, opinions: dict[str, list[float] | None]) -> tuple[float, Pair]:
    """How sure a reward model is of a pair, and the pair with how far apart it scores the two answers."""
    one, other = (opinions[answer.text] for answer in pair.answers)
    if one is None or other is None:
        return math.inf, pair
    gaps = torch.tensor(one) - torch.tensor(other)
    gap = abs(float(gaps.mean()))
    sureness = gap if len(gaps) == 1 else -float(gaps.std(correction=0))
    return sureness, replace(pair, gap=gap)
