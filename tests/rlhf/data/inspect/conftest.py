"""Rows to look at, and what is found in them."""

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rlhf.config.data import DataConfig
from rlhf.data.inspect import Finding, Report, inspect

Row = dict[str, Any]
Look = Callable[..., Report]

WORDS = [
    *("river", "stone", "garden", "window", "paper", "silver", "morning", "basket", "yellow", "ladder"),
    *("orange", "winter", "market", "bridge", "candle", "forest", "rocket", "pencil", "button", "valley"),
    *("cotton", "mirror", "planet", "saddle", "tunnel", "violet", "walnut", "zipper", "anchor", "bottle"),
    *("copper", "dragon", "engine", "feather", "ginger", "hammer", "island", "jacket", "kettle", "lemon"),
    *("magnet", "napkin", "oyster", "pepper", "quarry", "ribbon", "summer", "thread"),
]


def sentence(seed: object, count: int = 12) -> str:
    """Words in an order that follows from the seed: no two of different seeds are nearly alike."""
    drawn = random.Random(str(seed))
    return f"The {' '.join(drawn.choice(WORDS) for _ in range(count))}."


def pair(i: object, **other: Any) -> Row:
    """A pair with nothing wrong."""
    row = {"prompt": sentence(f"p{i}"), "chosen": sentence(f"c{i}"), "rejected": sentence(f"r{i}")}
    return {**row, **other}


def pairs(count: int) -> list[Row]:
    """Pairs of which the chosen answer is the longer in every other."""
    return [pair(i, **{("chosen", "rejected")[i % 2]: sentence(f"long{i}", 15)}) for i in range(count)]


def find(report: Report, name: str) -> Finding:
    """The finding of a name, which must be there."""
    assert name not in report.clean
    return next(finding for finding in report.findings if finding.name == name)


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """Write rows to `x.jsonl` and inspect them; other words are settings of the data block."""

    def look_(rows: Sequence[Any], kind: Any = None, settings: Row | None = None, **how: Any) -> Report:
        path = tmp_path / "x.jsonl"
        path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
        return inspect(DataConfig.model_validate({"path": path, **(settings or {})}), kind, **how)

    return look_
