"""The pieces of the benchmark of the loop, and that its page tells what its kept runs came to."""

import json
import re
from pathlib import Path
from statistics import fmean

import pytest

from benchmarks.browser import Browser, found
from benchmarks.common import RESULTS, ROOT
from benchmarks.iteration import SHOP, annotate, gains, looking, recipe
from rlhf.recipe import parse


def test_gains_by_hand() -> None:
    rates = [{"before": 0.5, "after": 0.7, "control": 0.6}, {"before": 0.6, "after": 0.6, "control": 0.6}]
    runs = [{arm: {"gold_win_rate": rate} for arm, rate in one.items()} for one in rates]
    told = gains(runs)
    assert told.keys() == {"control over before", "after over before", "after over control"}
    assert told["after over before"] == {"mean": pytest.approx(0.1), "stderr": pytest.approx(0.1)}
    assert told["after over control"] == {"mean": pytest.approx(0.05), "stderr": pytest.approx(0.05)}


def test_its_page_tells_what_its_runs_came_to() -> None:
    kept = json.loads((RESULTS / "iteration.json").read_text("utf-8"))["runs"]
    rows = re.findall(r"^\| (\d|mean) \|[^|]*\|(.*)$", (ROOT / "docs/iteration.md").read_text("utf-8"), re.MULTILINE)
    told = {name: [float(number) for number in re.findall(r"[\d.]+", cells)] for name, cells in rows}
    arms, measured = ("before", "after", "control"), {}
    for run in kept:
        shares = [run[arm][f"gold_win_rate{end}"] for arm in arms for end in ("", "_low", "_high")]
        shares += [run[f"{arm}_against_before"][end] for arm in arms[1:] for end in ("rate", "low", "high")]
        measured[str(run["seed"])] = shares + [run[arm]["reward_accuracy"] for arm in arms]
    means = [fmean(column) for column in zip(*measured.values(), strict=True)]
    measured["mean"] = [*means[:15:3], *means[15:]]  # of no interval
    assert told.keys() == measured.keys()
    for name, shares in measured.items():
        assert told[name] == pytest.approx([100 * share for share in shares], abs=0.0501)


@pytest.mark.parametrize("look", [True, False])
def test_its_recipes_can_be_run(tmp_path: Path, look: bool) -> None:
    for name in ("train", "held_out"):
        (tmp_path / f"{name}.jsonl").write_text('{"prompt": "Where is my lamp?"}\n', encoding="utf-8")
    made = recipe("before", 0, tmp_path, [{"path": str(SHOP / "preferences.jsonl"), "max_rows": 9}], None)
    stages = looking(tmp_path) if look else {}
    made["stages"] |= stages
    assert list(parse(made).stages) == ["sft", "reward", "ppo", "evaluate", *stages]


@pytest.mark.skipif(found() is None, reason="no Chromium with its chromedriver on this machine")
def test_the_annotator_of_its_loop_judges_by_the_rule(tmp_path: Path) -> None:
    good, bad = "We are sorry about your lamp. We will send you a replacement today. Thank you for your trust.", "Go."
    texts = [(good, bad), (bad, good), (bad, "Yes.")]
    rows = [
        {"prompt": [{"role": "user", "content": f"My lamp {i} is broken."}], "completions": [{"text": t} for t in pair]}
        for i, pair in enumerate(texts)
    ]
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with Browser() as page:
        annotate(page, ["asked.jsonl", "--out", "labels.jsonl"], tmp_path)
    made = [json.loads(line) for line in (tmp_path / "labels.jsonl").read_text("utf-8").splitlines()]
    assert sorted(row["tie"] for row in made) == [False, False, True]
    assert {row["chosen"] for row in made if not row["tie"]} == {good}
