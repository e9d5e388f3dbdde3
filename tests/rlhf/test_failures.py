"""What is worth labelling, from rows of an evaluation."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rlhf import artifact as artifacts
from rlhf import failures
from rlhf.cli import app
from rlhf.config.data import DataConfig
from rlhf.data.load import load
from rlhf.data.records import Preference
from rlhf.errors import ArtifactError
from rlhf.labels import pairs


def sample(i: int, reward: tuple[float, float], gold: tuple[float, float]) -> dict[str, Any]:
    """Scores of the policy's answer and of the baseline's."""
    sides = {
        side: {"text": f"{side} {i}", "reward": reward[at], "gold": gold[at]}
        for at, side in enumerate(("policy", "baseline"))
    }
    return {"where": f"prompts.jsonl:{i}", "prompt": [{"role": "user", "content": f"Question {i}?"}], **sides}


ROWS = [
    sample(0, reward=(2.0, 0.0), gold=(4.0, 1.0)),  # won, and the reward model knows
    sample(1, reward=(3.0, 0.0), gold=(0.0, 5.0)),  # lost, and the reward model is wrong
    sample(2, reward=(0.1, 0.0), gold=(2.0, 2.0)),  # a tie of which the reward model is not sure
    sample(3, reward=(0.0, 2.0), gold=(1.0, 2.0)),  # lost to both
]


def test_failures_of_answers_are_the_lost_the_wrong_and_the_unsure() -> None:
    found = {one.where[-1]: one for one in failures.of_samples(ROWS)}
    assert found["1"].why == ["lost to baseline by gold", "reward model is wrong"]
    assert found["2"].why == ["reward model is unsure"] and found["2"].better is None
    assert found["3"].why == ["lost to baseline by reward", "lost to baseline by gold"]
    assert "0" not in found
    assert list(found) == ["1", "3", "2"]
    # in standard deviations of the differences: gold's are 3, -5, 0, -1 (2.861), reward's 2, 3, 0.1, -2 (1.911)
    assert found["1"].badness == pytest.approx(5 / 2.861 + 3 / 1.911, abs=2e-3)


def test_a_failure_is_written_to_label_and_to_imitate() -> None:
    worst, *_, unsure = failures.of_samples(ROWS)
    assert worst.row("label")["completions"] == [
        {"text": "policy 1", "model": "policy"},
        {"text": "baseline 1", "model": "baseline"},
    ]
    assert worst.row("sft")["completion"] == "baseline 1"
    assert unsure.row("sft")["completion"] is None


def test_failures_of_pairs_have_their_texts() -> None:
    def record(i: int) -> Preference:
        turns = [[{"role": "assistant", "content": text}] for text in ("good", "bad")]
        return Preference([{"role": "user", "content": f"{i}?"}], turns[0], turns[1], f"f:{i}")

    rows = [
        {"judge": judge, "file": "f", "line": str(i), "margin": margin}
        for judge, i, margin in [("reward", 0, 3.0), ("reward", 1, -1.0), ("reward", 2, 0.2), ("held_out", 0, -9.0)]
    ]
    wrong, unsure = failures.of_pairs(rows, {f"f:{i}": record(i) for i in range(3)})
    assert (wrong.where, wrong.why) == ("f:1", ["reward model is wrong"]) and wrong.answers["chosen"] == "good"
    assert (unsure.where, unsure.why) == ("f:2", ["reward model is unsure"])


@pytest.mark.parametrize("finished", ["full"], indirect=True)
def test_pairs_are_not_looked_up_in_a_file_that_has_changed(finished: Any, tmp_path: Path) -> None:
    """Scores are known by the lines they stood in."""
    made = finished[2]["evaluate"]
    before, path = Path(made.config["preferences"]["path"]), tmp_path / "pairs.jsonl"
    rows = before.read_text().splitlines(keepends=True)
    folder = shutil.copytree(made.folder, tmp_path / "evaluate")
    scored = folder / "pairs.jsonl"
    scored.write_text(scored.read_text().replace(str(before), str(path)))
    config = {**made.config, "preferences": {**made.config["preferences"], "path": str(path)}}
    moved = replace(made, folder=folder, config=config, hashes={})  # of which this test has made another
    for lines, changed in ((rows, False), (rows[::-1], True)):
        path.write_text("".join(lines))
        said: list[str] = []
        found = failures.of_evaluation(moved, said.append)
        assert any("chosen" in one.answers for one in found) != changed
        assert any("other rows stand there now" in line for line in said) == changed


@pytest.mark.parametrize("finished", ["full"], indirect=True)
@pytest.mark.parametrize("name", ["pairs.jsonl", "samples.jsonl"])
def test_torn_rows_are_named(finished: Any, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(finished[2]["evaluate"].folder, tmp_path / "evaluate")
    rows = folder / name
    rows.write_bytes(rows.read_bytes()[:-20])
    assert artifacts.finished(folder) is None  # and so the stage runs again
    made = failures.evaluation_of(folder)
    with pytest.raises(ArtifactError, match=rf"{name}: is missing or not what its stage wrote; run the stage again"):
        failures.of_evaluation(made, print)


@pytest.mark.parametrize("finished", ["full"], indirect=True)
def test_the_command_finds_the_evaluation_and_writes_both_files(finished: Any, tmp_path: Path) -> None:
    recipe, folder, made = finished
    run, out = folder / recipe.name, tmp_path / "failures.jsonl"
    done = CliRunner().invoke(app, ["failures", str(run), "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["failures"] > 0 and any(why.startswith("reward model is") for why in told["reasons"])
    asked = pairs.read(out)
    assert {answer.model for one in asked for answer in one.answers} <= {"policy", "baseline", "chosen", "rejected"}

    done = CliRunner().invoke(app, ["failures", str(made["evaluate"].folder), "--kind", "sft", "--out", str(out)])
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    read = load(DataConfig(path=out, eval_fraction=0, bad_rows="drop"), "demonstrations")  # some are to be written
    assert len(read.train) == sum(bool(row["completion"]) for row in rows) > 0
    with pytest.raises(ArtifactError, match="no finished evaluation"):
        failures.evaluation_of(run / "stages" / "sft")
