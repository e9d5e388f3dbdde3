"""When memory runs out: a smaller micro-batch, by itself where a stage asks for `auto_batch`, or words on what helps.

A stage that goes on with smaller micro-batches trains as one that began with them, but for rounding: its batches are
the same, and so is the mean that its loss is.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlhf import disk
from rlhf.artifact import CHECKPOINT
from rlhf.config import Full, LoRA, QLoRA, StageConfig, TrainingStage
from rlhf.memory import OutOfMemory

_LOWERED = "micro_batch_size"
"""Beside a stage's checkpoints: the micro-batch that it was lowered to."""


def lowered(stage: StageConfig) -> int | None:
    """The micro-batch to go on with where a stage asks for `auto_batch`; None where it does not, or has none left."""
    return smaller(stage) if isinstance(stage, TrainingStage) and stage.train.auto_batch else None


def smaller(stage: TrainingStage) -> int | None:
    """The next smaller micro-batch: half of it, or less where only that divides the batch. None where there is none."""
    half = min(stage.sizes()["batch"][1], stage.step_size) // 2
    return next((size for size in range(half, 0, -1) if stage.step_size % size == 0), None)


def with_micro_batch(stage: TrainingStage, size: int) -> TrainingStage:
    return _with_train(stage, micro_batch_size=size)


def with_checkpointing(stage: TrainingStage) -> TrainingStage:
    """The stage with activations that are computed again."""
    return _with_train(stage, gradient_checkpointing=True)


def apart_from_memory(stage: StageConfig) -> StageConfig:
    """The stage without settings that its memory alone goes by: what was begun under others goes on under these."""
    if not isinstance(stage, TrainingStage):
        return stage
    free = ["gradient_checkpointing"]
    if not stage.reads_micro_batches():
        free += ["micro_batch_size", "auto_batch"]
    return _with_train(stage, **{name: type(stage.train).model_fields[name].default for name in free})


def set_train(stage: StageConfig, settings: Mapping[str, Any]) -> StageConfig:
    """The stage with other settings of `train`."""
    assert isinstance(stage, TrainingStage)
    return _with_train(stage, **settings)


def _with_train(stage: TrainingStage, **update: Any) -> TrainingStage:
    return stage.model_copy(update={"train": stage.train.model_copy(update=update)})


# ------------------------------------------------------------------------------------------------ what is remembered


def remember(scratch: Path, size: int) -> None:
    """Have a stage that is interrupted go on with the micro-batch that it was lowered to."""
    disk.put(scratch / CHECKPOINT / _LOWERED, str(size))


def remembered(stage: StageConfig, scratch: Path) -> int | None:
    """The micro-batch that a stage was lowered to before; None where it may begin with its own."""
    path = scratch / CHECKPOINT / _LOWERED
    if not isinstance(stage, TrainingStage) or not stage.train.auto_batch or not path.is_file():
        return None
    said = path.read_text("utf-8")
    return int(said) if said.isdigit() and 0 < int(said) < stage.sizes()["batch"][1] else None


# ------------------------------------------------------------------------------------------------ what helps

_WHILE = {
    "loading": "while models or data were loaded",
    "batch": "in a batch of {size}",
    "answers": "with {size} answers drawn side by side",
}


def advice(stage: StageConfig, ran_out: OutOfMemory) -> str:
    """One line: what memory went into, and which settings need less, with how much less."""
    name, size = stage.sizes().get(ran_out.doing, ("", 0))
    asked = f" ({ran_out.asked} more were asked for)" if ran_out.asked else ""
    tips: list[str] = []
    if ran_out.doing == "batch":
        tips = _of_a_batch(stage, name, size)
    elif ran_out.doing == "answers" and size > 1:
        tips = [f"{name} {size} → {size // 2} halves keys and values, and draws other answers"]
    if isinstance(stage, TrainingStage):
        tips += _of_weights(stage)
    helps = "; ".join(tips) or "a smaller model"
    doing = _WHILE[ran_out.doing].format(size=size)
    return (
        f"stage '{stage.name}': memory ran out {doing}{asked}. What needs less: {helps}. Run the command again: it "
        "goes on from the last checkpoint where nothing but micro-batches or checkpointing is set anew"
    )


def _of_a_batch(stage: StageConfig, name: str, size: int) -> list[str]:
    if not isinstance(stage, TrainingStage):
        return [f"{name} {size} → {size // 2} takes about half"] if size > 1 else []
    tips, less, why = [], smaller(stage), stage.reads_micro_batches()
    if why:
        if less and less > 1:  # what reads a micro-batch as a whole may need two rows
            tips.append(f"{name} {size} → {less} about halves activations, but {why}")
    elif less:
        kept = f"{stage.step_size // less} are accumulated, the batch of {stage.step_size} stays as it is"
        tips.append(
            f"{name} {size} → {less} about halves activations ({kept}; train.auto_batch: true does so by itself)"
        )
    if not stage.train.gradient_checkpointing:
        tips.append("train.gradient_checkpointing: true keeps one state a layer, for a third more time")
    longest = stage.data.max_length
    return [*tips, f"data.max_length {longest} → {longest // 2} halves them too, and cuts longer rows"]


def _of_weights(stage: TrainingStage) -> list[str]:
    whole = stage.precision == "fp32"
    match stage.backend:
        case Full():
            eight = ["train.optimizer: adamw_8bit holds Adam's state in a quarter"] * (stage.train.optimizer == "adamw")
            return [*eight, "backend.kind: lora does without gradients and Adam's state of the base"]
        case QLoRA():
            return ["precision: bf16 halves activations"] if whole else []
        case LoRA():
            half = ["precision: bf16 halves the base and activations"] if whole else []
            return [*half, f"backend.kind: qlora holds the base in about {'an eighth' if whole else 'a quarter'}"]
