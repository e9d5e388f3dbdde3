"""What an evaluation comes to, in words."""

import re
from typing import Any

import pytest

from rlhf.measures.headline import headline, warnings


def won(name: str, rate: float, low: float, high: float) -> dict[str, float]:
    return {name: rate, f"{name}_low": low, f"{name}_high": high, f"{name}_ties": 0.1}


BETTER = {
    "prompts": 200,
    "kl": 6.54,
    **won("gold_win_rate", 0.788, 0.732, 0.844),
    **won("reward_win_rate", 0.9, 0.85, 0.95),
    **won("gold_win_rate_over_prompted", 0.55, 0.48, 0.62),
}


def test_how_much_better_how_sure_and_how_far() -> None:
    assert headline(BETTER, "ppo", "sft", "tiny") == [
        "is ppo better than sft, 6.5 nats away? (200 held-out prompts)",
        "  the rule: yes, wins 78.8% (95 %: 73.2% to 84.4%; 10% ties)",
        "  the training reward: yes, wins 90.0% (95 %: 85.0% to 95.0%; 10% ties)",
        "is ppo better than tiny with a prompt? (200 held-out prompts)",
        "  the rule: not clear, wins 55.0% (95 %: 48.0% to 62.0%; 10% ties)",
    ]
    assert "no, worse" in headline({"prompts": 9, **won("llm_win_rate", 0.2, 0.1, 0.3)}, "a", "b", "")[1]
    assert headline({"reward_accuracy": 0.8}, "", "", "") == []


FINE: dict[str, Any] = {
    **won("gold_win_rate", 0.7, 0.6, 0.8),
    **won("reward_win_rate", 0.7, 0.6, 0.8),
    **won("gold_win_rate_over_prompted", 0.7, 0.6, 0.8),
    "length_drift": 0.1,
    "policy_distinct_2": 0.5,
    "baseline_distinct_2": 0.6,
    "policy_copied": 0.12,
    "baseline_copied": 0.1,
    "policy_finished": 0.95,
    "policy_over_refusal": 0.1,
    "policy_over_refusal_stderr": 0.03,
    "baseline_over_refusal": 0.08,
    "baseline_over_refusal_stderr": 0.03,
    "forgetting/general_text": 0.04,
    "forgetting/general_text_stderr": 0.01,
    **{f"{model}_{split}loss_stderr": 0.01 for model in ("policy", "baseline") for split in ("", "train_")},
    "policy_loss": 1.0,
    "baseline_loss": 1.2,
    "policy_train_loss": 0.9,
    "baseline_train_loss": 1.2,
    "llm_flips": 0.1,
    "llm_unread": 0.0,
}


def test_nothing_is_said_of_what_is_fine() -> None:
    assert warnings(FINE) == warnings({}) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (won("gold_win_rate_over_prompted", 0.5, 0.4, 0.6), "prompting may be enough"),
        (won("gold_win_rate", 0.5, 0.4, 0.6), "that reward may have been gamed"),
        ({"length_drift": -0.4}, "answers are 40% shorter than before"),
        ({"policy_distinct_2": 0.3}, "more alike"),
        ({"policy_copied": 0.2}, "20% of the answers repeat training data"),
        ({"policy_finished": 0.5}, "50% of the answers do not end"),
        ({"policy_over_refusal": 0.3}, "refuses safe prompts more often than before: 30.0%, was 8.0%"),
        ({"forgetting/general_text": 0.2}, "loss on held-out general text rose by 0.200"),
        ({"policy_loss": 1.3}, r"it over-fits: .*\(1.200 to 1.300\) and fell .*\(1.200 to 0.900\)"),
        ({"llm_flips": 0.5}, "turns with the order of the answers in 50% of pairs"),
        ({"llm_unread": 0.2}, "20% of the LLM's verdicts cannot be read"),
    ],
)
def test_what_may_be_wrong_is_said(change: dict[str, float], words: str) -> None:
    (said,) = warnings({**FINE, **change})
    assert re.search(words, said)
