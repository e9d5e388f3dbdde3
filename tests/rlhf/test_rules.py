"""Rules run code: shipped ones freely, others only when trusted."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from rlhf import rules
from rlhf.config import RuleConfig
from rlhf.errors import DataError, RecipeError
from rlhf.resources import resource
from tests.conftest import SHOP


def test_the_shipped_rule_runs() -> None:
    rule = rules.load(RuleConfig(file=SHOP / "rule.py", function="gold_score"))
    asked = [{"role": "user", "content": "My kettle arrived broken."}]
    assert rule(asked, "") < rule(asked, "We are sorry about your kettle.")


def test_code_from_outside_needs_trust(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("def score(messages, response):\n    return float(len(response))\n")
    with pytest.raises(ValidationError, match="trust_code: true"):
        RuleConfig(file=mine)
    assert rules.load(RuleConfig(file=mine, trust_code=True))([], "four") == 4.0


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import nowhere_to_be_found\ndef score(m, r): ...", "does not run: ModuleNotFoundError"),
        ("def score(messages, response):\n    return messages[7]", "failed on the response 'four': IndexError"),
        ("def score(messages, response):\n    return None", "failed on the response 'four': TypeError"),
    ],
)
def test_a_rule_that_fails_is_told_as_the_users_own(tmp_path: Path, code: str, words: str) -> None:
    (tmp_path / "mine.py").write_text(code + "\n")
    with pytest.raises(RecipeError, match=words):
        rules.load(RuleConfig(file=tmp_path / "mine.py", trust_code=True))([], "four")


@pytest.mark.parametrize(
    ("code", "words"),
    [("def gold(messages, response): ...", "has no function 'score'; it has: gold"), ("def score(", r"mine\.py:1: ")],
)
def test_a_missing_function_is_named_before_anything_runs(tmp_path: Path, code: str, words: str) -> None:
    (tmp_path / "mine.py").write_text(code + "\n")
    with pytest.raises(ValidationError, match=words):
        RuleConfig(file=tmp_path / "mine.py", trust_code=True)


def test_a_rule_is_told_the_right_answer_when_it_asks() -> None:
    right = rules.load(RuleConfig(file=resource("recipes/rules/numbers.py"), function="right"))
    for response, answer, expected in (
        ("3 boxes of 4 are 12.", "3 * 4 = 12\n#### 12", 1.0),
        ("That makes $1,250.50", "#### 1250.5", 1.0),
        ("12, or perhaps 13", "#### 12", 0.0),
        ("no idea", "#### 12", 0.0),
    ):
        assert right([], response, answer) == expected
    with pytest.raises(DataError, match="a field `answer`"):
        right([], "12", None)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("def score(messages, response, weight=0.5): return weight", 0.5),
        ("def score(messages, response, weight=0.5, answer=None): return weight + (answer == 'a')", 1.5),
        ("def score(messages, response, right): return right == 'a'", 1.0),
        ("def _f(messages, response): return 2\nscore = _f", 2.0),
        ("from math import hypot as score\nscore = lambda m, r: 3", 3.0),
        (
            "from __future__ import annotations\nfrom dataclasses import dataclass\n"
            "@dataclass\nclass Four:\n    n: int = 4\ndef score(messages, response): return Four().n",
            4.0,
        ),
    ],
)
def test_rules_are_called_as_they_are_written(tmp_path: Path, code: str, expected: float) -> None:
    (tmp_path / "mine.py").write_text(code + "\n")
    rule = rules.load(RuleConfig(file=tmp_path / "mine.py", trust_code=True))
    assert rule([], "four", "a") == expected


def test_a_rule_may_write_on_its_messages(tmp_path: Path) -> None:
    lines = ["messages.append({})", "messages[0]['content'] = ''", "return len(messages)"]
    (tmp_path / "mine.py").write_text("def score(messages, response):\n    " + "\n    ".join(lines) + "\n")
    rule, messages = rules.load(RuleConfig(file=tmp_path / "mine.py", trust_code=True)), [{"content": "Hello"}]
    assert (rule(messages, "four"), rule(messages, "four"), messages) == (2.0, 2.0, [{"content": "Hello"}])


@pytest.mark.parametrize("arguments", ["response", "a, b, c, d"])
def test_a_rule_that_cannot_be_called_is_refused_at_load(tmp_path: Path, arguments: str) -> None:
    (tmp_path / "mine.py").write_text(f"def score({arguments}): return 0\n")
    with pytest.raises(RecipeError, match=f"takes {arguments}; it is given messages, response and"):
        rules.load(RuleConfig(file=tmp_path / "mine.py", trust_code=True))


def test_a_rule_that_leaves_the_program_is_a_rule_that_fails(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def score(messages, response):\n    raise SystemExit(0)\n")
    with pytest.raises(RecipeError, match="failed on the response 'four': SystemExit"):
        rules.load(RuleConfig(file=tmp_path / "mine.py", trust_code=True))([], "four")
