"""Reward against KL over a run, and where it is no longer worth it."""

from rlhf.measures.frontier import Point, frontier, overoptimised

LINES = [
    {"step": 0, "heldout/reward": 0.0, "heldout/judge": 0.0, "heldout/judge_stderr": 0.1, "heldout/kl": 0.0},
    {"step": 2, "kl": 1.5, "score": 0.5},
    {"step": 2, "heldout/reward": 1.0, "heldout/judge": 1.0, "heldout/judge_stderr": 0.1, "heldout/kl": 2.0},
    {"step": 4, "heldout/reward": 2.0, "heldout/judge": 0.5, "heldout/judge_stderr": 0.1, "heldout/kl": 5.0},
]


def test_every_look_is_a_point() -> None:
    points = frontier(LINES)
    assert [(p.step, p.kl, p.proxy, p.judge) for p in points] == [
        (0, 0.0, 0.0, 0.0),
        (2, 2.0, 1.0, 1.0),
        (4, 5, 2, 0.5),
    ]


def test_the_judge_peaks_and_falls_while_the_proxy_rises() -> None:
    points = frontier(LINES)
    assert overoptimised(points) == points[1]
    assert overoptimised(points[:2]) is overoptimised([]) is None


def test_a_fall_within_the_error_or_of_both_is_none() -> None:
    first, best, last = frontier(LINES)
    assert overoptimised([first, best, last._replace(judge_error=0.5)]) is None
    assert overoptimised([first, best, last._replace(proxy=0.5)]) is None
    assert overoptimised([Point(0, 0.0, 0.0, 2.0, 0.1), last]) == Point(0, 0.0, 0.0, 2.0, 0.1)
