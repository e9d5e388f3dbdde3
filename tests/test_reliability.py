"""Short versions of the suites in benchmarks/reliability that need processes of their own."""

import gc
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import benchmarks.reliability.__main__ as everything
from benchmarks.reliability.common import report
from benchmarks.reliability.long import SAMPLES, Held, grown
from benchmarks.reliability.trials import BACKENDS, STAGES, cells, forked


@pytest.mark.parametrize(
    ("words", "least"),
    [
        (["kills", "--stages", "sft", "--backends", "lora"], 3),
        (["disk", "--stages", "ppo", "--backends", "lora", "--sizes", "3"], 3),
        (["resumes", "--stages", "reward", "--backends", "qlora"], 3),
        (["determinism", "--stages", "dpo", "--backends", "full", "--times", "1"], 1),
        (["long", "--stages", "sft", "--backends", "lora", "--steps", "300"], 5),
    ],
    ids=["kills", "disk", "resumes", "determinism", "long"],
)
def test_nothing_is_lost(words: list[str], least: int) -> None:
    done = subprocess.run([sys.executable, "-m", f"benchmarks.reliability.{words[0]}", *words[1:]], capture_output=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["tried"] >= least and found["failed"] == []


def test_a_run_that_starts_over_is_found() -> None:
    """It makes the same weights, and so is told by its first step alone."""
    mutant = "from rlhf import checkpoint; checkpoint.newest = lambda *_: None; import runpy; "
    mutant += "runpy.run_module('benchmarks.reliability.resumes', run_name='__main__')"
    words = [sys.executable, "-c", mutant, "--stages", "sft", "--backends", "lora"]
    done = subprocess.run(words, capture_output=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 1 and found["survived"] == 0
    assert "began at step 1, and a whole checkpoint lay there of step 3" in found["failed"][-1]


def test_nothing_tried_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        report(0, [])
    assert left.value.code == 1
    assert json.loads(capsys.readouterr().out)["failed"] == ["nothing was tried"]


def test_all_suites_in_one_command() -> None:
    words = [sys.executable, "-m", "benchmarks.reliability", "recipes"]
    done = subprocess.run([*words, "no-such"], capture_output=True, text=True)
    assert done.returncode == 2 and "no suite no-such" in done.stderr
    done = subprocess.run(words, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 0 and list(found) == ["recipes"]
    assert found["recipes"]["tried"] == found["recipes"]["survived"] > 50


def test_no_suite_is_forgotten() -> None:
    beside = {path.stem for path in Path(everything.__file__).parent.iterdir() if not path.stem.startswith("_")}
    assert beside - {"common", "trials"} == {suite.name for suite in everything.SUITES}


def test_a_suite_that_fails_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    suites = [everything.Suite("nonesuch", "")]
    monkeypatch.setattr(everything, "SUITES", suites)
    monkeypatch.setattr(sys, "argv", ["reliability"])
    with pytest.raises(SystemExit) as left:
        everything.main()
    assert left.value.code == 1
    *told, last = capsys.readouterr().out.splitlines()
    assert "  failed: exit code 1" in told
    assert json.loads(last) == {"nonesuch": {"tried": 1, "survived": 0}}


def test_a_few_cells_are_of_many_stages_and_backends() -> None:
    order = cells(STAGES, BACKENDS)
    assert len(set(order)) == len(order) == len(STAGES) * len(BACKENDS)
    assert len({stage for stage, _ in order[:3]}) == len({kind for _, kind in order[:3]}) == 3


KEPT: list[Any] = []
LEAKS: dict[str, Callable[[Path, int], Any]] = {
    "nothing": lambda folder, step: torch.zeros(100),
    "objects": lambda folder, step: KEPT.append({"step": step}),
    "memory": lambda folder, step: KEPT.append(torch.zeros(2000)),
    "handles": lambda folder, step: KEPT.append((folder / "same").open("w")) if step % 50 == 0 else None,
    "folder": lambda folder, step: (folder / f"{step}").write_text("0123456789"),
    "metrics": lambda folder, step: (folder / "metrics.jsonl").open("a").write("m" * 2000),
}


@pytest.mark.parametrize("what", LEAKS)
def test_what_is_kept_of_every_step_is_found(what: str, tmp_path: Path) -> None:
    """In a child, which nothing else grows in."""

    def leak() -> None:
        held = []
        for step in range(1, 601):
            LEAKS[what](tmp_path, step)
            if step % (600 // SAMPLES) == 0:
                held.append(Held.now(step, tmp_path))
        (tmp_path.parent / "found").write_text(json.dumps([name for name, why in grown(held).items() if why]))

    assert forked(leak, gc.freeze) == 0
    found = json.loads((tmp_path.parent / "found").read_text())
    assert what in found if what != "nothing" else not found
