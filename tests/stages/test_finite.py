"""A number that is none stops a stage before its step, and names the rows that it came of."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer

from rlhf.console import Screen
from rlhf.errors import GuardError
from rlhf.recipe import parse
from rlhf.runner import run
from tests.conftest import small_recipe


@pytest.mark.parametrize("stage", ["sft", "reward", "dpo", "kto"])
def test_a_loss_that_is_none_names_its_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    """In the third micro-batch, which is of the second step; what was trained until then stays as it was."""
    raw = small_recipe(tmp_path, "lora")
    raw["stages"]["kto"] = {**raw["stages"]["dpo"], "model": {"stage": "sft"}}
    raw["stages"] = {name: raw["stages"][name] for name in dict.fromkeys(["sft", stage])}
    run(parse(json.loads(json.dumps({**raw, "stages": {"sft": raw["stages"]["sft"]}}))), tmp_path, Screen(quiet=True))
    raw["stages"][stage]["train"] |= {"batch_size": 4, "micro_batch_size": 2, "log_every": 50, "max_steps": 4}
    step, done, steps = Trainer.training_step, [], []

    def spoilt(self: Trainer, *words: Any) -> torch.Tensor:
        loss = step(self, *words)
        done.append(loss)
        return loss * torch.nan if len(done) == 3 else loss

    monkeypatch.setattr(Trainer, "training_step", spoilt)
    optimizer_step = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *w: (steps.append(1), optimizer_step(self, *w))[1])
    name = "sft" if stage == "sft" else "pairs"
    with pytest.raises(
        GuardError, match=rf"step 2, on \S*{name}.jsonl:\d+.*: the loss is nan; lower the learning rate"
    ):
        run(parse(raw), tmp_path, Screen(quiet=True), fresh=True, only=stage)
    assert len(steps) == 1


def test_a_gradient_that_is_none_stops_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = small_recipe(tmp_path, "lora")
    raw["stages"] = {"sft": raw["stages"]["sft"]}
    monkeypatch.setattr(Trainer, "_clip_grad_norm", lambda *_: torch.tensor(torch.inf))
    with pytest.raises(GuardError, match=r"step 1, on .*sft.jsonl:\d+, .*: the gradient's norm is inf"):
        run(parse(raw), tmp_path, Screen(quiet=True))
