"""Metrics are always kept; a tracker never stops a run; a number that is not finite does."""

import json
import math
import re
import sys
from pathlib import Path

import pytest
import yaml

from benchmarks.reliability.canaries.secrets import leaks
from rlhf.config import TrackingConfig, WandB
from rlhf.console import Screen
from rlhf.errors import GuardError
from rlhf.finite import check_finite
from rlhf.recipe import load, parse
from rlhf.runner import run
from rlhf.tracking import Tracker
from stages.ppo.samples import SHOWN
from tests.conftest import ROOT, metrics_of, small_recipe
from tests.stages.test_ppo import interrupted_after
from tests.wandb_file import table, told


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
    assert [run.host for run in told(tmp_path, "run")] == [""]


def test_an_offline_run_holds_settings_metrics_tables_and_lineage(tmp_path: Path) -> None:
    """Read back from W&B's own files; a stage that was interrupted goes on in the same run."""
    raw = small_recipe(tmp_path, "lora", tracking={"wandb": {"mode": "offline", "tags": ["t"]}})
    raw["stages"] = {name: raw["stages"][name] for name in ("sft", "reward", "ppo")}
    raw["stages"]["ppo"]["watch"] = {"every": 1, "prompts": 2}
    with interrupted_after(1):
        raw["stages"]["ppo"]["train"]["checkpoint_every"] = 1
        run(parse(json.loads(json.dumps(raw))), tmp_path / "runs", Screen(quiet=True))
    made = run(parse(raw), tmp_path / "runs", Screen(quiet=True))
    for name, one in made.items():
        runs = told(one.folder, "run")
        assert {(r.run_group, r.job_type, *r.tags) for r in runs} == {("lora", name, "t")}
        assert len(runs) == (2 if name == "ppo" else 1) and len({r.run_id for r in runs}) == 1
        assert {"model", "data", "train"} <= {item.key for item in runs[0].config.update}
        logged = [{i.nested_key[0] if i.nested_key else i.key for i in h.item} for h in told(one.folder, "history")]
        assert set(metrics_of(one.folder)[0]) - {"time"} <= set.union(*logged)
    for name, metrics, axis in (
        ("sft", ("loss", "eval_loss"), "num_tokens"),
        ("reward", ("loss", "accuracy"), "step"),
        ("ppo", ("kl", "heldout/judge"), "episodes"),
    ):
        drawn = {m.name: m.step_metric for m in told(made[name].folder, "metric")}
        assert {drawn[metric] for metric in metrics} == {axis}
    samples = table(made["ppo"].folder, "samples")
    assert samples["columns"] == ["step", "prompt", "before", "after", "score", "kl"]
    assert [row[0] for row in samples["data"]] == [1] * SHOWN + [2] * SHOWN, "what came before the interruption stays"
    first, second = samples["data"][:SHOWN], samples["data"][SHOWN:]
    assert [row[1:3] for row in first] == [row[1:3] for row in second], "the same prompts, and answers before"
    assert list(made["reward"].folder.glob("wandb/**/media/table/heldout/reliability*.json"))
    artifacts = {a.name: a for a in told(made["ppo"].folder, "artifact") if a.type != "run_table"}
    used = {name for name, a in artifacts.items() if a.use_after_commit}
    assert used == {"prompts.jsonl", "lora-sft", "lora-reward"} and artifacts.keys() - used == {"lora-ppo"}
    (before,) = (a for a in told(made["sft"].folder, "artifact") if a.name == "lora-sft")
    assert before.digest == artifacts["lora-sft"].digest
    assert {c.path: c.digest for c in before.manifest.contents} == made["sft"].hashes


def test_tensorboard_has_the_same_numbers(tmp_path: Path) -> None:
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="the extra `tensorboard` is not installed"
    )
    one = tracker(tmp_path, TrackingConfig(tensorboard=True))
    for step in (1, 2):
        one.log({"loss": step / 2}, step)
    one.histogram("scores", [0.0, 1.0])
    one.close()
    found = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard" / "r-sft")).Reload()
    assert [(e.step, e.value) for e in found.Scalars("loss")] == [(1, 0.5), (2, 1.0)]


def test_a_tracker_that_is_not_installed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlhf.config.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="not installed: pip install trackio"):
        TrackingConfig(trackio=True)


def test_a_broken_tracker_warns_and_training_goes_on(tmp_path: Path) -> None:
    class Broken:
        name = "a tracker"

        def log(self, *_: object, **__: object) -> None:
            raise ConnectionError("no route")

    one = tracker(tmp_path)
    one._sinks.append(Broken())  # type: ignore[arg-type]
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


def test_parameters_of_sweeps_are_settings() -> None:
    for path in (ROOT / "recipes" / "sweeps").glob("*.yaml"):
        sweep = yaml.safe_load(path.read_text())
        given = [f"{name}={how.get('min', how.get('values', [None])[0])}" for name, how in sweep["parameters"].items()]
        load(sweep["command"][2], [*sweep["command"][3:-1], *given])
        assert sweep["command"][-1] == "${args_no_hyphens}" and sweep["metric"]["name"] == "gold_win_rate"
