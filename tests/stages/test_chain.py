"""The whole chain on every backend: what each stage leaves, and what the next one starts from."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rlhf import artifact as artifacts
from rlhf import text, training
from rlhf.backends import for_weights
from rlhf.chatting import Chat
from rlhf.config import ModelRef
from rlhf.console import Screen
from rlhf.data.load import load
from rlhf.errors import ArtifactError
from rlhf.export import export
from rlhf.loading import merged
from rlhf.recipe import parse
from rlhf.reward_model import RewardModel
from rlhf.roles import standalone
from rlhf.runner import run
from rlhf.tracking import Tracker
from rlhf.weights import Weights, find
from tests.conftest import metrics_of, small_recipe


def test_every_stage_leaves_an_artifact(finished) -> None:
    recipe, folder, made = finished
    assert list(made) == list(recipe.stages) == ["sft", "reward", "dpo", "ppo", "evaluate"]
    for name, one in made.items():
        assert artifacts.read(folder / recipe.name / "stages" / name).hash == one.hash
        assert metrics_of(one.folder), f"{name} logged nothing"
    assert not list((folder / recipe.name / "stages").glob(".*"))


def test_adapters_keep_one_base_and_full_changes_it(finished) -> None:
    recipe, _, made = finished
    trained = [made[name] for name in ("sft", "reward", "dpo", "ppo")]
    if recipe.config.backend.kind == "full":
        assert len({one.base.identity for one in trained}) == 4
        assert not any(one.adapter for one in trained)
    else:
        assert len({one.base.identity for one in trained}) == 1
        assert all(one.adapter for one in trained)
        assert all(sum(f.stat().st_size for f in one.model.glob("*.safetensors")) < 2e6 for one in trained)
    assert made["ppo"].parents == {"model": made["sft"].hash, "reward_model": made["reward"].hash}


def test_weights_moved(finished) -> None:
    """Each child differs from its parent: nothing was dropped on the way."""
    recipe, _, made = finished
    file = "model.safetensors" if recipe.config.backend.kind == "full" else "adapter_model.safetensors"
    parent = load_file(made["sft"].model / file)
    for child in ("reward", "dpo", "ppo"):
        tensors = load_file(made[child].model / file)
        shared = [key for key in tensors if key in parent]
        assert shared, f"{child} shares no tensor with its parent"
        assert any(not torch.equal(tensors[key], parent[key]) for key in shared)
        far = max(float((tensors[key].float() - parent[key].float()).abs().max()) for key in shared)
        assert far < 0.2, f"{child} did not start from its parent: {far}"


def test_dpo_starts_at_its_reference(finished) -> None:
    _, _, made = finished
    first = metrics_of(made["dpo"].folder)[0]
    assert math.isclose(first["loss"], math.log(2), abs_tol=1e-4)


def test_ppo_starts_at_its_reference(finished) -> None:
    recipe, _, made = finished
    first, second = metrics_of(made["ppo"].folder)[:2]
    if recipe.config.precision == "bf16":  # generation and training pass round each of twelve tokens otherwise
        assert abs(first["kl"]) < 0.05
    else:
        assert abs(first["kl"]) < 1e-3
        assert abs(second["kl"]) > 2 * abs(first["kl"])  # and it moves


def test_reward_head_is_trained_saved_and_reloaded(finished) -> None:
    recipe, _, made = finished
    head = load_file(made["reward"].model / "head.safetensors")["weight"]
    assert head.shape == (1, 192)
    judge = RewardModel.load(Weights.of(made["reward"]))
    split = load(recipe.stages["reward"].data, "preferences")
    pairs = [[*pair.prompt, *pair.chosen] for pair in split.train]
    tolerance = 1e-2 if recipe.config.precision == "bf16" else 1e-3
    assert abs(sum(judge.score(pairs)) / len(pairs)) < tolerance  # chosen answers are centred on zero


def test_a_score_does_not_depend_on_its_batch(finished) -> None:
    _, _, made = finished
    weights = Weights.of(made["reward"])
    talks = [
        [{"role": "user", "content": "Where is my lamp?"}, {"role": "assistant", "content": words}]
        for words in ("Sorry.", "We are sorry about your lamp. We will send it today. Thank you for writing to us.")
    ]
    together = RewardModel.load(weights, batch_size=2).score(talks)
    alone = RewardModel.load(weights, batch_size=1).score(talks)
    assert together == pytest.approx(alone, abs=1e-5)


def test_what_is_too_long_has_no_score(finished) -> None:
    _, _, made = finished
    judge = RewardModel.load(Weights.of(made["reward"]))
    talks = [
        [{"role": "user", "content": "Where is my lamp?"}, {"role": "assistant", "content": words}]
        for words in ("Sorry. " * 50, "Sorry.")
    ]
    judge.longest = 60
    long, short = judge.score_what_fits(talks)
    assert math.isnan(long) and short == pytest.approx(judge.score(talks[1:])[0], abs=1e-5)
    assert math.isnan(judge.score_what_fits(talks[:1])[0])


def test_evaluation_says_what_it_found(finished) -> None:
    _, _, made = finished
    metrics = made["evaluate"].metrics
    for name in (
        "gold_win_rate",
        "reward_win_rate",
        "reward_accuracy",
        "kl",
        "policy_perplexity",
        "baseline_perplexity",
    ):
        assert math.isfinite(metrics[name]), name
    samples = [json.loads(line) for line in (made["evaluate"].folder / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 6
    assert set(samples[0]) == {"where", "prompt", "baseline", "policy"}
    assert metrics["policy_gold_score"] == pytest.approx(sum(s["policy"]["gold"] for s in samples) / 6)


def test_merged_model_equals_the_live_one(finished) -> None:
    recipe, _, made = finished
    weights = Weights.of(made["ppo"])
    chat = text.load(weights)
    live = standalone(for_weights(weights), weights, chat)
    whole = merged(weights, chat).eval()
    row = chat.encode(
        [{"role": "user", "content": "My kettle is late."}, {"role": "assistant", "content": "Sorry!"}]
    ).ids
    ids = torch.tensor([row])
    with torch.no_grad():
        gap = (live.model(ids).logits.log_softmax(-1) - whole(ids).logits.log_softmax(-1)).abs().max()
    assert gap < (1e-3 if recipe.config.backend.kind == "qlora" else 1e-4)


def test_an_exported_reward_model_scores_as_others_would_use_it(finished, tmp_path) -> None:
    """transformers alone, with the exported chat template: the scores of `rlhf score`, before they are centred."""
    _, _, made = finished
    weights = Weights.of(made["reward"])
    talk = [{"role": "user", "content": "Where is my lamp?"}, {"role": "assistant", "content": "On its way."}]
    export(weights, tmp_path / "merged", "fp32")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged", num_labels=1).eval()
    ids = tokenizer.apply_chat_template(talk, return_tensors="pt", return_dict=False)
    with torch.no_grad():
        score = float(model(ids).logits[0, 0])
    (expected,) = RewardModel.load(weights).score([talk])
    assert score - weights.score_shift == pytest.approx(expected, abs=2e-3)
    again = find(ModelRef(name=str(tmp_path / "merged")), {})
    assert RewardModel.load(again).score([talk])[0] == pytest.approx(score, abs=1e-4)
    with pytest.raises(ArtifactError, match=r"merged' is a reward model"):
        Chat.load(again, 0.0, 8, 0)


def test_unchanged_stages_are_skipped_and_changed_ones_run_again(tmp_path) -> None:
    raw = small_recipe(tmp_path, "lora")
    raw["stages"] = {name: raw["stages"][name] for name in ("sft", "reward", "dpo")}
    first = run(parse(json.loads(json.dumps(raw))), tmp_path, Screen(quiet=True))
    times = {name: (one.folder / "artifact.json").stat().st_mtime_ns for name, one in first.items()}
    again = run(parse(json.loads(json.dumps(raw))), tmp_path, Screen(quiet=True))
    assert {name: (one.folder / "artifact.json").stat().st_mtime_ns for name, one in again.items()} == times
    raw["stages"]["reward"]["train"]["lr"] = 5e-4
    third = run(parse(json.loads(json.dumps(raw))), tmp_path, Screen(quiet=True))
    changed = {name for name, one in third.items() if one.hash != first[name].hash}
    assert changed == {"reward"}


@pytest.mark.parametrize("stage", ["sft", "reward", "dpo"])
def test_damaged_and_torn_checkpoints_are_passed_over(tmp_path, monkeypatch, capsys, stage: str) -> None:
    raw = small_recipe(tmp_path, "lora")
    raw["stages"] = {name: raw["stages"][name] for name in dict.fromkeys(["sft", stage])}
    raw["stages"][stage]["train"] |= {"checkpoint_every": 1, "max_steps": 4}
    log = Tracker.log

    def stopping(self, metrics, step: int, steps: int | None = None) -> None:
        log(self, metrics, step, steps)
        if step == 3 and self.path.parent.name == f".{stage}.partial":
            raise KeyboardInterrupt

    monkeypatch.setattr(Tracker, "log", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(parse(json.loads(json.dumps(raw))), tmp_path, Screen(quiet=True))
    monkeypatch.undo()
    home = tmp_path / "lora" / "stages" / f".{stage}.partial" / artifacts.CHECKPOINT
    older, newer = sorted(home.iterdir())
    path = newer / "trained.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"oops")
    (older / "manifest.json").unlink()  # as if the power had gone before it was whole
    capsys.readouterr()
    made = run(parse(json.loads(json.dumps(raw))), tmp_path, Screen())[stage]
    told = capsys.readouterr().out
    assert "the checkpoint after step 2 is passed over: trained.safetensors is not what was written" in told
    assert "the checkpoint after step 1 is passed over: it cannot be read" in told
    steps = [line["step"] for line in metrics_of(made.folder) if "loss" in line]
    assert steps == [1, 2, 3, 4]


def _die_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """End a run as it logs a step."""
    log = Tracker.log

    def dying(self: Tracker, metrics: Mapping[str, Any], at: int, steps: int | None = None) -> None:
        if at == step:
            raise KeyboardInterrupt
        log(self, metrics, at, steps)

    monkeypatch.setattr(Tracker, "log", dying)


def test_held_out_rows_are_looked_at_between_epochs_and_training_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = small_recipe(tmp_path, "lora")
    raw["stages"] = {"sft": raw["stages"]["sft"]}
    raw["stages"]["sft"]["data"] |= {"max_rows": 8, "eval_fraction": 0.5}
    raw["stages"]["sft"]["train"] = {"epochs": 3, "batch_size": 2, "lr": 1e-3}

    def trained() -> tuple[list[float], dict[str, torch.Tensor]]:
        made = run(parse(json.loads(json.dumps(raw))), tmp_path, Screen(quiet=True), fresh=True)["sft"]
        looked = [line["epoch"] for line in metrics_of(made.folder) if "eval_loss" in line]
        return looked, load_file(made.model / "adapter_model.safetensors")

    looked, weights = trained()
    assert looked == [1, 2, 3]
    _die_at(monkeypatch, step=4)  # after the checkpoint at the end of the first epoch
    raw["stages"]["sft"]["train"] |= {"checkpoint_every": 3, "log_every": 1}
    with pytest.raises(KeyboardInterrupt):
        trained()
    monkeypatch.undo()
    made = run(parse(json.loads(json.dumps(raw))), tmp_path, Screen(quiet=True))["sft"]
    assert [line["epoch"] for line in metrics_of(made.folder) if "eval_loss" in line] == [1, 2, 3]
    monkeypatch.setattr(training, "LOOKS", 1)
    looked, alone = trained()
    assert looked == [3]
    assert all(torch.equal(weights[name], tensor) for name, tensor in alone.items())
