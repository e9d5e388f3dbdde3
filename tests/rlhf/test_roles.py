"""Roles: four on one trunk, none of which disturbs another; scores and values that do not see padding."""

import dataclasses
from pathlib import Path

import pytest
import torch

from rlhf import text
from rlhf.adapters import POLICY
from rlhf.backends import backend, for_weights
from rlhf.config import Full, LoRA
from rlhf.decoder import Decoder
from rlhf.errors import RecipeError
from rlhf.loading import merged
from rlhf.packing import Packed
from rlhf.roles import Critic, Roles, load, standalone
from rlhf.rollout import Sampling, sample
from rlhf.trunk import Padded, active
from rlhf.weights import Weights
from tests.rlhf.test_backends import TINY, random_model, saved, weights_of

ROWS = [[2, 50, 60, 70, 3], [2, 80, 3, 90, 91, 92, 93, 3]]


def batch(rows: list[list[int]] = ROWS) -> Packed:
    return Packed.of(rows, [len(row) - 3 for row in rows], torch.device("cpu"))


def roles_of(finished, critic: Critic = "reward") -> tuple[Roles, Weights]:
    recipe, _, made = finished
    policy, reward = Weights.of(made["sft"]), Weights.of(made["reward"])
    chat = text.load(policy)
    how = backend(recipe.stages["ppo"].backend)
    return load(how, policy, {"judge": reward}, chat, critic), policy


def test_adapters_share_a_trunk_and_full_models_do_not(finished) -> None:
    roles, _ = roles_of(finished)
    models = {id(role.model) for role in (roles.policy, roles.reference, roles.rewards["judge"], roles.value)}
    assert len(models) == (4 if finished[0].config.backend.kind == "full" else 1)


def test_only_policy_and_value_train(finished) -> None:
    roles, _ = roles_of(finished)
    for role, trains in (
        (roles.policy, True),
        (roles.value, True),
        (roles.reference, False),
        (roles.rewards["judge"], False),
    ):
        assert {p.requires_grad for p in role.parameters()} == {trains}
    everything = {id(p) for role in (roles.policy, roles.value) for p in role.parameters()}
    leaked = [n for n, p in roles.policy.model.named_parameters() if p.requires_grad and id(p) not in everything]
    assert not leaked


@torch.no_grad()
def test_at_the_start_policy_is_reference_and_value_is_reward(finished) -> None:
    roles, _ = roles_of(finished, "reward")
    mine, theirs = (role.logprobs(batch(), 1.0) for role in (roles.policy, roles.reference))
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)
    longer = Packed.of([[*row, 5] for row in ROWS], list(map(len, ROWS)), torch.device("cpu"))
    # the state before the token that was added is that of the whole row
    torch.testing.assert_close(roles.value.values(longer), roles.rewards["judge"].scores(batch()), rtol=0, atol=1e-4)


@torch.no_grad()
def test_scores_and_logprobs_do_not_see_their_neighbours(finished) -> None:
    roles, _ = roles_of(finished)
    together = roles.rewards["judge"].scores(batch())
    logprob = roles.policy.logprobs(batch(), 0.7).split(3)
    for i, row in enumerate(ROWS):
        one = batch([row])
        torch.testing.assert_close(roles.rewards["judge"].scores(one)[0], together[i], rtol=0, atol=1e-4)
        torch.testing.assert_close(roles.policy.logprobs(one, 0.7), logprob[i], rtol=0, atol=1e-4)


@torch.no_grad()
def test_both_trunks_compute_the_same(finished) -> None:
    """Our packed decoder, and transformers' padded forward pass that stands in for families it does not know."""
    roles, _ = roles_of(finished)
    for role in (roles.policy, roles.reference, roles.rewards["judge"]):
        assert isinstance(role.trunk, Decoder)
        padded = dataclasses.replace(role, trunk=Padded(role.model, torch.float32))
        torch.testing.assert_close(role.hidden(batch()), padded.hidden(batch()), rtol=1e-3, atol=1e-4)


def test_a_shared_critic_costs_a_head_and_starts_at_zero(finished) -> None:
    roles, _ = roles_of(finished, "shared")
    assert roles.value.trunk is roles.policy.trunk
    assert sum(p.numel() for p in roles.value.parameters()) == 193
    with torch.no_grad():
        assert not roles.value.values(batch()).any()


