"""KTO on TRL's KTOTrainer. The reference is the parent, read once before the first step, as in DPO."""

import random
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from trl.trainer.kto_config import KTOConfig as TRLConfig
from trl.trainer.kto_trainer import KTOTrainer

from rlhf import reference, training
from rlhf.artifact import Artifact
from rlhf.data.chat import encode_rated
from rlhf.data.records import LABEL
from rlhf.errors import DataError
from rlhf.forwards import logprobs_from_trunk
from rlhf.job import Job, check_some_left
from rlhf.roles import Role
from rlhf.tracking import Tracker
from rlhf.weights import Weights
from stages.kto.config import KTOConfig


class _Trainer(training.OnTokens, KTOTrainer):
    """KTOTrainer on our rows, with the reference's log-probabilities."""


def run(config: KTOConfig, inputs: Mapping[str, Weights], out: Path, tracker: Tracker) -> Artifact:
    """Train on labelled answers; write the policy to `out/model`."""
    job = Job.start(config, inputs, "labels", out)
    train, ledger = encode_rated(job.split.train, job.chat, job.max_length)
    held_out, held_out_ledger = encode_rated(job.split.held_out, job.chat, job.max_length)
    check_some_left(len(train), ledger)
    said = [row["completion_ids"] for row in train]
    weight = config.desirable_weight or config.undesirable_weight * _balance(train)
    model = job.how.load(job.weights, job.chat)
    parent = job.role(model)
    train, held_out = (_with_reference(config, job, parent, rows, tracker) for rows in (train, held_out))
    with training.trainable_kept(model):
        trainer = _Trainer(
            model=model,
            args=TRLConfig(
                **training.arguments(config, out),
                beta=config.beta,
                loss_type=config.loss,
                desirable_weight=weight,
                undesirable_weight=config.undesirable_weight,
                max_length=None,
                precompute_ref_log_probs=True,
            ),
            train_dataset=training.training_set(train, ledger),
            eval_dataset=training.dataset(held_out),
            processing_class=job.chat.tokenizer,
        )
    trainer.args.train_sampling_strategy = "random"  # TRL's pairs for the KL go by batch, ours are in the rows
    logprobs_from_trunk(parent, config.train.gradient_checkpointing)
    trainer.add_callback(training.StartsAtReference.of(config.precision, config.beta, said, in_pairs=False))
    metrics = {"desirable_weight": weight, **training.run(trainer, tracker, out, partial(job.live, model))}
    return job.finish(model, out, {"train": ledger, "held_out": held_out_ledger}, metrics)


def _balance(rows: Sequence[Mapping[str, Any]]) -> float:
    """Weight of good answers that makes good and bad weigh alike in all, between 1/4 and 4."""
    good = sum(row["numbers"][LABEL] > 0 for row in rows)
    if rows and good in (0, len(rows)):
        raise DataError(
            f"all {len(rows)} answers to train on are {'good' if good else 'bad'}; KTO learns from both kinds"
        )
    return min(max((len(rows) - good) / good, 0.25), 4.0) if rows else 1.0


def _with_reference(
    config: KTOConfig, job: Job, parent: Role, rows: Sequence[dict[str, Any]], tracker: Tracker
) -> list[dict[str, Any]]:
    """Rows with the reference's log-probabilities: of the answer, and of another row's answer to the same prompt, whose
    change estimates the KL (Ethayarajh et al. 2024, section 4.1)."""
    if not rows:
        return []
    order = list(range(len(rows)))
    random.Random(config.seed).shuffle(order)
    after = dict(zip(order, [*order[1:], order[0]], strict=True))
    answers = [(row["prompt_ids"], row["completion_ids"]) for row in rows]
    room = [job.max_length - len(row["prompt_ids"]) for row in rows]  # an answer to a shorter prompt may not fit
    strangers = [(row["prompt_ids"], rows[after[i]]["completion_ids"][: room[i]]) for i, row in enumerate(rows)]
    known = reference.logprobs(job, parent, answers + strangers, config.train.micro_batch, tracker)
    found = []
    for i, row in enumerate(rows):
        ids = {name: row[name] for name in ("prompt_ids", "completion_ids", "where")}
        kl = {"KL_completion_ids": strangers[i][1], "ref_KL_logps": known[len(rows) + i]}
        found.append(
            {**ids, "label": row["numbers"][LABEL] > 0, "ref_logps": known[i]} | (kl if config.loss == "kto" else {})
        )
    return found
