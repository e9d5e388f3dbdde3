"""What a verdict on two answers says: in words, or as a number, of which a whole column may not say what it means."""

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Literal

from rlhf.data.formats.table import Column, Sides
from rlhf.data.formats.values import shared

Verdict = Literal["first", "second", "tie"]

_TIES = frozenset(
    (
        *(
            "tie",
            "tied",
            "tie inconsistent",
            "tie bothbad",
            "tie both bad",
            "both",
            "equal",
            "same",
            "draw",
            "neither",
            "a=b",
            "b=a",
        ),
        *("bothbad", "both bad", "both are bad", "equally bad", "bothgood", "both good", "both are good"),
        *("equally good", "no preference", "about the same"),
    )
)
_WORDS: Mapping[str, Verdict] = {
    **dict.fromkeys(("a", "first", "left"), "first"),
    **dict.fromkeys(("b", "second", "right"), "second"),
    **dict.fromkeys(_TIES, "tie"),
}
_SIGNS = re.compile(r"[\s_\-\[\]().!*:\"']+")
_NOUN = "(?:model|assistant|response|answer|output|completion|option)"
"""What stands before the letter or number of a side, or after `first`."""
_SIDE = re.compile(rf"(?:the )?(?:{_NOUN} ?)?(.+?)(?: {_NOUN})?")
_WINS = re.compile(
    r"(.+?)(?: is| was)?(?: a (?:bit|little|lot)| slightly| clearly| much| far| significantly| strictly| marginally)?"
    r" (?:better|best|wins|won|preferred|superior)"
)
_ORDER = re.compile(r"a(>>?|<<?)b|b(>>?|<<?)a")
_NUMBER = re.compile(rf"(?:{_NOUN}[ _-]?)?([+-]?\d{{1,9}})(?:\.0+)?")


def ends_of(sides: Sides) -> tuple[str, str]:
    """What tells one side's name from the other's."""
    start = shared(*sides)
    return sides[0][start:], sides[1][start:]


@lru_cache(4096)
def meaning(value: str, sides: Sides) -> Verdict | None:
    """Which of two sides a verdict in small letters names: by its field, letter, number or place; None for no side."""
    if value in (names := [side.lower() for side in sides]):
        return ("first", "second")[names.index(value)]
    if (number := code(value, sides)) is not None:
        return _NUMBERS.get(ends_of(sides), _COUNTED).get(number)
    if value == "[[c]]":
        return "tie"
    words = _SIGNS.sub(" ", value.replace("≫", ">>").replace("≪", "<<")).strip()
    if words in _TIES:
        return "tie"
    if order := _ORDER.fullmatch(words.replace(" ", "")):
        a_wins = (order[1] or order[2])[0] == (">" if order[1] else "<")
        return "first" if a_wins else "second"
    winner = _WINS.fullmatch(words)
    side = _SIDE.fullmatch(winner[1] if winner else words)
    ends = [end.strip("_ -").lower() for end in ends_of(sides)]
    if side and side[1] in ends:
        return ("first", "second")[ends.index(side[1])]
    said = _WORDS.get(side[1]) if side else None
    return None if winner and said == "tie" else said


_COUNTED: Mapping[int, Verdict] = {1: "first", 2: "second"}
_NUMBERS: Mapping[Sides, Mapping[int, Verdict]] = {
    ("0", "1"): {0: "first", 1: "second"},
    ("1", "2"): {0: "tie", **_COUNTED},
}
"""What numbers mean, by the ends of the sides' names, if the column as a whole agrees."""


# ------------------------------------------------------------------------------------------------ whole columns


STRENGTHS = ("preference_strength", "overall_preference")
"""Columns of numbers of which those below 0 are for the first answer; none below it may be the answers' own."""


@lru_cache(4096)
def code(value: str, sides: Sides) -> int | None:
    """The number that a verdict is, alone or after a noun; None for the name of a field, and for other words."""
    found = None if value in map(str.lower, sides) else _NUMBER.fullmatch(value)
    return int(found[1]) if found else None


def doubt(column: Column, codes: Collection[int]) -> str | None:
    """Why the numbers of a column cannot be told apart: 0 and 1 are a tie and the first answer to some, the first and
    the second to others. None where they have one meaning, by the names of the answers or by a 2 among them."""
    ends, held = ends_of(column.sides), set(codes)
    if column.name in STRENGTHS and (min(held) <= 0 or len(held) == 1):
        return None  # from -3 to 3
    by_name = ends == ("0", "1") or (ends == ("1", "2") and held == {1} and not column.name.startswith("label"))
    if column.name not in STRENGTHS and held <= _NUMBERS.get(ends, _COUNTED).keys() and (by_name or 2 in held):
        return None
    *others, last = map(str, sorted(held))
    numbers = f"{', '.join(others)} and {last}" if others else last
    told = ", ".join(f"{number}: …" for number in sorted(held))
    first, second = column.sides
    return (
        f"{column.name}: its numbers are {numbers}, which do not say whether {first} or {second} is better; "
        f"say what each means, first, second or tie: data.verdicts='{{{told}}}'"
    )
