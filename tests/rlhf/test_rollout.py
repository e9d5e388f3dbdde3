"""Responses end at the stop token, whatever engine drew them; what counts as finished, and what is packed."""

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import GenerationConfig

from rlhf import adapters, stepping, text
from rlhf.backends import backend
from rlhf.errors import RecipeError
from rlhf.packing import Packed
from rlhf.roles import Role, standalone
from rlhf.rollout import CachedEngine, Engine, HFEngine, Rollout, Sampling, cut, engine_for, left_pad, pick, sample
from rlhf.stepping import Column, Layer, Replay, States
from rlhf.trunk import Padded, trunk_of
from tests.rlhf.test_backends import KINDS, TINY, weights_of


def test_cut_keeps_the_first_stop_token_and_nothing_after_it() -> None:
    assert cut([5, 9, 9, 7], stop_ids=[9, 8]) == [5, 9]
    assert cut([8, 5], stop_ids=[9, 8]) == [8]
    assert cut([5, 6, 7], stop_ids=[9]) == [5, 6, 7]


def test_left_pad() -> None:
    ids, mask = left_pad([[1, 2, 3], [4]], pad_id=0, device=torch.device("cpu"))
    assert ids.tolist() == [[1, 2, 3], [0, 0, 4]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_packed_rows_and_mask_by_hand() -> None:
    rollout = Rollout([[1, 2, 3], [4]], [[5, 6], [7, 8, 9]], torch.tensor([True, False]))
    assert rollout.mask_BR.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert rollout.lengths == [5, 4]
    batch = rollout.packed([1, 0])
    assert batch.ids_N.tolist() == [4, 7, 8, 9, 1, 2, 3, 5, 6]
    assert batch.target_M.tolist() == [7, 8, 9, 5, 6]


@pytest.fixture(scope="module")
def policy():
    weights = weights_of(TINY)
    chat = text.load(weights)
    return standalone(backend(KINDS["full"]), weights, chat), chat


PROMPTS = ["My kettle arrived broken.", "Where is my lamp? I ordered it three weeks ago.", "Hi"]


def asked(chat) -> list[list[int]]:
    return [chat.prompt_ids([{"role": "user", "content": words}]) for words in PROMPTS]


@pytest.mark.parametrize("kind", ["full", "lora", "qlora"])
def test_engines_agree_on_the_likeliest_tokens(kind: str) -> None:
    weights = weights_of(TINY)
    chat = text.load(weights)
    how = backend(KINDS[kind])
    model = how.load(weights, chat)
    if kind != "full":
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data.normal_(std=0.02)
    role = Role(model.eval(), trunk_of(model, torch.float32), adapters.trained(model))
    ours, theirs = (sample(role, asked(chat), chat, Sampling(24, 0.0), engine) for engine in (None, HFEngine()))
    assert ours.responses == theirs.responses and ours.finished_B.equal(theirs.finished_B)


def test_rows_that_stop_leave_the_batch_and_disturb_no_other(policy) -> None:
    role, chat = policy
    prompts = asked(chat)
    together = sample(role, prompts, chat, Sampling(48, 0.0))
    assert len({len(row) for row in together.responses}) > 1, "rows must stop at different steps for this to say much"
    for prompt, response in zip(prompts, together.responses, strict=True):
        assert sample(role, [prompt], chat, Sampling(48, 0.0)).responses == [response]


@pytest.mark.parametrize("depth", [0, 2])
def test_what_has_stopped_stays_stopped(policy, monkeypatch: pytest.MonkeyPatch, depth: int) -> None:
    """Rows that stop one at a time, as most do: few steps are wasted on them, and none once all have stopped."""
    role, chat = policy
    steps: list[int] = []
    layer_step = Layer.step
    monkeypatch.setattr(Layer, "step", lambda self, x, *rest: (steps.append(len(x)), layer_step(self, x, *rest))[1])
    torch.manual_seed(0)
    likely = dataclasses.replace(chat, stop_ids=tuple(range(chat.stop_ids[0] + 1, 400)))  # a third of all tokens stop
    rollout = sample(role, asked(chat) * 20, likely, Sampling(200), depth=depth)
    assert bool(rollout.finished_B.all())
    lengths = [len(row) for row in rollout.responses]
    assert len(steps) == len(role.trunk.layers) * (max(lengths) - 1)
    needed = len(role.trunk.layers) * sum(length - 1 for length in lengths)
    assert sum(steps) < 1.6 * needed
    if depth:
        assert rollout.lower is not None
        for prompt, response, lower in zip(rollout.prompts, rollout.responses, rollout.lower, strict=True):
            whole = role.trunk.lower(Packed.of([prompt + response], [len(prompt)], role.device), role.adapter, depth)
            torch.testing.assert_close(lower[:-1], whole.lower_ND[:-1], rtol=1e-4, atol=1e-4)


def test_logprobs_and_values_on_the_way_are_those_of_a_pass_of_their_own(policy) -> None:
    role, chat = policy
    critic = torch.nn.Linear(192, 1)
    torch.manual_seed(0)
    rollout = sample(role, asked(chat) * 4, chat, Sampling(24, 0.7), critic=critic)
    assert rollout.logprob_M is not None and rollout.value_M is not None
    batch = rollout.packed()
    torch.testing.assert_close(rollout.logprob_M, role.logprobs(batch, 0.7), rtol=0, atol=1e-4)
    with torch.no_grad():
        states = role.hidden(batch, batch.predicts_M)
        torch.testing.assert_close(rollout.value_M, critic(states)[:, 0], rtol=0, atol=1e-4)


def test_sampling_follows_the_distribution(policy) -> None:
    """First tokens of many draws against their probabilities, by a chi-square of the ten likeliest."""
    role, chat = policy
    prompt = asked(chat)[0]
    torch.manual_seed(0)
    draws = 2000
    first = [row[0] for row in sample(role, [prompt] * draws, chat, Sampling(1, 1.3)).responses]
    batch = Packed.of([prompt], [len(prompt)], torch.device("cpu"))
    with torch.no_grad():
        logits = role.model.get_output_embeddings()(role.hidden(batch, batch.last_B))[0] / 1.3
    probability = logits.softmax(-1)
    expected = {token: draws * float(probability[token]) for token in probability.topk(10).indices.tolist()}
    chi = sum((first.count(token) - count) ** 2 / count for token, count in expected.items())
    assert chi < 29.6  # the 0.1 % point at 10 degrees of freedom


def test_a_column_is_picked_in_proportion_to_its_weight() -> None:
    """Within five standard errors; a weight of nothing is never picked, at either end of a row."""
    draws, weights = 20_000, torch.tensor([0.0, 1.0, 0.0, 6.0, 3.0, 0.0])
    torch.manual_seed(0)
    counts = torch.bincount(pick(weights.repeat(draws, 1)), minlength=len(weights))
    share = weights / weights.sum()
    assert bool(((counts / draws - share).abs() <= 5 * (share * (1 - share) / draws).sqrt()).all())


@pytest.mark.parametrize("kind", ["lora", "qlora"])
def test_in_bf16_a_small_adapter_counts_in_full(kind: str) -> None:
    """What an adapter adds to log-probabilities in float32 it adds in bf16 too, in generation as in a training pass.

    One token is off by as much as such an adapter does, so it is the mean over many, a regression's slope, that tells;
    how far one is off depends on the CPU.
    """
    weights = weights_of(TINY)
    chat = text.load(weights)

    def role_in(precision: str) -> Role:
        how = backend(KINDS[kind], precision)
        model = how.load(weights, chat).eval()
        torch.manual_seed(0)
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.data.normal_(std=0.05 if "lora_A" in name else 0.01)
        return Role(model, trunk_of(model, how.dtype), adapters.trained(model))

    def read(role: Role) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return role.logprobs(batch, 1.0), dataclasses.replace(role, adapter=()).logprobs(batch, 1.0)

    role = role_in("bf16")
    rollout = sample(role, asked(chat) * 8, chat, Sampling(24))
    batch = rollout.packed()
    whole, bare = read(role_in("fp32"))
    added_M = whole - bare
    trained, bare = read(role)
    assert rollout.logprob_M is not None
    for found in (rollout.logprob_M, trained):
        slope = float(added_M @ (found - bare) / (added_M @ added_M))
        assert 0.75 < slope < 1.25


@pytest.mark.parametrize("engine", [HFEngine(), CachedEngine()])
def test_nothing_follows_a_stop_token(policy, engine: Engine) -> None:
    role, chat = policy
    rollout = sample(role, asked(chat), chat, Sampling(48), engine)
    for response, finished in zip(rollout.responses, rollout.finished_B.tolist(), strict=True):
        assert finished == (response[-1] in chat.stop_ids)
        assert not set(response[:-1]) & set(chat.stop_ids)


def test_transformers_draws_from_the_distribution_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its own defaults (top 50) nor what a model brings along bend the samples: they would be off-policy."""
    shutil.copytree(TINY, tmp_path / "base")
    (tmp_path / "base" / "generation_config.json").write_text('{"repetition_penalty": 5.0, "top_k": 3, "min_p": 0.5}')
    weights = weights_of(tmp_path / "base")
    chat = dataclasses.replace(text.load(weights), stop_ids=(3, 7))
    role = standalone(backend(KINDS["full"]), weights, chat)
    made: list[GenerationConfig] = []
    prepare = role.model._prepare_generation_config
    monkeypatch.setattr(
        role.model, "_prepare_generation_config", lambda *a, **k: (out := prepare(*a, **k), made.append(out[0]))[0]
    )
    sample(role, asked(chat), chat, Sampling(2, 1.3), HFEngine())
    (used,) = made
    assert used.do_sample and used.temperature == 1.3 and used.eos_token_id == [3, 7]
    assert (used.top_k, used.top_p, used.num_beams) == (0, 1.0, 1)
    assert (used.repetition_penalty or 1.0) == 1.0 and not used.min_p and not used.no_repeat_ngram_size


def test_every_role_has_an_engine(policy) -> None:
    role, _ = policy
    unknown = dataclasses.replace(role, trunk=Padded(role.model, torch.float32))
    assert isinstance(engine_for(role), CachedEngine) and isinstance(engine_for(role, "hf"), HFEngine)
    assert isinstance(engine_for(unknown), HFEngine)
    with pytest.raises(RecipeError, match="use 'hf'"):
        engine_for(unknown, "cached")


class Walked(Replay):
    """A recorded step where there is no accelerator to record it: walked again each time, as a graph would be."""

    def __init__(self, step, token_B, position_B, seen: int) -> None:
        self.step, self.seen = step, seen

    def __call__(self, token_B: torch.Tensor, position_B: torch.Tensor, column: int) -> States:
        return self.step(token_B, position_B, Column(torch.tensor([column]), self.seen))


def test_a_recorded_step_draws_the_same(policy, monkeypatch: pytest.MonkeyPatch) -> None:
    role, chat = policy
    prompts, critic = asked(chat) * 3, torch.nn.Linear(role.model.config.hidden_size, 1)

    def drawn() -> Rollout:
        return sample(role, prompts, chat, Sampling(40, 0.0), CachedEngine(), critic, depth=1)

    stepped, recorded = drawn(), list[int]()
    monkeypatch.setattr(stepping, "replays", lambda device: True)
    monkeypatch.setattr(stepping, "Replay", lambda *args: recorded.append(args[-1]) or Walked(*args))
    monkeypatch.setattr(stepping, "_WORTH", 2)
    monkeypatch.setattr(stepping, "_REPLAYED", 8)
    replayed = drawn()
    assert len(recorded) > 2  # as rows leave, and as columns are used up
    assert replayed.responses == stepped.responses
    torch.testing.assert_close(replayed.logprob_M, stepped.logprob_M, rtol=0, atol=1e-5)
    torch.testing.assert_close(replayed.value_M, stepped.value_M, rtol=0, atol=1e-5)
    for one, other in zip(replayed.lower or [], stepped.lower or [], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


def test_prompts_that_are_asked_more_than_once_are_read_once(policy, monkeypatch: pytest.MonkeyPatch) -> None:
    role, chat = policy
    read: list[int] = []
    layer_read = Layer.read
    monkeypatch.setattr(
        Layer, "read", lambda self, x, *rest, **last: (read.append(len(x)), layer_read(self, x, *rest, **last))[1]
    )
    one, other = asked(chat)[:2]
    rollout = sample(role, [one, one, other, one], chat, Sampling(24, 0.0))
    assert set(read) == {len(one) + len(other)}
    assert rollout.responses[0] == rollout.responses[1] == rollout.responses[3] != rollout.responses[2]
    assert rollout.responses == [sample(role, [p], chat, Sampling(24, 0.0)).responses[0] for p in rollout.prompts]


@pytest.mark.parametrize("engine", [HFEngine(), CachedEngine()])
def test_drawing_a_few_at_a_time_draws_the_same(policy, engine: Engine) -> None:
    role, chat = policy
    prompts = asked(chat) * 2
    critic = torch.nn.Linear(role.model.config.hidden_size, 1)
    whole, parts = (sample(role, prompts, chat, Sampling(16, 0.0, size), engine, critic, depth=1) for size in (None, 3))
    assert parts.responses == whole.responses and parts.prompts == whole.prompts
    assert torch.equal(parts.finished_B, whole.finished_B)
    if isinstance(engine, HFEngine):
        assert parts.logprob_M is None and parts.lower is None
        return
    torch.testing.assert_close(parts.logprob_M, whole.logprob_M, rtol=0, atol=1e-4)
    torch.testing.assert_close(parts.value_M, whole.value_M, rtol=0, atol=1e-4)
    for one, other in zip(parts.lower or [], whole.lower or [], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)
