"""What a reward model is worth, from rows of pairs: accuracy, calibration, what length explains, slices.

A row holds `chosen_score` and `rejected_score`, their difference `margin`, `correct` (1 or 0, for equal scores 0.5),
`chosen_tokens` and `rejected_tokens`, and the pair's `source`.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from rlhf.measures.shares import wilson_error

Row = Mapping[str, Any]


def metrics(rows: Sequence[Row]) -> dict[str, float]:
    """Accuracy with its standard error, calibration of sigmoid(margin), and what length alone would explain.

    `brier` is the mean squared error of the predicted preference, `ece` the expected calibration error (Guo et al.
    2017, eq. 3), `sure_accuracy` that of the fifth of the pairs whose scores are furthest apart, `sure_confidence` the
    mean probability of the winner that it predicts there.
    """
    accuracy = fmean(row["correct"] for row in rows)
    scores = [row[f"{side}_score"] for side in ("chosen", "rejected") for row in rows]
    lengths = [row[f"{side}_tokens"] for side in ("chosen", "rejected") for row in rows]
    return {
        "accuracy": accuracy,
        "accuracy_stderr": wilson_error(accuracy, len(rows)),
        "margin": fmean(row["margin"] for row in rows),
        "brier": fmean((1 - sigmoid(row["margin"])) ** 2 for row in rows),
        "ece": sum(b.pairs / len(rows) * abs(b.confidence - b.accuracy) for b in reliability(rows)),
        "sure_accuracy": fmean(row["correct"] for row in _surest(rows)),
        "sure_confidence": fmean(sigmoid(abs(row["margin"])) for row in _surest(rows)),
        "pairs": len(rows),
        "length_correlation": correlation(scores, lengths),
        "longer_wins": fmean(right(_longer(row)) for row in rows),
    }


def _surest(rows: Sequence[Row]) -> list[Row]:
    """The fifth of the pairs that are predicted with most confidence."""
    return sorted(rows, key=lambda row: -abs(row["margin"]))[: math.ceil(len(rows) / 5)]


def right(margin: float) -> float:
    """1 where the first of two is ahead, 0 where it is behind; half for equals."""
    return 0.5 if margin == 0 else float(margin > 0)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def correlation(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Pearson's correlation; 0 when either side is constant."""
    x, y = ([value - mean for value in side] for side, mean in ((xs, fmean(xs)), (ys, fmean(ys))))
    scale = math.hypot(*x) * math.hypot(*y)
    return sum(a * b for a, b in zip(x, y, strict=True)) / scale if scale > 0 else 0.0


def _longer(row: Row) -> int:
    return row["chosen_tokens"] - row["rejected_tokens"]


# ------------------------------------------------------------------------------------------------ calibration


class Bin(NamedTuple):
    """Pairs that are predicted with like confidence."""

    low: float
    high: float
    pairs: int
    confidence: float
    """Mean probability of the predicted winner."""
    accuracy: float


def reliability(rows: Sequence[Row], bins: int = 10) -> list[Bin]:
    """Pairs by the probability of the predicted winner, in bins of equal width from 1/2 to 1 of which none is empty: a
    calibrated model's accuracy is its confidence (Guo et al. 2017, fig. 1)."""
    found: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        confidence = sigmoid(abs(row["margin"]))
        found[min(int((confidence - 0.5) * 2 * bins), bins - 1)].append((confidence, row["correct"]))
    edges = [0.5 + i / (2 * bins) for i in range(bins + 1)]
    return [
        Bin(edges[i], edges[i + 1], len(some), fmean(c for c, _ in some), fmean(r for _, r in some))
        for i, some in sorted(found.items())
    ]


# ------------------------------------------------------------------------------------------------ slices


class Slice(NamedTuple):
    """Some of the pairs."""

    name: str
    pairs: int
    accuracy: float
    error: float
    """Standard error of the accuracy."""
    low: float | None = None
    """Of what the pairs are ordered by, where that is a number."""
    high: float | None = None


def by_source(rows: Sequence[Row]) -> list[Slice]:
    """Pairs of each source, as they come."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["source"]].append(row)
    return [_slice(name, some) for name, some in found.items()]


def by_length(rows: Sequence[Row]) -> list[Slice]:
    """Fifths of the pairs, by how many tokens longer the chosen answer is: the first has the shortest."""
    return _quantiles(rows, 5, _longer)


def by_margin(rows: Sequence[Row]) -> list[Slice]:
    """Tenths of the pairs, by how far apart their scores are: of the last the model is surest."""
    return _quantiles(rows, 10, lambda row: abs(row["margin"]))


_FEWEST = 10
"""Pairs of a quantile; where there are fewer, there are fewer quantiles."""


def _quantiles(rows: Sequence[Row], most: int, key: Callable[[Row], float]) -> list[Slice]:
    parts = min(most, len(rows) // _FEWEST)
    if parts < 2:
        return []
    order = sorted(rows, key=key)
    ends = [round(i * len(order) / parts) for i in range(parts + 1)]
    some = [order[ends[i] : ends[i + 1]] for i in range(parts)]
    return [_slice(str(i), part, key(part[0]), key(part[-1])) for i, part in enumerate(some, 1)]


def _slice(name: str, rows: Sequence[Row], low: float | None = None, high: float | None = None) -> Slice:
    accuracy = fmean(row["correct"] for row in rows)
    return Slice(name, len(rows), accuracy, wilson_error(accuracy, len(rows)), low, high)


def sliced(rows: Sequence[Row]) -> dict[str, float]:
    """The accuracy of every slice, as metrics; of sources where there are several."""
    sources = by_source(rows)
    every = {"source": sources if len(sources) > 1 else [], "length": by_length(rows), "margin": by_margin(rows)}
    return {f"accuracy/{what}/{one.name}": one.accuracy for what, some in every.items() for one in some}
