"""Rules run code: shipped ones freely, others only when trusted."""

from pathlib import Path

import pytest

from rlhf import rules
from rlhf.config import RuleConfig
from rlhf.errors import RecipeError
from tests.conftest import SHOP


def test_the_shipped_rule_runs() -> None:
    rule = rules.load(RuleConfig(file=SHOP / "rule.py", function="gold_score"))
    asked = [{"role": "user", "content": "My kettle arrived broken."}]
    assert rule(asked, "") < rule(asked, "We are sorry about your kettle.")


def test_code_from_outside_needs_trust(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("def score(messages, response):\n    return float(len(response))\n")
    with pytest.raises(RecipeError, match="trust_code: true"):
        rules.load(RuleConfig(file=mine))
    assert rules.load(RuleConfig(file=mine, trust_code=True))([], "four") == 4.0


def test_a_missing_file_or_function_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no file .*nowhere\.py"):
        rules.load(RuleConfig(file=tmp_path / "nowhere.py"))
    with pytest.raises(RecipeError, match=r"no function 'gold'; it has: .*gold_score"):
        rules.load(RuleConfig(file=SHOP / "rule.py", function="gold"))
