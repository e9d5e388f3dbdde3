"""Every error a user can cause, as one small tree.

    RLHFError            exit code 2, no traceback: the message says what, where and what would work
    ├── RecipeError      the recipe or an override is wrong
    ├── DataError        a file of examples is wrong: file, line, field
    ├── ArtifactError    a model or a stage's output is missing, torn or of the wrong kind
    ├── SaveError        the disk does not take what a run has to write
    ├── FitError         memory does not hold what a stage computes
    ├── RewardError      what scores responses does not answer, or answers nonsense
    └── GuardError       a run-time invariant broke: training on would make a silently wrong model (exit code 4)

Anything else that escapes is a bug of ours (exit code 1).
"""

from collections.abc import Iterable
from difflib import get_close_matches


class RLHFError(Exception):
    """Something the user can mend; the message says how."""

    exit_code = 2


class RecipeError(RLHFError):
    """The recipe or an override is wrong."""


class DataError(RLHFError):
    """A file of examples is wrong; the message names file, line and field."""


class ArtifactError(RLHFError):
    """A model or a stage's output is missing, torn or of the wrong kind."""


class SaveError(RLHFError):
    """The disk does not take what a run has to write; what was written before stays."""


class FitError(RLHFError):
    """Memory does not hold what a stage computes; the message says which setting needs less."""


class RewardError(RLHFError):
    """What scores responses does not answer, or answers nonsense."""


class GuardError(RLHFError):
    """A run-time invariant broke; training on would make a silently wrong model."""

    exit_code = 4


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` when something known is close, else the list of what is known."""
    names = sorted(known)
    close = get_close_matches(word, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(names)}" if names else ""
