"""Deterministic algorithms alone while a stage runs, and what was set before comes back."""

import os
from pathlib import Path

import pytest
import torch
from transformers import Trainer

from rlhf.console import Screen
from rlhf.determinism import deterministic, foreseen
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
    raw = small_recipe(tmp_path, "lora")
    raw["stages"] = {name: raw["stages"][name] for name in ("sft", "dpo")}
    raw["stages"]["dpo"]["deterministic"] = True
    for stage in raw["stages"].values():
        stage["train"]["max_steps"] = 1
    run(parse(raw), tmp_path, Screen(quiet=True))
    assert seen == [(*before[:3], ":4096:8"), (True, True, False, ":4096:8")]  # cuBLAS listens to the first alone
    assert state() == before


def test_it_is_refused_where_it_would_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(RecipeError, match="has used the accelerator before"), foreseen(True):
        pytest.fail("began")
    with foreseen(False):
        assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    with foreseen(True):
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"


def test_what_has_no_such_algorithm_is_named() -> None:
    before = state()
    with pytest.raises(RecipeError, match=r"^deterministic: kthvalue CUDA has no .* algorithm"), deterministic(True):
        raise RuntimeError("kthvalue CUDA does not have a deterministic implementation, but you set …")
    assert state() == before
