"""What a stage asks of a machine, in terms that `rlhf plan` reckons with."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Demand:
    """What is computed of each example, and what is held beside the model that trains."""

    kind: Literal["demonstrations", "preferences", "labels", "scores", "prompts"]
    """What its examples are."""
    sequences: int = 1
    """Of an example, those that pass the model."""
    shares_prompt: bool = False
    """Whether these begin with one prompt, which passes once."""
    reads_head: bool = True
    """Whether logits are formed: of the tokens of answers."""
    trains: bool = True
    passes: float = 1.0
    """Over each example that is trained on."""
    reads: float = 0.0
    """Passes without gradients over each example that is trained on, by a model like the one that trains."""
    copies: int = 0
    """Frozen models held beside it that start where it does."""
    critics: int = 0
    """Models beside it that train too."""
    judges: tuple[str, ...] = ()
    """Fields that name the reward models that read each example."""
    drawn: int = 0
    """Answers drawn at once; 0 where none are."""
    new_tokens: int = 0
    """Most tokens of an answer that is drawn."""
    examples: int | None = None
    """How many there are in all, where the settings say so and not the data."""
