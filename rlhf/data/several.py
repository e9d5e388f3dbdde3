"""Three answers or more, each in a field of its own, as a list of them with the scores that stand beside."""

import re
from typing import Any

from rlhf.data.formats.table import Row, named
from rlhf.data.formats.verdicts import VERDICT
from rlhf.data.records import Kind
from rlhf.errors import DataError

_FIELD = re.compile(r"(response|answer|output|completion|candidate|generation|reply)([_ -]?)([1-9]|[a-h]|[A-H])")
_SCORES = {"score": "scores", "rating": "scores", "reward": "scores", "votes": "scores", "rank": "ranks"}


def is_several(row: Row, kind: Kind | None) -> bool:
    return len(_fields(row)) > 2


def several(row: Row, kind: Kind | None) -> Row:
    """{response_1, response_2, response_3, score_1, …} or {answer_a, answer_b, answer_c, winner: b} as {responses,
    scores}; `rank_1` as `ranks`. Raises DataError for a winner that is none of them."""
    fields = _fields(row)
    found = {name: value for name, value in row.items() if name not in fields.values()}
    found["responses"] = [row[name] for name in fields.values()]
    for by, called in _SCORES.items():
        for names in ([f"{by}_{end}" for end in fields], [f"{name}_{by}" for name in fields.values()]):
            if all(name in row for name in names):
                kept = {name: value for name, value in found.items() if name not in names}
                return kept | {called: [row[name] for name in names]}
    verdict = named(row, VERDICT)
    if (best := row.get(verdict)) is None:
        return found
    del found[verdict]
    return found | {"scores": _chosen(best, fields, verdict)}


def _fields(row: Row) -> dict[str, str]:
    """The fields of answers by what tells one from another, in order; none where they are not of one name."""
    matches = [match for name in row if (match := _FIELD.fullmatch(name)) and isinstance(row[name], str | list)]
    same = [match for match in matches if match.groups()[:2] == matches[0].groups()[:2]]
    return {match[3]: match[0] for match in sorted(same, key=lambda match: match[3])}


def _chosen(best: Any, fields: dict[str, str], verdict: str) -> list[int]:
    """1 for the answer that a verdict names, by its field, or by its letter or number; 0 for each other one."""
    said = str(best).strip().lower().removesuffix(".0")
    scores = [int(said in (end.lower(), name.lower())) for end, name in fields.items()]
    if sum(scores) != 1:
        raise DataError(f"{verdict}: is {best!r}; one of {', '.join(fields.values())} is needed")
    return scores
