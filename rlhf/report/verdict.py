"""Whether the policy is better: to each judge, and in a sentence."""

from typing import NamedTuple

from rlhf.measures.headline import JUDGES, Outcome, outcome
from rlhf.measures.policies import SIDES
from rlhf.report.number import Number, Words, words
from rlhf.report.run import StageRun


class Rated(NamedTuple):
    """How often a judge calls the policy's answer better than another's."""

    judge: str
    rate: Number
    low: Number
    high: Number
    ties: Number

    @property
    def outcome(self) -> Outcome:
        return outcome(self.low.value, self.high.value)


class Comparison(NamedTuple):
    """What all judges say of the policy beside one other."""

    other: str
    rated: list[Rated]


def comparisons(stage: StageRun) -> list[Comparison]:
    """With what it came from, and with a model that was only told what to do."""
    found = []
    others = {
        "win_rate": stage.called("baseline", "its baseline"),
        "win_rate_over_prompted": "a model with a prompt",
    }
    for rated, other in others.items():
        rows = []
        for judge, called in JUDGES.items():
            name = f"{judge}_{rated}"
            said = [stage.last(f"{name}{end}", "percent") for end in ("", "_low", "_high", "_ties")]
            if all(said):
                rows.append(Rated(called, *said))  # type: ignore[arg-type]
        if rows:
            found.append(Comparison(other, rows))
    return found


_HOW = {
    "better": "is better than",
    "worse": "is worse than",
    "unclear": "is not clearly better than",
    "own": "is better to its own reward than",
}


def verdict(stage: StageRun) -> tuple[str, Words, Words] | None:
    """`better`, `worse`, `unclear` or, where the training reward alone says so, `own`; that in words, and by how much,
    to the judge that is least likely to be gamed."""
    against = comparisons(stage)
    if not against:
        return None
    first, other, policy = against[0].rated[0], against[0].other, stage.called("policy", "the policy")
    came_out = "own" if first.outcome == "better" and stage.judges_itself else first.outcome
    kl = stage.with_error("kl", "nats")
    moved = (" It has moved ", kl, " nats an answer away from it.") if kl else ()
    sentence = words(
        f"{first.judge[0].upper()}{first.judge[1:]} prefers its answer on ",
        first.rate,
        " of ",
        stage.last("prompts", "count"),
        " held-out prompts; the interval of 95 % is ",
        first.low,
        " to ",
        first.high,
        ".",
        *moved,
    )
    return came_out, words(policy, f" {_HOW[came_out]} ", other), sentence


def unjudged(stage: StageRun) -> bool:
    """Whether other answers were there to compare the policy's with, and nothing to judge them."""
    return not stage.judges and any(stage.last(f"{side}_tokens") for side in SIDES if side != "policy")
