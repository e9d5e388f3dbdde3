"""Checkpoints: the newest whole one counts, and damaged ones count for nothing."""

import shutil
from pathlib import Path

import pytest
import torch

from rlhf import checkpoint
from rlhf.artifact import KEY


def damage(out: Path, step: int) -> None:
    (out / "checkpoint" / f"{step:08d}" / checkpoint.STATE).write_bytes(b"torn")


def newest(out: Path) -> int | None:
    found = checkpoint.newest(out, lambda _: None)
    return found.step if found else None


def test_damaged_ones_do_not_crowd_out_new_ones(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        checkpoint.save(tmp_path, step, {"step": step})
    assert checkpoint.made(tmp_path) == [30, 20]
    damage(tmp_path, 20)
    damage(tmp_path, 30)
    assert newest(tmp_path) is None
    for step in (4, 8, 12):  # from the beginning again
        checkpoint.save(tmp_path, step, {"step": step})
        assert newest(tmp_path) == step
    assert checkpoint.made(tmp_path) == [12, 8]
    assert sorted(path.name for path in (tmp_path / "checkpoint").iterdir()) == ["00000008", "00000012"]


def test_what_is_passed_over_stays_until_there_is_another(tmp_path: Path) -> None:
    """It may be the disk that fails, and not what it holds."""
    for step in (1, 2):
        checkpoint.save(tmp_path, step, {"step": step})
    damage(tmp_path, 2)
    assert newest(tmp_path) == 1
    aside = tmp_path / "checkpoint" / ".00000002.damaged"
    assert (aside / checkpoint.STATE).read_bytes() == b"torn"
    checkpoint.save(tmp_path, 2, {"step": 2})
    assert newest(tmp_path) == 2 and checkpoint.made(tmp_path) == [2, 1] and not aside.exists()


def test_those_of_another_stage_are_passed_over(tmp_path: Path) -> None:
    """Copied by hand, as when a backup is put back in the wrong place."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / KEY).write_text(f"hash of {name}")
        checkpoint.save(tmp_path / name, 1, {"step": 1})
    shutil.rmtree(tmp_path / "one" / "checkpoint")
    shutil.copytree(tmp_path / "other" / "checkpoint", tmp_path / "one" / "checkpoint")
    said: list[str] = []
    assert checkpoint.newest(tmp_path / "one", said.append) is None
    assert "is passed over: it is of another stage, or of this one with other settings, data or code" in said[0]
    assert newest(tmp_path / "other") == 1


@pytest.mark.parametrize(("taken", "there"), [(0, 1), (1, 1), (4, 1), (1, 2), (2, 0)])
def test_random_states_of_another_number_of_accelerators(
    monkeypatch: pytest.MonkeyPatch, taken: int, there: int
) -> None:
    put: list[int] = []

    def set_one(state: str, device: int) -> None:
        assert device < there and state == f"of {device}"
        put.append(device)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: there > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    monkeypatch.setattr(torch.cuda, "set_rng_state", set_one)
    checkpoint.set_random_state({"cpu": torch.get_rng_state(), "cuda": [f"of {i}" for i in range(taken)]})
    assert put == list(range(min(taken, there)))