def test_a_critic_on_the_rewards_states_costs_a_head_and_starts_as_its_score(finished) -> None:
    roles, _ = roles_of(finished, "reward_head")
    judge = roles.rewards["judge"]
    assert roles.shared_critic is None and roles.value.model is judge.model and roles.value.adapter == judge.adapter
    assert [p.requires_grad for p in roles.value.parameters()] == [True, True]
    assert not any(p.requires_grad for p in judge.parameters())
    with torch.no_grad():
        torch.testing.assert_close(roles.value.scores(batch()), judge.scores(batch()), rtol=0, atol=1e-6)
        roles.value.head.bias.add_(1.0)  # what trains is its own
        assert not torch.allclose(roles.value.scores(batch()), judge.scores(batch()))


def test_a_role_leaves_the_trunk_as_it_found_it(finished) -> None:
    roles, _ = roles_of(finished)
    before = roles.policy.logprobs(batch(), 1.0)
    with active(roles.rewards["judge"].model, roles.rewards["judge"].adapter), pytest.raises(RuntimeError):
        raise RuntimeError
    assert torch.equal(before, roles.policy.logprobs(batch(), 1.0))


def test_a_judge_on_another_base_is_left_to_text(finished) -> None:
    recipe, _, made = finished
    if recipe.config.backend.kind == "full":
        pytest.skip("with full fine-tuning every role is a model of its own, whatever its base")
    policy = Weights.of(made["sft"])
    foreign = dataclasses.replace(Weights.of(made["reward"]), identity="another")
    chat = text.load(policy)
    assert not load(backend(LoRA()), policy, {"judge": foreign}, chat, "shared").rewards
    watched = {"watch": Weights.of(made["reward"])}  # fits, but the policy is not trained on it
    with pytest.raises(RecipeError, match="no reward model has the policy's base and tokens"):
        load(backend(LoRA()), policy, {"judge": foreign}, chat, "reward", judges=watched)


@torch.no_grad()
def test_a_reward_model_on_the_policys_trunk_scores_as_it_does_alone(finished) -> None:
    """Its adapter, its head and its shift."""
    roles, _ = roles_of(finished)
    recipe, _, made = finished
    reward = Weights.of(made["reward"])
    alone = standalone(backend(recipe.stages["reward"].backend), reward, text.load(reward))
    torch.testing.assert_close(roles.rewards["judge"].scores(batch()), alone.scores(batch()), rtol=0, atol=1e-4)


