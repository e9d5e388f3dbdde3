"""Whether the reward model deserves it."""

import math
from collections.abc import Iterator

from rlhf.measures import trust
from rlhf.report.findings.finding import ERRORS, Finding, above, quarter
from rlhf.report.number import words
from rlhf.report.run import Run, StageRun

MEMORISED = 0.1
"""By how much a reward model's accuracy on what it trains on may be above that on held-out pairs."""


def reward_is_doubtful(run: Run) -> Iterator[Finding]:
    """What the gate looks at, of each reward model on held-out pairs of its own and of an evaluation."""
    for stage, prefix in _judged(run):
        accuracy, error = (stage.last(f"{prefix}{name}", "percent") for name in ("accuracy", "accuracy_stderr"))
        if accuracy and error and accuracy.value - trust.ACCURACY_ERRORS * error.value <= 0.5:
            yield Finding(
                stage.name,
                "The reward model is no better than chance",
                words("held-out accuracy ", accuracy, " ± ", error),
                "What is trained on it is trained on noise.",
                "look at the pairs (rlhf data inspect), train on more of them, or from a larger model",
            )
        follows = stage.last(f"{prefix}length_correlation", "signed")
        if follows and abs(follows.value) > trust.LENGTH_CORRELATION:
            likes = "long" if follows.value > 0 else "short"
            yield Finding(
                stage.name,
                "Scores follow length",
                words("correlation ", follows),
                f"A policy that maximises this reward learns to be {likes}.",
                "balance the pairs by length, or take longer and shorter answers as chosen alike",
            )
        ece, brier = stage.last(f"{prefix}ece"), stage.last(f"{prefix}brier")
        if above(ece, trust.CALIBRATION_ERROR):
            yield Finding(
                stage.name,
                "The reward model is badly calibrated",
                words("calibration error ", ece),
                "How sure it is says little of how often it is right; wrong labels do that, and memorised ones.",
                "check labels (rlhf data inspect); train fewer epochs",
            )
        if ece and brier and trust.hardly_knows(brier.value, ece.value):
            yield Finding(
                stage.name,
                "The reward model hardly knows which answer is better",
                words("Brier score ", brier, ", where a coin has a quarter"),
                "It is about as sure as it is right, and neither is much: labels are noisy, pairs alike or few.",
                "check labels (rlhf data inspect), train on more pairs, or from a larger model",
            )


def labels_are_noisy(run: Run) -> Iterator[Finding]:
    for stage, prefix in _judged(run):
        sure = stage.last(f"{prefix}sure_accuracy", "percent")
        confidence, pairs = stage.last(f"{prefix}sure_confidence", "percent"), stage.last(f"{prefix}pairs", "count")
        if sure and confidence and pairs and trust.labels_are_doubtful(sure.value, confidence.value, pairs.value):
            yield Finding(
                stage.name,
                "Labels are probably wrong",
                words(
                    "of the fifth of the pairs that it is surest of (",
                    confidence,
                    "), only ",
                    sure,
                    " are labelled as it says",
                ),
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
