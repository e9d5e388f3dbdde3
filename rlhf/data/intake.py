"""Rows of one or several sources to records, one at a time, and the books of what became of each."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Self

from rlhf import usercode
from rlhf.config.data import DataConfig, Source
from rlhf.data import files
from rlhf.data.arrange import arranged
from rlhf.data.columns import renamed
from rlhf.data.faults import NOWHERE, Faults, Listing, Lists, place
from rlhf.data.formats.codes import doubt
from rlhf.data.formats.reader import FIELDS, Reader
from rlhf.data.formats.table import Column, Row
from rlhf.data.formats.verdicts import in_words
from rlhf.data.messages import UnusableError, kind_of
from rlhf.data.records import Kind, Record, identity
from rlhf.errors import DataError

UNREADABLE = "cannot be read"
"""Reason under which malformed rows are dropped, where they may be."""
EMPTY = "holds no row; it is empty, or has nothing but a header"
_LOST = 1000
"""Examples whose places are kept."""


class Intake:
    """Reads sources and counts: examples = those handed out + `dropped`, at any time. Rows that are not used are listed
    in files, which are in their places once its block is left."""

    def __init__(self, data: DataConfig, kind: Kind, lists: Lists = NOWHERE) -> None:
        self.data = data
        self.kind: Kind = kind
        self.rows = 0
        self.examples = 0
        """What the rows hold: more than rows where a row holds several answers to compare."""
        self.duplicates = 0
        """Examples that are equal to an earlier one."""
        self.dropped: Counter[str] = Counter()
        self.lost: list[tuple[str, str]] = []
        """Where each example that is not used stands, and why it is not; the first thousand."""
        self.formats: Counter[str] = Counter()
        """Rows of each format."""
        self.unread: Counter[str] = Counter()
        """Rows with something in a field that no format read, by its name."""
        self.read: list[dict[str, str]] = []
        """What was read, by name and content."""
        self.faults = Faults(Listing(lists.bad))
        self.useless = Listing(lists.dropped)
        """Where each example that teaches nothing stands, and why it does not."""
        self.handed = 0
        """Identity of the example that was handed out last."""
        self.is_new = False
        """Whether no earlier one is equal to it."""
        self._seen: set[int] = set()
        self._ranked = False
        self._codes: dict[Column, set[int]] = {}
        """The numbers in the columns of verdicts of the source that is read."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.faults.listing.close()
        self.useless.close()

    def take(self, source: Source, part: files.Rows | None = None) -> Iterator[Any]:
        """The usable records of a source, of as many rows as its `max_rows` says; of a part, if one is given."""
        reader = Reader(self.kind, source.format, source.pairs, source.rank_by)
        prepare, usable, keep = preparer(source), 0, self.data.duplicates == "keep"
        whole = arranged(files.read_source(source), source, self.kind, self._counted) if part is None else None
        for where, row in whole or self._counted(part or iter(())):
            try:
                first, *others = prepare(row)
                found = self._read(reader, first, where)
                for one in others:
                    found += self._read(reader, one, where)
            except UnusableError as reason:
                found = [reason]
            except DataError as fault:
                self._malformed(where, str(fault))
                continue
            handed = 0
            for example in found:
                self.examples += 1
                if isinstance(example, UnusableError):
                    self.lose(where, str(example))
                    self.useless.add({**place(where), "reason": str(example)})
                elif self._see(example) or keep:
                    handed += 1
                    yield example
                else:
                    self.lose(where, "duplicate")
            usable += handed > 0
            if source.max_rows is not None and usable >= source.max_rows:
                break
        self.formats += reader.seen
        self.unread += reader.unread
        self._ranked = reader.ranked
        self._codes = reader.codes
        if part is None:
            self.close(source)

    @staticmethod
    def _read(reader: Reader, row: Row, where: str) -> list[Any]:
        """The examples of a row, or why it has none."""
        try:
            return reader.read(row, where)
        except UnusableError as reason:
            return [reason]

    def close(self, source: Source) -> None:
        """Write down what was read. Raises DataError where a column of verdicts does not say which answer is better,
        or a choice between answers was for nothing."""
        self.read += _named(source)
        for column, numbers in self._codes.items():
            if unclear := doubt(column, numbers):
                raise DataError(f"{source.called}: {unclear}")
        if self.kind == "preferences" and not self._ranked and not self.faults.count:
            for name in ("pairs", "rank_by"):
                if getattr(source, name) != Source.model_fields[name].default:
                    raise DataError(f"data.{name}: does nothing, for no row has several rated answers; leave it out")

    def add(self, part: "Intake") -> None:
        """The books of a part that was read elsewhere."""
        self.rows += part.rows
        self.examples += part.examples
        self.duplicates += part.duplicates
        self.dropped += part.dropped
        self.formats += part.formats
        self.unread += part.unread
        self.lost = (self.lost + part.lost)[:_LOST]
        self.faults.add_all(part.faults)
        self.useless.add_all(part.useless)
        self._ranked = self._ranked or part._ranked
        for column, numbers in part._codes.items():
            self._codes.setdefault(column, set()).update(numbers)

    def seen_again(self, count: int) -> int:
        """Count examples of a part that an earlier one holds too; how many of them are dropped."""
        self.duplicates += count
        if self.data.duplicates == "keep":
            return 0
        self.dropped["duplicate"] += count
        return count

    def forget(self) -> None:
        """Which examples were seen."""
        self._seen = set()

    def _counted(self, rows: files.Rows) -> files.Rows:
        for item in rows:
            self.rows += 1
            yield item

    def check(self) -> None:
        """Raises DataError for malformed rows that may not be dropped, or when no row is left."""
        if self.faults.count and self.data.bad_rows == "error":
            raise DataError(
                f"{self.faults.count} of {self.rows} rows cannot be read as {self.kind}:\n{self.faults.told()}"
            )
        if self.examples == self.dropped.total():
            if not self.examples:
                raise DataError(f"{self.data.called}: {EMPTY}")
            reasons = ", ".join(f"{count} × {reason}" for reason, count in self.dropped.items())
            told = f":\n{self.faults.told()}" if self.faults.count else ""
            raise DataError(f"{self.data.called}: no usable row among {self.rows} ({reasons}){told}")

    def ledger(self, used: int, held_out: int, repeated: int = 0) -> dict[str, Any]:
        """The books, once every example is accounted for."""
        assert self.examples == used + held_out + self.dropped.total(), "every example must be accounted for"
        books = {
            "rows": self.rows,
            "examples": self.examples,
            "used": used,
            "repeated": repeated,
            "held_out": held_out,
            "duplicates": self.duplicates,
            "dropped": dict(self.dropped),
            "formats": dict(self.formats),
            "unread": dict(self.unread),
            "sources": self.read,
        }
        if self.faults.count and self.data.bad_rows == "warn":
            books["bad_rows"] = self.faults.told()
        if self.useless.count and self.useless.path:
            books["dropped_rows"] = self.useless.path.name
        return books

    def _malformed(self, where: str, said: str) -> None:
        self.faults.add(where, said)
        self.examples += 1
        self.dropped[UNREADABLE] += 1

    def lose(self, where: str, reason: str) -> None:
        """Count an example that is not used."""
        self.dropped[reason] += 1
        if len(self.lost) < _LOST:
            self.lost.append((where, reason))

    def _see(self, record: Record) -> bool:
        """Whether no earlier example is equal."""
        self.handed, before = identity(record), len(self._seen)
        self._seen.add(self.handed)
        self.is_new = len(self._seen) > before
        self.duplicates += not self.is_new
        return self.is_new


