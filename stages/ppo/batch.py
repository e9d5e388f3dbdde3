"""A scored rollout, ready for updates."""

# B episodes, R tokens of the longest response, M response tokens of some rows, D hidden size

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from rlhf.data.records import Prompt
from rlhf.errors import GuardError
from rlhf.packing import Packed
from rlhf.rollout import Rollout


@dataclass
class Batch:
    """Tables are (B, R), zero past each response, and detached."""

    rollout: Rollout
    records: Sequence[Prompt]
    """What each row answers."""
    mask_BR: Tensor
    logprob_BR: Tensor
    ref_logprob_BR: Tensor
    value_BR: Tensor
    """Zero where there is no critic."""
    score_B: Tensor = field(default_factory=lambda: torch.empty(0))
    scores: dict[str, Tensor] = field(default_factory=dict)
    """What each reward says by itself."""
    advantage_BR: Tensor = field(default_factory=lambda: torch.empty(0))
    return_BR: Tensor = field(default_factory=lambda: torch.empty(0))

    lower: dict[int, Tensor] = field(default_factory=dict)
    """Of each row, what the frozen bottom layers make of its tokens, (T, D)."""
    depth: int = 0
    """How many layers these are."""
    states: dict[int, Tensor] = field(default_factory=dict)
    """Of each row, the states that a critic's head reads on a frozen body, one for each response token, (R, D)."""

    @classmethod
    def of(cls, rollout: Rollout, records: Sequence[Prompt]) -> "Batch":
        """Tables of zeros, to be filled in."""
        mask_BR = rollout.mask_BR
        logprob_BR, ref_BR, value_BR = (torch.zeros_like(mask_BR, dtype=torch.float32) for _ in range(3))
        return cls(rollout, records, mask_BR, logprob_BR, ref_BR, value_BR)

    def __len__(self) -> int:
        return len(self.rollout)

    def keep_lower(self, rows: Sequence[int], part: Packed) -> None:
        """Remember what the bottom layers made of some rows."""
        assert part.lower_ND is not None
        self.depth = part.depth
        self.lower |= dict(zip(rows, part.lower_ND.split(list(part.lengths)), strict=True))

    def states_of(self, rows: Sequence[int]) -> Tensor:
        """What a critic's head reads of some rows, (M, D), in the order of `Rollout.packed(rows)`."""
        return torch.cat([self.states[row] for row in rows])

    def packed(self, rows: Sequence[int]) -> Packed:
        """Some rows side by side, from above the bottom layers where these are frozen."""
        part = self.rollout.packed(rows)
        if not self.lower:
            return part
        return replace(part, depth=self.depth, lower_ND=torch.cat([self.lower[i] for i in rows]))

    def places(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Row and column in a table of the response tokens of some rows, in the order of `Rollout.packed(rows)`."""
        row, column = self.mask_BR[rows].nonzero(as_tuple=True)
        return torch.tensor(rows, device=self.mask_BR.device)[row], column

    def check_finite(self, when: str) -> None:
        """Raise GuardError, naming the rows, when something that the updates start from is NaN or infinite."""
        found = {
            **{f"the score of '{name}'": score_B for name, score_B in self.scores.items()},
            "the score": self.score_B,
            "the policy's log-probability": self.logprob_BR.sum(1),
            "the reference's log-probability": self.ref_logprob_BR.sum(1),
            "the critic's value": self.value_BR.sum(1),
        }
        for name, value_B in found.items():
            if rows := (~value_B.isfinite()).nonzero()[:, 0].tolist():
                raise GuardError(f"{when}: {name} is not finite for {self.names(rows)}")

    def names(self, rows: Sequence[int], most: int = 5) -> str:
        """Some rows as a person finds them: where their prompts stand."""
        places = list(dict.fromkeys(self.records[row].where for row in rows))
        more = f" and {len(places) - most} more" if len(places) > most else ""
        return f"{len(rows)} of {len(self)} rows (prompts at {', '.join(places[:most])}{more})"
