"""What to say of rows that no format reads: which came nearest, and what may be wrong with the file."""

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

from rlhf.data.formats.asking import PROMPT
from rlhf.data.formats.convert import RANKING
from rlhf.data.formats.ratings import ANSWERS
from rlhf.data.formats.table import Format, Row, named
from rlhf.data.formats.verdicts import sides_of
from rlhf.data.messages import kind_of
from rlhf.data.records import Kind
from rlhf.errors import DataError

Formats = Mapping[Kind, Mapping[str, Format]]

TAKERS: dict[Kind, str] = {
    "preferences": "reward, dpo, orpo, simpo and cpo take",
    "labels": "kto takes",
    "scores": "reward with `loss: scores` takes",
    "demonstrations": "sft takes",
    "prompts": "ppo and sample take",
}
"""Stages by the kind of records that they learn from; the most telling kind first."""

_COMMON = ("messages", "prompt_completion", "alpaca", "pair", "implicit_prompt", "scored", "labelled", "scored_answer")
"""Formats to name first where none is near."""


def unknown(row: Row, kind: Kind | None, formats: Formats) -> DataError:
    """Says which fields were found, what seems wrong, and what the three nearest formats of a kind need; of any, where
    that is None."""
    tried = {name: one for other, known in formats.items() if kind in (other, None) for name, one in known.items()}
    meant = row if kind else _renamed(row, formats)
    found = ", ".join(f"{name} ({kind_of(value)})" for name, value in row.items()) or "none"
    nearest = sorted(
        ((name, one) for name, one in tried.items() if not one.vague), key=lambda item: _distance(*item, meant)
    )[:3]
    wanted = "; ".join(f"'{name}' needs {_needs(one, row)}" for name, one in nearest)
    advice = next(_advice(row, kind, formats, nearest[0][1]), "")
    needed = [names.split("|")[0] for names in nearest[0][1].needs]
    if kind is None and sum(isinstance(value, str) for value in row.values()) > 1:
        needed = ["prompt", "response"]
    columns = " ".join(f"data.columns.{name}=NAME" for name in needed)
    named_so = "" if "data.columns=" in advice else f"; or say which columns are meant, every one: {columns}"
    of = f" of {kind}" if kind else ""
    return DataError(f"fields: found {found}, which no format{of} reads; {advice}{wanted}{named_so}")


def shown(names: str) -> str:
    """Two names as they are; of many like names the first."""
    choice = names.split("|")
    return " or ".join(choice) if len(choice) < 3 else choice[0]


def _needs(one: Format, row: Row) -> str:
    """`prompt and chosen and rejected (rejected is missing)`; bare where all are missing."""
    lacks = [shown(names) for names in one.lacks(row)]
    needs = " and ".join(map(shown, one.needs))
    if not 0 < len(lacks) < len(one.needs):
        return needs
    return f"{needs} ({' and '.join(lacks)} {'is' if len(lacks) == 1 else 'are'} missing)"


def _distance(name: str, one: Format, row: Row) -> tuple[float, int]:
    common = _COMMON.index(name) if name in _COMMON else len(_COMMON)
    return len(list(one.mistyped(row))) / len(one.needs), common


# ------------------------------------------------------------------------------------------------ advice


def _advice(row: Row, kind: Kind | None, formats: Formats, nearest: Format) -> Iterator[str]:
    """What may be wrong, the surest first; each ends with `; `."""
    yield from _split_wrongly(row)
    yield from _unjudged(row, kind)
    yield from _misspelt(row, nearest, formats)
    if kind is not None:
        yield from other_kind(row, kind, formats, len(nearest.needs) - len(list(nearest.lacks(row))))


def _split_wrongly(row: Row) -> Iterator[str]:
    for name in row:
        if len(row) == 1 and (sign := re.search(r"\w *([;\t|,]) *\w", name)):
            what = {"\t": "a tab", ",": "a comma"}.get(sign[1], f"'{sign[1]}'")
            yield f"its one column's name holds {what}: save a .csv with commas or a .tsv with tabs; "
        elif len(name) > 60 or all(name.endswith(("?", ".", "!")) or len(name) > 30 for name in row):
            yield "a column's name looks like a row: put the columns' names on the file's first line; "


def _unjudged(row: Row, kind: Kind | None) -> Iterator[str]:
    """Several answers, and nothing that says which is better."""
    if kind not in ("preferences", "labels", "demonstrations", None):
        return
    if sides := sides_of(row):
        columns = f"prompt: {named(row, PROMPT)}, {sides[0]}: {sides[0]}, {sides[1]}: {sides[1]}, winner: NAME"
        yield (
            f"{sides[0]} and {sides[1]} are two answers: say which is better in a field such as `winner`, or which "
            f"field it is: data.columns='{{{columns}}}'; "
        )
    answers = row.get(named(row, ANSWERS))
    if isinstance(answers, list) and len(answers) > 1 and named(row, PROMPT) in row:
        yield "several answers: say how good each is in a list `scores`, or add `ranked: true` if the best is first; "


def _misspelt(row: Row, nearest: Format, formats: Formats) -> Iterator[str]:
    """A field named like one that is missing, and not as one of any format."""
    known = _known(formats)
    for names in nearest.lacks(row):
        for name in (name for name in row if name not in known):
            if close := _like(name, names.split("|")):
                yield f"did you mean '{close}' by '{name}'? rename it; "


def _renamed(row: Row, formats: Formats) -> Row:
    """A row with its fields as they may have been meant."""
    known = _known(formats)
    return {name if name in known else _like(name, known) or name: value for name, value in row.items()}


def _known(formats: Formats) -> set[str]:
    return {name for kind in formats.values() for one in kind.values() for name in "|".join(one.needs).split("|")}


def _like(name: str, known: Iterable[str]) -> str | None:
    return next(iter(get_close_matches(name.lower(), known, n=1, cutoff=0.82)), None)


def other_kind(row: Row, kind: Kind, formats: Formats, explained: int) -> Iterator[str]:
    """Rows that are fine, for another stage: a format of its kind explains as many fields as any that was tried."""
    for other, takers in TAKERS.items():
        if other == kind or (other == "scores" and not any(name in row for name in RANKING)):
            continue
        for name, one in formats[other].items():
            if len(one.needs) >= explained and one.fits(row):
                yield f"these rows are {other} ('{name}'), which {takers}; "
                return
