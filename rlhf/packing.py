"""Sequences side by side without padding, and which of their tokens are a response's.

Sequences that begin alike may hold what they share once: of causal attention, states of a beginning do not depend on
what follows, so that one pass over a prompt serves all answers to it.
"""

# B sequences, R tokens of all of them, N of which are held, M response tokens of all of them, T tokens of the longest

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor


@dataclass(frozen=True)
class Packed:
    """Token ids of B sequences, one after the other; N = R unless some are shared."""

    ids_N: Tensor
    lengths: tuple[int, ...]
    starts: tuple[int, ...]
    """Of each sequence, the first token of its response; its length where it has none."""
    depth: int = 0
    """Bottom layers of the trunk that `lower_ND` stands for."""
    lower_ND: Tensor | None = None
    """What the first `depth` layers make of the tokens, where that is known already."""
    lent: tuple[tuple[int, int], ...] = ()
    """Of each sequence, which one holds its first tokens, and how many those are. Empty: each holds its own."""

    @classmethod
    def of(
        cls,
        rows: Sequence[Sequence[int]],
        starts: Sequence[int],
        device: torch.device,
        lenders: Sequence[int] = (),
    ) -> "Packed":
        """Pack rows of token ids. `lenders`: of each row, an earlier one that lends it what both begin with, or itself,
        as of every lender."""
        lent = tuple((j, 0 if i == j else _alike(rows[j], rows[i])) for i, j in enumerate(lenders))
        held = [row[count:] for row, (_, count) in zip(rows, lent, strict=True)] if lent else rows
        ids_N = torch.tensor([token for row in held for token in row], device=device)
        return cls(ids_N, tuple(map(len, rows)), tuple(starts), lent=lent if any(n for _, n in lent) else ())

    def __len__(self) -> int:
        return len(self.lengths)

    @cached_property
    def spans(self) -> list[tuple[slice, slice]]:
        """Of each sequence, its tokens among the N: those that another holds, and its own after them."""
        found: list[tuple[slice, slice]] = []
        at = 0
        for row, (length, count) in enumerate(zip(self.lengths, self._borrowed, strict=True)):
            start = found[self.lent[row][0]][1].start if count else at
            found.append((slice(start, start + count), slice(at, at + length - count)))
            at += length - count
        return found

    @cached_property
    def token_R(self) -> Tensor:
        """Of every token of every sequence, one after the other, where it is among the N."""
        parts = [torch.arange(span.start, span.stop) for spans in self.spans for span in spans]
        return torch.cat(parts).to(self.device)

    @cached_property
    def position_N(self) -> Tensor:
        """Position of each token in its own sequence."""
        return self._ranges(self._borrowed, self.lengths, [0] * len(self))

    @cached_property
    def slot_N(self) -> Tensor:
        """Place of each token among B · T places, right-padded."""
        return self._ranges(self._borrowed, self.lengths, self._begins(max(self.lengths)))

    @cached_property
    def slot_R(self) -> Tensor:
        """The same of every token of every sequence."""
        return self._ranges([0] * len(self), self.lengths, self._begins(max(self.lengths)))

    @cached_property
    def predicts_M(self) -> Tensor:
        """Tokens (among N) that a response token follows."""
        return self.token_R[self._ranges([start - 1 for start in self.starts], [n - 1 for n in self.lengths])]

    @cached_property
    def target_M(self) -> Tensor:
        """The response tokens."""
        return self.ids_N[self.token_R[self._ranges(self.starts, self.lengths)]]

    @cached_property
    def last_B(self) -> Tensor:
        """Last token (among N) of each sequence."""
        return self.token_R[self._ranges([n - 1 for n in self.lengths], self.lengths)]

    @property
    def device(self) -> torch.device:
        return self.ids_N.device

    def padded(self) -> tuple[Tensor, Tensor]:
        """`(ids_BT, mask_BT)`, padded on the right with zeros."""
        size = len(self) * max(self.lengths)
        ids = self.ids_N.new_zeros(size).index_copy_(0, self.slot_R, self.ids_N[self.token_R])
        mask = self.ids_N.new_zeros(size).index_fill_(0, self.slot_R, 1)
        return ids.view(len(self), -1), mask.view(len(self), -1)

    @property
    def _borrowed(self) -> list[int]:
        """Of each sequence, how many tokens another holds."""
        return [count for _, count in self.lent] or [0] * len(self)

    def _begins(self, width: int | None = None) -> list[int]:
        """Where each sequence begins among the R, or where all are `width` long."""
        lengths = self.lengths if width is None else [width] * len(self)
        return [0, *accumulate(lengths)][:-1]

    def _ranges(self, first: Sequence[int], after: Sequence[int], base: Sequence[int] | None = None) -> Tensor:
        """The numbers first … after - 1 of each sequence, plus its base (among the R, where it begins), one after the
        other."""
        base = self._begins() if base is None else base
        parts = [torch.arange(b + f, b + a) for f, a, b in zip(first, after, base, strict=True)]
        return torch.cat(parts).to(self.device)


def _alike(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens two rows begin with alike."""
    differ = (i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b)
    return next(differ, min(len(left), len(right)))
