"""Artifacts: written last and whole, read back the same, refused when torn."""

import json
from pathlib import Path

import pytest
import torch

from rlhf import artifact as artifacts
from rlhf.artifact import Artifact, Base, Text
from rlhf.errors import ArtifactError, SaveError

MADE = Artifact(
    name="sft",
    stage="sft",
    makes="policy",
    hash="abc",
    base=Base("../base", "tiny", "0" * 64, "nf4"),
    text=Text("1" * 64, "<|pad|>", ("<|im_end|>",)),
    adapter=True,
    metrics={"loss": 0.5},
)


def test_written_and_read_back(tmp_path: Path) -> None:
    back = artifacts.write(MADE, tmp_path)
    assert back.folder == tmp_path
    assert (back.base, back.text, back.metrics) == (MADE.base, MADE.text, MADE.metrics)
    assert back.base_folder == tmp_path.parent / "base"
    assert not list(tmp_path.glob("*.partial"))


def test_without_its_file_a_stage_never_happened(tmp_path: Path) -> None:
    assert artifacts.finished(tmp_path) is None
    with pytest.raises(ArtifactError, match="not the output of a finished stage"):
        artifacts.read(tmp_path)


@pytest.mark.parametrize("content", ["", '{"format": 1', '{"format": 99, "base": null, "text": null}', '{"x": 1}'])
def test_a_torn_or_foreign_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / artifacts.FILE).write_text(content)
    with pytest.raises(ArtifactError, match=r"artifact\.json"):
        artifacts.read(tmp_path)
    assert artifacts.finished(tmp_path) is None


def test_a_stage_is_replaced_whole(tmp_path: Path) -> None:
    home, scratch = tmp_path / "sft", tmp_path / ".sft.partial"
    for folder in (home, scratch):
        folder.mkdir()
        (folder / f"of{folder.name}").touch()
    artifacts.write(MADE, scratch)
    assert artifacts.commit(scratch, home).folder == home
    assert sorted(path.name for path in home.iterdir()) == ["artifact.json", "of.sft.partial"]
    assert [path.name for path in tmp_path.iterdir()] == ["sft"]


def test_an_edited_record_or_a_damaged_file_is_found_out(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"12345")
    assert artifacts.write(MADE, tmp_path).files == {"model/weights": 5}
    (tmp_path / "model" / "weights").write_bytes(b"1234")
    assert artifacts.finished(tmp_path) is None
    path = tmp_path / artifacts.FILE
    path.write_text(path.read_text().replace('"loss": 0.5', '"loss": 0.1'))
    with pytest.raises(ArtifactError, match="was changed after it was written"):
        artifacts.read(tmp_path)


@pytest.mark.parametrize("size", [1, 100_000])
def test_a_full_disk_is_told_whichever_way_torch_says_it(tmp_path: Path, size: int) -> None:
    with pytest.raises(SaveError, match="full, perhaps"), artifacts.writing_to(tmp_path, "the checkpoint"):
        torch.save(torch.zeros(size), "/dev/full")


def test_digest_ignores_order_of_keys_and_sees_values() -> None:
    assert artifacts.digest({"a": 1, "b": [2]}) == artifacts.digest({"b": [2], "a": 1})
    assert artifacts.digest({"a": 1}) != artifacts.digest({"a": 2})


def test_folder_is_not_stored(tmp_path: Path) -> None:
    artifacts.write(MADE, tmp_path)
    assert "folder" not in json.loads((tmp_path / artifacts.FILE).read_text())
