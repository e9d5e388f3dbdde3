"""What models make of text that is not theirs to learn any more: over-fitting and forgetting, from rows of losses.

A row is one example as one model reads it: the name of its `data`, the `split` (`held_out` or `train`), the `model`,
`where` it stands, its `tokens` that count and their mean `loss` in nats. Models come in the order in which they were
trained, one from the other.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Row = Mapping[str, Any]

DEMONSTRATIONS = "demonstrations"
"""Name of the data whose losses are metrics of each model: `policy_loss`."""
GENERAL_TEXT = "general_text"
"""Name of the data that no stage was trained on."""


class Loss(NamedTuple):
    """Mean loss of the tokens of some examples."""

    nats: float
    error: float
    """Standard error, of examples drawn anew; infinite of one example."""
    tokens: int

    @property
    def perplexity(self) -> float:
        return math.exp(min(self.nats, 50.0))


def loss(rows: Sequence[Row]) -> Loss:
    """Over all tokens of the rows, so that long examples count for more."""
    return _mean([row["loss"] * row["tokens"] for row in rows], [row["tokens"] for row in rows])


def difference(rows: Sequence[Row], others: Sequence[Row]) -> Loss | None:
    """Loss of one model less that of another on the same examples; None where they read other tokens."""
    tokens = [row["tokens"] for row in rows]
    if tokens != [other["tokens"] for other in others]:
        return None
    pairs = zip(rows, others, strict=True)
    return _mean([(one["loss"] - other["loss"]) * one["tokens"] for one, other in pairs], tokens)


def _mean(sums: Sequence[float], tokens: Sequence[int]) -> Loss:
    """A ratio of sums, with its error to first order (Cochran 1977, eq. 2.47)."""
    total, n = max(sum(tokens), 1), len(sums)
    mean = sum(sums) / total
    spread = sum((one - mean * count) ** 2 for one, count in zip(sums, tokens, strict=True))
    return Loss(mean, math.sqrt(spread * n / (n - 1)) / total if n > 1 else math.inf, sum(tokens))


Table = dict[tuple[str, str], dict[str, list[Row]]]


def table(rows: Sequence[Row]) -> Table:
    """Rows by data and split, and then by model."""
    found: Table = {}
    for row in rows:
        found.setdefault((row["data"], row["split"]), {}).setdefault(row["model"], []).append(row)
    return found


def forgotten(rows: Sequence[Row]) -> dict[str, Loss]:
    """Of each data, how much higher the last model's held-out loss is than it was: after the stage of that name, or at
    the first model for general text. A stage whose own model was not measured has none: what an earlier one made of its
    data is not yet learned."""
    found = {}
    for (data, split), models in table(rows).items():
        every = list(models.values())
        before, after = every[0] if data == GENERAL_TEXT else models.get(data), every[-1]
        if split == "held_out" and data != DEMONSTRATIONS and before is not None and before is not after:
            found[data] = difference(after, before)
    return {data: lost for data, lost in found.items() if lost is not None}


def metrics(rows: Sequence[Row]) -> dict[str, float]:
    """`policy_loss` and the like of demonstrations, `loss/DATA/MODEL` of others; `train_loss` of rows that were trained
    on; `forgetting/DATA`."""
    found: dict[str, float] = {}
    for (data, split), models in table(rows).items():
        prefix = "train_" if split == "train" else ""
        for model, some in models.items():
            mean = loss(some)
            if data != DEMONSTRATIONS:
                found[f"{prefix}loss/{data}/{model}"] = mean.nats
                continue
            found |= _with_error(f"{model}_{prefix}loss", mean)
            found |= {} if prefix else {f"{model}_perplexity": mean.perplexity}
    for data, lost in forgotten(rows).items():
        found |= _with_error(f"forgetting/{data}", lost)
    return found


def _with_error(name: str, mean: Loss) -> dict[str, float]:
    return {name: mean.nats, **({f"{name}_stderr": mean.error} if math.isfinite(mean.error) else {})}
