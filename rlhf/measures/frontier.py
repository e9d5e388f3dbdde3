"""What reward costs in KL over a run of reinforcement learning, and from where on more of it is worth less.

Gao et al. 2023, "Scaling Laws for Reward Model Overoptimization".
"""

import math
from collections.abc import Iterable, Mapping
from statistics import NormalDist
from typing import Any, NamedTuple

ERRORS = 2.0
"""Standard errors by which the judge must have fallen, of two looks; of more, as many as are as rare by chance."""


class Point(NamedTuple):
    """The policy at one look at held-out prompts."""

    step: int
    kl: float
    """To the reference, in nats an answer."""
    proxy: float
    """Mean score of what it is trained on."""
    judge: float
    """Mean score of what it is not."""
    judge_error: float
    """Standard error of that; infinite of one prompt."""
    fall_error: float | None = None
    """Standard error of how far it is below the best look before, prompt by prompt; None where nobody kept that."""


def frontier(lines: Iterable[Mapping[str, Any]]) -> list[Point]:
    """Every look that the lines of a stage's metrics.jsonl tell of, as they come."""
    return [
        Point(
            line["step"],
            line["heldout/kl"],
            line["heldout/reward"],
            line["heldout/judge"],
            line.get("heldout/judge_stderr", math.inf),
            line.get("heldout/fall_stderr"),
        )
        for line in lines
        if "heldout/judge" in line
    ]


def overoptimised(points: Iterable[Point]) -> Point | None:
    """The judge's best look, if two later ones are gamed, or the last is: one bad look among good ones is chance."""
    points = list(points)
    if len(points) < 2:
        return None
    best = max(points, key=lambda point: point.judge)
    later = points[points.index(best) + 1 :]
    bad = [point for point in later if gamed(best, point, len(points))]
    return best if len(bad) > 1 or (bad and bad[-1] is later[-1]) else None


def gamed(best: Point, later: Point, looks: int) -> bool:
    """Whether a look of a higher proxy than the best of so many is worse to the judge beyond its error. The best of
    many had luck too, so more looks ask for more errors (Bonferroni's bound)."""
    errors = -NormalDist().inv_cdf(NormalDist().cdf(-ERRORS) / (looks - 1))
    apart = math.hypot(best.judge_error, later.judge_error) if later.fall_error is None else later.fall_error
    return later.proxy > best.proxy and best.judge - later.judge > errors * apart
