"""What the stages on TRL's trainers share: arguments, checkpoints, progress, guards, the loop around `train()`."""

import math
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rlhf import adapters, checkpoint, reloaded, stopping
from rlhf.artifact import CHECKPOINT
from rlhf.config import TrainConfig, TrainingStage
from rlhf.errors import GuardError
from rlhf.finite import check_finite, check_step
from rlhf.job import check_some_left, schedule_name
from rlhf.memory import ran_out, spent_on
from rlhf.optimizer import TRL_NAMES
from rlhf.tracking import Tracker


def arguments(config: TrainingStage, out: Path) -> dict[str, Any]:
    """A TRL trainer's arguments for a stage: `batch_size` is kept whatever the processes and micro-batches."""
    train = config.train
    assert isinstance(train, TrainConfig), f"stage '{config.name}' does not step through examples"
    world = int(torch.distributed.get_world_size()) if torch.distributed.is_initialized() else 1
    micro = train.micro_batch_size or max(train.batch_size // world, 1)
    return {
        "output_dir": str(out / CHECKPOINT),
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
        "optim": TRL_NAMES[train.optimizer],
        "weight_decay": train.weight_decay,
        "max_grad_norm": train.max_grad_norm,
        "gradient_checkpointing": train.gradient_checkpointing,
        "logging_steps": train.log_every,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "bf16": config.precision == "bf16",
        "use_cpu": not torch.cuda.is_available(),
        "save_strategy": "steps" if train.checkpoint_every else "no",
        "save_steps": train.checkpoint_every or 1,
        "report_to": "none",
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }


class Resumable(Trainer):
    """Put before a TRL trainer: checkpoints hold what trains and nothing else, and count once they are whole.

    The trainer's own would leave out a score head beside an adapter, and write a whole model's frozen parts.
    """

    _making: Path | None = None
    """Where the checkpoint that is being made is written."""
    _taken: Sequence[tuple[dict[str, Any], Tensor]] = ()
    """Micro-batches of the step so far, and their losses."""
    _weight = 0
    """What all micro-batches of the step count."""
    _random: dict[str, Any]
    """The random state that the step began with."""
    _total_train_tokens = 0
    """Tokens of the steps so far, padding left out, as TRL's losses count them."""
    _tokens = 0
    """The same when the step began."""
    live: Callable[[], dict[str, Tensor]]
    """What the model says of a few rows."""

    def said(self) -> dict[str, Tensor]:
        """That, and what the reference said of the first rows to train on, where there is one."""
        first = cast(Dataset, self.train_dataset)[:_COMPARED]
        return self.live() | {name: torch.tensor(first[name]) for name in first if name.startswith("ref_")}

    def weight_of(self, inputs: Mapping[str, Any]) -> int:
        """How much a micro-batch counts in the mean over its step: its rows, or what else its own loss is a mean of."""
        return next(len(value) for value in inputs.values() if torch.is_tensor(value))

    def get_batch_samples(self, *words: Any) -> tuple[list[Any], Any]:
        inputs, items = super().get_batch_samples(*words)
        self._weight, self._random = sum(map(self.weight_of, inputs)), checkpoint.random_state()
        self._tokens = self._total_train_tokens
        return inputs, items

    def training_step(self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """As the trainer takes it, but a short micro-batch at the end of an epoch counts no more than it holds."""
        self.current_gradient_accumulation_steps = self._weight / max(self.weight_of(inputs), 1)  # the loss's divisor
        try:
            loss = super().training_step(model, inputs, num_items_in_batch)
        except Exception as error:
            if ran_out(error):
                traceback.clear_frames(error.__traceback__)  # they hold the activations
                self._keep_steps()
            raise
        self._taken = [*self._taken, (inputs, loss)]
        return loss

    def _keep_steps(self) -> None:
        """Make what was trained before this step the last checkpoint."""
        cast(nn.Module, self.model).zero_grad()
        checkpoint.set_random_state(self._random)
        self._total_train_tokens = self._tokens
        made = checkpoint.made(Path(str(self.args.output_dir)).parent)
        if self.state.global_step and self.state.global_step not in made:
            self._save_checkpoint(cast(nn.Module, self.model), None)

    def evaluate(self, *given: Any, **named: Any) -> dict[str, float]:
        """As the trainer does it, but what is drawn afterwards is what would have been."""
        with checkpoint.aside():
            return super().evaluate(*given, **named)

    def _run_epoch(self, *given: Any, **named: Any) -> None:
        """As the trainer takes it, which would step once more where a checkpoint is of the last step."""
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*given, **named)
        else:
            self.control.should_training_stop = True

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        """What the trainer asks for right before a step: none is taken on numbers that are not finite."""
        norm = super()._get_grad_norm(model, grad_norm)
        taken, self._taken = self._taken, ()
        check_step(self.state.global_step + 1, taken, norm, cast(Any, self.train_dataset))
        return norm

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        trained = {name: p.detach().cpu().contiguous() for name, p in _trained(self.model).items()}
        assert output_dir is not None
        Path(output_dir).mkdir(parents=True, exist_ok=True)
        save_file(trained, Path(output_dir) / _TRAINED)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        out = Path(str(self.args.output_dir)).parent
        with checkpoint.making(out, self.state.global_step) as folder:
            self._making = folder
            Trainer._save_checkpoint(self, model, trial)  # TRL's own writes a model card too
            (inner,) = folder.iterdir()
            for path in inner.iterdir():
                path.rename(folder / path.name)
            inner.rmdir()
            (folder / _TOKENS).write_text(str(self._total_train_tokens), encoding="utf-8")
            save_file(self.said(), folder / _SAID)

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._making or self.args.output_dir)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        saved = load_file(Path(resume_from_checkpoint) / _TRAINED)
        trained = _trained(self.model)
        assert saved.keys() == trained.keys(), "a checkpoint of other parameters"
        checkpoint.copy_into(list(trained.values()), [saved[name] for name in trained])
        self._total_train_tokens = int((Path(resume_from_checkpoint) / _TOKENS).read_text("utf-8"))
        self._check_same(Path(resume_from_checkpoint))

    def _check_same(self, begun: Path) -> None:
        """Raise GuardError where policy and reference do not say what they said as the checkpoint was made."""
        noted, precision = load_file(begun / _SAID), "bf16" if self.args.bf16 else "fp32"
        for name, now in self.said().items():
            if (apart := reloaded.gap(noted[name], now, precision)) is not None:
                who = "the reference" if name.startswith("ref_") else "the model"
                raise GuardError(
                    f"{begun}: {who} is {apart:.2g} away from what it was: a wrong adapter or model was loaded"
                )


