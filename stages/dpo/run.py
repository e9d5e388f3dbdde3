"""DPO on TRL's DPOTrainer. The reference is the parent: its adapter, or a frozen copy of it; never the bare base."""

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
from rlhf.job import Job
from rlhf.tracking import Tracker
from rlhf.weights import Weights
from stages.dpo.config import DPOConfig


class _Tokenised(DPOTrainer):
    """DPOTrainer on rows that our chat format has already turned into tokens."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset


class _StartsAtReference(TrainerCallback):
    """Before the first step the policy is the reference, so that either answer's implicit reward is 0.

    With the sigmoid loss that makes ln 2 of the first loss (Rafailov et al. 2023, eq. 7).
    """

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        if state.global_step != 1 or not logs:
            return
        for name in ("rewards/chosen", "rewards/rejected"):
            if abs(logs.get(name, 0.0)) > self.tolerance:
                raise GuardError(
                    f"before the first step, {name} is {logs[name]:.5f} and not 0: "
                    "the reference is not the policy's parent"
                )


def run(config: DPOConfig, inputs: Mapping[str, Weights], out: Path, tracker: Tracker) -> Artifact:
    """Train on pairs; write the policy to `out/model`."""
    job = Job.start(config, inputs, "preferences")
    train, ledger = encode_preferences(job.split.train, job.chat, job.max_length, one_answer=True)
    held_out, held_out_ledger = encode_preferences(job.split.held_out, job.chat, job.max_length, one_answer=True)
    model = job.how.load(job.weights, job.chat)
    with training.trainable_kept(model):
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
    # a sum over an answer's tokens, times beta: bf16 rounds each of them
    trainer.add_callback(_StartsAtReference(1e-4 if config.precision == "fp32" else 0.05))
    metrics = training.run(trainer, tracker)
    return job.finish(model, out, {"train": ledger, "held_out": held_out_ledger}, metrics)
