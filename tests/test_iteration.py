"""What the benchmark of the loop comes to, and that its kept result says what its runs say."""

import json

import pytest

from benchmarks.common import RESULTS
from benchmarks.iteration import gains


def test_gains_by_hand() -> None:
    rates = [{"before": 0.5, "after": 0.7, "control": 0.6}, {"before": 0.6, "after": 0.6, "control": 0.6}]
    runs = [{arm: {"gold_win_rate": rate} for arm, rate in one.items()} for one in rates]
    found = gains(runs)
    assert found.keys() == {"control over before", "after over before", "after over control"}
    assert found["after over before"] == {"mean": pytest.approx(0.1), "stderr": pytest.approx(0.1)}
    assert found["after over control"] == {"mean": pytest.approx(0.05), "stderr": pytest.approx(0.05)}


def test_the_kept_result_says_what_its_runs_say() -> None:
    kept = json.loads((RESULTS / "iteration.json").read_text("utf-8"))
    assert len(kept["runs"]) >= 3 and kept["gains"] == gains(kept["runs"])
