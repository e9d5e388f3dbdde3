"""Whether a reward model may be trusted, from what its own training measured on held-out pairs."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

ACCURACY_ERRORS = 2.0
"""Held-out accuracy must lie above one half by this many standard errors."""
LENGTH_CORRELATION = 0.4
"""Of score and length over held-out answers: beyond it, length alone moves the score too much."""
CALIBRATION_ERROR = 0.15
"""Expected calibration error (Guo et al. 2017): beyond it, differences of scores do not mean what they say."""

BRIER = 0.24
"""Brier score beyond which a model hardly knows which answer is better: one that says a half of every pair has 0.25."""
SURE_ACCURACY = 0.9
"""Of the fifth of the held-out pairs whose scores are furthest apart, the share that must be labelled as they say."""
SURE_ERRORS = 2.0
"""Standard errors by which a model must be surer of those than it is right."""


def labels_are_doubtful(accuracy: float, confidence: float, pairs: float) -> bool:
    """Whether labels disagree with a model where it is surest, the fifth of so many pairs: with its mean `confidence`
    of those, and not only as often as it says that it errs."""
    error = math.sqrt(accuracy * (1 - accuracy) / max(pairs / 5, 1))
    return accuracy < SURE_ACCURACY and confidence - accuracy > SURE_ERRORS * error


def hardly_knows(brier: float, ece: float) -> bool:
    """Whether a model says next to nothing of a pair, and rightly so: a large Brier score that is not for being too
    sure."""
    return brier > BRIER and ece <= CALIBRATION_ERROR


Sign = Literal["chance", "length", "calibration", "ignorance", "labels"]
"""What is wrong: no better than chance, scores that follow length or say little of how sure they are, that it hardly
knows, wrong labels."""


def signs(metrics: Mapping[str, Any]) -> Iterator[Sign]:
    """What a reward model's own held-out measures warn of; a model from outside has none."""
    accuracy, error = metrics.get("accuracy"), metrics.get("accuracy_stderr", 0.0)
    if accuracy is not None and accuracy - ACCURACY_ERRORS * error <= 0.5:
        yield "chance"
    if abs(metrics.get("length_correlation", 0.0)) > LENGTH_CORRELATION:
        yield "length"
    if metrics.get("ece", 0.0) > CALIBRATION_ERROR:
        yield "calibration"
    if hardly_knows(metrics.get("brier", 0.0), metrics.get("ece", 0.0)):
        yield "ignorance"
    surest = [metrics[name] for name in ("sure_accuracy", "sure_confidence", "pairs") if name in metrics]
    if len(surest) == 3 and labels_are_doubtful(*surest):
        yield "labels"


def favours(correlation: float) -> str:
    """The length that scores of this correlation with it favour."""
    return "long" if correlation > 0 else "short"


def training_signs(metrics: Mapping[str, Any]) -> list[str]:
    """These signs in words."""
    return [_said(sign, metrics) for sign in signs(metrics)]


def _said(sign: Sign, metrics: Mapping[str, Any]) -> str:
    match sign:
        case "chance":
            error = metrics.get("accuracy_stderr", 0.0)
            return f"held-out accuracy {metrics['accuracy']:.1%} ± {error:.1%} is not above chance"
        case "length":
            follows = metrics["length_correlation"]
            return f"scores follow length (correlation {follows:+.2f}): the policy will learn to be {favours(follows)}"
        case "calibration":
            return f"calibration error {metrics['ece']:.2f}: how sure it is says little about how often it is right"
        case "ignorance":
            return f"Brier score {metrics['brier']:.2f}, where a coin has 0.25: it hardly knows which answer is better"
        case "labels":
            other = 1 - metrics["sure_accuracy"]
            return (
                f"where it is surest, {other:.0%} of the held-out pairs are labelled otherwise: many labels are wrong"
            )
