"""Numbers and verdicts in rows; also as text, which is all that CSV has."""

import math
from collections.abc import Collection, Mapping
from typing import Any

from rlhf.data.formats.table import Types
from rlhf.data.messages import kind_of
from rlhf.errors import DataError


def number(value: Any, name: str) -> float:
    """A finite number."""
    try:
        found = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise DataError(f"{name}: is {value!r}; a number is needed")
    return found


def integer(value: Any, name: str, known: Collection[int]) -> int:
    """One of a few whole numbers."""
    found = number(float(value) if isinstance(value, bool) else value, name)
    if found not in known:
        raise DataError(f"{name}: is {value!r}; {' or '.join(map(str, known))} is needed")
    return int(found)


_GOOD = "true 1 1.0 yes good desirable correct safe positive thumbs_up up like accept accepted chosen pass"
_BAD = "false 0 0.0 no bad undesirable incorrect unsafe negative thumbs_down -1 -1.0 down dislike reject rejected fail"
_TRUTHS = {str(word): 1.0 for word in _GOOD.split()} | {str(word): 0.0 for word in _BAD.split()}
LABEL_NAMES = "label|kto_tag|desirable|is_desirable|is_safe|is_correct|thumbs_up|thumbs|liked"
"""Fields that say whether an answer is good: KTO's files, LLaMA-Factory's, BeaverTails', OpenMathInstruct's."""


def truth(value: Any, name: str) -> float:
    """1 for a good answer, 0 for a bad one."""
    said = str(value).strip().lower()
    if said not in _TRUTHS:
        raise DataError(f"{name}: is {value!r}; true (good) or false (bad) is needed")
    return _TRUTHS[said]


def is_bad(value: Any) -> bool:
    """Whether a label says that an answer is bad."""
    return _TRUTHS.get(str(value).strip().lower()) == 0


def numbers(row: Mapping[str, Any], apart_from: Collection[str] = ()) -> dict[str, float]:
    """Every field that holds a finite number, by name: not truths, not what is nested."""
    found: dict[str, float] = {}
    for name, value in row.items():
        if name not in apart_from and isinstance(value, int | float | str) and not isinstance(value, bool):
            try:
                one = float(value)
            except (ValueError, OverflowError):
                continue  # an id, a source, a comment
            if math.isfinite(one):
                found[name] = float(row[name])  # asked for by name, and so not among the fields that nobody read
    return found


def shared(one: str, other: str) -> int:
    """Characters that two texts begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def objects(value: Any, name: str, what: str) -> list[dict[str, Any]]:
    """A list of objects; null is an empty one."""
    return listed([] if value is None else value, name, what, 0, dict)


def listed(value: Any, name: str, what: str, least: int = 1, of: Types = object) -> list[Any]:
    """A list of at least some length, of things of a type."""
    if not isinstance(value, list) or len(value) < least:
        raise DataError(f"{name}: is {'an empty list' if value == [] else kind_of(value)}; a list of {what} is needed")
    for i, one in enumerate(value):
        if not isinstance(one, of):
            raise DataError(f"{name}[{i}]: is {kind_of(one)}; a list of {what} is needed")
    return value
