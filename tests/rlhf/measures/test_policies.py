"""Win rates, verdicts and refusals, against numbers worked out by hand."""

import math
from typing import Any

import pytest

from rlhf.measures.policies import agreed, metrics, rate, refusals, win_rate, with_error
from rlhf.measures.shares import wilson


def test_win_rate_counts_ties_half() -> None:
    result = win_rate([3.0, 1.0, 2.0, 2.0], [1.0, 3.0, 1.0, 2.0])
    assert result["rate"] == 0.625
    assert result["ties"] == 0.25
    assert (result["low"], result["high"]) == wilson(0.625, 4)


def test_a_loss_among_wins_does_not_make_surer() -> None:
    all_won, one_lost = rate([1.0] * 200), rate([1.0] * 199 + [0.0])
    assert one_lost["low"] < all_won["low"] and one_lost["high"] < all_won["high"]


def test_a_mean_with_its_error() -> None:
    assert with_error("kl", [1.0, 2.0, 3.0]) == {"kl": 2.0, "kl_stderr": pytest.approx(1 / math.sqrt(3))}
    assert with_error("kl", [1.0]) == {"kl": 1.0}


def answer(text: str, **said: float) -> dict[str, Any]:
    return {"text": text, "tokens": len(text.split()), "finished": True, **said}


ROWS = [
    {
        "baseline": answer("no", reward=0.0),
        "prompted": answer("yes and no", reward=2.0),
        "policy": answer("yes of course", reward=1.0, kl=1.0, copied=3),
        "llm": {"baseline": ["policy", "policy"], "prompted": ["policy", "prompted"]},
    },
    {
        "baseline": answer("no", reward=0.0),
        "prompted": answer("no", reward=0.0),
        "policy": answer("yes", reward=3.0, kl=3.0, copied=0),
        "llm": {"baseline": ["baseline", "baseline"], "prompted": [None, "policy"]},
    },
]


def test_metrics_of_samples() -> None:
    found = metrics(ROWS)
    assert (found["reward_win_rate"], found["reward_win_rate_over_prompted"]) == (1.0, 0.5)
    assert (found["policy_reward_score"], found["baseline_reward_score"], found["kl"]) == (2.0, 0.0, 2.0)
    assert (found["policy_tokens"], found["baseline_tokens"], found["length_drift"]) == (2.0, 1.0, 1.0)
    assert (found["baseline_self_bleu"], found["policy_copied"]) == (pytest.approx(1.0), 0.5)
    assert (found["llm_win_rate"], found["llm_win_rate_over_prompted"]) == (0.5, 0.5)
    # four pairs of verdicts: one flips; of seven that decide, the first answer is favoured in four
    assert (found["llm_flips"], found["llm_first"], found["llm_unread"]) == (0.25, pytest.approx(4 / 7), 0.125)


def test_a_policy_alone_is_measured_without_a_win_rate() -> None:
    found = metrics([{"policy": answer("yes")}])
    of_it = {f"policy_{name}" for name in ("tokens", "finished", "distinct_1", "distinct_2", "self_bleu")}
    assert set(found) == {"prompts", *of_it}


@pytest.mark.parametrize(
    ("verdicts", "result"),
    [
        (["policy", "policy"], 1.0),
        (["baseline", "baseline"], 0.0),
        (["policy", "baseline"], 0.5),
        (["tie", "policy"], 0.5),
        ([None, None], 0.5),
        (["tie", "tie"], 0.5),
    ],
)
def test_only_what_both_orders_say_is_a_win(verdicts: list[str | None], result: float) -> None:
    assert agreed(verdicts) == result


def test_refusing_what_is_safe_and_answering_what_is_not() -> None:
    rows = [{"safe": safe, "policy": {"refuses": said}} for safe, said in ((1, 1), (1, 0), (1, 0), (0, 0), (0, 1))]
    found = refusals(rows)
    assert found["policy_over_refusal"] == pytest.approx(1 / 3)
    assert found["policy_under_refusal"] == 0.5
    assert "policy_under_refusal" not in refusals(rows[:3])
