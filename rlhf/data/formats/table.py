"""What a format is: how its rows are read, and what tells them from the rows of others."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

from rlhf.data.messages import UnusableError
from rlhf.data.records import Message, Record

Row = dict[str, Any]
Types = type | tuple[type, ...]
Read = Callable[[Row, str], Record | Sequence[Record | UnusableError]]

Answers = list[tuple[list[Message], dict[str, float]]]
"""What was answered, each with what was said of it."""

Sides = tuple[str, str]
"""The fields of a row that hold two answers to compare."""


class Column(NamedTuple):
    """A column of verdicts on two answers."""

    name: str
    sides: Sides


TURNS = (str, list)
"""Text that may be one turn or several."""


@dataclass(frozen=True)
class Format:
    """How rows of a format are read and recognised."""

    read: Read
    """From a row and its `file:line` to a record, or to several, with the reason in place of each that is dropped.

    Raises DataError("field: what; what would work") for a row that someone must mend, and UnusableError(reason) for one
    that is to be dropped and counted."""
    needs: Mapping[str, Types] = field(default_factory=dict)
    """Fields and their types; `output|response` is one or the other."""
    only_if: Callable[[Row], bool] | None = None
    """What tells it from formats with the same fields; asked only of rows that have them, of the right types."""
    vague: bool = False
    """Whether its fields are too common for a row of other types to be meant for it."""
    code: Callable[[Row], tuple[Column, int] | None] | None = None
    """The number that says which of two answers is better, of whose meaning the whole column must leave no doubt."""

    def has_fields(self, row: Row) -> bool:
        return not any(self.lacks(row))

    def lacks(self, row: Row) -> Iterator[str]:
        """Fields that it needs and the row has not."""
        return (names for names in self.needs if not any(name in row for name in names.split("|")))

    def has_types(self, row: Row) -> bool:
        """Whether a row has all fields, of the right types."""
        return self.takes({name: type(value) for name, value in row.items()})

    def takes(self, shape: Mapping[str, type]) -> bool:
        """Whether rows with fields of these types have all that are needed."""
        return not any(self._lacking(shape))

    def mistyped(self, row: Row) -> Iterator[tuple[str, Types]]:
        """Fields that are missing or of another type, and the types that they should have."""
        return self._lacking({name: type(value) for name, value in row.items()})

    def _lacking(self, shape: Mapping[str, type]) -> Iterator[tuple[str, Types]]:
        for names, types in self.needs.items():
            if not any(name in shape and issubclass(shape[name], types) for name in names.split("|")):
                yield names, types

    def fits(self, row: Row) -> bool:
        return self.has_types(row) and (self.only_if is None or self.only_if(row))


class Watched(Row):
    """A row that remembers which of its fields were asked for, by name, and which of the objects in them; not those
    that only passed by, and not those of trees."""

    def __init__(self, row: Row) -> None:
        super().__init__(row)
        self._asked_for: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._asked_for:
            value = super().__getitem__(name)
            self._asked_for[name] = list(map(_watched, value)) if isinstance(value, list) else _watched(value)
        return self._asked_for[name]

    def get(self, name: str, default: Any = None) -> Any:
        if name in self:
            return self[name]
        return default

    def unread(self) -> tuple[str, ...]:
        """Fields that are not null, and that nobody asked for; those of objects as `messages[].id`."""
        found = [name for name, value in self.items() if name not in self._asked_for and value is not None]
        for name, value in self._asked_for.items():
            inside = [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, Watched)]
            mark = "[]" if isinstance(value, list) else ""
            found += dict.fromkeys(f"{name}{mark}.{field}" for one in inside for field in one.unread())
        return tuple(found)


def _watched(value: Any) -> Any:
    return Watched(value) if type(value) is dict and "replies" not in value else value


def peek(row: Mapping[str, Any], name: str) -> Any:
    """What a field holds, without a sign that anybody read it; None where the row has none."""
    return dict.get(row, name) if isinstance(row, dict) else row.get(name)


def named(row: Row, names: str, types: Types | None = None) -> str:
    """Which of the names `a|b|c` the row has, the first that is not null and of the types; without one, of any; the
    first of all where the row has none."""
    choice = _choice(names)
    for name in choice:
        if row.get(name) is not None and (types is None or isinstance(row[name], types)):
            return name
    return choice[0] if types is None else named(row, names)


@cache
def _choice(names: str) -> list[str]:
    return names.split("|")
