"""Over-fitting and forgetting, from rows worked out by hand."""

import math

import pytest

from rlhf.measures.losses import difference, forgotten, loss, metrics


def rows(data: str, model: str, losses: list[float], split: str = "held_out", tokens: int = 2) -> list[dict]:
    """Examples of so many tokens each."""
    named = {"data": data, "split": split, "model": model, "tokens": tokens}
    return [{**named, "where": f"f:{i}", "loss": value} for i, value in enumerate(losses)]


def test_long_examples_count_for_more() -> None:
    some = rows("d", "m", [1.0]) + rows("d", "m", [4.0], tokens=4)
    found = loss(some)
    assert (found.nats, found.tokens) == (pytest.approx((2 + 16) / 6), 6)
    assert found.error == pytest.approx(math.sqrt(((2 - 6) ** 2 + (16 - 12) ** 2) * 2 / 1) / 6)
    assert found.perplexity == pytest.approx(math.exp(3))


def test_equal_tokens_have_the_usual_standard_error() -> None:
    assert loss(rows("d", "m", [1.0, 2.0, 3.0])).error == pytest.approx(1 / math.sqrt(3))
    assert loss(rows("d", "m", [1.0])).error == math.inf


def test_a_difference_is_of_the_same_examples() -> None:
    after, before = rows("d", "b", [2.0, 4.0]), rows("d", "a", [1.0, 3.0])
    lost = difference(after, before)
    assert lost is not None and (lost.nats, lost.error) == (1.0, 0.0)  # each example alike
    assert difference(after, rows("d", "a", [1.0, 3.0], tokens=3)) is None


def test_what_a_stage_learned_is_forgotten_since_that_stage() -> None:
    chain = [("base", 5.0), ("sft", 2.0), ("ppo", 2.5)]
    found = [one for model, nats in chain for one in rows("sft", model, [nats, nats])]
    found += [one for model, nats in chain for one in rows("general_text", model, [nats, nats])]
    assert {data: lost.nats for data, lost in forgotten(found).items()} == {"sft": 0.5, "general_text": -2.5}
    named = metrics(found)
    assert (named["forgetting/sft"], named["loss/sft/base"], named["forgetting/sft_stderr"]) == (0.5, 5.0, 0.0)


def test_a_stages_own_data_is_not_yet_forgotten_by_it() -> None:
    assert forgotten(rows("sft", "base", [5.0]) + rows("sft", "sft", [2.0])) == {}


def test_without_its_own_model_a_stage_has_nothing_to_forget_from() -> None:
    """The base had not yet learned it."""
    found = [one for data in ("sft", "general_text") for one in rows(data, "base", [5.0]) + rows(data, "ppo", [2.5])]
    assert list(forgotten(found)) == ["general_text"]


def test_demonstrations_are_metrics_of_each_model() -> None:
    found = metrics(rows("demonstrations", "policy", [1.0, 1.0]) + rows("demonstrations", "policy", [0.5], "train"))
    assert (found["policy_loss"], found["policy_train_loss"]) == (1.0, 0.5)
    assert found["policy_perplexity"] == pytest.approx(math.e)
    assert "forgetting/demonstrations" not in found
    assert "policy_loss_stderr" in found and "policy_train_loss_stderr" not in found  # of one example there is none
