"""Accuracy, calibration and slices of held-out pairs, against numbers worked out by hand."""

import math

import pytest

from rlhf.measures.pairs import Row, by_length, by_margin, by_source, correlation, metrics, reliability, right, sliced
from rlhf.measures.shares import wilson_error


def row(margin: float, chosen: int = 1, rejected: int = 1, source: str = "") -> Row:
    """A pair of a margin; the scores are its halves."""
    scores = {"chosen_score": margin / 2, "rejected_score": -margin / 2, "margin": margin, "correct": right(margin)}
    return {**scores, "chosen_tokens": chosen, "rejected_tokens": rejected, "source": source}


L3 = math.log(3.0)  # a probability of 3/4


def test_metrics_by_hand() -> None:
    found = metrics([row(L3, 5, 2), row(-L3, 1, 2), row(L3, 2, 2), row(0.0, 3, 1)])
    assert found["accuracy"] == pytest.approx(0.625)  # two right, one wrong, one tie
    assert found["accuracy_stderr"] == wilson_error(0.625, 4)
    assert found["brier"] == pytest.approx((0.25**2 + 0.75**2 + 0.25**2 + 0.5**2) / 4)
    # bin of .75: three pairs, 2/3 right; bin of .5: one pair, half right
    assert found["ece"] == pytest.approx(0.75 * (0.75 - 2 / 3))
    assert found["sure_accuracy"] == 1.0  # of one pair, a fifth of four: the first of the largest margin
    assert (found["pairs"], found["longer_wins"]) == (4, (1 + 0 + 0.5 + 1) / 4)


def test_the_fifth_that_a_judge_is_surest_of() -> None:
    rows = [row(1.0)] * 8 + [row(-3.0), row(2.0)]
    assert metrics(rows)["sure_accuracy"] == 0.5


def test_a_perfectly_calibrated_judge_has_no_calibration_error() -> None:
    rows = [row(L3)] * 3 + [row(-L3)]
    assert metrics(rows)["ece"] == pytest.approx(0.0, abs=1e-12)
    (one,) = reliability(rows)
    assert (one.pairs, one.confidence, one.accuracy) == (4, pytest.approx(0.75), 0.75)
    assert one.low <= 0.75 <= one.high


def test_a_large_margin_is_sure_and_does_not_overflow() -> None:
    (one,) = reliability([row(-5000.0)])
    assert (one.high, one.confidence, one.accuracy) == (1.0, 1.0, 0.0)


def test_slices_by_source_length_and_margin() -> None:
    rows = [row(1.0 + i, 10 + i, 10, "easy") for i in range(10)] + [row(-0.1 - i, 1, 5 + i, "hard") for i in range(10)]
    assert [(s.name, s.pairs, s.accuracy) for s in by_source(rows)] == [("easy", 10, 1.0), ("hard", 10, 0.0)]
    assert all(s.error == wilson_error(1.0, 10) > 0 for s in by_source(rows))  # ten of ten are not certain
    shorter, longer = by_length(rows)  # twenty pairs make two slices of ten
    assert (shorter.low, shorter.high, shorter.accuracy) == (1 - 14, 1 - 5, 0.0)
    assert (longer.low, longer.high, longer.accuracy) == (0, 9, 1.0)
    unsure, sure = by_margin(rows)
    assert unsure.high is not None and sure.low is not None and unsure.high <= sure.low
    assert sliced(rows)["accuracy/source/hard"] == 0.0
    assert len(by_margin(rows * 10)) == 10 and sum(s.pairs for s in by_margin(rows * 10)) == 200


def test_few_pairs_and_one_source_are_not_sliced() -> None:
    assert sliced([row(1.0)] * 19) == {}


def test_correlation() -> None:
    assert correlation([1, 2, 3], [2, 4, 6]) == pytest.approx(1.0)
    assert correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    assert correlation([1, 1, 1], [3, 2, 1]) == 0.0