def unread_in_words(books: Mapping[str, Any]) -> list[str]:
    """Fields that no format read, each with its rows, of a ledger."""
    return [f"{name} ({count:,})" for name, count in books["unread"].items()]


def preparer(source: Source) -> Callable[[Any], Sequence[Row]]:
    """What makes rows that formats can know out of a source's own: by its function, then by its columns and what its
    verdicts mean. That raises DataError for a row that someone must mend, and UnusableError where none is left."""
    make = usercode.function(source.rows, "data.rows") if source.rows else None
    for name in source.columns:
        if name not in FIELDS and (like := get_close_matches(name, FIELDS, n=1, cutoff=0.8)):
            raise DataError(f"data.columns.{name}: no format reads such a field; did you mean '{like[0]}'?")

    plain = not source.columns and not source.verdicts

    def prepare(row: Any) -> Sequence[Row]:
        if isinstance(row, DataError | UnusableError):
            raise row
        if make is not None:
            return [_fields(one, source) for one in _made(make, row)]
        return (row if plain and type(row) is dict else _fields(row, source),)

    return prepare


def _fields(row: Any, source: Source) -> Row:
    if isinstance(row, str):
        row = {"text": row}
    if not isinstance(row, dict):
        raise DataError(f"row: is {kind_of(row)}; an object with named fields is needed")
    row = renamed(row, source.columns) if source.columns else row
    return in_words(row, source.verdicts) if source.verdicts else row


def _made(make: Any, row: Any) -> Sequence[Any]:
    """Rows that a user's function makes of one."""
    try:
        made = make(row)
    except (Exception, SystemExit) as error:
        raise DataError(f"data.rows: the function failed: {type(error).__name__}: {error}") from error
    rows = made if isinstance(made, list) else [] if made is None else [made]
    if not rows:
        raise UnusableError("left out by data.rows")
    return rows


def _named(source: Source) -> list[dict[str, str]]:
    """What is read, by name and content."""
    if source.path is None:
        return [{"name": source.called, "sha256": files.hub_hash(source)}]
    found = []
    for path in files.found(source.path):
        with path.open("rb") as file:
            found.append({"name": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()})
    return found
