"""benchmarks/reliability/models.py in part: bad models are refused in words, with exit code 2, and leave nothing."""

from pathlib import Path

import pytest

from benchmarks.reliability.models import CASES, Case, attempt, good_models, outside, recovers

SHORT = (
    "weights cut in the middle",
    "a shard missing",
    "an index that names no file",
    "an adapter among the weights",
    "an adapter in the base of a stage",
    "nan in the weights",
    "more layers in the config than in the weights",
    "fewer layers in the config than in the weights",
    "config a list",
    "config with words for a number",
    "Python brought along",
    "tokenizer empty",
    "tokenizer larger than the embedding",
    "template that runs a command",
    "template that says nothing",
    "a reward model without a head",
    "adapter torn",
    "adapter of broken settings",
    "base changed",
    "pad is eos",
    "in two shards",
)
NAMED = {case.name: case for case in CASES}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return good_models(tmp_path_factory.mktemp("good"))


@pytest.mark.parametrize("case", [NAMED[name] for name in SHORT], ids=lambda case: case.name)
def test_a_bad_model(case: Case, good: Path, tmp_path: Path) -> None:
    assert not attempt(case, good, tmp_path)


def test_a_good_run_follows_a_refusal(good: Path, tmp_path: Path) -> None:
    case = NAMED["a tensor missing"]
    assert not attempt(case, good, tmp_path)
    assert not recovers(tmp_path, case.kind)


def test_a_process_of_its_own_says_the_same(good: Path, tmp_path: Path) -> None:
    words = ("chat", str(tmp_path / "base"), "--prompt", "Hello")
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{")
    told = outside(*words)
    assert told.code == 2 and told.err.startswith("error: ") and "Traceback" not in told.err
