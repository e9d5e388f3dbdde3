"""DPO on TRL's DPOTrainer. The reference is the parent: its adapter, or a frozen copy of it; never the bare base."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from trl.trainer.dpo_config import DPOConfig as TRLConfig
from trl.trainer.dpo_trainer import DPOTrainer

from rlhf import training
from rlhf.artifact import Artifact
from rlhf.data.chat import encode_preferences
from rlhf.errors import GuardError
from rlhf.tracking import Tracker
from rlhf.weights import Weights
from stages.dpo.config import DPOConfig


class _Tokenised(DPOTrainer):
    """DPOTrainer on rows that our chat format has already turned into tokens."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset


class _StartsAtReference(TrainerCallback):
    """At step 0 the policy is the reference, so the sigmoid loss is ln 2; anything else means a wrong reference."""

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        if state.global_step == 1 and logs and "loss" in logs and abs(logs["loss"] - math.log(2)) > self.tolerance:
            raise GuardError(
                f"the first DPO loss is {logs['loss']:.5f}, not ln 2: the reference is not the policy's parent"
            )


def run(config: DPOConfig, inputs: Mapping[str, Weights], out: Path, tracker: Tracker) -> Artifact:
    """Train on pairs; write the policy to `out/model`."""
    job = training.Job.start(config, inputs, "preferences")
    train, ledger = encode_preferences(job.split.train, job.chat, config.data.max_length)
    held_out, held_out_ledger = encode_preferences(job.split.held_out, job.chat, config.data.max_length)
    model = job.how.load(job.weights, job.chat)
    trainer = _Tokenised(
        model=model,
        ref_model=job.how.trainer_reference(job.weights, job.chat),
        args=TRLConfig(
            **training.arguments(config, out / "trainer"),
            beta=config.beta,
            loss_type=[config.loss],
            label_smoothing=config.label_smoothing,
            max_length=None,
        ),
        train_dataset=training.training_set(train, ledger),
        eval_dataset=training.dataset(held_out),
        processing_class=job.chat.tokenizer,
    )
    if config.loss == "sigmoid":
        trainer.add_callback(_StartsAtReference(1e-4 if config.precision == "fp32" else 5e-3))
    metrics = training.run(trainer, tracker)
    return job.finish(model, out, {"train": ledger, "held_out": held_out_ledger}, metrics)
