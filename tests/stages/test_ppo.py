"""The RL stage: every estimator, critic and place of the KL penalty; families our decoder does not know; its guards."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rlhf import trunk
from rlhf.artifact import Artifact
from rlhf.console import Screen
from rlhf.errors import GuardError, RecipeError
from rlhf.recipe import parse
from rlhf.runner import run
from rlhf.weights import Weights
from stages.ppo.run import _Loop
from tests.conftest import SHOP, metrics_of, small_recipe
from tests.rlhf.test_backends import random_model


def chain(folder: Path, kind: str = "lora", **top: Any) -> dict[str, Any]:
    """SFT, reward and PPO, few steps each."""
    raw = small_recipe(folder, kind, **top)
    raw["stages"] = {name: raw["stages"][name] for name in ("sft", "reward", "ppo")}
    return raw


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which SFT and reward have run."""
    folder = tmp_path_factory.mktemp("ppo")
    raw = chain(folder)
    del raw["stages"]["ppo"]
    run(parse(raw), folder, Screen(quiet=True))
    return folder


def ppo(folder: Path, **blocks: dict[str, Any]) -> Artifact:
    """The PPO stage with some settings changed."""
    raw = chain(folder)
    for block, settings in blocks.items():
        raw["stages"]["ppo"][block] |= settings
    return run(parse(raw), folder, Screen(quiet=True), fresh=True, only="ppo")["ppo"]


@pytest.mark.parametrize(
    "rl",
    [
        {"critic": "shared", "kl_in": "loss"},
        {"critic": "reward"},
        {"critic": "policy", "lam": 0.9},
        {"estimator": "rloo", "group": 2},
        {"estimator": "grpo", "group": 4},
        {"estimator": "reinforce++", "kl_target": 3.0},
        {"entropy_coef": 0.01, "whiten_rewards": True, "minibatches": 2, "value_clip": None},
    ],
    ids=lambda rl: "-".join(map(str, rl.values())),
)
def test_every_form_of_the_algorithm_starts_at_its_reference_and_moves(parents: Path, rl: dict[str, Any]) -> None:
    first, second = metrics_of(ppo(parents, rl=rl).folder)
    assert abs(first["kl"]) < 1e-3 < abs(first["ratio"])
    assert abs(second["kl"]) > abs(first["kl"])
    assert ("value_loss" in first) == (rl.get("estimator", "gae") == "gae")


def test_micro_batches_and_checkpointing_change_no_number(parents: Path) -> None:
    """One micro-batch, several, and recomputed activations: the same updates but for rounding."""
    whole, parts, again = (
        metrics_of(ppo(parents, train=train).folder)
        for train in ({}, {"micro_batch_size": 3}, {"gradient_checkpointing": True})
    )
    for other in (parts, again):
        for name in ("score", "policy_loss", "value_loss", "grad_norm", "kl"):
            assert other[0][name] == pytest.approx(whole[0][name], rel=1e-3, abs=1e-5), name


@pytest.mark.parametrize("kind", ["full", "lora", "qlora"])
def test_frozen_layers_stay_and_the_rest_trains_as_if_nothing_were_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    raw = chain(tmp_path, kind)
    raw["stages"]["ppo"]["train"]["freeze_layers"] = 2

    def go() -> Artifact:
        return run(parse(json.loads(json.dumps(raw))), tmp_path, Screen(quiet=True), fresh=True)["ppo"]

    made = go()
    file = "model.safetensors" if kind == "full" else "adapter_model.safetensors"
    parent, child = (load_file(tmp_path / kind / "stages" / name / "model" / file) for name in ("sft", "ppo"))
    moved = {key for key in child if not torch.equal(child[key], parent[key])}
    assert moved and all("layers.2." in key or "layers.3." in key or "norm" in key for key in moved)
    kept = [{k: v for k, v in line.items() if k != "time"} for line in metrics_of(made.folder)]
    monkeypatch.setattr(_Loop, "lower", lambda self, part: part)  # every pass through all layers
    again = [{k: v for k, v in line.items() if k != "time"} for line in metrics_of(go().folder)]
    for one, other in zip(kept, again, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-4)


def test_updates_stop_at_the_bound_and_annealing_goes_on(parents: Path) -> None:
    bound, _ = metrics_of(ppo(parents, rl={"epochs": 4, "max_update_kl": 1e-9}).folder)
    free, _ = metrics_of(ppo(parents, rl={"epochs": 4}).folder)
    assert 0 < bound["approx_kl"] < free["approx_kl"]
    assert bound["lr"] > free["lr"]  # a mean over the steps taken: the two that were left come at lower rates


@pytest.mark.parametrize("model_type", ["gpt2", "gemma2"])
def test_a_family_that_our_decoder_does_not_know_is_trained_through_transformers(
    tmp_path: Path, model_type: str
) -> None:
    base = random_model(tmp_path / "base", model_type)
    (base / "chat_template.jinja").unlink(missing_ok=True)
    made = run(parse(chain(tmp_path, model=str(base), template="chatml")), tmp_path, Screen(quiet=True))["ppo"]
    first, second = metrics_of(made.folder)
    assert abs(first["kl"]) < 1e-3 and first["ratio"] == pytest.approx(1, abs=0.2)
    weights = Weights.of(made)
    assert weights.adapter is not None and second["grad_norm"] > 0


