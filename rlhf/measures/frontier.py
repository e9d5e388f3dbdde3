"""What reward costs in KL over a run of reinforcement learning, and from where on more of it is worth less.

Gao et al. 2023, "Scaling Laws for Reward Model Overoptimization".
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple


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
    """Standard error of that."""


def frontier(lines: Iterable[Mapping[str, Any]]) -> list[Point]:
    """Every look that the lines of a stage's metrics.jsonl tell of, as they come."""
    return [
        Point(
            line["step"],
            line["heldout/kl"],
            line["heldout/reward"],
            line["heldout/judge"],
            line["heldout/judge_stderr"],
        )
        for line in lines
        if "heldout/judge" in line
    ]


def overoptimised(points: Iterable[Point]) -> Point | None:
    """The judge's best look, if a later one of a higher proxy is worse to the judge by more than both looks' error."""
    points = list(points)
    if not points:
        return None
    best = max(points, key=lambda point: point.judge)
    later = points[points.index(best) + 1 :]

    def worse(point: Point) -> bool:
        return best.judge - point.judge > math.hypot(best.judge_error, point.judge_error)

    return best if any(point.proxy > best.proxy and worse(point) for point in later) else None
