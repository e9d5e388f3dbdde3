"""Memory that runs out: words that help, a run that goes on, and the same training in smaller micro-batches."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rlhf import artifact as artifacts
from rlhf.artifact import Artifact
from rlhf.console import Screen
from rlhf.errors import FitError, RecipeError
from rlhf.recipe import parse
from rlhf.roles import Role
from rlhf.runner import run
from tests.conftest import metrics_of, small_recipe

Raw = dict[str, Any]
STAGES = ("sft", "reward", "dpo", "orpo", "ppo")


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What other stages start from, made once."""
    folder = tmp_path_factory.mktemp("parents")
    raw = small_recipe(folder, "lora", name="parents")
    raw["stages"] = {name: raw["stages"][name] for name in ("sft", "reward")}
    run(parse(raw), folder, Screen(quiet=True))
    return folder


def recipe(parents: Path, stage: str, name: str, **train: Any) -> Raw:
    """Seven rows in batches of four: the second step of an epoch is short. Of PPO, two rollouts of four."""
    raw = small_recipe(parents, "lora", name=name)
    kind = {"orpo": "dpo", "simpo": "dpo", "cpo": "dpo", "kto": "dpo"}.get(stage, stage)
    config = json.loads(json.dumps(raw["stages"][kind])) | {"stage": stage}
    config["model"] = "tiny" if stage == "sft" else str(parents / "parents" / "stages" / "sft")
    config["data"] |= {"max_rows": 7, "eval_fraction": 0}
    config["train"] = {"lr": 1e-3, "log_every": 1, **train}
    if stage == "ppo":
        config["reward_model"] = str(parents / "parents" / "stages" / "reward")
        config["rollout"]["batch_size"] = 4
        config["train"] |= {"episodes": 8, "checkpoint_every": 1}
    else:
        config["train"] |= {"batch_size": 4, "epochs": 2}
    return {**raw, "stages": {"tried": config}}


def made_by(raw: Raw, folder: Path, screen: Screen | None = None) -> Artifact:
    return run(parse(json.loads(json.dumps(raw))), folder, screen or Screen(quiet=True))["tried"]


def no_room_for(monkeypatch: pytest.MonkeyPatch, rows: int, passes: int = 0) -> None:
    """No memory for a training pass over more rows than these, after some passes."""
    hidden, seen = Role.hidden, []

    def starved(self: Role, batch: Any, *more: Any, **others: Any) -> torch.Tensor:
        if torch.is_grad_enabled():
            seen.append(batch)
            if len(batch) > rows and len(seen) > passes:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total …")
        return hidden(self, batch, *more, **others)

    monkeypatch.setattr(Role, "hidden", starved)


def rows_of(stage: str, examples: int) -> int:
    """Sequences that a pass over some examples reads."""
    return examples * (1 if stage in ("sft", "ppo") else 2)


def same(one: Artifact, other: Artifact) -> None:
    """Equal steps and weights, but for rounding."""
    for left, right in zip(metrics_of(one.folder), metrics_of(other.folder), strict=True):
        for name in {"loss", "grad_norm", "policy_loss", "kl", "score"} & left.keys():
            assert left[name] == pytest.approx(right[name], rel=1e-3, abs=1e-5), (left["step"], name)
        assert left.get("num_tokens") == right.get("num_tokens")
    mine, theirs = (load_file(made.model / artifacts.ADAPTER) for made in (one, other))
    for name, value in mine.items():
        apart = (value - theirs[name]).abs()
        assert float(apart.mean()) < 2e-5, name  # Adam makes whole steps of the smallest gradients


@pytest.mark.parametrize("stage", [*STAGES, "kto", "cpo", "simpo"])
def test_micro_batches_add_up(parents: Path, tmp_path: Path, stage: str) -> None:
    """A short micro-batch at an epoch's end counts no more than its rows."""
    whole, halves = recipe(parents, stage, "whole"), recipe(parents, stage, "halves", micro_batch_size=2)
    if stage == "kto":
        for raw in (whole, halves):
            raw["stages"]["tried"]["loss"] = "apo_zero_unpaired"
    same(made_by(whole, tmp_path), made_by(halves, tmp_path))


