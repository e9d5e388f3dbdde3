"""What became of the rows: read in which format, dropped for which reason, or malformed."""

from itertools import islice

from rlhf.config.data import DataConfig, Source
from rlhf.data import files
from rlhf.data.arrange import arranged
from rlhf.data.faults import TOLD
from rlhf.data.formats.reader import FORMATS, recognise
from rlhf.data.formats.table import named
from rlhf.data.inspect.material import graded
from rlhf.data.inspect.private import masked
from rlhf.data.inspect.report import Dropped, Finding, Findings, Seen
from rlhf.data.intake import UNREADABLE, preparer
from rlhf.data.load import Survey
from rlhf.data.messages import UnusableError
from rlhf.data.records import Kind
from rlhf.errors import DataError

_LOOKED_AT = 1_000
"""Rows among which an example of each format is looked for."""


def check(survey: Survey) -> Findings:
    return {
        "malformed_rows": _malformed(survey) if survey.faults else None,
        "dropped_rows": _lost(survey) if dropped(survey) else None,
    }


def malformed(survey: Survey) -> int:
    """How many rows are."""
    return survey.ledger["dropped"].get(UNREADABLE, 0)


def _malformed(survey: Survey) -> Finding:
    alike = {fault.said for fault in survey.faults}
    first = masked(survey.faults[0].said)
    which = f"{len(alike):,} different faults; the first" if len(alike) > 1 else "What is wrong"
    return Finding(
        name="malformed_rows",
        level="error",
        count=malformed(survey),
        of=survey.ledger["rows"],
        unit="rows",
        says=f"Training stops at them, unless data.bad_rows has them dropped. {which}: {first}.",
        places=[fault.where for fault in survey.faults[:5]],
    )


def _lost(survey: Survey) -> Finding:
    count = sum(one.count for one in dropped(survey))
    reasons = ", ".join(f"{one.count:,} {one.reason}" for one in dropped(survey))
    return Finding(
        name="dropped_rows",
        level=graded(count / survey.ledger["examples"], 0.05),
        count=count,
        of=survey.ledger["examples"],
        unit="examples",
        says=f"{reasons}. They are left out of training, which goes on without them.",
        places=[where for where, _ in survey.lost[:5]],
    )


def dropped(survey: Survey) -> list[Dropped]:
    """What teaches nothing, by reason, the most frequent first."""
    places: dict[str, list[str]] = {}
    for where, reason in survey.lost:
        places.setdefault(reason, []).append(where)
    counts = {reason: count for reason, count in survey.ledger["dropped"].items() if count and reason != UNREADABLE}
    order = sorted(counts.items(), key=lambda item: -item[1])
    return [Dropped(reason, count, places.get(reason, [])[:5]) for reason, count in order]


def errors(survey: Survey) -> list[dict[str, str]]:
    """The first malformed rows: file, line, field, reason."""
    told = [fault.as_json() for fault in survey.faults[:TOLD]]
    return [{**one, "field": masked(one["field"]), "reason": masked(one["reason"])} for one in told]


def seen(data: DataConfig, survey: Survey) -> list[Seen]:
    """The formats, the most frequent first, each with the fields by which it was known."""
    counts: dict[str, int] = survey.ledger["formats"]
    fields: dict[str, list[str]] = {}
    for source in data.sources.values():
        fields = _fields(source, survey.kind, set(counts)) | fields
    order = sorted(counts.items(), key=lambda item: -item[1])
    return [Seen(name, count, fields.get(name, [])) for name, count in order]


def _fields(source: Source, kind: Kind, names: set[str]) -> dict[str, list[str]]:
    """What formats need, as the first rows of each have it."""
    known = FORMATS[kind]
    if source.path is None or source.rows is not None:  # not to be fetched, or to pass somebody's code, a second time
        return {name: list(known[name].needs) for name in names}
    found: dict[str, list[str]] = {}
    prepare = preparer(source)
    for _, raw in islice(arranged(files.read_source(source), source, kind), _LOOKED_AT):
        try:
            (row,) = prepare(raw)
            name = recognise(row, kind) if source.format == "auto" else source.format
        except (DataError, UnusableError):
            continue
        if name not in found:
            found[name] = [named(row, field) for field in known[name].needs]
            if len(found) == len(names):
                break
    return found