def test_a_wrong_reference_stops_the_run(parents: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An adapter of the reference that is not the policy's parent."""
    load = trunk.load

    def spoiled(*args: Any) -> trunk.Roles:
        roles = load(*args)
        with torch.no_grad():
            for parameter in roles.reference.parameters():
                parameter.mul_(0.5)
        return roles

    monkeypatch.setattr("stages.ppo.run.load_roles", spoiled)
    with pytest.raises(GuardError, match="policy and reference, before the first update, differ by"):
        ppo(parents)


@pytest.mark.parametrize("kind", ["full", "lora", "qlora"])
@pytest.mark.parametrize("critic", ["shared", "reward"])
def test_an_interrupted_run_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, critic: str
) -> None:
    """Stopped after each of its rollouts in turn, and started again."""
    raw = chain(tmp_path, kind)
    raw["stages"]["ppo"]["rl"] |= {"critic": critic, "kl_target": 2.0, "minibatches": 2}
    raw["stages"]["ppo"]["train"] |= {"episodes": 24, "checkpoint_every": 1}

    def go() -> Artifact:
        return run(parse(json.loads(json.dumps(raw))), tmp_path, Screen(quiet=True))["ppo"]

    def weights(made: Artifact) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in made.model.glob("*.safetensors")}

    whole = go()
    expected, lines = weights(whole), metrics_of(whole.folder)
    rollout = _Loop.rollout
    shutil.rmtree(whole.folder)
    for done in (1, 2):

        def stopped(self: _Loop, prompts: Any, done: int = done) -> Any:
            if self.done == done:
                raise KeyboardInterrupt
            return rollout(self, prompts)

        monkeypatch.setattr(_Loop, "rollout", stopped)
        with pytest.raises(KeyboardInterrupt):
            go()
    monkeypatch.setattr(_Loop, "rollout", rollout)
    again = go()
    assert weights(again) == expected
    keys = [key for key in lines[0] if key != "time"]
    assert [[line[k] for k in keys] for line in metrics_of(again.folder)] == [[line[k] for k in keys] for line in lines]
    assert not (again.folder / "checkpoint").exists()


def test_a_number_that_is_not_finite_stops_the_run(parents: Path) -> None:
    with pytest.raises(GuardError, match=r"is (nan|inf)"):
        ppo(parents, train={"lr": 1e30, "warmup": 0})


def test_several_rewards_are_summed_and_told_apart(parents: Path) -> None:
    raw = chain(parents)
    rule = {"file": str(SHOP / "rule.py"), "function": "gold_score"}
    raw["stages"]["ppo"]["rewards"] = {"gold": {"rule": rule, "weight": 0.1}}
    raw["stages"]["ppo"]["rl"]["missing_stop_score"] = None
    first, _ = metrics_of(run(parse(raw), parents, Screen(quiet=True), fresh=True, only="ppo")["ppo"].folder)
    assert first["score"] == pytest.approx(first["score/reward_model"] + 0.1 * first["score/gold"], abs=1e-5)


def test_a_rule_alone_needs_no_reward_model(tmp_path: Path) -> None:
    raw = chain(tmp_path)
    del raw["stages"]["reward"], raw["stages"]["ppo"]["reward_model"]
    with pytest.raises(RecipeError, match="nothing scores responses"):
        parse(json.loads(json.dumps(raw)))
    raw["stages"]["ppo"]["rewards"] = {"gold": {"rule": {"file": str(SHOP / "rule.py"), "function": "gold_score"}}}
    made = run(parse(raw), tmp_path, Screen(quiet=True))["ppo"]
    assert made.parents.keys() == {"model"}


def test_a_reward_that_is_easily_gamed_is_said_or_refused(
    parents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = tmp_path / "short.py"
    short.write_text("def score(messages, response):\n    return -float(len(response))\n")
    raw = chain(parents)
    raw["stages"]["ppo"]["rewards"] = {"short": {"rule": {"file": str(short), "trust_code": True}, "weight": 100}}
    raw["stages"]["ppo"]["gate"] = "warn"
    run(parse(json.loads(json.dumps(raw))), parents, Screen(quiet=True), fresh=True, only="ppo")
    assert "warning: an empty answer scores above the policy's own answer" in capsys.readouterr().err
    raw["stages"]["ppo"]["gate"] = "refuse"
    with pytest.raises(GuardError, match=r"the reward looks easily gamed: .*an empty answer"):
        run(parse(raw), parents, Screen(quiet=True), fresh=True, only="ppo")


def test_metrics_say_what_the_run_did(parents: Path) -> None:
    made = ppo(parents)
    assert {"score", "kl", "entropy", "ratio", "clipped", "explained_variance", "response_length", "finished"} <= set(
        json.loads((made.folder / "metrics.jsonl").read_text().split("\n")[0])
    )
