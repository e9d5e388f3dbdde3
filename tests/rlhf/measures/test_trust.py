"""Wrong labels show: a judge that is right, the corner shop's rule, on pairs of which some were turned round.

`python -m benchmarks.flips` trains reward models on such pairs.
"""

import json
import random
from pathlib import Path

import pytest

from rlhf.measures.pairs import Row, metrics, right
from rlhf.measures.trust import training_signs
from tests.conftest import SHOP, load_shop


@pytest.fixture(scope="module")
def judged() -> list[Row]:
    """Clean held-out pairs with the rule's scores, four times as large: it is always right, and as sure of that."""
    gold = load_shop("rule").gold_score
    return [_pair(json.loads(line), gold) for line in Path(SHOP / "heldout_preferences.jsonl").read_text().splitlines()]


def _pair(row: Row, gold) -> Row:
    chosen, rejected = (4 * gold(row["prompt"], row[side][0]["content"]) for side in ("chosen", "rejected"))
    sides = {f"{side}_tokens": len(row[side][0]["content"]) for side in ("chosen", "rejected")}
    return {"chosen_score": chosen, "rejected_score": rejected, **_margin(chosen - rejected), **sides}


def _margin(margin: float) -> Row:
    return {"margin": margin, "correct": right(margin)}


@pytest.mark.parametrize(("share", "doubted"), [(0.0, False), (0.05, False), (0.3, True)])
def test_wrong_labels_show_in_calibration_and_at_the_gate(judged: list[Row], share: float, doubted: bool) -> None:
    drawn = random.Random(0)
    rows = [{**row, **_margin(-row["margin"])} if drawn.random() < share else row for row in judged]
    found = metrics(rows)
    assert found["accuracy"] == pytest.approx(1 - share, abs=0.06)
    assert found["sure_confidence"] > 0.99
    signs = training_signs(found)
    assert any("calibration error" in sign for sign in signs) == doubted
    assert any("many labels are wrong" in sign for sign in signs) == doubted
