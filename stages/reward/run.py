"""A reward model on TRL's RewardTrainer: the head trains, is saved, and scores the same when loaded again."""

from collections.abc import Mapping
from pathlib import Path

from trl.trainer.reward_config import RewardConfig as TRLConfig
from trl.trainer.reward_trainer import RewardTrainer

from rlhf import evaluate, text, training
from rlhf.artifact import Artifact
from rlhf.backends import backend, score_head
from rlhf.data.chat import encode_preferences
from rlhf.data.load import load
from rlhf.tracking import Tracker
from rlhf.trunk import Role
from rlhf.weights import Weights
from stages.reward.config import RewardConfig


def run(config: RewardConfig, inputs: Mapping[str, Weights], out: Path, tracker: Tracker) -> Artifact:
    """Train on pairs; write adapter or model, and head, to `out/model`. Held-out accuracy is in the metrics."""
    weights = inputs["model"]
    chat = text.load(weights, config.template)
    split = load(config.data, "preferences")
    train, ledger = encode_preferences(split.train, chat, config.data.max_length)
    held_out, held_out_ledger = encode_preferences(split.held_out, chat, config.data.max_length)
    how = backend(config.backend, config.precision)
    model = how.load(weights, chat, "score")
    trainer = RewardTrainer(
        model=model,
        args=TRLConfig(
            **training.arguments(config, out / "trainer"),
            max_length=None,  # pairs already fit, and a stop token is never cut
            center_rewards_coefficient=config.center_coefficient or None,
        ),
        train_dataset=training.dataset([_whole(pair) for pair in train]),
        processing_class=chat.tokenizer,
    )
    metrics = training.run(trainer, tracker)

    judge = Role(model.eval(), None, score_head(model))
    size = config.train.micro_batch_size or config.train.batch_size
    chosen = [pair["prompt_ids"] + pair["chosen_ids"] for pair in train]
    shift = float(evaluate.score_rows(judge, chosen[:1000], chat.pad_id, size).mean()) if config.center else 0.0
    if held_out:
        metrics |= evaluate.pair_metrics(judge, held_out, chat.pad_id, size)
    how.save(model, out / "model")
    text.save(chat, out / "model")
    data = {"file": split.ledger, "train": ledger, "held_out": held_out_ledger}
    return training.artifact(config, how, weights, chat, out, data=data, metrics=metrics, score_shift=shift)


def _whole(pair: Mapping[str, list[int]]) -> dict[str, list[int]]:
    return {side: pair["prompt_ids"] + pair[side] for side in ("chosen_ids", "rejected_ids")}
