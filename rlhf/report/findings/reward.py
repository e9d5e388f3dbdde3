"""Whether the reward model deserves it."""

import math
from collections.abc import Iterator, Mapping

from rlhf.measures import trust
from rlhf.report.findings.finding import ERRORS, Finding, quarter
from rlhf.report.number import Number, Style, Words, with_error, words
from rlhf.report.run import Run, StageRun

MEMORISED = 0.1
"""By how much a reward model's accuracy on what it trains on may be above that on held-out pairs."""


def reward_is_doubtful(run: Run) -> Iterator[Finding]:
    """What the gate looks at, of each reward model on held-out pairs of its own and of an evaluation."""
    for stage, prefix in _judged(run):
        metrics = {name: told for name, style in _STYLES.items() if (told := _held_out(stage, prefix + name, style))}
        for sign in trust.signs({name: number.value for name, number in metrics.items()}):
            yield Finding(stage.name, *_said(sign, metrics))


def _held_out(stage: StageRun, name: str, style: Style) -> Number | None:
    """What held-out pairs came to. A reward stage logs under the same names what its batches did on the way."""
    return stage.told("metrics", name, style=style) if stage.kind == "reward" else stage.last(name, style)


_STYLES: Mapping[str, Style] = {
    "accuracy": "percent",
    "accuracy_stderr": "percent",
    "length_correlation": "signed",
    "ece": "plain",
    "brier": "plain",
    "sure_accuracy": "percent",
    "sure_confidence": "percent",
    "pairs": "count",
}


def _said(sign: trust.Sign, metrics: Mapping[str, Number]) -> tuple[str, Words, str, str]:
    """What is wrong, what was seen of it, what it means and what to do."""
    match sign:
        case "chance":
            return (
                "The reward model is no better than chance",
                words("held-out accuracy ", with_error(metrics["accuracy"], metrics.get("accuracy_stderr"))),
                "What is trained on it is trained on noise.",
                "look at the pairs (rlhf data inspect), train on more of them, or from a larger model",
            )
        case "length":
            follows = metrics["length_correlation"]
            return (
                "Scores follow length",
                words("correlation ", follows),
                f"A policy that maximises this reward learns to be {trust.favours(follows.value)}.",
                "balance the pairs by length, or take longer and shorter answers as chosen alike",
            )
        case "calibration":
            return (
                "The reward model is badly calibrated",
                words("calibration error ", metrics["ece"]),
                "How sure it is says little of how often it is right; wrong labels do that, and memorised ones.",
                "check labels (rlhf data inspect); train fewer epochs",
            )
        case "ignorance":
            return (
                "The reward model hardly knows which answer is better",
                words("Brier score ", metrics["brier"], ", where a coin has a quarter"),
                "It is about as sure as it is right, and neither is much: labels are noisy, pairs alike or few.",
                "check labels (rlhf data inspect), train on more pairs, or from a larger model",
            )
        case "labels":
            confidence, sure = metrics["sure_confidence"], metrics["sure_accuracy"]
            seen = ("of the fifth of the pairs that it is surest of (", confidence, "), only ", sure)
            return (
                "Labels are probably wrong",
                words(*seen, " are labelled as it says"),
                "It is surer than it is right: labels are flipped, or it is sure of what it cannot know.",
                "look at the pairs that it sees the other way round (rlhf data inspect --reward-model), and mend them",
            )


def memorises(run: Run) -> Iterator[Finding]:
    for stage in run.kinds("reward"):
        train, unseen = (
            quarter(stage.series("accuracy"), "percent"),
            stage.told("metrics", "accuracy", style="percent"),
        )
        error = stage.told("metrics", "accuracy_stderr")
        if not (train and unseen and error):
            continue
        if train.number.value - unseen.value > max(MEMORISED, ERRORS * math.hypot(train.error, error.value)):
            yield Finding(
                stage.name,
                "The reward model memorises its pairs",
                words("accuracy ", train.number, " at the end of training, ", unseen, " on held-out pairs"),
                "It has learned these pairs, wrong labels included, more than what makes an answer better.",
                "train fewer epochs, at a lower train.lr, or on more pairs",
            )


def _judged(run: Run) -> Iterator[tuple[StageRun, str]]:
    """Stages that measured reward models, and what the names of the numbers begin with; each model once, where its own
    stage has measured it there."""
    known = {stage.name for stage in run.kinds("reward") if stage.told("metrics", "accuracy")}
    for stage in run.kinds("reward"):
        yield stage, ""
    for stage in run.kinds("evaluate"):
        for judge, field in (("reward", "reward_model"), ("held_out", "held_out_reward")):
            model = (stage.settings.get(field) or {}).get("stage")
            if model not in known and stage.last(f"{judge}_accuracy"):
                yield stage, f"{judge}_"
