"""The wiring of the loop on ragged rows, with a model of bigrams: every number against a plain float64 computation."""

import dataclasses
import math
from collections.abc import Sequence
from statistics import fmean, stdev, variance
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from rlhf.data.chat import ChatFormat
from rlhf.data.records import Prompt
from rlhf.errors import GuardError
from rlhf.packing import Packed
from rlhf.parts import Adapter
from rlhf.rewards import RoleReward, WeightedSum
from rlhf.roles import Role, Roles
from rlhf.rollout import Drawn, Request, Rollout
from stages.ppo.batch import Batch
from stages.ppo.config import PPOConfig
from stages.ppo.loop import Loop

STOP, VOCABULARY, SIZE = 2, 11, 6
PROMPTS = [[3, 4], [5], [6, 7, 8], [4, 4]]
RESPONSES = [[5, 6, STOP], [7, 8], [4, 5, 6, 7, STOP], [9]]
FINISHED = [True, False, True, False]
SCORES = [1.5, 0.2, -0.7, 3.0]
UNFINISHED = -1.0
Rows = list[list[float]]


class Bigram(nn.Module):
    """Logits of the next token by the last one alone."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.table = nn.Parameter(torch.randn(VOCABULARY, SIZE, generator=generator))
        self.out = nn.Linear(SIZE, VOCABULARY, bias=False)
        self.out.weight.data = 0.5 * torch.randn(VOCABULARY, SIZE, generator=generator)
        self.config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(model_type="bigram"))

    def get_output_embeddings(self) -> nn.Linear:
        return self.out


class Lookup:
    """Its trunk."""

    dtype = torch.float32

    def __init__(self, model: Bigram) -> None:
        self.model = model

    def hidden(
        self, batch: Packed, adapter: Adapter | None, rows: Tensor | None = None, checkpointing: bool = False
    ) -> Tensor:
        return self.model.table[batch.ids_N if rows is None else batch.ids_N[rows]]


class Said:
    """An engine that always says the same, and how likely that was when it is told to."""

    def __init__(self, logprob_M: Tensor | None = None) -> None:
        self.logprob_M = logprob_M

    def generate(self, role: Role, request: Request) -> Drawn:
        rows = zip(RESPONSES, FINISHED, strict=True)
        return Drawn([[*response, 10] if finished else response for response, finished in rows], self.logprob_M)


class Table:
    """A reward read off a table."""

    def score(self, prompts: Any, rollout: Rollout) -> Tensor:
        return torch.tensor(SCORES)


class Kept:
    """A tracker that remembers."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.screen = SimpleNamespace(say=lambda words: None)

    def log(self, metrics: dict[str, Any], step: int, of: int = 0) -> None:
        self.lines.append(metrics)


