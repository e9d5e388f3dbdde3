"""What a stage saved is the model that trained, or the run stops."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from rlhf import reloaded, text
from rlhf.backends import FullBackend, LoRABackend
from rlhf.console import Screen
from rlhf.data.chat import ChatFormat
from rlhf.errors import GuardError
from rlhf.recipe import parse
from rlhf.runner import run
from tests.conftest import small_recipe

NEEDS = {"sft": ["sft"], "reward": ["sft", "reward"], "dpo": ["sft", "dpo"], "ppo": ["sft", "reward", "ppo"]}


def recipe(folder: Path, stage: str, kind: str, **top: Any) -> dict[str, Any]:
    """A stage and what it needs, two steps each."""
    raw = small_recipe(folder, kind, **top)
    raw["stages"] = {name: json.loads(json.dumps(raw["stages"][name])) for name in NEEDS[stage]}
    for name, config in raw["stages"].items():
        config["train"] |= {"episodes": 8} if name == "ppo" else {"max_steps": 2}
    return raw


def spoilt(file: str, how: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    """Changes a saved file's largest tensor."""

    def spoil(folder: Path) -> None:
        tensors = load_file(folder / file)
        name = max(tensors, key=lambda name: tensors[name].numel() * float(tensors[name].abs().max() > 0))
        save_file({**tensors, name: how(tensors[name]).contiguous()}, folder / file, {"format": "pt"})

    return spoil


def scaled(tensor: torch.Tensor) -> torch.Tensor:
    return tensor * 1.01


def rounded(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.bfloat16().float()


@pytest.mark.parametrize(
    ("stage", "kind", "spoil"),
    [
        ("sft", "full", spoilt("model.safetensors", scaled)),
        ("sft", "full", spoilt("model.safetensors", rounded)),
        ("dpo", "lora", spoilt("adapter_model.safetensors", torch.zeros_like)),
        ("reward", "lora", spoilt("head.safetensors", scaled)),
        ("reward", "full", spoilt("head.safetensors", torch.zeros_like)),
        ("ppo", "qlora", spoilt("adapter_model.safetensors", torch.zeros_like)),
        ("ppo", "lora", lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"torn")),
    ],
)
def test_a_broken_save_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, kind: str, spoil: Callable[[Path], None]
) -> None:
    backend = FullBackend if kind == "full" else LoRABackend
    save = backend.save

    def broken(self: Any, model: Any, out: Path) -> None:
        save(self, model, out)
        if out.parent.name == f".{stage}.partial":
            spoil(out)

    monkeypatch.setattr(backend, "save", broken)
    raw = recipe(tmp_path, stage, kind)
    with pytest.raises(GuardError, match=f"stage '{stage}': what was saved is not the model that trained") as told:
        run(parse(raw), tmp_path, Screen(quiet=True))
    assert told.value.exit_code == 4
    assert not (tmp_path / kind / "stages" / stage).exists()
    monkeypatch.undo()
    made = run(parse(raw), tmp_path, Screen(quiet=True))  # what was not kept is made again
    assert (made[stage].folder / "artifact.json").is_file()


@pytest.mark.parametrize(
    ("shift", "spoil", "says"),
    [
        (0.01, lambda _: None, "its scores are centred otherwise"),
        (0.0, spoilt("heads.safetensors", scaled), "its several heads are others"),
        (0.0, lambda folder: (folder / "heads.safetensors").unlink(), "its several heads are others"),
    ],
)
def test_a_reward_model_that_would_score_otherwise_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shift: float, spoil: Callable[[Path], None], says: str
) -> None:
    """Another centre, or other heads than those that the one is made of."""
    raw = recipe(tmp_path, "reward", "lora")
    raw["stages"]["reward"] |= {"heads": 3}
    check = reloaded.check

    def spoiled(config: Any, made: Any) -> None:
        if config.name == "reward":
            spoil(made.model)
            made = replace(made, score_shift=made.score_shift + shift)
        check(config, made)

    monkeypatch.setattr(reloaded, "check", spoiled)
    with pytest.raises(GuardError, match=says):
        run(parse(raw), tmp_path, Screen(quiet=True))


def test_a_tokenizer_that_reads_text_otherwise_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = text.save

    def broken(chat: ChatFormat, folder: Path) -> None:
        save(chat, folder)
        path = folder / "tokenizer.json"
        known = json.loads(path.read_text("utf-8"))
        known["model"]["merges"] = known["model"]["merges"][:10]
        path.write_text(json.dumps(known), encoding="utf-8")

    monkeypatch.setattr(text, "save", broken)
    with pytest.raises(GuardError, match="makes other tokens of the same text"):
        run(parse(recipe(tmp_path, "sft", "lora")), tmp_path, Screen(quiet=True))


@pytest.mark.parametrize(
    ("stage", "kind", "top"),
    [
        ("ppo", "full", {}),
        ("ppo", "qlora", {"deterministic": True}),
        ("dpo", "lora", {"precision": "bf16"}),
        ("dpo", "full", {"precision": "bf16"}),
    ],
    ids=str,
)
def test_on_a_cpu_it_is_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, kind: str, top: dict[str, Any]
) -> None:
    monkeypatch.setattr(reloaded, "_APART", {"fp32": 0.0, "bf16": 0.0})
    raw = recipe(tmp_path, stage, kind, **top)
    raw["stages"][stage]["new_tokens"] = ["<think>"]
    if stage == "ppo":  # whose reward model must read the policy's tokens
        raw["stages"]["reward"]["new_tokens"] = raw["stages"]["sft"]["new_tokens"] = ["<think>"]
    run(parse(raw), tmp_path, Screen(quiet=True))
