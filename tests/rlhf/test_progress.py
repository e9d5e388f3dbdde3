"""How far runs are, from folders alone, and how that is shown."""

import fcntl
import io
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from rlhf import artifact as artifacts
from rlhf import progress, watching
from rlhf.artifact import Artifact
from rlhf.cli import app
from rlhf.errors import ArtifactError
from rlhf.runner import _alone

STAGES = {"sft": "sft", "judge": "reward", "ppo": "ppo", "evaluate": "evaluate"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run of which the first stage is done."""
    made = tmp_path / "runs" / "mine"
    made.mkdir(parents=True)
    (made / progress.SETTINGS).write_text(json.dumps({"stages": {n: {"stage": kind} for n, kind in STAGES.items()}}))
    (made / progress.LOCK).touch()
    finish(made, "sft", eval_loss=0.5)
    return made


def finish(run: Path, name: str, **metrics: float) -> None:
    home = run / "stages" / name
    home.mkdir(parents=True)
    log(home, [(1, 2.0), (40, 41.0)], 40)
    artifacts.write(Artifact(name, STAGES[name], "policy", "hash", metrics=metrics), home)


def log(home: Path, lines: list[tuple[int, float]], steps: int, **numbers: float) -> None:
    home.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps({"step": step, "time": seconds, **numbers}) + "\n" for step, seconds in lines]
    (home / artifacts.METRICS).write_text("".join(rows))
    (home / progress.STEPS).write_text(f"{steps}\n")


def begin(run: Path, name: str, **numbers: float) -> Path:
    """A stage at step 5 of 11, two seconds a step."""
    home = progress.scratch(run / "stages" / name)
    log(home, [(1, 3.0), (3, 7.0), (5, 11.0)], 11, **numbers)
    return home


@contextmanager
def at_work(run: Path) -> Iterator[None]:
    with (run / progress.LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def test_a_run_at_work_says_step_of_steps_and_what_is_left(folder: Path) -> None:
    finish(folder, "ppo")  # by an earlier run: 41 seconds
    home = begin(folder, "judge", loss=0.25, accuracy=0.75)
    with (home / artifacts.METRICS).open("a") as file:
        file.write('{"step": 7, "ti')  # is being written
    with at_work(folder):
        run = progress.read(folder)
    assert run.state == "at work" and [stage.state for stage in run.stages] == ["done", "at work", "waiting", "waiting"]
    now = run.current
    assert now is not None and (now.name, now.step, now.steps, now.metrics["loss"]) == ("judge", 5, 11, 0.25)
    assert now.left == pytest.approx(12.0, abs=1.0)  # six steps of two seconds, less a moment since the last
    assert run.ahead == [41.0, None]
    seen = text(watching.frame(run))
    assert "5/11" in seen and "loss 0.25  accuracy 0.75" in seen and "12 s left, then 1 stage not timed yet" in seen
    assert "eval_loss 0.5" in seen


def text(what: Any) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(what)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_run_that_ended_says_how_and_what_comes_next(folder: Path) -> None:
    home = begin(folder, "judge")
    assert progress.read(folder).state == "interrupted"
    assert "judge starts over, as it left no checkpoint" in text(watching.frame(progress.read(folder)))
    (home / artifacts.CHECKPOINT).mkdir()
    assert "judge goes on from its last checkpoint" in text(watching.frame(progress.read(folder)))
    progress.failed(home, ValueError("the loss is not finite"))
    run = progress.read(folder)
    assert run.state == "failed" and "judge failed: the loss is not finite" in text(watching.frame(run))
    os.utime(home / artifacts.METRICS, (time.time() - 120,) * 2)
    with at_work(folder):
        assert "last heard of 2 min ago" in text(watching.frame(progress.read(folder)))


def test_watching_follows_to_the_end_while_stages_change(folder: Path) -> None:
    home = begin(folder, "judge", loss=1.0)
    lock = (folder / progress.LOCK).open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)

    def finish_one() -> None:
        (home / artifacts.METRICS).unlink()
        (home / progress.STEPS).unlink()
        home.rmdir()
        finish(folder, "judge", accuracy=0.9)

    def go_on(name: str) -> None:
        begin(folder, name, score=0.5)

    def end() -> None:
        finish(folder, "evaluate", gold_win_rate=0.75)
        lock.close()

    happens = iter([finish_one, lambda: go_on("ppo"), lambda: None, end])
    out = Console(file=io.StringIO(), width=80)
    run = watching.watch(folder, out, lambda _: next(happens)())
    told = out.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split()[1] for line in told[:4]] == ["sft", "judge", "judge", "ppo"]
    assert "accuracy 0.9" in told[2] and "5/11" in told[3] and "score 0.5" in told[3]
    assert run.state == "interrupted" and "ppo starts over" in told[-1]  # ppo never ended

    lock = (folder / progress.LOCK).open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    screen = Console(file=io.StringIO(), width=80, force_terminal=True)
    watching.watch(folder, screen, lambda _: lock.close())
    assert "ppo" in screen.file.getvalue()  # type: ignore[attr-defined]


def test_status_is_of_one_run_or_of_all_and_for_machines_too(folder: Path) -> None:
    begin(folder, "judge", loss=0.25)
    runs = folder.parent
    (runs / "notes").mkdir()
    seen = CliRunner().invoke(app, ["status", str(runs), "--json"])
    assert seen.exit_code == 0, seen.output
    (one,) = json.loads(seen.stdout.splitlines()[-1])["runs"]
    assert one["state"] == "interrupted" and [stage["name"] for stage in one["stages"]] == list(STAGES)
    assert "judge 5/11" in text(watching.overview(progress.runs(runs)))
    seen = CliRunner().invoke(app, ["watch", str(folder), "--once", "--json"])
    assert json.loads(seen.stdout.splitlines()[-1])["stages"][1]["step"] == 5
    assert CliRunner().invoke(app, ["watch", str(folder)]).exit_code == 0  # it is not at work: one look
    with pytest.raises(ArtifactError, match="no run, and no folder of runs"):
        progress.runs(runs / "notes")
    (folder / progress.SETTINGS).write_text("stages: [")
    with pytest.raises(ArtifactError, match="no run that can be read"):
        progress.read(folder)


def test_a_look_does_not_keep_a_run_from_beginning(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = (folder / progress.LOCK).open()
    fcntl.flock(look, fcntl.LOCK_SH)
    monkeypatch.setattr(time, "sleep", lambda _: look.close())
    with _alone(folder):
        assert progress.read(folder).at_work
