"""Runs side by side."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from rlhf import yamlfile
from rlhf.cli import app
from rlhf.report.compare import compare, write
from tests.rlhf.report import runs
from tests.rlhf.report.tracing import Page, check_figures, check_names, check_numbers, look_up


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [runs.whole(folder / "good", judge=(1.0, 1.5, 2.0)), runs.whole(folder / "bad", better=-1.0, seed=3)]


def test_settings_that_differ_are_told_and_no_others(two: list[Path], tmp_path: Path) -> None:
    assert compare(two).settings == {}
    other = shutil.copytree(two[0], tmp_path / "other")
    lock = other / "recipe.lock.yaml"
    lock.write_text(
        lock.read_text().replace("kl_coef: 0.05", "kl_coef: 0.1\n      kl_target: 6.0\n    rollout: {every: 2}")
    )
    found = compare([two[0], other])
    told = {"ppo.rl.kl_coef": [0.05, 0.1], "ppo.rl.kl_target": [None, 6.0], "ppo.rollout": [None, "given"]}
    assert found.settings == told
    write(found, tmp_path / "page.html")
    check_names(Page((tmp_path / "page.html").read_text("utf-8")), [two[0], other], ours={"given"})


def test_lists_and_files_of_one_name_are_compared_by_what_they_hold(two: list[Path], tmp_path: Path) -> None:
    """And shown as short as they can be told apart."""
    settings = [
        {"targets": ["q", "v"], "path": "/a/x.jsonl", "eval_path": "/a/x.jsonl", "mix": [{"path": "/a/m", "w": 1}]},
        {"targets": ["q", "o"], "path": "/b/x.jsonl", "eval_path": "/a/y.jsonl", "mix": [{"path": "/a/m", "w": 2}]},
    ]
    both = [shutil.copytree(two[0], tmp_path / str(i)) for i in range(2)]
    for run, more in zip(both, settings, strict=True):
        lock = yamlfile.plain(yamlfile.read(run / "recipe.lock.yaml"))
        lock["stages"]["sft"] = {**lock["stages"]["sft"], **more}
        (run / "recipe.lock.yaml").write_text(yaml.safe_dump(lock))
    assert compare(both).settings == {
        "sft.targets": ['["q", "v"]', '["q", "o"]'],
        "sft.path": ["/a/x.jsonl", "/b/x.jsonl"],
        "sft.eval_path": ["x.jsonl", "y.jsonl"],
        "sft.mix.0.w": [1, 2],
    }


def test_prompts_that_were_others_are_told_though_they_are_called_alike(tmp_path: Path) -> None:
    both = []
    for digest in ("a" * 64, "b" * 64):
        data = {"prompts": {"file": {"sources": [{"name": "prompts.jsonl", "sha256": digest}]}}}
        both.append(runs.only(tmp_path / digest[0], "evaluate", [{"step": 0, "kl": 1.0}], data=data))
    assert compare(both).settings == {"evaluate.prompts (sha256)": ["a" * 12, "b" * 12]}


def test_numbers_come_with_their_intervals(two: list[Path]) -> None:
    found = compare(two)
    better, worse = found.numbers["preferred to its baseline by the rule"]
    assert better and worse and better.value.value > 0.9 > 0.1 > worse.value.value
    rate = look_up(two[0], "stages/evaluate/metrics.jsonl#/0/gold_win_rate_low")
    assert better.plain["low"] == rate and " to " in str(better.said)
    assert found.plain()["numbers"]["KL, nats an answer"][0].keys() == {"value", "error"}


def test_the_page_can_be_followed(two: list[Path], tmp_path: Path) -> None:
    write(compare(two), tmp_path / "page.html")
    page = Page((tmp_path / "page.html").read_text("utf-8"))
    assert check_numbers(page, two) > 15
    assert check_figures(page, two) == 4  # reward and judge of both
    assert check_names(page, two) > 10


def test_on_a_screen_and_for_a_machine(two: list[Path], tmp_path: Path) -> None:
    html = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["compare", *map(str, two), "--html", str(html), "--json"])
    assert done.exit_code == 0 and html.is_file()
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["runs"] == [str(run) for run in two] and told["page"] == str(html)
    assert any(one["title"] == "It is worse to the rule" for one in told["warnings"][1])
    assert "It is worse to the rule".lower() in done.stderr.lower().replace("\n", " ")


def test_one_run_is_not_side_by_side(two: list[Path]) -> None:
    assert CliRunner().invoke(app, ["compare", str(two[0])]).exit_code == 2


def test_the_report_command(two: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "elsewhere.html"
    done = CliRunner().invoke(app, ["report", str(two[1]), "--out", str(out), "--json"])
    told = json.loads(done.stdout.splitlines()[-1])
    assert done.exit_code == 0 and told["report"] == str(out) and out.is_file()
    assert {one["stage"] for one in told["warnings"]} >= {"ppo", "evaluate"}
