"""A reward model on TRL's RewardTrainer: the head trains, is saved, and scores the same when loaded again.

Scores come from the trunk that evaluation and the RL stage read them from: no padded token passes a layer.
"""

from collections.abc import Mapping
from pathlib import Path

from trl.trainer.reward_config import RewardConfig as TRLConfig
from trl.trainer.reward_trainer import RewardTrainer

from rlhf import evaluate, training
from rlhf.artifact import Artifact
from rlhf.backends import trained_adapter
from rlhf.data.chat import encode_preferences
from rlhf.forwards import scores_from_trunk
from rlhf.job import Job
from rlhf.parts import score_head
from rlhf.tracking import Tracker
from rlhf.trunk import Role, trunk_of
from rlhf.weights import Weights
from stages.reward.config import RewardConfig


class _Trainer(training.Resumable, RewardTrainer):
    """RewardTrainer that goes on from our checkpoints."""


def run(config: RewardConfig, inputs: Mapping[str, Weights], out: Path, tracker: Tracker) -> Artifact:
    """Train on pairs; write adapter or model, and head, to `out/model`. Held-out accuracy is in the metrics."""
    job = Job.start(config, inputs, "preferences")
    train, ledger = encode_preferences(job.split.train, job.chat, job.max_length)
    held_out, held_out_ledger = encode_preferences(job.split.held_out, job.chat, job.max_length)
    model = job.how.load(job.weights, job.chat, "score")
    with training.trainable_kept(model):
        trainer = _Trainer(
            model=model,
            args=TRLConfig(
                **training.arguments(config, out),
                max_length=None,  # pairs already fit, and a stop token is never cut
                center_rewards_coefficient=config.center_coefficient or None,
            ),
            train_dataset=training.training_set([_whole(pair) for pair in train], ledger),
            processing_class=job.chat.tokenizer,
        )
    judge = Role(model, trunk_of(model, job.how.dtype), trained_adapter(model), score_head(model))
    scores_from_trunk(judge, config.train.gradient_checkpointing)
    metrics = training.run(trainer, tracker, out)

    model.eval()
    size = config.train.micro_batch_size or config.train.batch_size
    chosen = [pair["prompt_ids"] + pair["chosen_ids"] for pair in train]
    shift = float(evaluate.score_rows(judge, chosen[:1000], size).mean()) if config.center else 0.0
    if held_out:
        metrics |= evaluate.pair_metrics(judge, held_out, size)
    return job.finish(model, out, {"train": ledger, "held_out": held_out_ledger}, metrics, shift)


def _whole(pair: Mapping[str, list[int]]) -> dict[str, list[int]]:
    return {side: pair["prompt_ids"] + pair[side] for side in ("chosen_ids", "rejected_ids")}
