"""The RL stage: every estimator, critic and place of the KL penalty; families our decoder does not know; its guards."""

import dataclasses
import json
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rlhf import checkpoint, roles
from rlhf.artifact import Artifact
from rlhf.console import Screen
from rlhf.errors import GuardError, RecipeError
from rlhf.measures.frontier import frontier
from rlhf.recipe import parse
from rlhf.report.findings import findings
from rlhf.report.run import read
from rlhf.runner import run
from rlhf.weights import Weights
from stages.ppo.config import WatchConfig
from stages.ppo.loop import Loop
from stages.ppo.watch import Look, Watch
from tests.conftest import SHOP, metrics_of, small_recipe
from tests.rlhf.test_backends import random_model

SHOP_RULE = {"file": str(SHOP / "rule.py"), "function": "gold_score"}


def chain(folder: Path, kind: str = "lora", **top: Any) -> dict[str, Any]:
    """SFT, reward and PPO, few steps each."""
    raw = small_recipe(folder, kind, **top)
    raw["stages"] = {name: raw["stages"][name] for name in ("sft", "reward", "ppo")}
    return raw


@pytest.fixture(scope="module")
def parents_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folders in which SFT and reward have run, by backend; for a test that leaves another PPO stage, a copy."""

    @cache
    def made(kind: str) -> Path:
        folder = tmp_path_factory.mktemp(kind)
        raw = chain(folder, kind)
        del raw["stages"]["ppo"]
        run(parse(raw), folder, Screen(quiet=True))
        return folder

    return made


@pytest.fixture(scope="module")
def parents(parents_of: Callable[[str], Path]) -> Path:
    """A folder in which SFT and reward have run with LoRA."""
    return parents_of("lora")


def ppo(folder: Path, **blocks: dict[str, Any]) -> Artifact:
    """The PPO stage with some settings changed."""
    raw = chain(folder)
    for block, settings in blocks.items():
        raw["stages"]["ppo"][block] = raw["stages"]["ppo"].get(block, {}) | settings
    return run(parse(raw), folder, Screen(quiet=True), fresh=True, only="ppo")["ppo"]


@contextmanager
def interrupted_after(rollouts: int) -> Iterator[None]:
    """What runs inside is interrupted at its next rollout once it has done so many."""
    rollout = Loop.rollout

    def stopped(self: Loop, prompts: Any) -> Any:
        if self.done == rollouts:
            raise KeyboardInterrupt
        return rollout(self, prompts)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Loop, "rollout", stopped)
        yield


@pytest.mark.parametrize(
    "rl",
    [
        {"critic": "shared", "kl_in": "loss"},
        {"critic": "reward"},
        {"critic": "reward_head"},
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
    assert abs(first["kl"]) < 1e-3 and first["engine_kl"] < 1e-6
    assert first["score_std"] > 1e-3 and first["grad_norm"] > 1e-3 and first["approx_kl"] > 10 * first["engine_kl"]
    assert abs(second["kl"]) > 10 * abs(first["kl"])
    assert ("value_loss" in first) == (rl.get("estimator", "gae") == "gae")


@pytest.mark.parametrize("temperature", [0.6, 1.5])
def test_every_role_reads_at_the_temperature_of_sampling(parents: Path, temperature: float) -> None:
    first, second = metrics_of(ppo(parents, rollout={"temperature": temperature}).folder)
    assert abs(first["kl"]) < 1e-3 and max(first["engine_kl"], second["engine_kl"]) < 1e-6


def test_micro_batches_and_checkpointing_change_no_number(parents: Path) -> None:
    """One micro-batch, several, and recomputed activations: the same updates but for rounding."""
    whole, parts, again = (
        metrics_of(ppo(parents, train=train).folder)
        for train in ({}, {"micro_batch_size": 3}, {"gradient_checkpointing": True})
    )
    for other in (parts, again):
        for name in ("score", "policy_loss", "value_loss", "grad_norm", "kl"):
            assert other[0][name] == pytest.approx(whole[0][name], rel=1e-3, abs=1e-5), name


@pytest.mark.parametrize(
    ("kind", "critic"), [("full", "shared"), ("lora", "shared"), ("qlora", "shared"), ("lora", "reward_head")]
)
def test_frozen_layers_stay_and_the_rest_trains_as_if_nothing_were_kept(
    parents_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, critic: str
) -> None:
    folder = shutil.copytree(parents_of(kind), tmp_path / "runs")
    raw = chain(folder, kind)
    raw["stages"]["ppo"]["train"]["freeze_layers"] = 2
    raw["stages"]["ppo"]["rl"]["critic"] = critic

    def go() -> Artifact:
        recipe = parse(json.loads(json.dumps(raw)))
        return run(recipe, folder, Screen(quiet=True), fresh=True, only="ppo")["ppo"]

    made = go()
    file = "model.safetensors" if kind == "full" else "adapter_model.safetensors"
    parent, child = (load_file(folder / kind / "stages" / name / "model" / file) for name in ("sft", "ppo"))
    moved = {key for key in child if not torch.equal(child[key], parent[key])}
    assert moved and all("layers.2." in key or "layers.3." in key or "norm" in key for key in moved)
    kept = [{k: v for k, v in line.items() if k != "time"} for line in metrics_of(made.folder)]
    monkeypatch.setattr(Loop, "read_lower", lambda self, batch: None)  # every pass through all layers
    again = [{k: v for k, v in line.items() if k != "time"} for line in metrics_of(go().folder)]
    for one, other in zip(kept, again, strict=True):
        for share in ("clipped", "value_clipped"):  # of tokens past a bound: rounding may carry one or two across
            assert one.pop(share, 0) == pytest.approx(other.pop(share, 0), abs=2.1 / 64)
        assert one == pytest.approx(other, rel=1e-3, abs=1e-4)


def test_updates_stop_at_the_bound_and_annealing_goes_on(parents: Path) -> None:
    bound, _ = metrics_of(ppo(parents, rl={"epochs": 4, "max_update_kl": 1e-9}).folder)
    free, _ = metrics_of(ppo(parents, rl={"epochs": 4}).folder)
    assert 0 < bound["approx_kl"] < free["approx_kl"]
    assert bound["lr"] > free["lr"]  # a mean over the steps taken: the two that were left come at lower rates


def test_the_rollout_that_breaks_the_budget_is_on_record_and_not_learnt_from(parents: Path) -> None:
    budget = 1e-4  # beyond what rounding makes of none
    made = ppo(parents, rl={"kl_budget": budget}, train={"episodes": 64})
    *before, last = metrics_of(made.folder)
    assert last["kl"] > budget >= max(line["kl"] for line in before)
    assert made.metrics["updates"] == len(before) < 8 and "policy_loss" not in last


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
    load = roles.load

    def spoiled(*args: Any) -> roles.Roles:
        loaded = load(*args)
        with torch.no_grad():
            for parameter in loaded.reference.parameters():
                parameter.mul_(0.5)
        return loaded

    monkeypatch.setattr("stages.ppo.run.load_roles", spoiled)
    with pytest.raises(GuardError, match="policy and reference, before the first update, differ by"):
        ppo(parents)


@pytest.mark.parametrize("kind", ["full", "lora", "qlora"])
@pytest.mark.parametrize("critic", ["shared", "reward_head", "reward"])
def test_an_interrupted_run_goes_on_bit_for_bit(
    parents_of: Callable[[str], Path], tmp_path: Path, kind: str, critic: str
) -> None:
    """Stopped after each of its rollouts in turn, and started again."""
    folder = shutil.copytree(parents_of(kind), tmp_path / "runs")
    raw = chain(folder, kind)
    raw["stages"]["ppo"]["rl"] |= {"critic": critic, "kl_target": 2.0, "minibatches": 2}
    raw["stages"]["ppo"]["train"] |= {"episodes": 24, "checkpoint_every": 1}

    def go() -> Artifact:
        return run(parse(json.loads(json.dumps(raw))), folder, Screen(quiet=True))["ppo"]

    def weights(made: Artifact) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in made.model.glob("*.safetensors")}

    whole = go()
    expected, lines = weights(whole), metrics_of(whole.folder)
    shutil.rmtree(whole.folder)
    for done in (1, 2):
        with interrupted_after(done):
            go()
    again = go()
    assert weights(again) == expected
    keys = [key for key in lines[0] if key != "time"]
    assert [[line[k] for k in keys] for line in metrics_of(again.folder)] == [[line[k] for k in keys] for line in lines]
    assert not (again.folder / "checkpoint").exists()


def ended_before_its_artifact(raw: dict[str, Any], folder: Path, patch: pytest.MonkeyPatch) -> None:
    """A run of which all is trained, and killed before that is saved."""

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with patch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr("rlhf.job.Job.finish", killed)
        run(parse(json.loads(json.dumps(raw))), folder, Screen(quiet=True))


@pytest.mark.parametrize("ends", ["done", "kl_budget", "patience"])
def test_what_is_trained_is_not_trained_again(
    parents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """Killed between the last update and the artifact, also where there was a reason to stop early."""
    folder = shutil.copytree(parents, tmp_path / "runs")
    raw = watched(folder, "-float(calls)", keep_best=False, **({"patience": 2} if ends == "patience" else {}))
    raw["stages"]["ppo"]["rewards"] = {"rises": {"rule": rule_in(folder, "float(calls)", "rises.py")}}
    raw["stages"]["ppo"]["train"]["checkpoint_every"] = 100
    if ends == "kl_budget":
        raw["stages"]["ppo"]["rl"]["kl_budget"] = 1e-6
    whole = run(parse(json.loads(json.dumps(raw))), folder, Screen(quiet=True))["ppo"]
    expected, lines = whole.hashes, [line["step"] for line in metrics_of(whole.folder)]
    assert (whole.metrics["updates"] < 4) == (ends != "done")
    shutil.rmtree(whole.folder)
    ended_before_its_artifact(raw, folder, monkeypatch)
    monkeypatch.setattr(Loop, "rollout", lambda *_: pytest.fail("was drawn again"))
    again = run(parse(raw), folder, Screen(quiet=True))["ppo"]
    assert again.hashes == expected and again.metrics["updates"] == whole.metrics["updates"]
    assert [line["step"] for line in metrics_of(again.folder)] == lines


@pytest.mark.parametrize("who", ["policy", "reference"])
def test_a_resumed_run_whose_models_are_not_what_they_were_is_stopped(
    parents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    folder = shutil.copytree(parents, tmp_path / "runs")
    raw = chain(folder)
    raw["stages"]["ppo"]["train"]["checkpoint_every"] = 1
    with interrupted_after(1):
        run(parse(json.loads(json.dumps(raw))), folder, Screen(quiet=True))
    load, copy_into = roles.load, checkpoint.copy_into

    def spoiled(*args: Any) -> roles.Roles:
        loaded = load(*args)
        with torch.no_grad():
            for parameter in loaded.reference.parameters():
                parameter.mul_(0.5)
        return loaded

    def misplaced(parameters: Any, saved: Any) -> None:
        copy_into(parameters, [torch.zeros_like(value) for value in saved])

    if who == "reference":
        monkeypatch.setattr("stages.ppo.run.load_roles", spoiled)
    else:
        monkeypatch.setattr(checkpoint, "copy_into", misplaced)
    with pytest.raises(GuardError, match=f"the {who} now and at the checkpoint after rollout 1 differ by"):
        run(parse(raw), folder, Screen(quiet=True))


def test_generation_is_compared_with_training_after_an_interruption_too(
    parents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(parents, tmp_path / "runs")
    raw = chain(folder)
    raw["stages"]["ppo"]["train"]["checkpoint_every"] = 1
    with interrupted_after(1):
        run(parse(json.loads(json.dumps(raw))), folder, Screen(quiet=True))
    rollout = Loop.rollout

    def off(self: Loop, prompts: Any) -> Any:
        drawn = rollout(self, prompts)
        assert drawn.logprob_M is not None
        return dataclasses.replace(drawn, logprob_M=drawn.logprob_M + 0.1)

    monkeypatch.setattr(Loop, "rollout", off)
    with pytest.raises(GuardError, match="generation and training differ by"):
        run(parse(raw), folder, Screen(quiet=True))


def test_weights_that_blow_up_stop_the_run_and_the_rows_are_named(parents: Path) -> None:
    with pytest.raises(GuardError, match=r"rollout \d.* of 8 rows \(prompts at .*prompts\.jsonl:\d+.*is (nan|inf)"):
        ppo(parents, train={"lr": 1e30, "warmup": 0}, rl={"epochs": 3})


@pytest.mark.parametrize(("weight", "unfinished"), [(1.0, None), (0.0, None), (1.0, -1.0)])
def test_a_score_that_is_not_finite_stops_the_run_and_its_row_is_named(
    parents: Path, tmp_path: Path, weight: float, unfinished: float | None
) -> None:
    """Also where it would not have reached the sum."""
    raw = chain(parents)
    rule = rule_in(tmp_path, "float('nan') if calls == 6 else 0.0")
    raw["stages"]["ppo"]["rewards"] = {"odd": {"rule": rule, "weight": weight}}
    raw["stages"]["ppo"]["rl"]["missing_stop_score"] = unfinished
    named = r"rollout 1: the score of 'odd' is not finite for 1 of 8 rows \(prompts at .*prompts\.jsonl:\d+\)$"
    with pytest.raises(GuardError, match=named):
        run(parse(raw), parents, Screen(quiet=True), fresh=True, only="ppo")


def rule_in(folder: Path, score: str, name: str = "rule.py") -> dict[str, Any]:
    """A rule that gives `score`, an expression of `calls` (how many before this one) and `response`."""
    path = folder / name
    path.write_text(
        f"calls = -1\n\ndef score(messages, response):\n    global calls\n    calls += 1\n    return {score}\n"
    )
    return {"file": str(path), "trust_code": True}


def watched(folder: Path, score: str, **watch: Any) -> dict[str, Any]:
    """PPO with a rule that judges four held-out answers after every rollout."""
    raw = chain(folder)
    judge = {"rule": rule_in(folder, score)}
    raw["stages"]["ppo"] |= {"watch": {"judge": judge, "every": 1, "prompts": 4, **watch}}
    raw["stages"]["ppo"]["train"] |= {"episodes": 32, "checkpoint_every": 1}
    return raw


def test_the_policy_of_the_best_look_is_kept(tmp_path: Path) -> None:
    """The judge likes the second look, after one rollout, best: what is kept is a run of one rollout."""
    raw = watched(tmp_path, "-0.5 if calls // 4 == 1 else 0.0")
    raw["stages"]["ppo"]["watch"]["judge"]["weight"] = -2.0
    raw["stages"]["ppo"]["train"] |= {"schedule": "constant", "warmup": 0}
    best = run(parse(json.loads(json.dumps(raw))), tmp_path, Screen(quiet=True))["ppo"]
    assert best.metrics["best_rollout"] == 1 and best.metrics["updates"] == 4
    points = frontier(metrics_of(best.folder))
    assert [(point.step, point.judge) for point in points] == [(0, 0), (1, 1), (2, 0), (3, 0), (4, 0)]
    assert points[0].kl == pytest.approx(0, abs=1e-4) and abs(points[-1].kl) > 10 * abs(points[0].kl)
    drawn = [line for line in metrics_of(best.folder) if "score" in line]
    assert (best.metrics["score"], best.metrics["heldout/judge"]) == (drawn[0]["score"], 1)
    kept = load_file(best.model / "adapter_model.safetensors")
    del raw["stages"]["ppo"]["watch"]
    raw["stages"]["ppo"]["train"]["episodes"] = 8
    once = run(parse(raw), tmp_path, Screen(quiet=True))["ppo"]
    for name, tensor in load_file(once.model / "adapter_model.safetensors").items():
        assert torch.equal(tensor, kept[name])


def test_a_run_whose_scores_part_is_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = watched(tmp_path, "-float(calls // 4)", patience=2, keep_best=False)
    raw["stages"]["ppo"]["rewards"] = {"rises": {"rule": rule_in(tmp_path, "float(calls)", "rises.py")}}
    raw["stages"]["ppo"]["rl"]["missing_stop_score"] = None
    del raw["stages"]["ppo"]["reward_model"], raw["stages"]["reward"]
    made = run(parse(raw), tmp_path, Screen(quiet=True))["ppo"]
    assert made.metrics["updates"] == 2
    assert "the judge does not follow" in capsys.readouterr().err
    assert "The reward is being gamed" in {one.title for one in findings(read(made.folder.parent.parent))}


def unarmed(**config: Any) -> Watch:
    """A watch that is only told of looks."""
    nothing: Any = None
    return Watch(WatchConfig.model_validate({"judge": {"rule": SHOP_RULE}, **config}), [], [], *[nothing] * 5)


def test_a_watch_remembers_its_best_and_last_looks_alone() -> None:
    watch, again = unarmed(patience=2), unarmed(patience=2)
    sizes = []
    for step, judge in enumerate([1.0, 3.0, 3.0, 2.0, 1.0]):
        watch.take(Look(step, float(step), judge, {"kl": 0.5}, fall_error=0.1))
        sizes.append(len(json.dumps(watch.state())))
        assert watch.parted == (step >= 4)
    assert (watch.best.step, watch.last.step, watch.looks) == (1, 4, 5)
    assert len({*sizes}) == 1
    again.restore(watch.state())
    assert again.parted and again.state() == watch.state()


@pytest.mark.parametrize(
    ("looks", "stops"),
    [
        ([(0, 3.0, 0.0), (1, 2.0, 0.1), (2, 1.0, 0.1)], True),
        ([(0, 3.0, 0.0), (1, 2.0, 0.1), (2, 1.0, 0.9)], False),  # two errors are not enough of three looks
        ([(0, 3.0, 0.0), (1, 2.0, 0.1), (2, 2.9, 0.1), (3, 1.0, 0.1)], False),  # one bad look, and then another
        ([(2, 3.0, 0.0), (1, 2.0, 0.1), (1, 1.0, 0.1)], False),  # the reward has fallen too
        ([(0, 3.0, 0.0), (1, 2.0, math.inf), (2, 1.0, math.inf)], False),  # of one prompt
    ],
)
def test_a_run_is_not_stopped_by_chance(looks: list[tuple[float, float, float]], stops: bool) -> None:
    watch = unarmed(patience=2)
    for step, (reward, judge, error) in enumerate(looks):
        watch.take(Look(step, reward, judge, {}, fall_error=error))
    assert watch.parted == stops


def test_how_sure_a_fall_is_is_said_prompt_by_prompt() -> None:
    watch = unarmed()
    assert math.isinf(watch.fall_error([0.0, 4.0]))  # nothing to fall from
    watch.take(Look(0, 0.0, 2.0, {}, judged=[0.0, 4.0]))
    assert watch.fall_error([-1.0, 3.0]) == 0  # each by one
    assert watch.fall_error([0.0, 2.0]) == pytest.approx(1)
    watch.take(Look(1, 0.0, 9.0, {}, judged=[9.0]))
    assert math.isinf(watch.fall_error([1.0])) and not [name for name in watch.best.said if "stderr" in name]


def test_a_watched_run_that_is_interrupted_keeps_the_same_policy(tmp_path: Path) -> None:
    raw = watched(tmp_path, "float(len(response) % 7)")

    def go() -> Artifact:
        return run(parse(json.loads(json.dumps(raw))), tmp_path, Screen(quiet=True))["ppo"]

    whole = go()
    expected = (whole.model / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(whole.folder)
    with interrupted_after(3):
        go()
    again = go()
    assert again.metrics["best_rollout"] == whole.metrics["best_rollout"]
    assert (again.model / "adapter_model.safetensors").read_bytes() == expected


@pytest.mark.parametrize("name", ["state", "best"])
def test_a_checkpoint_that_was_damaged_is_passed_over(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One byte of a weight: it loads, and would go on from another policy."""
    raw = watched(tmp_path, "0.0")
    with interrupted_after(3):
        run(parse(json.loads(json.dumps(raw))), tmp_path, Screen(quiet=True))
    *_, path = sorted((tmp_path / "lora" / "stages").glob(f".ppo.partial/checkpoint/*/{name}.pt"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()  # the file of the best is the same in several checkpoints
    path.write_bytes(content)
    assert torch.load(path, weights_only=True), "torch does not look"
    capsys.readouterr()
    again = run(parse(json.loads(json.dumps(raw))), tmp_path, Screen())["ppo"]
    told = capsys.readouterr().out
    assert f"the checkpoint after step 3 is passed over: {name}.pt is not what was written" in told
    assert "going on after rollout 2 of" in told
    expected = (again.model / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(again.folder)
    whole = run(parse(raw), tmp_path, Screen(quiet=True))["ppo"]
    assert (whole.model / "adapter_model.safetensors").read_bytes() == expected


def test_the_best_policy_outlives_looks_that_a_checkpoint_does_not_know(tmp_path: Path) -> None:
    """The third look was the best, but the run went on from the second, and this time its judge says otherwise."""
    raw = watched(tmp_path, "1.0 if calls // 4 == 3 else 0.0")
    raw["stages"]["ppo"]["train"]["checkpoint_every"] = 2
    with interrupted_after(3):
        run(parse(json.loads(json.dumps(raw))), tmp_path, Screen(quiet=True))
    assert run(parse(raw), tmp_path, Screen(quiet=True))["ppo"].metrics["best_rollout"] == 0


def test_whitened_rewards_are_refused_where_they_would_pay_for_length(parents: Path) -> None:
    with pytest.raises(RecipeError, match="whiten_rewards would pay for length under 'grpo'"):
        ppo(parents, rl={"estimator": "grpo", "group": 2, "whiten_rewards": True})


def test_a_watch_without_held_out_prompts_says_so(parents: Path) -> None:
    with pytest.raises(RecipeError, match=r"watch needs held-out prompts: set data.eval_fraction"):
        ppo(parents, watch={"every": 1}, data={"eval_fraction": 0})


@pytest.mark.parametrize("frozen", [{"frozen_bits": 4}, {"frozen_bits": 8}, {"offload": True}], ids=str)
def test_frozen_copies_of_full_models_may_be_small_or_wait_elsewhere(tmp_path: Path, frozen: dict[str, Any]) -> None:
    raw = chain(tmp_path, "full")
    plain = metrics_of(run(parse(json.loads(json.dumps(raw))), tmp_path, Screen(quiet=True))["ppo"].folder)
    raw["stages"]["ppo"]["backend"] = {"kind": "full", **frozen}
    made = metrics_of(run(parse(raw), tmp_path, Screen(quiet=True))["ppo"].folder)
    if "offload" in frozen:
        for one, other in zip(made, plain, strict=True):
            assert (one["score"], one["kl"]) == (other["score"], other["kl"])
        return
    assert 0 < abs(made[0]["score"] - plain[0]["score"]) < 0.2
    assert 1e-4 < abs(made[0]["kl"]) < 0.3  # the policy itself is not its reference's copy


def test_both_engines_learn(parents: Path) -> None:
    """transformers' generate says no log-probabilities: these come from a pass of their own."""
    first, second = metrics_of(ppo(parents, rollout={"engine": "hf"}).folder)
    assert abs(first["kl"]) < 1e-3 < abs(second["kl"])


def test_several_rewards_are_summed_and_told_apart(parents: Path) -> None:
    raw = chain(parents)
    raw["stages"]["ppo"]["rewards"] = {"gold": {"rule": SHOP_RULE, "weight": 0.1}}
    first, _ = metrics_of(run(parse(raw), parents, Screen(quiet=True), fresh=True, only="ppo")["ppo"].folder)
    assert first["score"] == pytest.approx(first["score/reward_model"] + 0.1 * first["score/gold"], abs=1e-5)


def test_a_rule_alone_needs_no_reward_model(tmp_path: Path) -> None:
    raw = chain(tmp_path)
    del raw["stages"]["reward"], raw["stages"]["ppo"]["reward_model"]
    with pytest.raises(RecipeError, match="nothing scores responses"):
        parse(json.loads(json.dumps(raw)))
    raw["stages"]["ppo"]["rewards"] = {"gold": {"rule": SHOP_RULE}}
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


def test_a_run_in_which_nothing_finishes_is_told_so(parents: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = chain(parents)
    raw["stages"]["ppo"] |= {"gate": "warn", "rollout": {"batch_size": 8, "max_new_tokens": 1}}
    raw["stages"]["ppo"]["rl"] = {"missing_stop_score": -1.5}
    made = run(parse(raw), parents, Screen(quiet=True), fresh=True, only="ppo")["ppo"]
    assert all(line["score"] == -1.5 and line["finished"] == 0 for line in metrics_of(made.folder) if "score" in line)
    assert "answers finished, and the others get rl.missing_stop_score" in capsys.readouterr().err


def test_scores_that_are_all_alike_are_said_and_not_refused(
    parents: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = chain(parents)
    raw["stages"]["ppo"] |= {"gate": "refuse", "rewards": {"never": {"rule": rule_in(tmp_path, "0.0")}}}
    del raw["stages"]["ppo"]["reward_model"], raw["stages"]["reward"]
    run(parse(raw), parents, Screen(quiet=True), fresh=True, only="ppo")
    assert "score alike, and from such scores nothing is learned" in capsys.readouterr().err


def test_a_prompt_must_fit_beside_its_answer(tmp_path: Path) -> None:
    base = random_model(tmp_path / "base", "gpt2")
    config = json.loads((base / "config.json").read_text()) | {"n_positions": 20}
    (base / "config.json").write_text(json.dumps(config))
    raw = chain(tmp_path, model=str(base), template="chatml")
    raw["stages"] = {"ppo": raw["stages"]["ppo"] | {"model": str(base), "rewards": {"gold": {"rule": SHOP_RULE}}}}
    del raw["stages"]["ppo"]["reward_model"]
    with pytest.raises(RecipeError, match=r"max_new_tokens leaves no room for a prompt in '.*', which reads 20 tokens"):
        run(parse(raw), tmp_path, Screen(quiet=True))


def test_a_prompt_must_fit_into_every_judge(parents: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rlhf.text.positions", lambda weights: 10 if weights.called == "reward" else 512)
    with pytest.raises(RecipeError, match="no room for a prompt in 'reward', which reads 10 tokens"):
        ppo(parents)


@pytest.mark.parametrize(("depth", "words"), [(4, "the model has 4 layers"), (1, "the model's family")])
def test_layers_that_cannot_freeze_are_refused(
    parents: Path, monkeypatch: pytest.MonkeyPatch, depth: int, words: str
) -> None:
    if depth == 1:
        monkeypatch.setattr("rlhf.trunk.matches", lambda model: False)
    with pytest.raises(RecipeError, match=f"freeze_layers {depth}: {words}"):
        ppo(parents, train={"freeze_layers": depth})


def test_several_processes_are_refused(parents: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would whiten its own share of a rollout, and learn something else."""
    monkeypatch.setattr("stages.ppo.run.Accelerator", lambda cpu: SimpleNamespace(num_processes=2))
    with pytest.raises(RecipeError, match="the RL stage runs on one process"):
        ppo(parents)


def test_metrics_say_what_the_run_did(parents: Path) -> None:
    made = ppo(parents)
    assert {"score", "kl", "entropy", "ratio", "clipped", "explained_variance", "response_length", "finished"} <= set(
        json.loads((made.folder / "metrics.jsonl").read_text().split("\n")[0])
    )
