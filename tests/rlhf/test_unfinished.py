"""What an interrupted stage left is never lost by a change of settings."""

from pathlib import Path
from typing import Any

import pytest

from rlhf import artifact as artifacts
from rlhf import unfinished
from rlhf.console import Screen
from rlhf.progress import scratch
from rlhf.recipe import parse
from rlhf.runner import run, stage_hash
from rlhf.tracking import Tracker
from tests.conftest import small_recipe


def begun(home: Path, key: str, work: str) -> None:
    """A stage that is at work with a checkpoint."""
    unfinished.take_up(home, key, fresh=False)
    (scratch(home) / artifacts.CHECKPOINT).mkdir(exist_ok=True)
    (scratch(home) / artifacts.CHECKPOINT / "work").write_text(work)


def work(home: Path) -> str | None:
    path = scratch(home) / artifacts.CHECKPOINT / "work"
    return path.read_text() if path.is_file() else None


def test_settings_that_are_set_back_go_on(tmp_path: Path) -> None:
    home = tmp_path / "sft"
    begun(home, "a", "of a")
    assert unfinished.take_up(home, "a", fresh=False) == "" and work(home) == "of a"
    assert "is kept in" in unfinished.take_up(home, "b", fresh=False) and work(home) is None
    assert "goes on" in unfinished.take_up(home, "a", fresh=False) and work(home) == "of a"
    begun(home, "b", "of b")
    said = unfinished.take_up(home, "a", fresh=False)
    assert "is kept in" in said and "of these settings goes on" in said and work(home) == "of a"
    unfinished.take_up(home, "b", fresh=False)
    assert work(home) == "of b"


def test_one_is_kept_aside_and_none_of_a_fresh_run(tmp_path: Path) -> None:
    home, other = tmp_path / "sft", tmp_path / "sft-2"
    begun(other, "a", "of another stage")
    for key in ("a", "b", "c"):
        begun(home, key, f"of {key}")
    assert [path.name for path in tmp_path.glob(".*.aside")] == [".sft.b.aside"]
    unfinished.take_up(home, "b", fresh=True)
    assert work(home) is None and not list(tmp_path.glob(".*.aside")) and work(other) == "of another stage"


def test_what_left_no_checkpoint_is_not_kept(tmp_path: Path) -> None:
    home = tmp_path / "sft"
    unfinished.take_up(home, "a", fresh=False)
    (scratch(home) / "metrics.jsonl").touch()
    assert unfinished.take_up(home, "b", fresh=False) == ""
    assert [path.name for path in tmp_path.iterdir()] == [".sft.partial"]
    assert [path.name for path in scratch(home).iterdir()] == [artifacts.KEY]


# ------------------------------------------------------------------------------------------------ in a run


def sft(folder: Path, **train: Any) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    raw = small_recipe(folder, "lora")
    raw["stages"] = {"sft": raw["stages"]["sft"]}
    raw["stages"]["sft"]["train"] |= {"max_steps": 4, "checkpoint_every": 1, **train}
    return raw


def interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage ends as it logs its third step."""
    log = Tracker.log

    def logged(self: Tracker, metrics: Any, step: int, steps: int | None = None) -> None:
        log(self, metrics, step, steps)
        if step == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(Tracker, "log", logged)
        run(parse(sft(folder)), folder, Screen(quiet=True))


def test_how_often_it_logs_and_saves_is_no_reason_to_start_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run(parse(sft(tmp_path / "whole")), tmp_path / "whole", Screen(quiet=True))["sft"]
    interrupted(tmp_path / "cut", monkeypatch)
    raw = sft(tmp_path / "cut", log_every=4, checkpoint_every=0)
    raw["tracking"] = {"price_per_hour": 2}
    made = run(parse(raw), tmp_path / "cut", Screen())["sft"]
    said = capsys.readouterr().out
    assert "going on after step 2" in said and "is kept in" not in said
    assert made.hashes == whole.hashes
    assert [line for line in said.split("\n") if line.startswith("     3/4")] == []  # logged as asked now
    assert "unchanged" not in said
    run(parse(sft(tmp_path / "cut")), tmp_path / "cut", Screen())
    assert "unchanged, skipped" in capsys.readouterr().out


def test_another_setting_starts_over_and_set_back_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run(parse(sft(tmp_path / "whole")), tmp_path / "whole", Screen(quiet=True))["sft"]
    cut = tmp_path / "cut"
    interrupted(cut, monkeypatch)
    run(parse(sft(cut, lr=3e-4)), cut, Screen())
    said = capsys.readouterr().out.replace("\n", " ")
    assert "other settings, data or code: it is kept in" in said and "going on after" not in said
    made = run(parse(sft(cut)), cut, Screen())["sft"]
    said = capsys.readouterr().out
    assert "of these settings goes on" in said and "going on after step 2" in said
    assert made.hashes == whole.hashes
    assert sorted(path.name for path in (cut / "lora" / "stages").iterdir()) == ["sft"]


@pytest.mark.parametrize(
    ("changed", "same"),
    [({"log_every": 7}, True), ({"checkpoint_every": 7}, True), ({"warmup": 0.5}, False), ({"batch_size": 4}, False)],
    ids=str,
)
def test_what_a_stage_is_known_by(tmp_path: Path, changed: dict[str, Any], same: bool) -> None:
    one, other = (stage_hash(parse(sft(tmp_path, **train)).stages["sft"], {}) for train in ({}, changed))
    assert (one == other) is same
