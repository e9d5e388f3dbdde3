"""Reward against KL over a run, and where it is no longer worth it."""

import random

import pytest

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


def test_a_fall_is_beyond_two_errors_at_the_last_look_or_at_two() -> None:
    first, best, last = frontier(LINES)
    near, low, well = last._replace(judge=0.8), last, last._replace(judge=0.9)
    assert overoptimised([first, best, near]) is None  # above one error of both, 0.14
    assert overoptimised([first, best, low, well]) is None
    assert overoptimised([first, best, low, low, well]) == best


def test_prompt_by_prompt_a_small_fall_is_seen_and_one_prompt_tells_nothing() -> None:
    first, best, last = frontier(LINES)
    assert overoptimised([first, best, last._replace(judge=0.9, fall_error=0.01)]) == best
    alone = [{name: value for name, value in line.items() if "stderr" not in name} for line in LINES]
    assert overoptimised(frontier(alone)) is None


@pytest.mark.parametrize("looks", [2, 5, 20])
def test_a_flat_judge_is_seldom_called_gamed(looks: int) -> None:
    drawn = random.Random(0)
    runs = [[Point(i, i, i, drawn.gauss(0, 0.1), 0.1) for i in range(looks)] for _ in range(1000)]
    assert sum(overoptimised(run) is not None for run in runs) / len(runs) < 0.06
