"""What became of the rows: read in which format, dropped for which reason, or malformed."""

import re
from itertools import islice
from typing import Any

from rlhf.config import DataConfig
from rlhf.data import files, formats
from rlhf.data.columns import renamed
from rlhf.data.formats.table import named
from rlhf.data.inspect._shim import Survey
from rlhf.data.inspect.material import graded
from rlhf.data.inspect.private import masked
from rlhf.data.inspect.report import Dropped, Finding, Findings, Seen
from rlhf.data.records import Kind
from rlhf.errors import DataError

_TOLD = 20
"""Malformed rows that are told."""
_LOOKED_AT = 1_000
"""Rows among which an example of each format is looked for."""
_PLACE = re.compile(r"(.*):(\d+)(?: \(row \d+\))?", re.S)


def check(survey: Survey) -> Findings:
    faults, dropped = survey.faults, survey.dropped
    return {
        "malformed_rows": _malformed(survey) if faults else None,
        "dropped_rows": _lost(survey) if dropped else None,
    }


def _malformed(survey: Survey) -> Finding:
    faults = survey.faults
    alike = {fault.said for fault in faults}
    which = "All say" if len(alike) == 1 else f"{len(alike):,} different faults; the first"
    return Finding(
        name="malformed_rows",
        level="error",
        count=len(faults),
        of=survey.ledger["rows"],
        unit="rows",
        says=f"Training stops at them. {which}: {masked(faults[0].said)}.",
        places=[fault.where for fault in faults[:5]],
    )


def _lost(survey: Survey) -> Finding:
    share = len(survey.dropped) / survey.ledger["examples"]
    reasons = ", ".join(f"{one.count} {one.reason}" for one in dropped(survey))
    return Finding(
        name="dropped_rows",
        level=graded(share, 0.05),
        count=len(survey.dropped),
        of=survey.ledger["examples"],
        unit="examples",
        says=f"{reasons}. They are left out of training, which goes on without them.",
        places=[where for where, _ in survey.dropped[:5]],
    )


def dropped(survey: Survey) -> list[Dropped]:
    """By reason, the most frequent first."""
    places: dict[str, list[str]] = {}
    for where, reason in survey.dropped:
        places.setdefault(reason, []).append(where)
    order = sorted(places.items(), key=lambda item: -len(item[1]))
    return [Dropped(reason, len(where), where[:5]) for reason, where in order]


def errors(survey: Survey) -> list[dict[str, Any]]:
    """The first malformed rows: file, line, field, reason."""
    found = []
    for fault in survey.faults[:_TOLD]:
        place = _PLACE.fullmatch(fault.where)
        field, colon, reason = masked(fault.said).partition(": ")
        found.append(
            {
                "file": place[1] if place else fault.where,
                "line": int(place[2]) if place else None,
                "field": field if colon else None,
                "reason": reason if colon else field,
            }
        )
    return found


def seen(data: DataConfig, survey: Survey) -> list[Seen]:
    """The formats, the most frequent first, each with the fields by which it was known."""
    counts: dict[str, int] = survey.ledger["formats"]
    fields = _fields(data, survey.kind, set(counts))
    order = sorted(counts.items(), key=lambda item: -item[1])
    return [Seen(name, count, fields.get(name, [])) for name, count in order]


def _fields(data: DataConfig, kind: Kind, names: set[str]) -> dict[str, list[str]]:
    """What formats need, as the first rows of each have it."""
    known = formats.FORMATS[kind]
    if data.path is None:  # not to be fetched a second time
        return {name: list(known[name].needs) for name in names}
    found: dict[str, list[str]] = {}
    for _, row in islice(files.read(data.path), _LOOKED_AT):
        if len(found) == len(names):
            break
        row = {"text": row} if isinstance(row, str) else row
        if not isinstance(row, dict):
            continue
        try:
            row = renamed(row, data.columns) if data.columns else row
            name = formats.recognise(row, kind) if data.format == "auto" else data.format
        except DataError:
            continue
        if name not in found:
            found[name] = [named(row, field) for field in known[name].needs]
    return found
