"""Checkpoints: the newest whole one counts, and damaged ones count for nothing."""

from pathlib import Path

from rlhf import checkpoint


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
