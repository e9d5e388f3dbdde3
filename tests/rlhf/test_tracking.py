"""Metrics are always kept; a tracker never stops a run; a number that is not finite does."""

import json
import math
import re
import sqlite3
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.reliability.canaries.secrets import leaks
from rlhf import artifact as artifacts
from rlhf.artifact import Artifact
from rlhf.config import TrackingConfig, WandB
from rlhf.console import Screen
from rlhf.errors import GuardError
from rlhf.finite import check_finite
from rlhf.recipe import load, parse
from rlhf.runner import run
from rlhf.tracking import Tracker
from rlhf.weights import Weights
from stages.ppo.samples import SHOWN
from stages.sft import run as sft
from tests.conftest import ROOT, metrics_of, small_recipe
from tests.stages.test_ppo import interrupted_after
from tests.wandb_file import table, told


def tracker(
    folder: Path,
    config: TrackingConfig | None = None,
    settings: dict | None = None,
    home: Path = Path("later/sft"),
) -> Tracker:
    return Tracker(
        folder,
        Screen(quiet=True),
        config or TrackingConfig(),
        recipe="r",
        stage="sft",
        settings=settings or {"lr": 1},
        home=home,
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


@pytest.mark.parametrize("name", ["wandb", "tensorboard", "mlflow"])
def test_trackers_are_told_no_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Of a recipe's files and models they get the names."""
    pytest.importorskip(name, reason=f"{name} is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config = TrackingConfig.model_validate({name: {"mode": "offline"} if name == "wandb" else True})
    settings = {"data": {"path": "/home/ann/a-client/pairs.jsonl"}, "model": {"name": "/home/ann/a-client/base"}}
    (tmp_path / "stages" / "sft").mkdir(parents=True)
    one = tracker(tmp_path / "stages" / "sft", config, settings, home=tmp_path / "stages" / "sft")
    one.log({"loss": 1.0}, 1)
    one.close({})
    assert leaks(tmp_path, "pairs.jsonl") and not leaks(tmp_path, "a-client")


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
        assert [end.exit_code for end in told(one.folder, "exit")] == ([1, 0] if name == "ppo" else [0])
        assert len(told(one.folder, "preempting")) == (name == "ppo"), "it was interrupted, and did not fail"
        assert {"model", "data", "train"} <= {item.key for item in runs[0].config.update}
        logged = [{i.nested_key[0] if i.nested_key else i.key for i in h.item} for h in told(one.folder, "history")]
        assert set(metrics_of(one.folder)[0]) - {"time"} <= set.union(*logged)
    for name, metrics, axis in (
        ("sft", ("loss", "eval_loss"), "num_tokens"),
        ("reward", ("loss", "accuracy"), "num_tokens"),
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
    assert {a.name: a.type for a in told(made["sft"].folder, "artifact") if a.use_after_commit} == {
        "sft.jsonl": "dataset",
        "tiny": "model",
    }
    (before,) = (a for a in told(made["sft"].folder, "artifact") if a.name == "lora-sft")
    assert before.digest == artifacts["lora-sft"].digest
    assert {c.path: c.digest for c in before.manifest.contents} == made["sft"].hashes


def sources(*names: str) -> dict[str, Any]:
    return {"file": {"sources": [{"name": name, "sha256": f"sha of {name}"} for name in names]}}


def test_lineage_has_every_block_of_data_models_from_outside_and_what_other_stages_sampled(tmp_path: Path) -> None:
    sampled = tmp_path / "run" / "stages" / "sample"
    (sampled / "model").mkdir(parents=True)
    (sampled / "examples.jsonl").write_text("{}\n")
    beside = artifacts.write(Artifact("sample", "sample", "dataset", "ab12"), sampled)
    there = tmp_path / "me" / "base"
    base = Weights(there, str(there), "cd34", there, revision="main")
    data = {"prompts": sources("a.jsonl", "b.jsonl"), "preferences": sources("b.jsonl"), "refusals": {"rows": 3}}
    mine = {"name": "examples.jsonl", "sha256": beside.hashes["examples.jsonl"]}
    data["demonstrations"] = {"file": {"sources": [mine]}}
    one = tracker(tmp_path, TrackingConfig(wandb=WandB(project="p", mode="offline")))
    one.made(Artifact("eval", "evaluate", "evaluation", "ef56", data=data, folder=sampled), [base, base], [sampled])
    one.close()
    found = told(tmp_path, "artifact")
    used = [(a.name, a.type) for a in found if a.use_after_commit]
    assert used == [("a.jsonl", "dataset"), ("b.jsonl", "dataset"), ("run-sample", "dataset"), ("base", "model")]
    assert [(a.name, a.type) for a in found if not a.use_after_commit] == [("run-eval", "evaluation")]
    (model,) = (a for a in found if a.name == "base")
    assert [c.digest for c in model.manifest.contents] == ["cd34"] and '"main"' in model.metadata
    assert str(there) not in model.metadata, "a folder is not named"


@pytest.mark.parametrize(("error", "ending"), [(ValueError("no"), "failed"), (KeyboardInterrupt(), "interrupted")])
def test_trackers_are_told_how_a_stage_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, ending: str
) -> None:
    ended: list[str] = []
    close = Tracker.close

    def closing(self: Tracker, summary: Any, how: Any) -> None:
        ended.append(how)
        close(self, summary, how)

    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr(Tracker, "close", closing)
    monkeypatch.setattr(sft, "run", broken)
    raw = small_recipe(tmp_path, "lora")
    raw["stages"] = {"sft": raw["stages"]["sft"]}
    with pytest.raises(type(error)):
        run(parse(raw), tmp_path / "runs", Screen(quiet=True))
    assert ended == [ending]


def test_wandb_calls_a_stage_failed_that_failed(tmp_path: Path) -> None:
    one = tracker(tmp_path, TrackingConfig(wandb=WandB(project="p", mode="offline")))
    one.log({"loss": 1.0}, 1)
    one.close({}, "failed")
    assert [end.exit_code for end in told(tmp_path, "exit")] == [1] and not told(tmp_path, "preempting")


# ------------------------------------------------------------------------------------------------ others


def twice(folder: Path, config: TrackingConfig, run: Path) -> list[Tracker]:
    """Two stages of a run; the second is interrupted after a step, and goes on."""
    stages = []
    for stage, endings in (("sft", ["finished"]), ("reward", ["interrupted", "finished"])):
        (folder / stage).mkdir()
        for step, ending in enumerate(endings, 1):
            home = run / "stages" / stage
            settings = {"lr": 1, "data": {"path": "a.jsonl"}, "name": stage}
            one = Tracker(
                folder / stage, Screen(quiet=True), config, recipe="r", stage=stage, settings=settings, home=home
            )
            assert one.is_followed
            one.log({"loss": step / 2, "accuracy/by 5 %, or so": 0.5, "kl": float("nan")}, step)
            one.close({}, ending)  # type: ignore[arg-type]
            stages.append(one)
    return stages


@pytest.mark.filterwarnings("default")  # its own
def test_mlflow_has_an_experiment_a_recipe_and_a_run_a_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("other", "run"):  # one after the other in one process
        (tmp_path / name).mkdir()
    twice(tmp_path / "other", TrackingConfig(mlflow=True), tmp_path / "other")
    twice(tmp_path, TrackingConfig(mlflow=True), tmp_path / "run")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'r'")
    runs = {one.info.run_name: one for one in client.search_runs([experiment.experiment_id])}
    assert runs.keys() == {"r-sft", "r-reward"}
    assert {one.info.status for one in runs.values()} == {"FINISHED"}
    found = client.get_metric_history(runs["r-reward"].info.run_id, "loss")
    assert [(one.step, one.value) for one in found] == [(1, 0.5), (2, 1.0)], "what came before the interruption stays"
    assert runs["r-sft"].data.metrics["accuracy/by 5 -- or so"] == 0.5
    assert runs["r-sft"].data.params == {"lr": "1", "data.path": "a.jsonl", "name": "sft"}
    about = {name: value for name, value in runs["r-sft"].data.tags.items() if "git" in name or "user" in name}
    assert len(about) == 4 and not any(about.values()), "neither who ran it nor in which checkout"
    assert not leaks(tmp_path / "run", sys.argv[0])


@pytest.mark.filterwarnings("default")
def test_trackio_has_a_project_a_recipe_and_a_run_a_stage(tmp_path: Path) -> None:
    """In a process of its own: trackio learns but once where to write."""
    if find_spec("trackio") is None:
        pytest.skip("the extra `trackio` is not installed")
    (tmp_path / "run").mkdir()
    code = "import sys; from pathlib import Path; from rlhf.config import TrackingConfig; "
    code += "from tests.rlhf.test_tracking import twice; here = Path(sys.argv[1]); "
    code += "twice(here, TrackingConfig(trackio=True), here / 'run')"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "rackio" not in done.stdout and "rackio" in done.stderr, "what it says is no result of ours"
    base = sqlite3.connect(tmp_path / "run" / "trackio" / "r.db")
    rows = base.execute("select run_name, run_id, step, metrics from metrics order by id").fetchall()
    assert [(name, step) for name, _, step, _ in rows] == [("r-sft", 1), ("r-reward", 1), ("r-reward", 2)]
    assert rows[1][1] == rows[2][1] != rows[0][1], "the same run goes on"
    assert [json.loads(metrics)["loss"] for *_, metrics in rows] == [0.5, 0.5, 1.0]
    assert base.execute("select count(*) from system_metrics").fetchone() == (0,)
    assert list(tmp_path.glob("*/trackio")) == [tmp_path / "run" / "trackio"]


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