def test_micro_batches_in_which_numbers_are_missing_add_up(parents: Path, tmp_path: Path) -> None:
    said = [{"help": i / 7, "tone": i % 3} if i % 4 else {"help": i / 7} for i in range(8)]
    rows = [
        {"prompt": f"Is it {i}?", "response": f"It is {i}." * (1 + i % 2), **numbers} for i, numbers in enumerate(said)
    ]
    (tmp_path / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    whole, halves = recipe(parents, "reward", "whole"), recipe(parents, "reward", "halves", micro_batch_size=2)
    for raw in (whole, halves):
        raw["stages"]["tried"] |= {"loss": "scores", "attributes": {"help": 1.0, "tone": 0.5}}
        raw["stages"]["tried"]["data"] |= {"path": str(tmp_path / "scores.jsonl"), "max_rows": 8}
    same(made_by(whole, tmp_path), made_by(halves, tmp_path))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lowers_its_micro_batch_and_trains_as_one_that_began_with_it(
    parents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    expected = made_by(recipe(parents, stage, "lower", micro_batch_size=1), tmp_path)
    no_room_for(monkeypatch, rows_of(stage, 1), passes=2 if stage == "ppo" else 1)
    made = made_by(recipe(parents, stage, "auto", auto_batch=True), tmp_path, Screen())
    told = capsys.readouterr().out
    assert "memory ran out: micro_batch_size is 2 from here on" in told and "micro_batch_size is 1 from" in told
    assert "going on after" in told
    assert made.metrics["micro_batch_size"] == 1 and made.config["train"]["auto_batch"]
    same(made, expected)


@pytest.mark.parametrize("stage", ["sft", "ppo"])
def test_without_auto_batch_it_says_what_helps_and_goes_on_with_that(
    parents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    expected = made_by(recipe(parents, stage, "lower", micro_batch_size=2), tmp_path)
    no_room_for(monkeypatch, rows_of(stage, 2), passes=2 if stage == "ppo" else 1)
    with pytest.raises(FitError) as told:
        made_by(recipe(parents, stage, "starved"), tmp_path)
    assert told.value.exit_code == 2 and "\n" not in str(told.value)
    assert "memory ran out in a batch of 4 (2.00 GiB more were asked for)" in str(told.value)
    assert "train.micro_batch_size 4 → 2 about halves activations (2 are accumulated, the batch of 4" in str(told.value)
    assert "gradient_checkpointing" in str(told.value) and "qlora" in str(told.value)
    made = made_by(recipe(parents, stage, "starved", micro_batch_size=2), tmp_path, Screen())
    assert "going on after" in capsys.readouterr().out
    same(made, expected)


def test_what_was_lowered_stays_so_when_a_stage_is_interrupted(
    parents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = recipe(parents, "sft", "stopped", auto_batch=True)
    no_room_for(monkeypatch, 2)
    step = torch.optim.AdamW.step

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.AdamW, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made_by(raw, tmp_path)
    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    assert made_by(raw, tmp_path, Screen()).metrics["micro_batch_size"] == 2
    assert "memory ran out" not in capsys.readouterr().out


def test_the_smallest_micro_batch_is_not_lowered(
    parents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_room_for(monkeypatch, 0)
    with pytest.raises(FitError, match=r"in a batch of 1 .*needs less: train.gradient_checkpointing"):
        made_by(recipe(parents, "sft", "none", auto_batch=True), tmp_path)


def _starved(*_: Any, **__: Any) -> None:
    raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to …")


@pytest.mark.parametrize(
    ("stage", "where", "words"),
    [
        (
            "sft",
            "rlhf.loading.AutoModelForCausalLM.from_pretrained",
            "while models or data were loaded. .*qlora holds",
        ),
        ("ppo", "rlhf.rollout.CachedEngine.generate", "with 4 answers drawn .*rollout.at_once 4 → 2 halves keys"),
    ],
)
def test_what_helps_goes_by_what_memory_went_into(
    parents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, where: str, words: str
) -> None:
    monkeypatch.setattr(where, _starved)
    with pytest.raises(FitError, match=words):
        made_by(recipe(parents, stage, "starved", auto_batch=True), tmp_path)


@pytest.mark.parametrize(
    ("stage", "change", "words"),
    [
        ("kto", {}, "loss 'kto' estimates the KL over a micro-batch"),
        ("dpo", {"loss": "aot"}, "loss 'aot' sorts a micro-batch"),
        ("dpo", {"sft_coef": 0.1}, "sft_coef weighs a mean over the tokens of a micro-batch"),
        ("sft", {"backend": {"kind": "lora", "dropout": 0.1}}, "backend.dropout draws anew"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_no_micro_batch_is_lowered_where_that_trains_otherwise(
    parents: Path, tmp_path: Path, stage: str, change: Raw, words: str
) -> None:
    raw = recipe(parents, stage, "refused", auto_batch=True)
    raw["stages"]["tried"] |= change
    with pytest.raises(RecipeError, match=f"auto_batch would change what is learned: {words}"):
        parse(raw)
