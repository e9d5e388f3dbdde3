"""What is said when memory runs out, and the micro-batches that follow one another."""

import re
from pathlib import Path
from typing import Any

import pytest

from rlhf import fit
from rlhf.config import TrainingStage
from rlhf.memory import Doing, OutOfMemory
from rlhf.recipe import parse
from tests.conftest import small_recipe


def stage_of(folder: Path, name: str, kind: str = "lora", train: dict[str, Any] | None = None, **more: Any) -> Any:
    raw = small_recipe(folder, kind)
    raw["stages"]["kto"] = {**raw["stages"]["dpo"], "stage": "kto"}
    raw["stages"][name] |= more
    raw["stages"][name]["train"] = {**raw["stages"][name].get("train", {}), **(train or {})} or None
    if name == "evaluate":
        del raw["stages"][name]["train"]
    return parse(raw).stages[name]


@pytest.mark.parametrize(
    ("name", "kind", "doing", "more", "words"),
    [
        ("sft", "full", "batch", {}, r"micro_batch_size 8 → 4 about halves .*\(2 are accumulated.*kind: lora"),
        ("sft", "lora", "loading", {"precision": "bf16"}, "less: backend.kind: qlora holds .* in about a quarter"),
        ("reward", "qlora", "loading", {}, "less: precision: bf16 halves activations. Run"),
        ("reward", "qlora", "loading", {"precision": "bf16"}, "less: a smaller model. Run"),
        ("kto", "lora", "batch", {}, "8 → 4 about halves activations, but loss 'kto' estimates the KL"),
        ("kto", "lora", "batch", {"train": {"micro_batch_size": 2}}, "less: train.gradient_checkpointing"),
        ("ppo", "lora", "batch", {"rl": {"minibatches": 2}}, "micro_batch_size 4 → 2 .*2 are .* batch of 4 stays"),
        ("ppo", "lora", "answers", {}, "with 8 answers drawn side by side. .* rollout.at_once 8 → 4 halves keys"),
        ("evaluate", "lora", "batch", {}, "batch_size 32 → 16 takes about half. Run"),
    ],
)
def test_what_needs_less_is_said_in_one_line(
    tmp_path: Path, name: str, kind: str, doing: Doing, more: dict[str, Any], words: str
) -> None:
    said = fit.advice(stage_of(tmp_path, name, kind, **more), OutOfMemory(doing, ""))
    assert re.search(words, said) and "\n" not in said


@pytest.mark.parametrize(("batch", "sizes"), [(16, [8, 4, 2, 1]), (12, [6, 3, 1]), (7, [1])])
def test_micro_batches_divide_the_batch(tmp_path: Path, batch: int, sizes: list[int]) -> None:
    stage: TrainingStage = stage_of(tmp_path, "sft", train={"batch_size": batch, "auto_batch": True})
    seen = []
    while size := fit.lowered(stage):
        seen.append(size)
        stage = fit.with_micro_batch(stage, size)  # type: ignore[assignment]
    assert seen == sizes


@pytest.mark.parametrize(("name", "same"), [("sft", True), ("kto", False)])
def test_another_micro_batch_is_the_same_stage_where_it_trains_alike(tmp_path: Path, name: str, same: bool) -> None:
    one, other = (stage_of(tmp_path, name, train={"micro_batch_size": size}) for size in (4, 2))
    assert (fit.apart_from_memory(one) == fit.apart_from_memory(other)) is same
