"""Metrics are always kept; a tracker never stops a run; a number that is not finite does."""

import json
import math
import re
import sys
from pathlib import Path

import pytest

from benchmarks.reliability.canaries.secrets import leaks
from rlhf.config import TrackingConfig, WandB
from rlhf.console import Screen
from rlhf.errors import GuardError
from rlhf.finite import check_finite
from rlhf.tracking import Tracker


def tracker(folder: Path, config: TrackingConfig | None = None, settings: dict | None = None) -> Tracker:
    return Tracker(
        folder,
        Screen(quiet=True),
        config or TrackingConfig(),
        recipe="r",
        stage="sft",
        settings=settings or {"lr": 1},
        home=Path("later/sft"),
    )


def test_every_log_is_a_line(tmp_path: Path) -> None:
    one = tracker(tmp_path)
    one.log({"loss": 1.5}, 1)
    one.log({"loss": 0.5, "kl": 0.1}, 2)
    one.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 1.5), (2, 0.5)]


def test_a_stage_that_goes_on_forgets_what_came_after_and_a_torn_line(tmp_path: Path) -> None:
    one = tracker(tmp_path)
    for step in (1, 2, 3):
        one.log({"loss": float(step)}, step)
    one.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    again = tracker(tmp_path)
    again.rewind(2)
    again.log({"loss": 7.0}, 3)
    again.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 1.0), (2, 2.0), (3, 7.0)]


def test_wandb_without_a_key_is_kept_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))  # no key of whoever runs the tests
    one = tracker(tmp_path, TrackingConfig(wandb=WandB(project="p")))
    one.log({"loss": 1.0}, 1)
    one.table("samples", ["a"], [["b"]])
    one.close({"loss": 1.0})
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb")), "W&B left no offline run"
    (named,) = re.findall(r"wandb sync (\S+)", capsys.readouterr().err.replace("\n", ""))
    assert Path(named).is_relative_to("later/sft/wandb"), "the run will lie where the stage will lie"


def test_wandb_is_told_neither_secrets_nor_how_the_command_was_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setattr(sys, "argv", ["rlhf", "run", "a-word-of-the-command"])
    settings = {"lr": 1, "url": "https://me:a-password@host/?key=a-key", "kept": "a-setting"}
    one = tracker(tmp_path, TrackingConfig(wandb=WandB(project="p", mode="offline")), settings)
    one.log({"loss": 1.0}, 1)
    one.close({"loss": 1.0})
    assert leaks(tmp_path, "a-setting")
    for word in ("a-password", "a-key", "a-word-of-the-command", "k" * 40, sys.executable):
        assert not leaks(tmp_path, word), word


def test_a_broken_tracker_warns_and_training_goes_on(tmp_path: Path) -> None:
    class Broken:
        def log(self, *_: object, **__: object) -> None:
            raise ConnectionError("no route")

    one = tracker(tmp_path)
    one._wandb = Broken()
    with pytest.warns(UserWarning, match="no route"):
        one.log({"loss": 1.0}, 1)
    one.log({"loss": 0.5}, 2)  # silent from here on
    one.close()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_stops_the_run(value: float) -> None:
    with pytest.raises(GuardError, match=r"step 7: loss is"):
        check_finite({"lr": 0.1, "loss": value}, "step 7")


def test_wandb_true_means_its_defaults() -> None:
    assert TrackingConfig.model_validate({"wandb": True}).wandb == WandB()
    assert TrackingConfig.model_validate({"wandb": False}).wandb is None
