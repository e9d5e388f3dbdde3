"""What an evaluation comes to, in a few lines and in plain words, from its metrics."""

from collections.abc import Mapping
from typing import Any, Literal

Metrics = Mapping[str, Any]

JUDGES = {
    "gold": "the rule",
    "held_out": "a held-out reward model",
    "llm": "an LLM",
    "reward": "the training reward",
}
"""What each judge of win rates is called; those come first that training did not see."""


Outcome = Literal["better", "worse", "unclear"]
_SAID = {"better": "yes", "worse": "no, worse", "unclear": "not clear"}


def outcome(low: float, high: float) -> Outcome:
    """What an interval of a win rate says, of which one half is even."""
    return "better" if low > 0.5 else "worse" if high < 0.5 else "unclear"


def headline(metrics: Metrics, policy: str, baseline: str, prompted: str) -> list[str]:
    """Is it better than what it came from, by how much, how sure is that, and how far has it moved? The same of the
    model that was only told what to do. Empty where nothing was compared; models are called by the names given."""
    lines = []
    for what, rated in ((baseline, "win_rate"), (f"{prompted} with a prompt", "win_rate_over_prompted")):
        said = [f"{JUDGES[judge]}: {_rated(metrics, f'{judge}_{rated}')}" for judge in _judges(metrics, rated)]
        if said:
            moved = f", {metrics['kl']:z.1f} nats away" if rated == "win_rate" and "kl" in metrics else ""
            lines += [f"is {policy} better than {what}{moved}? ({metrics['prompts']} held-out prompts)"]
            lines += [f"  {one}" for one in said]
    return lines


def _judges(metrics: Metrics, rated: str) -> list[str]:
    return [judge for judge in JUDGES if f"{judge}_{rated}" in metrics]


def _rated(metrics: Metrics, name: str) -> str:
    low, high = metrics[f"{name}_low"], metrics[f"{name}_high"]
    said = _SAID[outcome(low, high)]
    return f"{said}, wins {metrics[name]:.1%} (95 %: {low:.1%} to {high:.1%}; {metrics[f'{name}_ties']:.0%} ties)"