def loop_of(
    same_reference: bool = False, on_another: bool = False, train: dict[str, Any] | None = None, **rl: Any
) -> Loop:
    """A loop whose policy is not its reference, unless it should be, and whose critic is a head on the policy's states,
    or on those of another model, which does not train."""
    raw = {
        "name": "ppo",
        "model": "bench",
        "rewards": {"rule": {"url": "http://localhost"}},
        "data": {"path": "none.jsonl"},
        "rollout": {"batch_size": len(PROMPTS), "max_new_tokens": 5},
        "rl": {"kl_coef": 0.1, "epochs": 1, **({} if "estimator" in rl else {"value_coef": 0.3}), **rl},
        "train": {"episodes": 2 * len(PROMPTS), "lr": 1e-2, "max_grad_norm": 1e9, **(train or {})},
    }
    config = PPOConfig.model_validate(raw)
    policy, reference = Bigram(0), Bigram(0 if same_reference else 1)
    roles = Roles(Role(policy, Lookup(policy)), Role(reference, Lookup(reference)), {}, None)
    if config.rl.estimator == "gae":
        head = nn.Linear(SIZE, 1)
        head.weight.data = torch.linspace(-0.5, 0.6, SIZE)[None]
        nn.init.constant_(head.bias, 0.1)
        judge = Bigram(2)
        body = Role(judge, Lookup(judge), head=nn.Linear(SIZE, 1)) if on_another else roles.policy
        roles.rewards |= {"judge": body} if on_another else {}
        roles.value = dataclasses.replace(body, head=head, owns_body=False)
    roles.freeze()
    chat = ChatFormat(None, "", (STOP,), 1)  # type: ignore[arg-type]
    judges = {name: (RoleReward(role, 3, STOP), 0.0) for name, role in roles.rewards.items()}
    reward = WeightedSum({"table": (Table(), 1.0), **judges}, UNFINISHED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stages.ppo.loop.engine_for", lambda role, name: Said())
        return Loop(config, roles, reward, chat, Accelerator(cpu=True))


RECORDS = [Prompt([], where=f"prompts.jsonl:{row + 1}") for row in range(len(PROMPTS))]


def scored(loop: Loop) -> Batch:
    return loop.score(loop.rollout(PROMPTS), RECORDS, first=False)


# ------------------------------------------------------------------------------------------------ plainly


BEFORE = [[prompt[-1], *response[:-1]] for prompt, response in zip(PROMPTS, RESPONSES, strict=True)]
"""The token before each response token."""


def distributions(model: Any) -> list[Tensor]:
    """Of each response, log-probabilities of all tokens at each place, float64."""
    table, out = model.table.double(), model.out.weight.double()
    return [(table[before] @ out.t()).log_softmax(-1) for before in BEFORE]


def logprobs(model: Any) -> list[Tensor]:
    """Of each response, its tokens' log-probabilities."""
    pairs = zip(distributions(model), RESPONSES, strict=True)
    return [log_p[range(len(response)), response] for log_p, response in pairs]


def entropies(model: Any) -> list[Tensor]:
    return [-(log_p.exp() * log_p).sum(-1) for log_p in distributions(model)]


def values(loop: Loop) -> list[Tensor]:
    value = loop.roles.value
    assert value is not None and value.head is not None
    table, head = value.model.table.double(), value.head
    return [table[before] @ head.weight.double()[0] + head.bias.double() for before in BEFORE]


def floats(rows: list[Tensor]) -> Rows:
    return [row.detach().tolist() for row in rows]


def table_rows(table_BR: Tensor) -> Rows:
    """A table's response tokens; past them it must be zero."""
    for row, response in zip(table_BR, RESPONSES, strict=True):
        assert not row[len(response) :].any()
    return [row[: len(response)].tolist() for row, response in zip(table_BR, RESPONSES, strict=True)]


def flat(rows: Rows) -> list[float]:
    return [x for row in rows for x in row]


def whitened(rows: Rows, keep_mean: bool = False) -> Rows:
    mean, deviation = fmean(flat(rows)), stdev(flat(rows))
    return [[(x - mean) / deviation + keep_mean * mean for x in row] for row in rows]


def expected_rewards(loop: Loop, kl_coef: float) -> tuple[Rows, Rows]:
    """Reward of each token, and its KL (k1): scores stand at the last token, unfinished answers get their own."""
    policy, reference = floats(logprobs(loop.roles.policy.model)), floats(logprobs(loop.roles.reference.model))
    kl = [[p - q for p, q in zip(*pair, strict=True)] for pair in zip(policy, reference, strict=True)]
    reward = [[-kl_coef * k for k in row] for row in kl]
    for row, score, finished in zip(reward, SCORES, FINISHED, strict=True):
        row[-1] += score if finished else UNFINISHED
    return reward, kl


def togo(rows: Rows) -> Rows:
    return [[sum(row[t:]) for t in range(len(row))] for row in rows]


def like(rows: Rows) -> Any:
    return [pytest.approx(row, rel=1e-4, abs=1e-5) for row in rows]


# ------------------------------------------------------------------------------------------------ 2. and 3.


@pytest.mark.parametrize("rl", [{}, {"kl_in": "loss"}, {"whiten_rewards": True}], ids=str)
def test_advantages_of_a_critic_and_every_metric(rl: dict[str, Any]) -> None:
    loop = loop_of(**rl)
    batch = scored(loop)
    metrics = loop.advantages(batch)
    reward, kl = expected_rewards(loop, 0.0 if "kl_in" in rl else 0.1)
    reward = whitened(reward, keep_mean=True) if "whiten_rewards" in rl else reward
    value, returns = floats(values(loop)), togo(reward)  # lambda 1: the advantage is the return less the value
    plain = [[g - v for g, v in zip(*pair, strict=True)] for pair in zip(returns, value, strict=True)]
    assert min(flat(kl)) < 0 < max(flat(kl))
    assert table_rows(batch.value_BR) == like(value)
    assert table_rows(batch.return_BR) == like(returns)
    assert table_rows(batch.advantage_BR) == like(whitened(plain))
    scores = [score if finished else UNFINISHED for score, finished in zip(SCORES, FINISHED, strict=True)]
    wanted = {
        "score": fmean(scores),
        "score_std": math.sqrt(fmean((score - fmean(scores)) ** 2 for score in scores)),
        "kl": fmean(map(sum, kl)),
        "kl_per_token": fmean(flat(kl)),
        "kl_coef": 0.1,
        "entropy": -fmean(flat(floats(logprobs(loop.roles.policy.model)))),
        "reward": fmean(map(sum, reward)),
        "response_length": fmean(map(len, RESPONSES)),
        "finished": 0.5,
        "explained_variance": 1 - variance(flat(plain)) / variance(flat(returns)),
    }
    assert metrics == pytest.approx(wanted, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("estimator", ["rloo", "grpo", "reinforce++"])
def test_advantages_without_a_critic(estimator: str) -> None:
    loop = loop_of(estimator=estimator, group=2)
    batch = scored(loop)
    loop.advantages(batch)
    reward, _ = expected_rewards(loop, 0.0 if estimator == "grpo" else 0.1)
    total = list(map(sum, reward))
    if estimator == "reinforce++":
        wanted = whitened(togo(reward))
    else:
        other = [total[row ^ 1] for row in range(len(total))]
        if estimator == "rloo":
            each = [mine - theirs for mine, theirs in zip(total, other, strict=True)]
        else:
            pairs = zip(total, other, strict=True)
            each = [(mine - (mine + theirs) / 2) / (stdev((mine, theirs)) + 1e-4) for mine, theirs in pairs]
        wanted = [[one] * len(response) for one, response in zip(each, RESPONSES, strict=True)]
    assert table_rows(batch.advantage_BR) == like(wanted)


def test_tables_and_packed_rows_name_the_same_tokens() -> None:
    batch = scored(loop_of())
    where = batch.places([2, 0])
    assert [one.tolist() for one in where] == [[2, 2, 2, 2, 2, 0, 0, 0], [0, 1, 2, 3, 4, 0, 1, 2]]
    assert torch.equal(batch.logprob_BR[where], batch.logprob_BR[[2, 0]][batch.mask_BR[[2, 0]].bool()])
    assert batch.packed([2, 0]).target_M.tolist() == RESPONSES[2] + RESPONSES[0]


# ------------------------------------------------------------------------------------------------ 4.


def plain_loss(loop: Loop, batch: Batch) -> tuple[Tensor, Tensor]:
    """Policy's and critic's losses, means over all tokens of the batch, from the formulas of the papers."""
    rl = loop.config.rl
    tables = (batch.logprob_BR, batch.ref_logprob_BR, batch.advantage_BR, batch.value_BR, batch.return_BR)
    rows = zip(*(map(torch.tensor, table_rows(table)) for table in tables), strict=True)
    policy_loss, critic_loss = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    value = values(loop) if loop.roles.value is not None else logprobs(loop.roles.policy.model)
    model = loop.roles.policy.model
    for new, entropy, v, (old, ref, advantage, old_v, returns) in zip(
        logprobs(model), entropies(model), value, rows, strict=True
    ):
        ratio = (new - old.double()).exp()
        policy_loss -= torch.min(ratio * advantage, ratio.clamp(1 - rl.clip, 1 + rl.clip) * advantage).sum()
        policy_loss -= rl.entropy_coef * entropy.sum()
        if rl.kl_in_loss:
            gap = ref.double() - new
            policy_loss += rl.kl_coef * (gap.exp() - 1 - gap).sum()
        error = (v - returns.double()).square()
        if rl.value_clip is not None:
            near = old_v.double() + (v - old_v.double()).clamp(-rl.value_clip, rl.value_clip)
            error = torch.max(error, (near - returns.double()).square())
        critic_loss += 0.5 * error.sum()
    tokens = sum(map(len, RESPONSES))
    return policy_loss / tokens, critic_loss / tokens


def gradients(loop: Loop) -> list[Tensor]:
    """As the optimizer is about to see them."""
    return [parameter.grad.clone() for parameter in loop.trained if parameter.grad is not None]


def norm_of(tensors: Sequence[Tensor]) -> float:
    return math.sqrt(sum(float(one.double().square().sum()) for one in tensors))


@pytest.mark.parametrize("micro", [1, 3, 4])
@pytest.mark.parametrize(
    "rl",
    [
        {},
        {"on_another": True},
        {"kl_in": "loss"},
        {"value_clip": None, "entropy_coef": 0.05},
        {"estimator": "grpo", "group": 2},
        {"estimator": "rloo", "group": 2, "clip": 0.05},
    ],
    ids=str,
)
def test_a_step_is_the_gradient_of_a_mean_over_tokens(rl: dict[str, Any], micro: int) -> None:
    """Of ragged rows, in micro-batches, with a policy and a critic that have moved since they were read."""
    loop = loop_of(train={"micro_batch_size": micro}, **rl)
    batch = scored(loop)
    loop.advantages(batch)
    with torch.no_grad():  # far enough for both clips to bind at some tokens and not at others
        for parameter in loop.trained:
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    policy_loss, critic_loss = plain_loss(loop, batch)
    with_critic = loop.roles.value is not None
    total = policy_loss + loop.config.rl.value_coef * critic_loss if with_critic else policy_loss
    wanted = torch.autograd.grad(total, loop.trained)
    found: list[Tensor] = []
    loop.optimizer.register_step_pre_hook(lambda *_: found.extend(gradients(loop)))
    metrics = loop.step(batch, [3, 1, 0, 2])
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert metrics["grad_norm"] == pytest.approx(norm_of(wanted), rel=1e-4)
    assert 0 < metrics["clipped"] < 1
    if with_critic:
        assert metrics["value_loss"] == pytest.approx(critic_loss.item(), rel=1e-4)
    if loop.config.rl.value_clip is not None and with_critic:
        assert 0 < metrics["value_clipped"] < 1


def test_the_norm_of_the_whole_step_is_clipped_once() -> None:
    loop = loop_of(train={"micro_batch_size": 1, "max_grad_norm": 0.01})
    batch = scored(loop)
    loop.advantages(batch)
    seen: list[float] = []
    loop.optimizer.register_step_pre_hook(lambda *_: seen.append(norm_of(gradients(loop))))
    metrics = loop.step(batch, range(4))
    assert seen == [pytest.approx(0.01, rel=1e-3)] and metrics["grad_norm"] > 0.1


def test_adam_and_its_rate_are_those_of_the_papers() -> None:
    """Huang et al. 2022: eps 1e-5, annealed in a straight line to nothing; a fresh critic at 1e-3 at least."""
    loop = loop_of(train={"episodes": 16, "warmup": 0, "lr": 1e-4}, epochs=2)
    assert loop.optimizer.defaults["eps"] == 1e-5
    rates: list[list[float]] = []
    for _ in range(9):
        rates.append([group["lr"] for group in loop.optimizer.param_groups])
        loop.optimizer.step()
        loop.schedule.step()
    for step, (policy, critic) in enumerate(rates):
        assert (policy, critic) == pytest.approx((1e-4 * (1 - step / 8), 1e-3 * (1 - step / 8)))


# ------------------------------------------------------------------------------------------------ the loop


def test_the_kl_controller_hears_of_every_rollout(tmp_path: Any) -> None:
    train = {"episodes": 16, "log_every": 1}
    loop, kept = loop_of(same_reference=True, kl_target=1e-3, kl_horizon=100, train=train), Kept()
    loop.train(RECORDS, PROMPTS, kept, tmp_path)  # type: ignore[arg-type]
    coef = 0.1
    assert len(kept.lines) == 4
    for line in kept.lines:
        assert line["kl_coef"] == pytest.approx(coef)
        coef *= 1 + max(-0.2, min(0.2, line["kl"] / 1e-3 - 1)) * 4 / 100
    assert loop.kl.coef == pytest.approx(coef)


def test_probabilities_that_no_token_was_drawn_with_stop_the_run() -> None:
    loop = loop_of(same_reference=True)
    right = torch.cat(logprobs(loop.roles.policy.model)).detach().float()
    near = right + 1e-4 * torch.linspace(-1, 1, len(right))
    loop.engine = Said(near)
    batch = loop.score(loop.rollout(PROMPTS), RECORDS, first=True)
    assert torch.equal(batch.logprob_BR[batch.mask_BR.bool()], near)  # ratios are to what the tokens were drawn with
    loop.engine = Said(right + torch.eye(len(right))[4] * 0.01)
    with pytest.raises(GuardError, match=r"generation and training differ by 0\.01 nats"):
        loop.score(loop.rollout(PROMPTS), RECORDS, first=True)


def test_values_that_an_engine_does_not_know_are_read_in_every_rollout() -> None:
    loop = loop_of()
    loop.engine = Said(torch.cat(logprobs(loop.roles.policy.model)).detach().float())
    batch = scored(loop)
    torch.testing.assert_close(
        batch.value_BR[batch.mask_BR.bool()].double(), torch.cat(values(loop)), rtol=0, atol=1e-6
    )


def test_a_policy_that_is_not_the_one_that_drew_stops_the_run() -> None:
    loop = loop_of(same_reference=True)
    batch = scored(loop)
    loop.advantages(batch)
    with torch.no_grad():
        loop.roles.policy.model.table.add_(0.1 * torch.randn_like(loop.roles.policy.model.table))
    with pytest.raises(GuardError, match="before the first step the policy is"):
        loop.update(batch, first=True)


def test_the_rollout_after_which_a_watched_run_stops_is_on_record(tmp_path: Any) -> None:
    loop, kept = loop_of(same_reference=True, train={"log_every": 10, "episodes": 24, "checkpoint_every": 0}), Kept()
    loop.watch = SimpleNamespace(parted=True)  # type: ignore[assignment]
    loop.look = lambda *_: None  # type: ignore[method-assign]
    loop.end_watch = lambda watch, metrics, *_: dict(metrics)  # type: ignore[method-assign]
    loop.done, loop.first_score = 1, 0.0
    loop.train(RECORDS, PROMPTS, kept, tmp_path)  # type: ignore[arg-type]
    assert loop.done == 2 and [line["episodes"] for line in kept.lines] == [8]
