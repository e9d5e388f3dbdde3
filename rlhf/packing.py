"""Sequences side by side without padding, and which of their tokens are a response's."""

# B sequences, N tokens of all of them, M response tokens of all of them, T tokens of the longest

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class Packed:
    """Token ids of B sequences, one after the other."""

    ids_N: Tensor
    lengths: tuple[int, ...]
    starts: tuple[int, ...]
    """Of each sequence, the first token of its response; its length where it has none."""
    depth: int = 0
    """Bottom layers of the trunk that `lower_ND` stands for."""
    lower_ND: Tensor | None = None
    """What the first `depth` layers make of the tokens, where that is known already."""

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]], starts: Sequence[int], device: torch.device) -> "Packed":
        """Pack rows of token ids."""
        ids_N = torch.tensor([token for row in rows for token in row], device=device)
        return cls(ids_N, tuple(map(len, rows)), tuple(starts))

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def offsets(self) -> list[int]:
        """Where each sequence begins among the N tokens."""
        found, at = [], 0
        for length in self.lengths:
            found.append(at)
            at += length
        return found

    @cached_property
    def position_N(self) -> Tensor:
        """Position of each token in its own sequence."""
        return self._ranges([0] * len(self), list(self.lengths), [0] * len(self))

    @cached_property
    def slot_N(self) -> Tensor:
        """Place of each token among B · T places, right-padded."""
        width = max(self.lengths)
        return self._ranges([0] * len(self), list(self.lengths), [row * width for row in range(len(self))])

    @cached_property
    def predicts_M(self) -> Tensor:
        """Tokens (among N) that a response token follows."""
        return self._ranges([start - 1 for start in self.starts], [n - 1 for n in self.lengths], self.offsets)

    @cached_property
    def target_M(self) -> Tensor:
        """The response tokens."""
        return self.ids_N[self.predicts_M + 1]

    @cached_property
    def last_B(self) -> Tensor:
        """Last token (among N) of each sequence."""
        return torch.tensor([at + n - 1 for at, n in zip(self.offsets, self.lengths, strict=True)], device=self.device)

    @property
    def device(self) -> torch.device:
        return self.ids_N.device

    def padded(self) -> tuple[Tensor, Tensor]:
        """`(ids_BT, mask_BT)`, padded on the right with zeros."""
        size = len(self) * max(self.lengths)
        ids = self.ids_N.new_zeros(size).index_copy_(0, self.slot_N, self.ids_N)
        mask = self.ids_N.new_zeros(size).index_fill_(0, self.slot_N, 1)
        return ids.view(len(self), -1), mask.view(len(self), -1)

    def _ranges(self, first: Sequence[int], after: Sequence[int], base: Sequence[int]) -> Tensor:
        """The numbers first … after - 1 of each sequence, plus its base, one after the other."""
        parts = [torch.arange(b + f, b + a) for f, a, b in zip(first, after, base, strict=True)]
        return torch.cat(parts).to(self.device)
