"""Wilson's interval: what it is at the ends, that it grows with the share, how often it holds the truth."""

import math
from itertools import pairwise

import pytest

from rlhf.measures.shares import wilson, wilson_error


def test_at_the_ends_it_is_what_can_be_worked_out() -> None:
    assert wilson(1.0, 6) == (pytest.approx(6 / (6 + 1.96**2)), pytest.approx(1.0))
    assert wilson(0.0, 6) == (pytest.approx(0.0), pytest.approx(1.96**2 / (6 + 1.96**2)))


def test_its_ends_are_where_the_test_of_a_share_stops_rejecting() -> None:
    """|mean - p| = z √(p(1 - p) / n) at both."""
    for end in wilson(0.3, 50):
        assert abs(0.3 - end) == pytest.approx(1.96 * math.sqrt(end * (1 - end) / 50))


@pytest.mark.parametrize("count", [1, 2, 7, 200])
def test_who_wins_more_has_higher_ends(count: int) -> None:
    """A tie is half a win."""
    ends = [wilson(halves / (2 * count), count) for halves in range(2 * count + 1)]
    assert all(low < other[0] and high < other[1] for (low, high), other in pairwise(ends))


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9, 0.99])
def test_it_holds_the_truth_about_as_often_as_it_says(share: float) -> None:
    """Over every number of wins in 200, each as likely as the binomial has it."""
    held = 0.0
    for wins in range(201):
        low, high = wilson(wins / 200, 200)
        held += math.comb(200, wins) * share**wins * (1 - share) ** (200 - wins) * (low <= share <= high)
    assert 0.93 < held < 0.98


def test_no_share_is_certain() -> None:
    assert wilson_error(0.0, 20) == wilson_error(1.0, 20) > 0
    low, high = wilson(1.0, 20)
    assert high - low == pytest.approx(2 * 1.96 * wilson_error(1.0, 20))
