"""Reward modelling: its trainer reads scores from the trunk, which gives what the model itself would."""

import json
import math
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForSequenceClassification

from rlhf import adapters, text
from rlhf.backends import backend
from rlhf.config import DataConfig
from rlhf.console import Screen
from rlhf.data.load import load
from rlhf.data.records import Prompt
from rlhf.errors import DataError, RecipeError
from rlhf.evaluate import encode_conversations
from rlhf.forwards import scores_from_trunk
from rlhf.parts import score_head
from rlhf.recipe import parse
from rlhf.reward_model import RewardModel
from rlhf.rewards import CautiousReward, TextReward
from rlhf.roles import Role
from rlhf.rollout import Rollout
from rlhf.runner import run
from rlhf.trunk import trunk_of
from rlhf.weights import Weights
from stages.reward import heads
from stages.reward.config import RewardConfig
from tests.conftest import metrics_of, small_recipe

IDS = torch.tensor([[2, 50, 60, 70, 71, 3], [2, 80, 3, 1, 1, 1], [2, 90, 91, 92, 3, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0]])


def scored(model: nn.Module, bf16: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Scores of the rows, and the gradients of a loss on them."""
    model.zero_grad()
    with torch.autocast("cpu", enabled=bf16):
        scores = model(input_ids=IDS, attention_mask=MASK, use_cache=False).logits
    (scores.squeeze(-1).float() * torch.tensor([1.0, -2.0, 0.5])).sum().backward()
    return scores, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_trunk_gives_the_models_scores_and_gradients(finished, checkpointing: bool) -> None:
    recipe, _, made = finished
    config, weights = recipe.stages["reward"], Weights.of(made["sft"])
    how = backend(config.backend, config.precision)
    model = how.load(weights, text.load(weights), "score").train()
    bf16 = config.precision == "bf16"
    own, gradients = scored(model, bf16)
    scores_from_trunk(
        Role(model, trunk_of(model, how.dtype), adapters.trained(model), score_head(model)), checkpointing
    )
    scores, found = scored(model, bf16)
    torch.testing.assert_close(scores.float(), own.float(), rtol=0, atol=0.05 if bf16 else 1e-4)
    assert found.keys() == gradients.keys() and any("score" in name for name in found)
    for name, gradient in gradients.items():
        off = (found[name] - gradient).norm() / gradient.norm().clamp(min=1e-6)
        assert off < (0.1 if bf16 else 1e-3), name


# ------------------------------------------------------------------------------------------------ heads


WEIGHT = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 2.0]])
STATES = torch.tensor([[1.0, 3.0], [3.0, 1.0]])
NEW = torch.tensor([[2.0, 5.0]])


@pytest.mark.parametrize("center", [True, False])
def test_an_ensemble_is_its_heads_mean_and_each_head_gives_demonstrations_the_same(center: bool) -> None:
    found = heads.ensemble(WEIGHT, STATES, center)
    score = NEW @ found.weight_D - found.shift
    each = NEW @ found.weight_KD.t() + found.bias_K
    torch.testing.assert_close(each.mean(1), score)
    of_demonstrations = (STATES @ found.weight_KD.t() + found.bias_K).mean(0)
    torch.testing.assert_close(of_demonstrations, of_demonstrations.mean().expand(3))
    assert float(of_demonstrations.mean()) == pytest.approx(0.0 if center else 4.0)


def test_attributes_are_predicted_in_their_own_units() -> None:
    rows = [{"numbers": {"help": 1.0, "length": 10.0}}, {"numbers": {"help": 3.0}}]
    scale = heads.Scale.of(rows, {"help": 2.0, "length": 0.5})
    assert scale.mean_K.tolist() == [2.0, 10.0] and scale.deviation_K.tolist() == [1.0, 1.0]
    assert scale.standard([3.0, math.nan])[0] == 1.0
    found = heads.attributes(WEIGHT[:2], STATES, scale, center=False)
    predicted = NEW @ found.weight_KD.t() + found.bias_K
    assert predicted.tolist() == [[2.0 + 2.0, 10.0 + 10.0]]
    assert float(NEW @ found.weight_D - found.shift) == pytest.approx(2 * 4.0 + 0.5 * 20.0)
    centred = heads.attributes(WEIGHT[:2], STATES, scale, center=True)
    assert float((STATES @ centred.weight_D).mean() - centred.shift) == pytest.approx(0.0)


# ------------------------------------------------------------------------------------------------ whole stages


def run_reward(folder: Path, kind: str = "lora", more: dict[str, Any] | None = None, **settings: Any) -> Any:
    raw = small_recipe(folder, kind)
    reward = {**raw["stages"]["reward"], **settings}
    raw["stages"] = {"sft": raw["stages"]["sft"], "reward": reward, **(more or {})}
    return run(parse(raw), folder, Screen(quiet=True))


@pytest.mark.parametrize("kind", ["full", "lora", "qlora"])
def test_an_ensemble_of_heads(tmp_path: Path, kind: str) -> None:
    """Its score is what others would compute with one head; its disagreement is what a policy is charged for."""
    made = run_reward(tmp_path, kind, heads=3)["reward"]
    weights = Weights.of(made)
    judge = RewardModel.load(weights)
    talks = [
        [{"role": "user", "content": "Where is it?"}, {"role": "assistant", "content": w}] for w in ("Here.", "No")
    ]
    rows = encode_conversations(judge.chat, talks)
    opinions = judge.opinions_of(rows)
    assert opinions.shape == (2, 3)
    torch.testing.assert_close(opinions.mean(1), judge.score_ids(rows), rtol=0, atol=1e-5)
    apart = judge.disagreement(talks)
    assert apart == pytest.approx(opinions.std(1, unbiased=False).tolist()) and min(apart) > 0
    rollout = Rollout([row[:-2] for row in rows], [row[-2:] for row in rows], torch.ones(2, dtype=torch.bool))
    prompts = [Prompt(talks[0][:1], "here")] * 2
    kind_of_reward = CautiousReward([TextReward(judge, judge.chat)], 0.5)
    expected = opinions.mean(1) - 0.5 * opinions.std(1, unbiased=False)
    torch.testing.assert_close(kind_of_reward.score(prompts, rollout), expected, rtol=0, atol=1e-5)
    assert load_file(made.model / "head.safetensors")["weight"].shape == (1, 192)
    if kind == "full":
        model = AutoModelForSequenceClassification.from_pretrained(made.model, num_labels=1)
        assert model.score.weight.shape == (1, 192)


def test_ties_and_margins_are_learned_from_or_left_out(tmp_path: Path) -> None:
    lines = []
    for i in range(40):
        scores = [1, 1] if i % 4 == 0 else [3, 1]
        answers = [{"text": f"good {i}", "score": scores[0]}, {"text": f"bad {i}", "score": scores[1]}]
        lines.append(json.dumps({"prompt": f"question {i}", "completions": answers}))
    path = tmp_path / "scored.jsonl"
    path.write_text("\n".join(lines))
    data = {"path": str(path), "max_length": 64, "eval_fraction": 0.2}
    train = {"batch_size": 8, "max_steps": 2, "lr": 1e-3, "log_every": 1}
    left = run_reward(tmp_path, data=data, train=train)["reward"]
    assert left.data["train"]["dropped"] == {"tie": left.data["train"]["rows"] - left.data["train"]["used"]}
    plain = metrics_of(left.folder)[0]["loss"]  # the next run takes its place
    for settings in ({"ties": "half"}, {"ties": "rao_kupper", "tie_threshold": 0.3}, {"margin_coef": 0.5}):
        made = run_reward(tmp_path, data=data, train=train, **settings)["reward"]
        kept = "ties" in settings
        assert bool(made.data["train"]["dropped"]) != kept
        first = metrics_of(made.folder)[0]["loss"]
        assert first != plain and math.isfinite(first)
        assert made.metrics["pairs"] == left.metrics["pairs"]  # ties decide nothing about accuracy


def test_a_model_of_scores_predicts_attributes(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"question {i}", "response": "yes" if i % 2 else "a long and careful answer", "helpfulness": i % 2,
         "verbosity": 5 - 4 * (i % 2), "id": "x"}
        for i in range(60)
    ]  # fmt: skip
    path = tmp_path / "rated.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    data = {"path": str(path), "max_length": 64, "eval_fraction": 0.2}
    train = {"batch_size": 16, "max_steps": 25, "lr": 3e-3, "log_every": 5}
    made = run_reward(
        tmp_path, loss="scores", attributes={"helpfulness": 1.0, "verbosity": -0.1}, data=data, train=train
    )["reward"]
    assert made.metrics["correlation/helpfulness"] > 0.9 and made.metrics["rmse/verbosity"] < 2.0
    judge = RewardModel.load(Weights.of(made))
    talk = [{"role": "user", "content": "question 99"}, {"role": "assistant", "content": "yes"}]
    (said,) = judge.attributes([talk])
    assert set(said) == {"helpfulness", "verbosity"} and said["helpfulness"] > 0.5
    assert judge.disagreement([talk]) is None
    missing = {"loss": "scores", "attributes": {"honesty": 1.0}, "data": data, "train": train}
    with pytest.raises(DataError, match="no number called honesty"):
        run_reward(tmp_path, **missing)
    missing["attributes"] = {"helpfulness": 1.0, "verbostiy": -0.1}
    with pytest.raises(DataError, match="has a number 'verbostiy'; did you mean 'verbosity'"):
        run_reward(tmp_path, **missing)


def test_scores_that_are_all_alike_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rated.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": f"q{i}", "response": "a", "score": 3}) for i in range(20)))
    with pytest.raises(DataError, match="every answer to train on has the same score"):
        run_reward(tmp_path, loss="scores", data={"path": str(path), "max_length": 64})


def test_settings_that_no_row_answers_to_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="margin_coef: no pair to train on says how much better"):
        run_reward(tmp_path, margin_coef=1.0)
    judged = {"judge": {"model": {"stage": "reward"}, "uncertainty": 1.0}}
    raw = small_recipe(tmp_path, "lora")
    ppo = {name: value for name, value in raw["stages"]["ppo"].items() if name != "reward_model"}
    with pytest.raises(RecipeError, match=r"judge\.uncertainty: one opinion cannot disagree with itself"):
        run_reward(tmp_path, more={"ppo": {**ppo, "rewards": judged}}, ties="half")
    assert "no pair to train on is a tie" in capsys.readouterr().err


def test_scores_are_centred_on_demonstrations(tmp_path: Path) -> None:
    sft = {"path": str(tmp_path / "sft.jsonl"), "max_length": 160, "eval_fraction": 0.2}
    made = run_reward(tmp_path, demonstrations=sft)["reward"]
    judge = RewardModel.load(Weights.of(made))
    shown = load(DataConfig.model_validate(sft), "demonstrations").train
    assert fmean(judge.score([one.messages for one in shown])) == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"loss": "scores", "heads": 2}, "heads does nothing with loss 'scores'"),
        ({"attributes": {"a": 1.0}}, "attributes are predicted with loss 'scores'"),
        ({"loss": "scores", "attributes": {"a": 0.0}}, "every attribute has weight 0"),
        ({"tie_threshold": 0.1}, "tie_threshold does nothing"),
        ({"center": False, "demonstrations": "x.jsonl"}, "demonstrations do nothing"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        RewardConfig(name="reward", model="tiny", data="pairs.jsonl", **settings)


def test_ppo_learns_from_several_models_less_their_disagreement(tmp_path: Path) -> None:
    raw = small_recipe(tmp_path, "lora")
    both = {"model": [{"stage": "reward"}, {"stage": "second"}], "uncertainty": 1.0}
    ppo = {name: value for name, value in raw["stages"]["ppo"].items() if name != "reward_model"}
    second = {**raw["stages"]["reward"], "stage": "reward", "seed": 5}
    made = run_reward(tmp_path, more={"second": second, "ppo": {**ppo, "rewards": {"both": both}}})
    assert set(made["ppo"].parents) == {"model", "rewards.both.0", "rewards.both.1"}
    first = metrics_of(made["ppo"].folder)[0]
    assert abs(first["kl"]) < 1e-3 and math.isfinite(first["score"])
    charged = {**ppo, "rewards": {"both": {**both, "uncertainty": 0.0}}}
    free = run_reward(tmp_path, more={"second": second, "ppo": charged})
    assert metrics_of(free["ppo"].folder)[0]["score"] > first["score"]  # the same answers, nothing subtracted
