"""Sampling: what is written, who may read it, and that an interrupted stage goes on as if nothing had been."""

import json
from pathlib import Path
from typing import Any

import pytest

from rlhf.artifact import EXAMPLES, Artifact, finished
from rlhf.console import Screen
from rlhf.data.load import load
from rlhf.errors import RecipeError
from rlhf.recipe import parse
from rlhf.runner import run
from rlhf.tracking import Tracker
from tests.conftest import small_recipe

RULE = "def score(messages, response):\n    return -float(len(response))\n"


def recipe_of(folder: Path, **settings: Any) -> dict[str, Any]:
    """A policy that samples, judged by a rule: the shorter the better."""
    raw = small_recipe(folder, "lora")
    (folder / "rule.py").write_text(RULE)
    prompts = {"path": str(folder / "prompts.jsonl"), "max_length": 96, "eval_fraction": 0.2}
    raw["stages"] = {
        "sample": {
            "model": "tiny",
            "rewards": {"short": {"rule": {"file": str(folder / "rule.py"), "trust_code": True}}},
            "data": prompts,
            "n": 4,
            "rollout": {"batch_size": 16, "max_new_tokens": 6},
            "keep_unfinished": True,
            **settings,
        }
    }
    return raw


def test_an_interruption_after_the_last_batch_loses_nothing(tmp_path: Path) -> None:
    """What was drawn stays until the stage's place is its own."""
    raw = recipe_of(tmp_path)
    assert parse(raw).stages["sample"].data.eval_fraction == 0.2  # type: ignore[attr-defined]
    close, stopped = Tracker.close, []

    def closing(self: Tracker, *more: Any) -> None:
        close(self, *more)
        if not stopped:
            stopped.append(1)
            raise KeyboardInterrupt

    Tracker.close = closing  # type: ignore[method-assign]
    try:
        with pytest.raises(KeyboardInterrupt):
            run(parse(raw), tmp_path, Screen(quiet=True))
    finally:
        Tracker.close = close  # type: ignore[method-assign]
    assert rows_of(run(parse(raw), tmp_path, Screen(quiet=True))["sample"])


def rows_of(made: Artifact) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (made.folder / EXAMPLES).read_text("utf-8").splitlines()]


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Artifact]:
    folder = tmp_path_factory.mktemp("sample")
    return folder, run(parse(recipe_of(folder)), folder, Screen(quiet=True))["sample"]


def test_every_answer_has_its_score(sampled: tuple[Path, Artifact]) -> None:
    _, made = sampled
    rows = rows_of(made)
    assert made.makes == "dataset" and made.base is None
    assert made.metrics["prompts"] == len(rows) and made.metrics["answers"] == 4 * 24
    for row in rows:
        texts = [answer["text"] for answer in row["completions"]]
        assert len(set(texts)) == len(texts) >= 2
        assert all(answer["score"] == -len(answer["text"]) for answer in row["completions"])
    assert made.metrics["score_best_of_n"] > made.metrics["score"]
    books = made.data["examples"]
    assert books["rows"] == books["used"] + sum(books["dropped"].values())


def test_others_read_pairs_demonstrations_labels_and_scores(sampled: tuple[Path, Artifact]) -> None:
    from rlhf.config import DataConfig

    _, made = sampled
    data = DataConfig.model_validate({"path": made.folder / EXAMPLES, "eval_fraction": 0.0})
    rows = rows_of(made)
    for row, pair, shown in zip(rows, load(data, "preferences").train, load(data, "demonstrations").train, strict=True):
        best = min(row["completions"], key=lambda answer: len(answer["text"]))
        assert pair.chosen[0]["content"] == best["text"] == shown.messages[-1]["content"]
        worst = min(answer["score"] for answer in row["completions"])
        assert pair.margin == pytest.approx(best["score"] - worst)
    assert sum(len(r.answers) for r in load(data, "scores").train) == sum(len(row["completions"]) for row in rows)
    assert all(len(rated.answers) == 2 for rated in load(data, "labels").train)


def test_a_policy_trains_on_what_it_was_given_and_held_out_prompts_stay_so(tmp_path: Path) -> None:
    raw = recipe_of(tmp_path)
    dpo = {**small_recipe(tmp_path, "lora")["stages"]["dpo"], "model": "tiny"}
    raw["stages"]["dpo"] = {**dpo, "data": {"stage": "sample", "eval_fraction": 0.2, "max_length": 160}}
    made = run(parse(json.loads(json.dumps(raw))), tmp_path, Screen(quiet=True))
    books = made["dpo"].data["file"]
    assert books["rows"] == made["sample"].metrics["prompts"] and books["held_out"] > 0
    assert [source["name"] for source in books["sources"]] == [EXAMPLES]
    again = run(parse(json.loads(json.dumps(raw))), tmp_path, Screen(quiet=True))
    assert again["dpo"].hash == made["dpo"].hash
    raw["stages"]["dpo"]["data"]["eval_fraction"] = 0.1
    with pytest.raises(RecipeError, match="what one holds out the other trains on"):
        parse(raw)


def test_interrupted_it_goes_on_to_the_same_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "whole").mkdir(), (tmp_path / "cut").mkdir()
    whole = run(parse(recipe_of(tmp_path / "whole")), tmp_path / "whole", Screen(quiet=True))["sample"]
    log = Tracker.log

    def stopping(self: Tracker, metrics: Any, step: int, steps: int | None = None) -> None:
        log(self, metrics, step, steps)
        if step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Tracker, "log", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(parse(recipe_of(tmp_path / "cut")), tmp_path / "cut", Screen(quiet=True))
    monkeypatch.undo()
    again = run(parse(recipe_of(tmp_path / "cut")), tmp_path / "cut", Screen(quiet=True))["sample"]
    assert rows_of(again) == rows_of(whole)


def test_examples_that_were_changed_are_made_again(sampled: tuple[Path, Artifact]) -> None:
    folder, made = sampled
    path = made.folder / EXAMPLES
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert finished(made.folder) is None
    path.write_bytes(whole)
    assert finished(made.folder) is not None
    assert run(parse(recipe_of(folder)), folder, Screen(quiet=True))["sample"].hash == made.hash


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"n": 32}, "has no room for 32 answers"),
        ({"rewards": {}}, "nothing scores responses"),
        ({"rewards": {"a": {"rule": {"file": "rule.py", "trust_code": True}, "uncertainty": 1.0}}}, "uncertainty is"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        parse(recipe_of(tmp_path, **settings))


def test_data_of_a_stage_that_makes_none_is_refused(tmp_path: Path) -> None:
    raw = recipe_of(tmp_path)
    dpo = small_recipe(tmp_path, "lora")["stages"]["dpo"]
    raw["stages"] |= {"dpo": {**dpo, "model": "tiny", "data": {"stage": "sampel"}}}
    with pytest.raises(
        RecipeError, match=r"dpo'?: data.stage names 'sampel', which is no stage.*did you mean 'sample'"
    ):
        parse(raw)
