"""Responses end at the stop token: masks, padding, and what counts as finished."""

import torch

from rlhf.rollout import Rollout, cut, left_pad


def test_cut_keeps_the_first_stop_token_and_nothing_after_it() -> None:
    mask, finished = cut(torch.tensor([[5, 9, 9, 7], [5, 6, 7, 8], [8, 5, 5, 5]]), stop_ids=[9, 8])
    assert mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]]
    assert finished.tolist() == [True, True, True]


def test_a_response_without_a_stop_token_is_unfinished() -> None:
    mask, finished = cut(torch.tensor([[5, 6, 7]]), stop_ids=[9])
    assert mask.tolist() == [[1, 1, 1]] and finished.tolist() == [False]


def test_left_pad() -> None:
    ids, mask = left_pad([[1, 2, 3], [4]], pad_id=0, device=torch.device("cpu"))
    assert ids.tolist() == [[1, 2, 3], [0, 0, 4]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_rows_drop_padding_that_none_of_them_needs() -> None:
    rollout = Rollout(
        torch.tensor([[1, 2, 3], [0, 0, 4]]),
        torch.tensor([[1, 1, 1], [0, 0, 1]]),
        torch.tensor([[5, 6, 7], [8, 0, 0]]),
        torch.tensor([[1, 1, 1], [1, 0, 0]]),
        torch.tensor([True, False]),
    )
    second = rollout.rows(torch.tensor([1]))
    assert second.ids_BT.tolist() == [[4, 8]]
    assert second.mask_BT.tolist() == [[1, 1]]
    assert rollout.rows(torch.tensor([0, 1])).ids_BT.equal(rollout.ids_BT)
