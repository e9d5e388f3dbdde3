"""What an evaluation comes to, in words."""

import pytest

from rlhf.measures.headline import headline, outcome


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


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.51, 0.6, "better"), (0.5, 0.6, "unclear"), (0.4, 0.5, "unclear"), (0.4, 0.49, "worse"), (0.4, 0.6, "unclear")],
)
def test_an_interval_with_one_half_in_it_is_unclear(low: float, high: float, said: str) -> None:
    assert outcome(low, high) == said
