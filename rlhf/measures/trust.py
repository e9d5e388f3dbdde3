"""Whether a reward model may be trusted, from what its own training measured on held-out pairs."""

import math
from collections.abc import Mapping
from typing import Any

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


def training_signs(metrics: Mapping[str, Any]) -> list[str]:
    """What a reward model's own held-out measures warn of; a model from outside has none."""
    signs = []
    accuracy, error = metrics.get("accuracy"), metrics.get("accuracy_stderr", 0.0)
    if accuracy is not None and accuracy - ACCURACY_ERRORS * error <= 0.5:
        signs.append(f"held-out accuracy {accuracy:.1%} ± {error:.1%} is not above chance")
    correlation = metrics.get("length_correlation", 0.0)
    if abs(correlation) > LENGTH_CORRELATION:
        likes = "long" if correlation > 0 else "short"
        signs.append(f"scores follow length (correlation {correlation:+.2f}): the policy will learn to be {likes}")
    if metrics.get("ece", 0.0) > CALIBRATION_ERROR:
        signs.append(f"calibration error {metrics['ece']:.2f}: how sure it is says little about how often it is right")
    if hardly_knows(metrics.get("brier", 0.0), metrics.get("ece", 0.0)):
        signs.append(
            f"Brier score {metrics['brier']:.2f}, where a coin has 0.25: it hardly knows which answer is better"
        )
    sure, confidence = (metrics.get(f"sure_{name}") for name in ("accuracy", "confidence"))
    if sure is not None and confidence is not None and labels_are_doubtful(sure, confidence, metrics["pairs"]):
        signs.append(
            f"where it is surest, {1 - sure:.0%} of the held-out pairs are labelled otherwise: many labels are wrong"
        )
    return signs
