"""Rows as records: the formats of every kind, in the order in which they are tried, and which of them reads a row.

The tables say which fields (and types) a format needs: that is how rows are recognised, and what the message about an
unrecognised row lists. What serves one kind may serve another: pairs as demonstrations, ranked answers as pairs, any
file as prompts.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from rlhf.data.formats import table
from rlhf.data.formats.asking import SYSTEM, right_answer
from rlhf.data.formats.convert import RANKING, Pairs, as_kind
from rlhf.data.formats.demonstrations import DEMONSTRATIONS, roleless
from rlhf.data.formats.nearest import other_kind, shown, unknown
from rlhf.data.formats.preferences import PREFERENCES
from rlhf.data.formats.prompts import LATER, PROMPTS
from rlhf.data.formats.ratings import ANSWERS, LABELS, LISTS, SCORED
from rlhf.data.formats.refusals import REFUSED
from rlhf.data.formats.steps import STEPS
from rlhf.data.formats.table import Column, Format, Row, Types, Watched
from rlhf.data.formats.texts import TEXTS
from rlhf.data.formats.verdicts import sides_of
from rlhf.data.messages import NAMES, UnusableError, kind_of
from rlhf.data.records import Demonstration, Kind, Preference, Prompt, Rated, Record
from rlhf.errors import DataError, did_you_mean

_WHOLE = {name: one for name, one in LISTS.items() if name not in (*STEPS, "tree")}
"""Lists whose best answer is no part of a conversation or of a solution, which would be nothing to imitate."""
_OTHERS = {name: one for name, one in (PREFERENCES | LISTS | DEMONSTRATIONS).items() if name not in PROMPTS}

FORMATS: dict[Kind, dict[str, Format]] = {
    "preferences": REFUSED | PREFERENCES | LISTS,
    "demonstrations": REFUSED | PREFERENCES | _WHOLE | DEMONSTRATIONS,
    "prompts": REFUSED | PROMPTS | _OTHERS | LATER,
    "labels": REFUSED | LABELS | PREFERENCES | LISTS,
    "scores": REFUSED | LISTS | SCORED,
}
"""Every format of every kind, in the order in which they are tried."""
FIELDS = {
    *(
        name
        for formats in FORMATS.values()
        for one in formats.values()
        for names in one.needs
        for name in names.split("|")
    ),
    *("margin", "tie", "is_tie", "input", "history", "status", *SYSTEM, *RANKING),
}
"""Fields that formats read, but for numbers of any name."""


_SHAPES = 4096
"""Shapes of rows that are remembered."""

_OWN: dict[Kind, type[Record]] = {"preferences": Preference, "demonstrations": Demonstration}
"""Records that are of a kind as they are read."""


def format_of(kind: Kind, name: str) -> Format:
    """The format that `data.format` names. Raises DataError for an unknown name."""
    if name in FORMATS[kind]:
        return FORMATS[kind][name]
    makes = [other for other, formats in FORMATS.items() if name in formats and other != "prompts"]
    hint = f"; '{name}' makes {makes[0]}" if makes else did_you_mean(name, FORMATS[kind])
    raise DataError(f"data.format: no format '{name}' makes {kind}{hint}")


@dataclass
class _Reading:
    """A format that reads rows of one shape."""

    name: str
    format: Format
    nests: bool
    """Whether they hold lists or objects."""
    unread: dict[Hashable, tuple[str, ...]] = field(default_factory=dict)
    """Fields that it leaves unread, by the names in those lists and objects."""


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
    codes: dict[Column, set[int]] = field(default_factory=dict)
    """The numbers in columns of verdicts on two answers."""
    _unread: Counter[tuple[str, ...]] = field(default_factory=Counter)
    """Rows by the fields of theirs that were not read."""
    _fitting: dict[tuple[Any, ...], list[_Reading]] = field(default_factory=dict)
    """For the fields and types of rows that came by, the formats that ask for no others."""
    _unknown: dict[tuple[Any, ...], str] = field(default_factory=dict)
    """For those that no format reads, what is said of the first."""

    def __post_init__(self) -> None:
        if self.format != "auto":
            format_of(self.kind, self.format)

    def read(self, row: Row, where: str) -> list[Record | UnusableError]:
        """The records in a row, and in place of those that teach nothing the reason.

        Raises UnusableError for a row that teaches nothing at all, DataError for one that someone must mend.
        """
        reading = self._reading_of(row)
        inside = _inside(row) if reading.nests else ()
        if inside not in reading.unread:
            row = Watched(row)
        if reading.format.code is not None and (found := reading.format.code(row)) is not None:
            self.codes.setdefault(found[0], set()).add(found[1])
        try:
            found = self._records(reading.format.read(row, where), row)
        except UnusableError:
            self._count(reading, inside)
            raise
        if isinstance(row, Watched):
            reading.unread[inside] = row.unread()
        self._count(reading, inside)
        return found

    def _count(self, reading: _Reading, inside: Hashable) -> None:
        self.seen[reading.name] += 1
        if unread := reading.unread.get(inside):
            self._unread[unread] += 1

    @property
    def unread(self) -> Counter[str]:
        """Rows with something in a field that was not read, by its name, as the first row of each shape has it."""
        found: Counter[str] = Counter()
        for names, count in self._unread.items():
            found.update(dict.fromkeys(names, count))
        return found

    def _records(self, made: Record | Sequence[Record | UnusableError], row: Row) -> list[Record | UnusableError]:
        """What was made of a row, as the kind that is needed."""
        if isinstance(made, _OWN.get(self.kind, ())):
            return [made]
        self.ranked = self.ranked or isinstance(made, Rated | Sequence)
        if not isinstance(made, Sequence):
            records = as_kind(made, self.kind, self.pairs, self.rank_by)
            return [replace(one, answer=right_answer(row)) if isinstance(one, Prompt) else one for one in records]
        examples: list[Record | UnusableError] = []
        for record in made:
            if isinstance(record, UnusableError):
                examples.append(record)
                continue
            try:
                examples += as_kind(record, self.kind, self.pairs, self.rank_by)
            except UnusableError as reason:
                examples.append(reason)
        return examples

    def _reading_of(self, row: Row) -> _Reading:
        """The format that reads a row. Raises DataError where the row is not what it needs."""
        formats, name = FORMATS[self.kind], self.format
        shape = (*row, *map(type, row.values()))
        fitting = self._fitting.get(shape)
        if fitting is None:
            tried = formats if name == "auto" else {name: formats[name]}
            nests = any(isinstance(value, list | dict) for value in row.values())
            fitting = [_Reading(name, one, nests) for name, one in tried.items() if one.has_types(row)]
            if len(self._fitting) < _SHAPES:
                self._fitting[shape] = fitting
        for one in fitting:
            if name != "auto" or one.format.only_if is None or one.format.only_if(row):
                return one
        if name == "auto":
            name = recognise(row, self.kind) if fitting else self._recognised(row, shape)
        for names in formats[name].lacks(row):
            wanted, found = shown(names), ", ".join(row) or "none"
            raise DataError(f"{wanted}: is missing (fields found: {found}); add it, or use another format")
        for names, types in formats[name].mistyped(row):
            field = next(name for name in names.split("|") if name in row)
            raise DataError(f"{field}: is {kind_of(row[field])}; {_in_words(types)} is needed")
        raise AssertionError(f"a row that '{name}' reads was not read")

    def _recognised(self, row: Row, shape: tuple[Any, ...]) -> str:
        """What `recognise` says of a shape that no format reads: looking for what is near takes milliseconds."""
        if shape in self._unknown:
            raise DataError(self._unknown[shape])
        try:
            return recognise(row, self.kind)
        except DataError as error:
            if len(self._unknown) < _SHAPES:
                self._unknown[shape] = str(error)
            raise


def _inside(row: Row) -> Hashable:
    """The names in a row's objects, and in those that it has lists of."""
    return tuple(
        tuple(value) if type(value) is dict else frozenset(tuple(one) for one in value if type(one) is dict)
        for value in row.values()
        if type(value) in (dict, list)
    )