class OnTokens(Resumable):
    """Put before a TRL trainer whose rows are tokens already, with the reference's log-probabilities if it has one."""

    def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
        return dataset

    def _precompute_ref_logps(self, dataset: Any, *_: Any) -> Any:
        return dataset

    def count_tokens(self, inputs: Mapping[str, Tensor]) -> None:
        """Of a micro-batch, for a loss of our own: what metrics are drawn over."""
        if cast(nn.Module, self.model).training:
            self._total_train_tokens += int(inputs["attention_mask"].sum())
            cast(Any, self)._metrics["train"]["num_tokens"] = [self._total_train_tokens]


_TOKENS = "tokens.txt"
_TRAINED = "trained.safetensors"
_SAID = "said.safetensors"
_COMPARED = 8
"""Rows of which a reference is compared with what it said before."""


def _trained(model: Any) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


LOOKS = 10
"""Times at most that held-out rows are looked at, after epochs."""


class _Report(TrainerCallback):
    """Sends the trainer's logs to the tracker and stops on a number that is not finite, or when asked to. Logs at every
    checkpoint too: a line is of the steps since the one before it, and must not reach behind where an interrupted run
    goes on. The trainer keeps no logs of its own, which each checkpoint would hold from the first step on. Has
    rows that are `held_out` looked at between epochs, before the checkpoint of that step, which goes on after it."""

    def __init__(self, tracker: Tracker, stop: Callable[[], bool], held_out: bool) -> None:
        self.tracker, self.stop, self.held_out = tracker, stop, held_out

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        state.logging_steps, state.save_steps = int(args.logging_steps), int(args.save_steps)  # not the checkpoint's

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.stop():
            control.should_save = control.should_training_stop = True
        elif args.save_strategy == "steps" and state.global_step % args.save_steps == 0:
            control.should_save = True
        control.should_log = control.should_log or control.should_save
        goes_on = state.global_step < state.max_steps and not control.should_training_stop
        due = (state.epoch or 0.5) % math.ceil(state.num_train_epochs / LOOKS) == 0
        control.should_evaluate = self.held_out and goes_on and due  # and after the last epoch in any case

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        state.log_history.clear()
        if logs and "train_runtime" not in logs:
            check_finite(logs, f"step {state.global_step}")
            self.tracker.log(logs, state.global_step, state.max_steps if "loss" in logs else None)


