"""Roles: four on one trunk, none of which disturbs another; scores and values that do not see padding."""

import dataclasses

import pytest
import torch

from rlhf import text
from rlhf.backends import backend
from rlhf.config import Full, LoRA
from rlhf.rollout import left_pad
from rlhf.trunk import Roles, load
from rlhf.weights import Weights

ROWS = [[2, 50, 60, 70, 3], [2, 80, 3, 90, 91, 92, 93, 3]]


def roles_of(finished) -> tuple[Roles, Weights]:
    recipe, _, made = finished
    policy, reward = Weights.of(made["sft"]), Weights.of(made["reward"])
    chat = text.load(policy)
    how = backend(recipe.stages["ppo"].backend)
    return load(how, policy, reward, chat, critic=True), policy


def test_adapters_share_a_trunk_and_full_models_do_not(finished) -> None:
    roles, _ = roles_of(finished)
    models = {id(role.model) for role in (roles.policy, roles.reference, roles.reward, roles.value)}
    assert len(models) == (4 if finished[0].config.backend.kind == "full" else 1)


def test_only_policy_and_value_train(finished) -> None:
    roles, _ = roles_of(finished)
    for role, trains in ((roles.policy, True), (roles.value, True), (roles.reference, False), (roles.reward, False)):
        assert {p.requires_grad for p in role.parameters()} == {trains}
    everything = {id(p) for role in (roles.policy, roles.value) for p in role.parameters()}
    leaked = [n for n, p in roles.policy.model.named_parameters() if p.requires_grad and id(p) not in everything]
    assert not leaked


@torch.no_grad()
def test_at_the_start_policy_is_reference_and_value_is_reward(finished) -> None:
    roles, _ = roles_of(finished)
    ids, mask = left_pad(ROWS, 1, torch.device("cpu"))
    mine, _ = roles.policy.logprobs(ids, mask, 3, 1.0)
    theirs, _ = roles.reference.logprobs(ids, mask, 3, 1.0)
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5)
    shifted, whole = torch.cat([ids, ids[:, :1]], 1), torch.cat([mask, mask[:, :1].clone().fill_(1)], 1)
    value = roles.value.values(shifted, whole, 1)[:, 0]  # the state before the token that was added: the whole row
    torch.testing.assert_close(value, roles.reward.scores(ids, mask), rtol=0, atol=1e-4)


@torch.no_grad()
def test_scores_and_logprobs_do_not_see_padding(finished) -> None:
    roles, _ = roles_of(finished)
    ids, mask = left_pad(ROWS, 1, torch.device("cpu"))
    together = roles.reward.scores(ids, mask)
    logprob, entropy = roles.policy.logprobs(ids, mask, 3, 0.7)
    for i, row in enumerate(ROWS):
        one, ones = left_pad([row], 1, torch.device("cpu"))
        torch.testing.assert_close(roles.reward.scores(one, ones)[0], together[i], rtol=0, atol=1e-4)
        alone, calm = roles.policy.logprobs(one, ones, 3, 0.7)
        torch.testing.assert_close(alone[0], logprob[i], rtol=0, atol=1e-4)
        torch.testing.assert_close(calm[0], entropy[i], rtol=0, atol=1e-4)


@torch.no_grad()
def test_right_padding_is_not_scored(finished) -> None:
    roles, _ = roles_of(finished)
    row = torch.tensor([ROWS[0]])
    padded = torch.cat([row, torch.ones(1, 3, dtype=torch.long)], 1)
    mask = torch.cat([torch.ones_like(row), torch.zeros(1, 3, dtype=torch.long)], 1)
    torch.testing.assert_close(
        roles.reward.scores(padded, mask), roles.reward.scores(row, torch.ones_like(row)), atol=1e-5, rtol=0
    )


def test_a_role_leaves_the_trunk_as_it_found_it(finished) -> None:
    roles, _ = roles_of(finished)
    ids, mask = left_pad(ROWS, 1, torch.device("cpu"))
    with torch.no_grad():
        before = roles.policy.logprobs(ids, mask, 3, 1.0)[0]
        with roles.reward.active(), pytest.raises(RuntimeError):
            raise RuntimeError
        after = roles.policy.logprobs(ids, mask, 3, 1.0)[0]
    assert torch.equal(before, after)


def test_a_judge_on_another_base_is_left_to_text(finished) -> None:
    recipe, _, made = finished
    if recipe.config.backend.kind == "full":
        pytest.skip("with full fine-tuning every role is a model of its own, whatever its base")
    policy = Weights.of(made["sft"])
    foreign = dataclasses.replace(Weights.of(made["reward"]), identity="another")
    roles = load(backend(LoRA()), policy, foreign, text.load(policy), critic=True)
    assert roles.reward is None
    assert roles.value is not None and not roles.value.head.weight.detach().any()


def test_full_takes_any_weights(finished) -> None:
    _, _, made = finished
    weights = Weights.of(made["sft"])
    assert backend(Full()).takes(dataclasses.replace(weights, identity="another"), weights)
