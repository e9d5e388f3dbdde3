"""What a run prints."""

import pytest

from rlhf.console import Screen


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