class StartsAtReference(TrainerCallback):
    """Before the first step the policy is the reference, so that either answer's implicit reward is 0.

    With the sigmoid loss that makes ln 2 of the first loss (Rafailov et al. 2023, eq. 7).
    """

    def __init__(self, tolerance: float, in_pairs: bool) -> None:
        self.tolerance, self.in_pairs = tolerance, in_pairs
        self.asked = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.asked = state.global_step > 0  # a checkpoint says what policy and reference were

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        if state.global_step != 1 or not logs or "loss" not in logs:
            return
        rewards = {name: logs[name] for name in ("rewards/chosen", "rewards/rejected") if name in logs}
        if len(rewards) < (2 if self.in_pairs else 1):
            raise GuardError(f"before the first step, nothing says where the policy starts: {' '.join(logs)}")
        for name, reward in rewards.items():
            if not abs(reward) <= self.tolerance:  # also when it is not a number
                raise GuardError(
                    f"before the first step, {name} is {reward:.3g} and not 0: the reference is not the policy's parent"
                )
        self.asked = True

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if not self.asked:
            raise GuardError("the first step was not logged, so nothing says where the policy started")

    @classmethod
    def of(
        cls, precision: str, beta: float, answers: Sequence[Sequence[int]], in_pairs: bool = True
    ) -> "StartsAtReference":
        """With room for rounding in nats a token, of as many tokens as these answers have on average, times beta.
        `in_pairs`: each step has chosen and rejected answers."""
        tokens = sum(map(len, answers)) / max(len(answers), 1)
        return cls(beta * tokens * (1e-5 if precision == "fp32" else 5e-3), in_pairs)


def run(trainer: Resumable, tracker: Tracker, out: Path, live: Callable[[], dict[str, Tensor]]) -> dict[str, float]:
    """Train, from the last checkpoint under `out` if there is one, and evaluate; returns the last evaluation's metrics
    and the number of steps. `live`: what the model that trains says of a few rows."""
    from transformers import PrinterCallback

    trainer.live = live
    trainer.remove_callback(PrinterCallback)
    begun = checkpoint.newest(out, tracker.screen.say)
    tracker.rewind(begun.step if begun else -1)
    if begun:
        tracker.screen.say(f"  going on after step {begun.step}")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*pin_memory.*")
        with spent_on("batch"):
            with stopping.patiently() as stop:
                trainer.add_callback(_Report(tracker, stop, held_out=trainer.eval_dataset is not None))
                result = trainer.train(resume_from_checkpoint=str(begun.folder) if begun else None)
            metrics = trainer.evaluate() if trainer.eval_dataset is not None else {}
    kept = {k: v for k, v in metrics.items() if isinstance(v, float) and not k.endswith(("runtime", "per_second"))}
    return {**kept, "steps": result.global_step}


@contextmanager
def trainable_kept(model: nn.Module) -> Iterator[None]:
    """What trains keeps its float32 values, and adapters stay as they are, while a TRL trainer is built around a model.

    TRL rounds what trains on a quantised base to bf16; then a parent's adapter is no longer the parent's, DPO's first
    loss is not ln 2, rewards in float32 fail and resume diverges. And it adds a copy of the adapter as a reference,
    which nothing here reads.
    """
    before = {name: parameter.data for name, parameter in _trained(model).items()}
    known = set(getattr(model, "peft_config", ()))
    yield
    for name in set(getattr(model, "peft_config", ())) - known:
        cast(Any, model).delete_adapter(name)
    adapters.activate(model, adapters.trained(model) or ())
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in before)
        if name in before:
            parameter.data = before[name]


def dataset(rows: list[dict[str, Any]]) -> Dataset | None:
    """Tokenised rows as a dataset; None when there are none."""
    return Dataset.from_list(rows) if rows else None


def training_set(rows: list[dict[str, Any]], ledger: Mapping[str, Any]) -> Dataset:
    """Tokenised rows to train on. Raises DataError, with the ledger, when none is left."""
    check_some_left(len(rows), ledger)
    return Dataset.from_list(rows)
