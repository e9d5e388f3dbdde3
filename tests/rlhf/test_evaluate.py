"""Held-out measures against numbers worked out by hand."""

import math
import statistics
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlhf.errors import GuardError
from rlhf.evaluate import answer_logprobs, batches, pair_rows
from rlhf.measures import pairs
from rlhf.packing import Packed


def test_batches_hold_every_row_once_in_order_of_length() -> None:
    lengths = [5, 1, 4, 2, 3]
    found = list(batches(lengths, 2))
    assert found == [[1, 3], [4, 2], [0]]


def test_answers_to_one_prompt_are_read_together() -> None:
    """In whatever order they come, each has the sum over its own tokens."""
    read: list[list[int]] = []

    def logprobs(batch: Packed, temperature: float) -> Tensor:
        read.append(batch.ids_N.tolist())
        return batch.target_M.float() * temperature

    answers = [([1, 2], [3, 4, 5]), ([8], [9]), ([1, 2], [3, 7]), ([8], [6, 6])]
    policy: Any = SimpleNamespace(device=torch.device("cpu"), logprobs=logprobs)
    assert answer_logprobs(policy, answers, 2).tolist() == [12, 9, 10, 12]
    assert read == [[8, 9, 6, 6], [1, 2, 3, 4, 5, 7]]


def by_last_token(read: Callable[[Tensor], Tensor]) -> Any:
    """A judge that makes its score of a row's last token."""
    return SimpleNamespace(
        device=torch.device("cpu"), present=nullcontext, hidden=lambda batch, rows: batch.ids_N[rows], read=read
    )


def test_a_score_that_is_none_is_no_loss() -> None:
    judge = by_last_token(lambda hidden: torch.where(hidden == 9, torch.nan, hidden.float()))
    rows = [{"prompt_ids": [8], "chosen_ids": [c], "rejected_ids": [3], "where": f"f:{c}"} for c in (7, 9)]
    with pytest.raises(GuardError, match="f:9: the chosen answer's score is nan"):
        pair_rows(judge, rows, size=2)
    assert math.isnan(pairs.sigmoid(math.nan))


def test_pair_metrics_by_hand() -> None:
    """A judge that scores a row by its last token, on pairs of which it gets two of three right."""
    judge = by_last_token(lambda hidden: hidden.float())
    sides = [([1, 2, 9], [4]), ([3], [1, 1]), ([5, 5], [6, 7])]
    read = [{"prompt_ids": [8], "chosen_ids": c, "rejected_ids": r, "where": "f:1"} for c, r in sides]
    found = pairs.metrics(pair_rows(judge, read, size=2))
    scores, lengths = [9, 3, 5, 4, 1, 7], [3, 1, 2, 1, 2, 2]
    assert (found["pairs"], found["accuracy"], found["longer_wins"]) == (3, pytest.approx(2 / 3), 0.5)
    assert found["margin"] == pytest.approx(((9 - 4) + (3 - 1) + (5 - 7)) / 3)
    assert found["length_correlation"] == pytest.approx(statistics.correlation(scores, lengths))
