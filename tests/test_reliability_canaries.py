"""benchmarks/reliability/canaries in part: strangers' code never runs, runs write in their folder, nothing leaks."""

from pathlib import Path

import pytest

from benchmarks.reliability.canaries.children import command, one_stage, written
from benchmarks.reliability.canaries.code import data_folders, heard
from benchmarks.reliability.canaries.models import MODELS, bad_model
from benchmarks.reliability.canaries.network import listens
from benchmarks.reliability.canaries.paths import LINKS, listing
from benchmarks.reliability.canaries.secrets import found_again
from benchmarks.reliability.trials import prepare

SHORT = [name for name in MODELS if not name.startswith("template")] + ["template: popen", "template: self"]


@pytest.fixture(scope="module", autouse=True)
def prepared() -> None:
    prepare()


def test_canaries_are_heard_and_found(tmp_path: Path) -> None:
    assert not heard(tmp_path)
    assert not found_again(tmp_path / "control")


@pytest.mark.parametrize("name", SHORT)
def test_a_model_brings_code(name: str, tmp_path: Path) -> None:
    assert not bad_model(name, tmp_path)


def test_data_brings_code(tmp_path: Path) -> None:
    assert not {name: wrong for name, wrong in data_folders(tmp_path) if wrong}


@pytest.mark.parametrize("name", LINKS)
def test_a_way_out_of_the_run_folder(name: str, tmp_path: Path) -> None:
    home, beyond = tmp_path / "here", tmp_path / "beyond"
    beyond.mkdir()
    (beyond / "kept.txt").write_text("kept")
    (home / "runs").mkdir(parents=True)
    recipe, before = written(one_stage(home), home / "r.yaml"), listing(tmp_path, home)
    LINKS[name](home / "runs" / "small", beyond)
    assert not command("run", recipe, "--out", "runs", cwd=home).refused
    assert listing(tmp_path, home) == before


def test_what_listens_listens_to_this_machine_alone() -> None:
    assert not listens()
