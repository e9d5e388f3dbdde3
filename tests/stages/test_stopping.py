"""SIGTERM and Ctrl-C while a stage trains: a checkpoint, and the same weights as if nothing had happened."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from rlhf import artifact as artifacts
from rlhf.console import Screen
from rlhf.recipe import parse
from rlhf.runner import run
from rlhf.tracking import Tracker
from tests.conftest import metrics_of, small_recipe


def stopped_at(folder: Path, stage: str) -> dict[str, Any]:
    """A recipe of a stage and what it needs; no checkpoints but those that a signal asks for."""
    folder.mkdir(exist_ok=True)
    raw = small_recipe(folder, "lora")
    if stage == "sample":
        (folder / "rule.py").write_text("def score(prompt, response):\n    return -float(len(response))\n")
        rule = {"rule": {"file": str(folder / "rule.py"), "function": "score", "trust_code": True}}
        drawn = {"model": "tiny", "rewards": {"short": rule}, "n": 4, "keep_unfinished": True}
        rollout = {"batch_size": 16, "max_new_tokens": 6}
        raw["stages"] = {"sample": {**drawn, "rollout": rollout, "data": {"path": str(folder / "prompts.jsonl")}}}
        return raw
    needed = ["sft", "reward", "ppo"] if stage == "ppo" else ["sft", stage]
    raw["stages"] = {name: raw["stages"][name] for name in dict.fromkeys(needed)}
    raw["stages"][stage]["train"] |= {"episodes": 32} if stage == "ppo" else {"max_steps": 4}
    raw["stages"][stage]["train"]["checkpoint_every"] = 0
    return raw


def signalled(monkeypatch: pytest.MonkeyPatch, stage: str, number: int, times: int = 1) -> None:
    """Signals as the stage logs its second step."""
    log = Tracker.log

    def signalling(self: Tracker, metrics: Any, step: int, steps: int | None = None) -> None:
        log(self, metrics, step, steps)
        if step == 2 and self.path.parent.name == f".{stage}.partial":
            for _ in range(times):
                os.kill(os.getpid(), number)

    monkeypatch.setattr(Tracker, "log", signalling)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
@pytest.mark.parametrize("stage", ["sft", "reward", "dpo", "ppo", "sample"])
def test_a_stopped_stage_goes_on_where_it_was(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stage: str,
    number: int,
) -> None:
    raw = stopped_at(tmp_path, stage)
    whole = run(parse(json.loads(json.dumps(raw))), tmp_path, Screen(quiet=True))[stage]
    counted = [line.get("num_tokens") for line in metrics_of(whole.folder)]
    shutil.rmtree(whole.folder)  # what it starts from stays
    signalled(monkeypatch, stage, number)
    with pytest.raises(KeyboardInterrupt):
        run(parse(json.loads(json.dumps(raw))), tmp_path, Screen(quiet=True))
    monkeypatch.undo()
    assert "stopping after this step" in capsys.readouterr().err
    home = tmp_path / "lora" / "stages" / f".{stage}.partial" / artifacts.CHECKPOINT
    kept = sorted(int(path.name) for path in home.iterdir() if path.name.isdigit())
    assert kept == {"ppo": [2], "sample": [1, 2]}.get(stage, [3])  # a trainer logs when its step has ended
    again = run(parse(raw), tmp_path, Screen())[stage]
    assert "going on after" in capsys.readouterr().out or stage == "sample"
    assert again.hashes == whole.hashes
    assert {line.get("num_tokens") for line in metrics_of(again.folder)} == set(counted)


@pytest.mark.parametrize("stage", ["sft", "ppo"])
def test_a_stage_goes_on_with_its_state_in_8_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    raw = stopped_at(tmp_path, stage)
    raw["stages"][stage] |= {"backend": "full"}
    raw["stages"][stage]["train"] |= {"optimizer": "adamw_8bit", "micro_batch_size": 4}
    whole = run(parse(json.loads(json.dumps(raw))), tmp_path, Screen(quiet=True))[stage]
    shutil.rmtree(whole.folder)
    signalled(monkeypatch, stage, signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        run(parse(json.loads(json.dumps(raw))), tmp_path, Screen(quiet=True))
    monkeypatch.undo()
    again = run(parse(raw), tmp_path, Screen())[stage]
    assert "going on after" in capsys.readouterr().out
    assert again.hashes == whole.hashes


@pytest.mark.parametrize("stage", ["sft", "reward", "dpo"])
def test_a_stage_whose_last_step_is_taken_takes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """Killed between its last checkpoint and its artifact, in the midst of an epoch."""
    raw = stopped_at(tmp_path, stage)
    raw["stages"][stage]["train"]["checkpoint_every"] = 3
    whole = run(parse(json.loads(json.dumps(raw))), tmp_path, Screen(quiet=True))[stage]
    shutil.rmtree(whole.folder)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr("rlhf.job.Job.finish", killed)
        run(parse(json.loads(json.dumps(raw))), tmp_path, Screen(quiet=True))
    monkeypatch.setattr("transformers.Trainer.training_step", lambda *_: pytest.fail("was trained again"))
    again = run(parse(raw), tmp_path, Screen(quiet=True))[stage]
    assert again.hashes == whole.hashes and again.metrics["steps"] == 4


@pytest.mark.parametrize("stage", ["sft", "ppo"])
def test_a_second_signal_ends_the_run_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    raw = stopped_at(tmp_path, stage)
    signalled(monkeypatch, stage, signal.SIGINT, times=2)
    with pytest.raises(KeyboardInterrupt):
        run(parse(raw), tmp_path, Screen(quiet=True))
    home = tmp_path / "lora" / "stages" / f".{stage}.partial" / artifacts.CHECKPOINT
    assert not [path for path in home.glob("*") if path.name.isdigit()]