def kind_of_row(row: Row) -> Kind | None:
    """What a row was written as, before anything is made of it; None where no format fits."""
    judged = any(row.get(name) is not None for name in RANKING)
    own: dict[Kind, dict[str, Format]] = {
        "preferences": PREFERENCES | LISTS,
        "labels": LABELS,
        "scores": SCORED if judged else {"scored_summary": SCORED["scored_summary"]},
        "demonstrations": DEMONSTRATIONS,
        "prompts": PROMPTS | LATER,
    }
    if _waits(row) and not any(isinstance(row.get(name), table.TURNS) for name in _REPLIES):
        own = {"prompts": PROMPTS | LATER}
    for kind, known in own.items():
        if fitting := [name for name, one in known.items() if one.fits(row)]:
            aside = kind == "prompts" or all(name in TEXTS for name in fitting)
            return "preferences" if aside and _has_answers(row) else kind
    return None


def _waits(row: Row) -> bool:
    """Whether it holds a conversation that ends with a question, or questions alone."""
    talk, asked = row.get("messages"), row.get("turns")
    if isinstance(asked, list) and asked and roleless(asked[0]):
        return True
    return isinstance(talk, list) and bool(talk) and isinstance(talk[-1], dict) and talk[-1].get("role") == "user"


_REPLIES = ("response", "completion", "output")
"""Fields with the answer to messages that wait for one."""


