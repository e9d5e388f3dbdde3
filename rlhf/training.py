"""What the stages built on TRL's trainers share: arguments, progress, guards and the loop around `train()`."""

import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rlhf.config import TrainConfig, TrainingStage
from rlhf.job import check_some_left, schedule_name
from rlhf.tracking import Tracker, check_finite


def arguments(config: TrainingStage, out: Path) -> dict[str, Any]:
    """A TRL trainer's arguments for a stage: `batch_size` is kept whatever the processes and micro-batches."""
    train = config.train
    assert isinstance(train, TrainConfig), f"stage '{config.name}' does not step through examples"
    world = int(torch.distributed.get_world_size()) if torch.distributed.is_initialized() else 1
    micro = train.micro_batch_size or max(train.batch_size // world, 1)
    return {
        "output_dir": str(out),
        "seed": config.seed,
        "data_seed": config.seed,
        "per_device_train_batch_size": micro,
        "per_device_eval_batch_size": micro,
        "gradient_accumulation_steps": math.ceil(train.batch_size / (micro * world)),
        "num_train_epochs": train.epochs,
        "max_steps": train.max_steps or -1,
        "learning_rate": config.lr,
        "lr_scheduler_type": schedule_name(train),
        "warmup_steps": train.warmup,
        "weight_decay": train.weight_decay,
        "max_grad_norm": train.max_grad_norm,
        "gradient_checkpointing": train.gradient_checkpointing,
        "logging_steps": train.log_every,
        "logging_first_step": True,
        "bf16": config.precision == "bf16",
        "use_cpu": not torch.cuda.is_available(),
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }


class _Report(TrainerCallback):
    """Sends the trainer's logs to the tracker and stops on a number that is not finite."""

    def __init__(self, tracker: Tracker) -> None:
        self.tracker = tracker

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs and "train_runtime" not in logs:
            check_finite(logs, f"step {state.global_step}")
            self.tracker.log(logs, state.global_step, state.max_steps if "loss" in logs else None)


def run(trainer: Trainer, tracker: Tracker) -> dict[str, float]:
    """Train and evaluate; returns the last evaluation's metrics and the number of steps."""
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(_Report(tracker))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*pin_memory.*")
        result = trainer.train()
        metrics = trainer.evaluate() if trainer.eval_dataset is not None else {}
    kept = {k: v for k, v in metrics.items() if isinstance(v, float) and not k.endswith(("runtime", "per_second"))}
    return {**kept, "train_loss": result.training_loss, "steps": result.global_step}


@contextmanager
def trainable_kept(model: nn.Module) -> Iterator[None]:
    """What trains keeps its float32 values while a TRL trainer is built around the model.

    TRL rounds what trains on a quantised base to bf16; then a parent's adapter is no longer the parent's, DPO's first
    loss is not ln 2, rewards in float32 fail and resume diverges.
    """
    before = {name: parameter.data for name, parameter in model.named_parameters() if parameter.requires_grad}
    yield
    for name, parameter in model.named_parameters():
        if name in before:
            parameter.data = before[name]


def dataset(rows: list[dict[str, Any]]) -> Dataset | None:
    """Tokenised rows as a dataset; None when there are none."""
    return Dataset.from_list(rows) if rows else None


def training_set(rows: list[dict[str, Any]], ledger: Mapping[str, Any]) -> Dataset:
    """Tokenised rows to train on. Raises DataError, with the ledger, when none is left."""
    check_some_left(len(rows), ledger)
    return Dataset.from_list(rows)
