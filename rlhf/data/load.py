"""From a recipe's `data` block to records. Every row is used, held out, or dropped for a reason; the ledger adds up."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, overload

from rlhf.config.data import DataConfig, MixedSource, Source
from rlhf.data import files, formats
from rlhf.data.faults import Fault
from rlhf.data.intake import Intake
from rlhf.data.records import Demonstration, Kind, Message, Preference, Prompt, Rated, Record, prompt_key
from rlhf.errors import DataError

R = TypeVar("R", bound=Record, covariant=True)


@dataclass(frozen=True)
class Split(Generic[R]):
    """Records to train on and records never trained on; no prompt is among both."""

    train: list[R]
    """Those of a mix as often as its weights say."""
    held_out: list[R]
    ledger: dict[str, Any]
    """examples = used + held_out + the sum of `dropped` (by reason), as many as rows unless rows hold several; `train`
    holds `repeated` more than are used. `duplicates` counts examples equal to an earlier one, `formats` the rows of
    each format, `sources` says what was read."""


@overload
def load(data: DataConfig, kind: Literal["demonstrations"], out: Path | None = None) -> Split[Demonstration]: ...
@overload
def load(data: DataConfig, kind: Literal["preferences"], out: Path | None = None) -> Split[Preference]: ...
@overload
def load(data: DataConfig, kind: Literal["prompts"], out: Path | None = None) -> Split[Prompt]: ...
@overload
def load(data: DataConfig, kind: Literal["labels", "scores"], out: Path | None = None) -> Split[Rated]: ...
def load(data: DataConfig, kind: Kind, out: Path | None = None) -> Split[Any]:
    """Read, check and split. `max_rows` is of usable rows, and of each source when there are several.

    All malformed rows are listed in the folder `out`. Raises DataError that names the first 20 as
    `file:line: field: what; what would work`.
    """
    intake = Intake(data, kind, out / f"bad_rows.{kind}.jsonl" if out else None)
    parts = [(source, list(intake.take(source))) for source in data.sources.values()]
    apart = list(intake.take(_evaluating(data))) if data.eval_path else None
    intake.check()
    called = " and ".join(source.called for source in data.sources.values())
    for name, found in ((called, [record for _, records in parts for record in records]), (data.eval_path, apart)):
        if found == []:
            raise DataError(f"{name}: holds no usable row; name a file that does")
    keys = {prompt_key(record) for record in apart or ()}
    train: list[Record] = []
    held_out: list[Record] = apart or []
    used = 0
    for source, records in parts:
        if apart is None:
            kept, out_of_it = split_by_prompt(records, data.eval_fraction)
            held_out += out_of_it
        else:
            kept = [record for record in records if prompt_key(record) not in keys]
            intake.dropped["prompt is in eval_path"] += len(records) - len(kept)
        weighted = _weighted(kept, source.weight) if isinstance(source, MixedSource) else kept
        once = min(len(weighted), len(kept))
        intake.dropped["left out by weight"] += len(kept) - once
        train, used = train + weighted, used + once
    if apart is not None and not used:
        raise DataError("data.eval_path: holds every prompt of the training file; name a file with other prompts")
    intake.dropped = +intake.dropped
    return Split(train, held_out, intake.ledger(used, len(held_out), len(train) - used))


def _evaluating(data: DataConfig) -> Source:
    """The files of `eval_path`, read as the others are where those are of one source."""
    assert data.eval_path is not None
    how = {} if data.mix else {name: getattr(data, name) for name in ("format", "columns", "rows", "pairs", "rank_by")}
    return Source(path=data.eval_path, max_rows=data.max_rows).model_copy(update=how)


@dataclass(frozen=True)
class Survey:
    """All that is known of some sources without a tokenizer; nothing is held out, and malformed rows are listed."""

    kind: Kind
    records: list[Any]
    lost: list[tuple[str, str]]
    """Where examples that teach nothing stand, and why they do not; the first thousand."""
    faults: list[Fault]
    """Malformed rows; the first thousand."""
    ledger: dict[str, Any]


def survey(data: DataConfig, kind: Kind | None = None, out: Path | None = None) -> Survey:
    """Read everything, whatever is wrong with it. `kind`: recognised from the first rows when None.

    Raises DataError for files that cannot be opened.
    """
    kind = kind or kind_of_source(data)
    intake = Intake(data.model_copy(update={"bad_rows": "drop"}), kind, out / f"bad_rows.{kind}.jsonl" if out else None)
    records = [record for source in data.sources.values() for record in intake.take(source)]
    return Survey(kind, records, intake.lost, intake.faults.first, intake.ledger(len(records), 0))


def validate(data: DataConfig, kind: Kind, out: Path | None = None) -> dict[str, Any]:
    """Read everything as `load` does, and keep no record: the ledger of the first of several passes. Raises as it."""
    intake = Intake(data, kind, out / f"bad_rows.{kind}.jsonl" if out else None)
    held_out = used = 0
    for source in data.sources.values():
        for record in intake.take(source):
            if share(record) < data.eval_fraction:
                held_out += 1
            else:
                used += 1
    intake.check()
    return intake.ledger(used, held_out)


def kind_of_source(data: DataConfig) -> Kind:
    """The kind of record that most of the first rows were written as. Raises DataError where they are none."""
    source = next(iter(data.sources.values()))
    read = files.read(source.path) if source.path else files.read_hub(source)
    first = [row for _, row in islice(read, 100) if isinstance(row, dict | str)]
    rows = [row if isinstance(row, dict) else {"text": row} for row in first]
    found: Counter[Kind] = Counter(kind for row in rows if (kind := formats.kind_of_row(row)))
    if not found:
        formats.recognise(rows[0] if rows else {}, "preferences")  # which tells why
        raise DataError(f"{source.called}: none of its first rows is of a known format")
    return found.most_common(1)[0][0]


@dataclass(frozen=True)
class Scorable:
    """The conversations of a file, to be scored."""

    rows: list[tuple[str, dict[str, list[Message]]]]
    """Place of each row, and its conversations by side: `chosen` and `rejected` of a pair, else one without a name."""
    dropped: Counter[str]
    """Rows without a conversation to score, by reason."""


def scorable(path: Path) -> Scorable:
    """Every conversation of a file, both sides of a pair. Raises DataError as `load` does."""
    data = DataConfig(path=path)
    first = next((row for _, row in files.read(path)), None)
    try:
        formats.recognise(first if isinstance(first, dict) else {}, "preferences")
        kind: Kind = "preferences"
    except DataError:
        kind = "demonstrations"
    intake = Intake(data, kind)
    records = list(intake.take(data))
    intake.check()
    kept = [record for record in records if not (isinstance(record, Preference) and record.tie)]
    intake.dropped["tie"] += len(records) - len(kept)
    return Scorable([(record.where, _sides(record)) for record in kept], +intake.dropped)


def _sides(record: Record) -> dict[str, list[Message]]:
    if isinstance(record, Preference):
        return {"chosen": record.prompt + record.chosen, "rejected": record.prompt + record.rejected}
    assert isinstance(record, Demonstration)
    return {"": record.messages}


# ------------------------------------------------------------------------------------------------ shares


def split_by_prompt(records: list[R], fraction: float) -> tuple[list[R], list[R]]:
    """`(train, held_out)`. A prompt's side follows from its text alone: the same in every file, order and run."""
    train: list[R] = []
    held_out: list[R] = []
    for record in records:
        (held_out if share(record) < fraction else train).append(record)
    return train, held_out


def _weighted(records: list[Record], weight: float) -> list[Record]:
    """Each record as often as `weight` says; of a part of a time, those of which their prompt's hash says so."""
    whole, rest = divmod(weight, 1)
    return records * int(whole) + [record for record in records if share(record, 8) < rest]


def share(record: Record, at: int = 0) -> float:
    """A number in [0, 1) that follows from a record's prompt alone, as if drawn at random; another at byte 8."""
    digest = hashlib.sha256(prompt_key(record).encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[at : at + 8], "big") / 2**64
