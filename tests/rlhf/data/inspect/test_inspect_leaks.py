import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from rlhf.config.data import DataConfig
from tests.rlhf.data.inspect.conftest import Look, Row, find, pair, pairs, sentence

Hold = Callable[[Sequence[Row]], Path]


@pytest.fixture
def hold(tmp_path: Path) -> Hold:
    """Write a file of held-out rows."""

    def hold_(rows: Sequence[Row]) -> Path:
        path = tmp_path / "held_out.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return hold_


def test_exact_leaks(look: Look, hold: Hold) -> None:
    """Whatever kind the other file is of, and however its prompts are spaced."""
    rows = pairs(20)
    apart = hold([{"prompt": f"  {rows[i]['prompt']}", "completion": "Yes."} for i in (3, 4)] + [{"prompt": "Is it?"}])
    report = look([*rows, {**rows[3], "chosen": sentence("another")}], against=[DataConfig(path=apart)])
    finding = find(report, "leaked_prompts")
    assert (finding.level, finding.count, finding.of, finding.numbers) == ("error", 2, 3, {"examples": 3})
    assert [report.at(place) for place in finding.places] == ["4", "5", "21"]
    assert report.compared == {str(apart): 3} and "leaked_prompts_nearly" in report.clean


def test_training_leaves_out_what_is_in_eval_path(look: Look, hold: Hold) -> None:
    rows = pairs(20)
    report = look(rows, settings={"eval_path": hold([rows[3], pair("other")])})
    finding = find(report, "leaked_prompts")
    assert (finding.level, finding.count, finding.of) == ("note", 1, 2)
    assert "by itself" in finding.says


def test_near_leaks(look: Look, hold: Hold) -> None:
    asked = sentence("asked", 40)
    near = asked.replace(".", " today?")
    report = look([*pairs(20), pair("near", prompt=near)], against=[DataConfig(path=hold([{"prompt": asked}]))])
    finding = find(report, "leaked_prompts_nearly")
    assert (finding.level, finding.count, finding.of) == ("warning", 1, 1)
    assert [report.at(place) for place in finding.places] == ["21"] and finding.quotes[0].startswith("The ")
    assert "leaked_prompts" in report.clean


def test_nothing_to_compare_with(look: Look) -> None:
    report = look(pairs(5))
    assert report.compared == {} and "leaked_prompts" not in report.clean