def test_a_judge_that_reads_other_tokens_or_another_copy_of_the_base_is_left_to_text(
    finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, made = finished
    policy, judge = Weights.of(made["sft"]), Weights.of(made["reward"])
    chat = text.load(policy)
    assert text.same(chat, text.load(judge))
    assert not text.same(chat, dataclasses.replace(chat, template_text="{{ messages }}"))
    assert not text.same(chat, dataclasses.replace(chat, stop_ids=(*chat.stop_ids, 9)))
    how = backend(finished[0].stages["ppo"].backend)
    if policy.adapter is not None:
        other = "" if judge.quantisation else "nf4"
        assert how.takes(judge, policy) and not how.takes(dataclasses.replace(judge, quantisation=other), policy)
    monkeypatch.setattr("rlhf.roles.text.same", lambda *_: False)
    assert not load(how, policy, {"judge": judge}, chat, "shared").rewards


def test_no_role_drops_out(tmp_path: Path) -> None:
    weights = weights_of(TINY)
    roles = load(backend(LoRA(r=4, dropout=0.5)), weights, {}, text.load(weights), "policy")
    assert not [name for name, module in roles.policy.model.named_modules() if module.training]


@torch.no_grad()
def test_on_a_padded_trunk_the_plain_base_is_the_base(tmp_path: Path) -> None:
    """A policy that starts from a base has it as its reference; were that the policy itself, KL would stay 0."""
    weights = weights_of(random_model(tmp_path, "gpt2"))
    chat = text.load(weights)
    model = backend(LoRA(r=4)).load(weights, chat).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.normal_(std=0.1)
    trunk = Padded(model, torch.float32)
    plain = Padded(merged(weights, chat).eval(), torch.float32).hidden(batch(), None)
    torch.testing.assert_close(trunk.hidden(batch(), ()), plain)
    assert (trunk.hidden(batch(), (POLICY,)) - plain).abs().max() > 0.01


@torch.no_grad()
@pytest.mark.parametrize("model_type", ["gpt2", "gemma2"])
def test_on_a_padded_trunk_rows_do_not_see_their_neighbours(tmp_path: Path, model_type: str) -> None:
    weights = weights_of(random_model(tmp_path, model_type))
    chat = text.load(weights)
    role = standalone(backend(Full()), weights, chat)
    assert isinstance(role.trunk, Padded)
    together = role.hidden(batch()).split(list(map(len, ROWS)))
    for row, states in zip(ROWS, together, strict=True):
        torch.testing.assert_close(role.hidden(batch([row])), states, rtol=1e-4, atol=1e-4)
    prompts = [ROWS[0][:3], ROWS[1], ROWS[0]]
    said = sample(role, prompts, chat, Sampling(12, 0.0)).responses
    assert said == [sample(role, [prompt], chat, Sampling(12, 0.0)).responses[0] for prompt in prompts]


@pytest.mark.parametrize("model_type", ["gpt2", "gemma2", "opt"])
def test_a_padded_trunk_recomputes_with_the_adapter_it_ran_with(tmp_path: Path, model_type: str) -> None:
    """The same gradients of the second adapter, far fewer kept values, and the first adapter active again.

    OPT's layers drop out by themselves, without a module that could be told not to.
    """
    weights = weights_of(random_model(tmp_path, model_type))
    chat, how = text.load(weights), backend(LoRA(r=4))
    model = how.load(weights, chat).eval()
    how.trained_role(model, "value", weights, chat)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1)
    trunk, found = Padded(model, torch.float32), []
    trains = [p.requires_grad_() for name, p in model.named_parameters() if ".value." in name]
    for checkpointing in (False, True):
        kept: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, kept=kept: (kept.append(x.numel()), x)[1], lambda x: x):
            hidden = trunk.hidden(batch(), ("value",), checkpointing=checkpointing)
        found.append((sum(kept), torch.autograd.grad(hidden.square().sum(), trains)))
    assert found[1][0] < 0.3 * found[0][0]
    for one, other in zip(found[0][1], found[1][1], strict=True):
        assert one.any()
        torch.testing.assert_close(one, other)


def test_full_takes_any_weights(finished) -> None:
    _, _, made = finished
    weights = Weights.of(made["sft"])
    assert backend(Full()).takes(dataclasses.replace(weights, identity="another"), weights)


@pytest.mark.parametrize("critic", ["shared", "reward_head"])
def test_beside_a_policy_that_trains_whole_frozen_roles_of_one_base_share_a_copy(finished, critic: Critic) -> None:
    _, _, made = finished
    policy, reward = Weights.of(made["sft"]), Weights.of(made["reward"])
    chat = text.load(policy)
    roles = load(backend(Full()), policy, {"judge": reward}, chat, critic)
    judge, reference = roles.rewards["judge"], roles.reference
    adapters = reward.adapter is not None and not reward.quantisation
    assert (judge.model is reference.model) is adapters and judge.model is not roles.policy.model
    assert roles.judge_below == ("judge" if critic == "reward_head" else None)
    assert {id(p) for role in (judge, reference) for p in role.model.parameters() if p.requires_grad} == set()
    torch.testing.assert_close(reference.logprobs(batch(), 1.0), roles.policy.logprobs(batch(), 1.0))
    alone = standalone(for_weights(reward), reward, chat)
    torch.testing.assert_close(judge.scores(batch()), alone.scores(batch()), rtol=0, atol=2e-3)


@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
def test_a_plain_reference_does_not_see_the_adapter_of_a_reward_beside_it(tmp_path: Path, model_type: str) -> None:
    weights = weights_of(random_model(tmp_path / "base", model_type))
    chat, how = text.load(weights), backend(LoRA(r=4))
    model = how.load(weights, chat, "score")
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    reward = dataclasses.replace(saved(tmp_path, model, how, weights), head=tmp_path / "model" / "head.safetensors")
    roles = load(backend(Full()), weights, {"judge": reward}, chat, "shared")
    assert roles.reference.model is roles.rewards["judge"].model and roles.reference.adapter == ()
    torch.testing.assert_close(roles.reference.logprobs(batch(), 1.0), roles.policy.logprobs(batch(), 1.0))
    alone = standalone(how, reward, chat)
    torch.testing.assert_close(roles.rewards["judge"].scores(batch()), alone.scores(batch()), rtol=0, atol=1e-5)
