"""DPO on TRL's DPOTrainer. The reference is the parent, read once before the first step; never the bare base."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from trl.trainer.dpo_config import DPOConfig as TRLConfig

from rlhf import pairs, reference, training
from rlhf.artifact import Artifact
from rlhf.data.chat import encode_preferences
from rlhf.forwards import logprobs_from_trunk
from rlhf.job import Job, check_some_left
from rlhf.roles import Role
from rlhf.tracking import Tracker
from rlhf.weights import Weights
from stages.dpo.config import DPOConfig


def run(config: DPOConfig, inputs: Mapping[str, Weights], out: Path, tracker: Tracker) -> Artifact:
    """Train on pairs; write the policy to `out/model`."""
    job = Job.start(config, inputs, "preferences", out)
    train, ledger = encode_preferences(job.split.train, job.chat, job.max_length, one_answer=True)
    held_out, held_out_ledger = encode_preferences(job.split.held_out, job.chat, job.max_length, one_answer=True)
    model = job.how.load(job.weights, job.chat)
    parent = job.role(model)
    check_some_left(len(train), ledger)
    said = [row[f"{side}_ids"] for row in train for side in ("chosen", "rejected")]
    train, held_out = (_with_reference(config, job, parent, rows, tracker) for rows in (train, held_out))
    names, weights = trl_losses(config)
    with training.trainable_kept(model):
        trainer = pairs.PairTrainer(
            model=model,
            args=TRLConfig(
                **pairs.arguments(config, out),
                beta=config.beta,
                loss_type=names,
                loss_weights=weights,
                label_smoothing=config.label_smoothing,
            ),
            train_dataset=training.training_set(train, ledger),
            eval_dataset=training.dataset(held_out),
            processing_class=job.chat.tokenizer,
        )
    logprobs_from_trunk(parent, config.train.gradient_checkpointing, in_pairs=True)
    if not config.reference_free:
        trainer.add_callback(training.StartsAtReference.of(config.precision, config.beta, said))
    metrics = training.run(trainer, tracker, out, partial(job.live, model))
    _warn_of_lost_answers(config, metrics, tracker)
    return job.finish(model, out, {"train": ledger, "held_out": held_out_ledger}, metrics)


def _with_reference(
    config: DPOConfig, job: Job, parent: Role, rows: Sequence[dict[str, Any]], tracker: Tracker
) -> list[dict[str, Any]]:
    """Pairs with the reference's log-probability of each answer; zeros, those of a uniform one, without a reference."""
    sides = ("chosen", "rejected")
    if config.reference_free or not rows:
        return [row | {f"ref_{side}_logps": 0.0 for side in sides} for row in rows]
    answers = [(row["prompt_ids"], row[f"{side}_ids"]) for side in sides for row in rows]
    known = reference.logprobs(job, parent, answers, 2 * config.train.micro_batch, tracker)
    halves = zip(rows, known[: len(rows)], known[len(rows) :], strict=True)
    return [row | {"ref_chosen_logps": chosen, "ref_rejected_logps": rejected} for row, chosen, rejected in halves]


def trl_losses(config: DPOConfig) -> tuple[list[str], list[float]]:
    """The losses as TRL names and weighs them.

    Its sigmoid loss S reads no label smoothing e. Its robust loss is R = ((1-e) S - e F) / (1-2e), where F is the loss
    of the flipped pair, so that the conservative (1-e) S + e F is 2 (1-e) S - (1-2e) R.
    """
    found: dict[str, float] = {}
    for name, weight in config.losses.items():
        parts = {name: 1.0}
        if name == "sigmoid" and config.label_smoothing:
            e = config.label_smoothing
            parts = {"sigmoid": 2 * (1 - e), "robust": -(1 - 2 * e)}
        for part, share in parts.items():
            found[part] = found.get(part, 0.0) + weight * share
    if config.sft_coef:
        found["sft"] = config.sft_coef
    return list(found), list(found.values())


_AWAY = 0.1
"""Nats that chosen answers may lose before that is told."""


def _warn_of_lost_answers(config: DPOConfig, metrics: Mapping[str, float], tracker: Tracker) -> None:
    """The margin may grow while chosen answers become less likely (Pal et al. 2024; Razin et al. 2024)."""
    if config.reference_free or "eval_loss" not in metrics:
        return
    reward, margin = (metrics[f"eval_rewards/{name}"] for name in ("chosen", "margins"))
    away = -reward / config.beta
    if away > _AWAY and margin > 0:
        tracker.screen.say(
            f"  note: held-out chosen answers are {away:.2g} nats less likely than under the reference, while the "
            "margin grew; sft_coef keeps them likely"
        )
