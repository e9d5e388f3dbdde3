"""Row formats: one small function each, which turns a row into a record, and one line each in the table of its kind.

The tables say which fields (and types) a format needs: that is how rows are recognised, and what the message about an
unrecognised row lists. What serves one kind may serve another: pairs as demonstrations, ranked answers as pairs, any
file as prompts.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rlhf.data.formats.convert import Pairs, as_kind
from rlhf.data.formats.demonstrations import DEMONSTRATIONS
from rlhf.data.formats.preferences import PREFERENCES
from rlhf.data.formats.prompts import PROMPTS
from rlhf.data.formats.ratings import LABELS, LISTS, SCORED
from rlhf.data.formats.table import Format, Row, Types
from rlhf.data.messages import NAMES, UnusableError, kind_of
from rlhf.data.records import Kind, Prompt, Rated, Record
from rlhf.errors import DataError, did_you_mean

__all__ = ["FORMATS", "Format", "Reader", "Row", "named", "recognise"]

_PARTIAL = ("tree", "steps", "step_labels")
"""Lists whose best answer is part of a conversation or of a solution: nothing to imitate."""
_WHOLE = {name: one for name, one in LISTS.items() if name not in _PARTIAL}

FORMATS: dict[Kind, dict[str, Format]] = {
    "preferences": PREFERENCES | LISTS,
    "demonstrations": PREFERENCES | _WHOLE | DEMONSTRATIONS,
    "prompts": PROMPTS | {k: f for k, f in (PREFERENCES | LISTS | DEMONSTRATIONS).items() if k not in PROMPTS},
    "labels": LABELS | PREFERENCES | LISTS,
    "scores": LISTS | SCORED,
}
"""Every format of every kind, in the order in which they are tried."""


def named(kind: Kind, name: str) -> Format:
    """The format that `data.format` names. Raises DataError for an unknown name."""
    if name in FORMATS[kind]:
        return FORMATS[kind][name]
    makes = [other for other, formats in FORMATS.items() if name in formats and other != "prompts"]
    hint = f"; '{name}' makes {makes[0]}" if makes else did_you_mean(name, FORMATS[kind])
    raise DataError(f"data.format: no format '{name}' makes {kind}{hint}")


@dataclass
class Reader:
    """Reads rows as records of a kind."""

    kind: Kind
    format: str = "auto"
    """The name of one, or `auto`: recognised from each row."""
    pairs: Pairs = "best_worst"
    rank_by: str | None = None
    ranked: bool = False
    """Whether a row had several answers to choose from."""
    seen: Counter[str] = field(default_factory=Counter)
    """Rows of each format that were read."""
    _fitting: dict[tuple[Any, ...], list[str]] = field(default_factory=dict)
    """For the fields and types of rows that came by, the formats that ask for no others."""

    def __post_init__(self) -> None:
        if self.format != "auto":
            named(self.kind, self.format)

    def read(self, row: Row, where: str) -> list[Record | UnusableError]:
        """The records in a row, and in place of those that teach nothing the reason.

        Raises UnusableError for a row that teaches nothing at all, DataError for one that someone must mend.
        """
        using = self._format_of(row)
        made = using.read(row, where)
        self.ranked = self.ranked or isinstance(made, Rated | Sequence)
        if not isinstance(made, Sequence):
            return [self._with_answer(one, row) for one in as_kind(made, self.kind, self.pairs, self.rank_by)]
        examples: list[Record | UnusableError] = []
        for record in made:
            try:
                examples += as_kind(record, self.kind, self.pairs, self.rank_by)
            except UnusableError as reason:
                examples.append(reason)
        return examples

    def _format_of(self, row: Row) -> Format:
        """The format that reads a row. Raises DataError where the row is not what it needs."""
        formats, name = FORMATS[self.kind], self.format
        if name == "auto":
            shape = tuple((name, type(value)) for name, value in row.items())
            if shape not in self._fitting:
                self._fitting[shape] = [name for name, one in formats.items() if one.has_types(row)]
            for fitting in self._fitting[shape]:
                if formats[fitting].only_if(row):
                    self.seen[fitting] += 1
                    return formats[fitting]
            name = recognise(row, self.kind)
        self.seen[name] += 1
        for names in formats[name].lacks(row):
            wanted, found = _shown(names), ", ".join(row) or "none"
            raise DataError(f"{wanted}: is missing (fields found: {found}); add it, or use another format")
        for names, types in formats[name].mistyped(row):
            field = next(name for name in names.split("|") if name in row)
            raise DataError(f"{field}: is {kind_of(row[field])}; {_in_words(types)} is needed")
        return formats[name]

    def _with_answer(self, record: Record | UnusableError, row: Row) -> Record | UnusableError:
        """What the row says is right, for rules to compare with."""
        if isinstance(record, Prompt) and isinstance(row.get("answer"), str | int | float):
            return replace(record, answer=str(row["answer"]))
        return record


def kind_of_row(row: Row) -> Kind | None:
    """What a row was written as, before anything is made of it; None where no format fits."""
    numbers = any(isinstance(value, int | float) and not isinstance(value, bool) for value in row.values())
    own: dict[Kind, dict[str, Format]] = {
        "preferences": PREFERENCES | LISTS,
        "labels": LABELS,
        "scores": SCORED if numbers else {},
        "demonstrations": DEMONSTRATIONS,
        "prompts": PROMPTS,
    }
    return next((kind for kind, table in own.items() if any(one.fits(row) for one in table.values())), None)


def recognise(row: Row, kind: Kind) -> str:
    """Name of the first format that fits a row; failing that, one whose fields are all there, to say what is wrong.

    Raises DataError with the row's fields and what the nearest formats lack.
    """
    formats = FORMATS[kind]
    for name, candidate in formats.items():
        if candidate.fits(row):
            return name
    for name, candidate in formats.items():
        if candidate.has_fields(row) and not candidate.vague and not candidate.has_types(row):
            return name
    found = ", ".join(f"{name} ({kind_of(value)})" for name, value in row.items()) or "none"
    nearest = sorted(
        ((name, one) for name, one in formats.items() if not one.vague), key=lambda item: _missing_share(item[1], row)
    )
    wanted = "; ".join(f"'{name}' needs {' and '.join(map(_shown, f.needs))}" for name, f in nearest[:3])
    named_so = "; or say which column is which, such as data.columns.prompt=NAME"
    raise DataError(f"fields: found {found}, which no format of {kind} reads; {wanted}{named_so}")


def _shown(names: str) -> str:
    """Two names as they are; of many like names the first."""
    choice = names.split("|")
    return " or ".join(choice) if len(choice) < 3 else choice[0]


def _in_words(types: Types) -> str:
    """`a string or a list`"""
    kinds = dict.fromkeys(NAMES[one] for one in (types if isinstance(types, tuple) else (types,)) if one in NAMES)
    return " or ".join(kinds)


def _missing_share(candidate: Format, row: Row) -> float:
    return len(list(candidate.lacks(row))) / len(candidate.needs)
