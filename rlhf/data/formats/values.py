"""Numbers and verdicts in rows; also as text, which is all that CSV has."""

import math
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from rlhf.data.formats.table import Types, peek
from rlhf.data.messages import ROLES, kind_of
from rlhf.errors import DataError


def number(value: Any, name: str) -> float:
    """A finite number."""
    try:
        found = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise DataError(f"{name}: is {value!r}; a number is needed{number_meant(value)}")
    return found


def number_meant(value: Any) -> str:
    """`; write 3.5`, for text that is a number to people."""
    said = value.strip() if isinstance(value, str) else ""
    if re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", said):
        return f"; write {said.replace(',', '')}"
    if re.fullmatch(r"[+-]?\d+,\d+", said):
        return f"; write {said.replace(',', '.')}"
    if part := re.fullmatch(r"([+-]?\d+(?:\.\d+)?)\s*(?:/\s*\d+|%)", said):
        return f"; write {part[1]}, and so in every row"
    return ""


def margin_of(row: Mapping[str, Any]) -> float | None:
    """How much better the chosen answer is, where the row says so."""
    if row.get("margin") in (None, ""):
        return None
    margin = number(row["margin"], "margin")
    if margin < 0:
        raise DataError(f"margin: is {margin:g}; how much better the chosen answer is, 0 or more, is needed")
    return margin


def integer(value: Any, name: str, known: Collection[int]) -> int:
    """One of a few whole numbers."""
    found = number(float(value) if isinstance(value, bool) else value, name)
    if found not in known:
        raise DataError(f"{name}: is {value!r}; {' or '.join(map(str, known))} is needed")
    return int(found)


_GOOD = (
    "true 1 1.0 yes good desirable correct safe positive thumbs_up 👍 up upvote upvoted like liked accept accepted "
    "chosen preferred pass"
)
_BAD = (
    "false 0 0.0 no bad undesirable incorrect unsafe negative thumbs_down 👎 down downvote downvoted dislike disliked "
    "reject rejected dispreferred fail -1 -1.0"
)
_TRUTHS = {str(word): 1.0 for word in _GOOD.split()} | {str(word): 0.0 for word in _BAD.split()}
_SURE = "label|kto_tag|desirable|is_desirable|is_safe|is_correct|thumbs_up|thumbs|liked|is_chosen|is_accepted|is_good"
_FAULTS = (
    "thumbs_down|disliked|is_bad|is_toxic|is_unsafe|is_harmful|is_incorrect|is_rejected|flagged|unsafe|harmful|toxic|"
    "incorrect|hallucination|hallucinated|is_hallucination"
)
"""Fields of which true says that the answer is bad."""
_FLAGS: Mapping[str, Collection[str]] = {
    **dict.fromkeys(_FAULTS.split("|"), ("0", "1")),
    **dict.fromkeys(("accepted", "approved", "chosen", "correct"), ("0", "1")),
    **dict.fromkeys(("feedback", "user_feedback", "human_feedback", "vote"), ("-1", "1")),
    "rating": (),
}
"""Fields that may say so, with the numbers that do; others count or grade."""
LABEL_NAMES = "|".join((_SURE, *_FLAGS))
_LABELS = frozenset(LABEL_NAMES.split("|"))
"""Fields that say whether an answer is good: KTO's files, LLaMA-Factory's, BeaverTails', OpenMathInstruct's, and what
people click on."""


def label_of(row: Mapping[str, Any]) -> str | None:
    """The field that says whether the row's answer is good, if one does."""
    for name in _SURE.split("|"):
        if name in row:
            return name
    return next((n for n, value in row.items() if n in _FLAGS and _is_label(value, _FLAGS[n])), None)


def _is_label(value: Any, numbers: Collection[str]) -> bool:
    said = str(value).strip().lower()
    return said in numbers or (said in _TRUTHS and not said.lstrip("-")[:1].isdigit())


def truth(value: Any, name: str) -> float:
    """1 for a good answer, or for what is true; 0 for a bad one, or for what the field calls a fault."""
    said = _said(value, name)
    if said is None:
        raise DataError(f"{name}: is {value!r}; true (good) or false (bad) is needed")
    return said


def _said(value: Any, name: str) -> float | None:
    said = _TRUTHS.get(str(value).strip().lower())
    return 1 - said if said is not None and name in _FAULTS.split("|") else said


def is_bad(row: Mapping[str, Any]) -> bool:
    """Whether the row says that its answer is bad; also inside a field that may say so, or beside what the assistant
    says in a conversation, of which every answer is learned from."""
    name = label_of(row)
    said = None if name is None else _said(peek(row, name), name)
    if said is not None and name:
        row[name]  # which says so
    return said == 0 or any(map(is_bad, _judged_inside(row)))


def _judged_inside(row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Objects in a row in which something may be said of its answer."""
    for name, value in row.items():
        if isinstance(value, dict) and name in _LABELS:
            yield value
            if "value" in value:
                yield {name: value["value"]}
        elif isinstance(value, list):
            yield from (one for one in value if isinstance(one, dict) and not _LABELS.isdisjoint(one) and _answers(one))


def _answers(message: Mapping[str, Any]) -> bool:
    return ROLES.get(str(message.get("role", message.get("from"))).lower()) == "assistant"


def says_tie(row: Mapping[str, Any]) -> bool:
    """Whether the row says of two answers that neither is better, in a field `tie` or as argilla does."""
    for name in ("tie", "is_tie"):
        if row.get(name) not in (None, "") and truth(row[name], name) == 1:
            return True
    return peek(row, "status") == "tie" and row["status"] == "tie"


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
