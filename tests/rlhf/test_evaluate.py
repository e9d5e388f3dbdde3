"""Held-out measures against numbers worked out by hand."""

import math
import statistics
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rlhf.evaluate import batches, correlation, pair_metrics, preference_metrics, win_rate


def test_batches_hold_every_row_once_in_order_of_length() -> None:
    lengths = [5, 1, 4, 2, 3]
    found = list(batches(lengths, 2))
    assert found == [[1, 3], [4, 2], [0]]


def test_preference_metrics_by_hand() -> None:
    margin = torch.tensor([math.log(3.0), -math.log(3.0), math.log(3.0), 0.0], dtype=torch.float64)
    metrics = preference_metrics(margin)
    assert metrics["accuracy"] == pytest.approx(0.625)  # two right, one wrong, one tie
    assert metrics["accuracy_stderr"] == pytest.approx(math.sqrt(0.625 * 0.375 / 4))
    # p = .75, .25, .75, .5
    assert metrics["brier"] == pytest.approx((0.25**2 + 0.75**2 + 0.25**2 + 0.5**2) / 4)
    # bucket of .75: three pairs, 2/3 right; bucket of .5: one pair, half right
    assert metrics["ece"] == pytest.approx(0.75 * (0.75 - 2 / 3))


def test_a_perfectly_calibrated_judge_has_no_calibration_error() -> None:
    margin = torch.tensor([math.log(3.0)] * 3 + [-math.log(3.0)], dtype=torch.float64)
    assert preference_metrics(margin)["ece"] == pytest.approx(0.0, abs=1e-12)


def test_pair_metrics_by_hand() -> None:
    """A judge that scores a row by its last token, on pairs of which it gets two of three right."""
    judge: Any = SimpleNamespace(
        device=torch.device("cpu"),
        present=nullcontext,
        hidden=lambda batch, rows: batch.ids_N[rows],
        read=lambda hidden: hidden.float(),
    )
    sides = [([1, 2, 9], [4]), ([3], [1, 1]), ([5, 5], [6, 7])]
    found = pair_metrics(judge, [{"prompt_ids": [8], "chosen_ids": c, "rejected_ids": r} for c, r in sides], size=2)
    scores, lengths = [9, 3, 5, 4, 1, 7], [3, 1, 2, 1, 2, 2]
    assert (found["pairs"], found["accuracy"], found["longer_wins"]) == (3, pytest.approx(2 / 3), 0.5)
    assert found["margin"] == pytest.approx(((9 - 4) + (3 - 1) + (5 - 7)) / 3)
    assert found["length_correlation"] == pytest.approx(statistics.correlation(scores, lengths))


def test_win_rate_counts_ties_half() -> None:
    result = win_rate([3.0, 1.0, 2.0, 2.0], [1.0, 3.0, 1.0, 2.0])
    assert result["rate"] == 0.625
    assert result["ties"] == 0.25
    assert result["low"] < 0.625 < result["high"]


def test_correlation() -> None:
    assert correlation([1, 2, 3], [2, 4, 6]) == pytest.approx(1.0)
    assert correlation([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)
    assert correlation([1, 1, 1], [3, 2, 1]) == 0.0
