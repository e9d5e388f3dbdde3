"""What `rlhf.data.load.survey` will be; to be deleted once that is there."""

from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from rlhf.config import DataConfig
from rlhf.data import files, formats
from rlhf.data.load import _Intake
from rlhf.data.messages import UnusableError
from rlhf.data.records import Kind, Preference, Record
from rlhf.errors import DataError


@dataclass(frozen=True)
class Fault:
    """A row that someone must mend."""

    where: str
    said: str


@dataclass(frozen=True)
class Survey:
    """All that a file holds, wrong rows included."""

    kind: Kind
    records: list[Record]
    dropped: list[tuple[str, str]]
    faults: list[Fault]
    ledger: dict[str, Any]


@dataclass
class _Places(_Intake):
    """Keeps the place of every row that teaches nothing."""

    places: list[tuple[str, str]] = field(default_factory=list)

    def _examples(self, row: Any, where: str) -> list[Record | UnusableError]:
        try:
            found = super()._examples(row, where)
        except UnusableError as reason:
            self.places.append((where, str(reason)))
            raise
        self.places += [(where, str(one)) for one in found if isinstance(one, UnusableError)]
        return found


def survey(data: DataConfig, kind: Kind | None = None) -> Survey:
    """Every row of `data.path`, read as `kind` or as what its first rows are."""
    assert data.path is not None
    kind = kind or _kind_of([row for _, row in islice(files.read(data.path), 20)])
    intake = _Places(formats.Reader(kind, data.format, data.pairs, data.rank_by), data.columns)
    records: list[Record] = intake.take(files.read(data.path), data.max_rows)
    ties = [record for record in records if isinstance(record, Preference) and record.tie]
    intake.dropped["tie"] += len(ties)
    kept = [record for record in records if not (isinstance(record, Preference) and record.tie)]
    dropped = [*intake.places, *((record.where, "tie") for record in ties)]
    ledger = {
        "rows": intake.rows,
        "examples": intake.examples,
        "dropped": dict(+intake.dropped),
        "formats": dict(intake.reader.seen),
    }
    return Survey(kind, kept, dropped, [Fault(where, said) for where, said in intake.faults], ledger)


def _kind_of(rows: list[Any]) -> Kind:
    order: tuple[Kind, ...] = ("preferences", "labels", "demonstrations", "prompts", "scores")
    rows = [{"text": row} if isinstance(row, str) else row for row in rows]
    for kind in order:
        own = {"preferences": formats.PREFERENCES, "labels": formats.LABELS}.get(kind, formats.FORMATS[kind])
        if any(isinstance(row, dict) and any(one.fits(row) for one in own.values()) for row in rows):
            return kind
    raise DataError("data.path: no row is of a format that is known")
