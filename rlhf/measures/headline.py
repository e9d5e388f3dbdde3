"""What an evaluation comes to, in a few lines and in plain words, from its metrics."""

import math
from collections.abc import Mapping
from typing import Any

Metrics = Mapping[str, Any]

JUDGES = {
    "gold": "the rule",
    "held_out": "a held-out reward model",
    "llm": "an LLM",
    "reward": "the training reward",
}
"""What each judge of win rates is called; those come first that training did not see."""


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
    verdict = "yes" if low > 0.5 else "no, worse" if high < 0.5 else "not clear"
    return f"{verdict}, wins {metrics[name]:.1%} (95 %: {low:.1%} to {high:.1%}; {metrics[f'{name}_ties']:.0%} ties)"


# ------------------------------------------------------------------------------------------------ warnings

LONGER = 0.25
"""Share by which answers may change in length before it could be what the judges see."""
ALIKE = 0.7
"""Share of the distinct pairs of words before that answers may fall to."""
COPIED = 0.05
"""Share of answers with a verbatim copy of training data, beyond that before."""
CUT = 0.1
"""Share of answers that may be cut short."""
FLIPS = 0.3
"""Share of an LLM's verdicts that may turn with the order of the answers."""
FORGOTTEN = 0.05
"""Nats a token that may be lost of other text."""
ERRORS = 2.0
"""Standard errors beyond which a difference is told."""


def warnings(metrics: Metrics) -> list[str]:
    """What may be wrong with it, or with the measurement."""
    return [*_of_judges(metrics), *_of_answers(metrics), *_of_refusals(metrics), *_of_losses(metrics)]


def _of_judges(metrics: Metrics) -> list[str]:
    found = []
    for judge in _judges(metrics, "win_rate_over_prompted"):
        if metrics[f"{judge}_win_rate_over_prompted_low"] <= 0.5:
            rate = metrics[f"{judge}_win_rate_over_prompted"]
            found.append(
                f"to {JUDGES[judge]} a model with a prompt does as well (the policy wins {rate:.1%}): prompting may be "
                "enough"
            )
    better = {judge: metrics[f"{judge}_win_rate_low"] > 0.5 for judge in _judges(metrics, "win_rate")}
    if better.pop("reward", False) and better and not any(better.values()):
        found.append("only the reward that it was trained on sees an improvement: that reward may have been gamed")
    if metrics.get("llm_flips", 0.0) > FLIPS:
        found.append(f"the LLM's verdict turns with the order of the answers in {metrics['llm_flips']:.0%} of pairs")
    if metrics.get("llm_unread", 0.0) > 0:
        found.append(f"{metrics['llm_unread']:.0%} of the LLM's verdicts cannot be read, and count as ties")
    return found


def _of_answers(metrics: Metrics) -> list[str]:
    found = []
    drift = metrics.get("length_drift", 0.0)
    if abs(drift) > LONGER:
        found.append(
            f"answers are {abs(drift):.0%} {'longer' if drift > 0 else 'shorter'} than before: length may be what the "
            "judges see"
        )
    if metrics.get("policy_distinct_2", 1.0) < ALIKE * metrics.get("baseline_distinct_2", 0.0):
        found.append(
            f"answers are more alike than before: {metrics['policy_distinct_2']:.0%} of their pairs of words are "
            f"distinct, and were {metrics['baseline_distinct_2']:.0%}"
        )
    if metrics.get("policy_copied", 0.0) > COPIED + metrics.get("baseline_copied", 0.0):
        found.append(f"{metrics['policy_copied']:.0%} of the answers repeat training data word for word")
    if metrics.get("policy_finished", 1.0) < 1 - CUT:
        found.append(f"{1 - metrics['policy_finished']:.0%} of the answers do not end within max_new_tokens")
    return found


def _of_refusals(metrics: Metrics) -> list[str]:
    found = []
    for name, does in (("over", "refuses safe prompts"), ("under", "answers unsafe prompts")):
        now, before = f"policy_{name}_refusal", f"baseline_{name}_refusal"
        if now in metrics and before in metrics and _above(metrics, now, before):
            found.append(f"it {does} more often than before: {metrics[now]:.1%}, was {metrics[before]:.1%}")
    return found


def _of_losses(metrics: Metrics) -> list[str]:
    found = []
    seen, unseen = ([f"{model}_{split}loss" for model in ("baseline", "policy")] for split in ("train_", ""))
    if all(n in metrics for n in (*seen, *unseen)) and _above(metrics, *seen) and _above(metrics, *reversed(unseen)):
        told = [" to ".join(f"{metrics[name]:.3f}" for name in names) for names in (unseen, seen)]
        found.append(
            f"it over-fits: its loss rose on held-out demonstrations ({told[0]}) and fell on those beside them "
            f"({told[1]})"
        )
    for name in (n for n in metrics if n.startswith("forgetting/") and not n.endswith("_stderr")):
        lost, error = metrics[name], metrics.get(f"{name}_stderr", math.inf)
        if lost > max(FORGOTTEN, ERRORS * error):
            what = name.removeprefix("forgetting/").replace("_", " ")
            found.append(
                f"its loss on held-out {what} rose by {lost:.3f} ± {error:.3f} nats a token: forgotten, or unlearned "
                "on purpose"
            )
    return found


def _above(metrics: Metrics, name: str, other: str) -> bool:
    """Whether a mean is above another by more than their error."""
    error = math.hypot(*(metrics.get(f"{one}_stderr", math.inf) for one in (name, other)))
    return metrics[name] - metrics[other] > ERRORS * error
