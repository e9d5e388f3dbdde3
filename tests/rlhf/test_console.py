"""What a run prints."""

import io

import pytest
from rich.console import Console

from rlhf.console import Screen, time_left


@pytest.mark.parametrize(("steps", "lines"), [(7, 7), (100_000, 201)])
def test_a_long_stage_prints_a_bounded_number_of_lines(
    steps: int, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = Screen()
    for _ in range(2):
        screen.stage("sft", "sft")
        for step in range(1, steps + 1):
            screen.progress(step, steps, {"loss": 1.0})
        told = capsys.readouterr().out.splitlines()[1:]
        assert len(told) == lines
        assert told[0].split()[0] == f"1/{steps}" and told[-1].split()[0] == f"{steps}/{steps}"


def test_what_is_left_of_a_recipe_is_told_only_where_it_is_known() -> None:
    assert time_left(30, []) == "30 s left"
    assert time_left(30, [60.0, 120.0]) == "30 s left, 4 min of the recipe"
    assert time_left(30, [60.0, None]) == "30 s left, then 1 stage not timed yet"


def test_a_terminal_gets_one_line_that_moves() -> None:
    screen = Screen()
    screen.console = Console(file=io.StringIO(), force_terminal=True, width=120, highlight=False)
    screen.stage("sft (1/2)", "sft", [None])
    screen.progress(1, 4, {"loss": 1.5, "lr": 0.1})
    screen.progress(2, 4, {"loss": 1.25, "lr": 0.1})
    screen._bar.refresh()  # type: ignore[union-attr]
    screen.done("eval_loss 1.2")
    told = screen.console.file.getvalue()  # type: ignore[attr-defined]
    assert "2/4  loss 1.25" in told and "then 1 stage not timed yet" in told and "lr" not in told
    assert "✓ sft (1/2)  eval_loss 1.2" in told
