"""Deterministic algorithms alone while a stage runs, and what was set before comes back."""

import os
from pathlib import Path

import pytest
import torch
from transformers import Trainer

from rlhf.console import Screen
from rlhf.determinism import deterministic
from rlhf.errors import RecipeError
from rlhf.recipe import parse
from rlhf.runner import run
from tests.conftest import small_recipe


def state() -> tuple[bool, bool, bool, str | None]:
    cudnn = torch.backends.cudnn
    workspace = os.environ.get("CUBLAS_WORKSPACE_CONFIG")
    return torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark, workspace


def test_it_holds_for_the_stages_that_ask_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before, seen = state(), []
    step = Trainer.training_step
    monkeypatch.setattr(Trainer, "training_step", lambda *words: (seen.append(state()), step(*words))[1])
    raw = small_recipe(tmp_path, "lora", deterministic=True)
    raw["stages"] = {name: raw["stages"][name] for name in ("sft", "dpo")}
    raw["stages"]["dpo"]["deterministic"] = False
    for stage in raw["stages"].values():
        stage["train"]["max_steps"] = 1
    run(parse(raw), tmp_path, Screen(quiet=True))
    assert seen == [(True, True, False, ":4096:8"), before]
    assert state() == before


def test_what_has_no_such_algorithm_is_named() -> None:
    before = state()
    with pytest.raises(RecipeError, match=r"^deterministic: kthvalue CUDA has no .* algorithm"), deterministic(True):
        raise RuntimeError("kthvalue CUDA does not have a deterministic implementation, but you set …")
    assert state() == before
