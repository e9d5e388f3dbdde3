"""Supervised fine-tuning on TRL's SFTTrainer, with tokens and masks made by our own chat format, on the trunk."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from trl.trainer.sft_config import SFTConfig as TRLConfig
from trl.trainer.sft_trainer import SFTTrainer

from rlhf import training
from rlhf.artifact import Artifact
from rlhf.data.chat import Encoded, encode_demonstrations
from rlhf.forwards import logprobs_from_trunk
from rlhf.job import Job
from rlhf.tracking import Tracker
from rlhf.weights import Weights
from stages.sft.config import SFTConfig


class _Trainer(training.Resumable, SFTTrainer):
    """SFTTrainer that goes on from our checkpoints."""


def run(config: SFTConfig, inputs: Mapping[str, Weights], out: Path, tracker: Tracker) -> Artifact:
    """Train on `config.data`; write the policy to `out/model`."""
    job = Job.start(config, inputs, "demonstrations", out)
    train, ledger = encode_demonstrations(job.split.train, job.chat, job.max_length)
    held_out, held_out_ledger = encode_demonstrations(job.split.held_out, job.chat, job.max_length)
    model = job.how.load(job.weights, job.chat)
    with training.trainable_kept(model):
        trainer = _Trainer(
            model=model,
            args=TRLConfig(
                **training.arguments(config, out),
                max_length=job.max_length if config.packing else None,  # rows already fit; packing fills up to it
                packing=config.packing,
                eval_packing=False,
            ),
            train_dataset=training.training_set([_labelled(row, config.loss_on) for row in train], ledger),
            eval_dataset=training.dataset([_labelled(row, config.loss_on) for row in held_out]),
            processing_class=job.chat.tokenizer,
        )
    if not (config.packing or job.how.drops_out):  # the trunk knows neither rows of several examples nor dropout
        logprobs_from_trunk(job.role(model), config.train.gradient_checkpointing)
    metrics = training.run(trainer, tracker, out, partial(job.live, model))
    return job.finish(model, out, {"train": ledger, "held_out": held_out_ledger}, metrics)


def _labelled(row: Encoded, loss_on: str) -> dict[str, Any]:
    """Tokens with their labels; -100 where nothing is learned."""
    mask = list(row.assistant_mask)
    if loss_on == "all":
        mask = [1] * len(row.ids)
    elif loss_on == "completion" and 0 in mask:
        start = len(mask) - mask[::-1].index(0)
        mask = [0] * start + mask[start:]
    labels = [token if learned else -100 for token, learned in zip(row.ids, mask, strict=True)]
    return {"input_ids": list(row.ids), "labels": labels, "where": row.where}