def _has_answers(row: Row) -> bool:
    """Whether a row that can only be read as a prompt, or as a text, was not meant so: a pair with a side that is null,
    answers that nobody has judged."""
    pair = PREFERENCES["pair"].has_fields(row) or sides_of(row) is not None or "chosen" in row or "rejected" in row
    return pair or isinstance(row.get(table.named(row, ANSWERS)), list)


def fits(row: Row, kind: Kind | None) -> bool:
    """Whether a format of a kind, of any kind where that is None, reads rows like this."""
    names, types = tuple(row), tuple(map(type, row.values()))
    near = (one for table in (FORMATS if kind is None else [kind]) for one in _of_shape(table, names, types))
    return any(one.only_if is None or one.only_if(row) for one in near)


@lru_cache(_SHAPES)
def _of_shape(kind: Kind, names: tuple[str, ...], types: tuple[type, ...]) -> list[Format]:
    """The formats of a kind that read rows, and ask for no other fields and types than a row has."""
    shape = dict(zip(names, types, strict=True))
    return [one for name, one in FORMATS[kind].items() if name not in REFUSED and one.takes(shape)]


def like_none(row: Row) -> DataError:
    """What to say of a row of which nothing says what it was written as."""
    for one in REFUSED.values():
        if one.fits(row):
            try:
                one.read(row, "")
            except DataError as why:
                return why
    return unknown(row, None, FORMATS)


def recognise(row: Row, kind: Kind) -> str:
    """Name of the first format that fits a row; failing that, one whose fields are all there, to say what is wrong.

    Raises DataError with the row's fields, what the nearest formats lack, and what may be wrong with the file.
    """
    formats = FORMATS[kind]
    for name, candidate in formats.items():
        if candidate.fits(row):
            return name
    for name, candidate in formats.items():
        if candidate.has_fields(row) and not candidate.vague and not candidate.has_types(row):
            if any(other_kind(row, kind, FORMATS, len(candidate.needs))):
                break
            return name
    raise unknown(row, kind, FORMATS)


def _in_words(types: Types) -> str:
    """`a string or a list`"""
    kinds = dict.fromkeys(NAMES[one] for one in (types if isinstance(types, tuple) else (types,)) if one in NAMES)
    return " or ".join(kinds)
