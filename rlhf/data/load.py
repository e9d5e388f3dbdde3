"""From a recipe's `data` block to records. Every row is used, held out, or dropped for a reason; the ledger adds up."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, overload

from rlhf.config import DataConfig
from rlhf.data import files, formats
from rlhf.data.arrange import arranged
from rlhf.data.columns import renamed
from rlhf.data.messages import UnusableError, kind_of
from rlhf.data.records import Demonstration, Kind, Message, Preference, Prompt, Rated, Record, prompt_key
from rlhf.errors import DataError

R = TypeVar("R", bound=Record, covariant=True)

_TOLD = 20
"""Different faults told in an error; the rest are counted."""


@dataclass(frozen=True)
class Split(Generic[R]):
    """Records to train on and records never trained on; no prompt is among both."""

    train: list[R]
    held_out: list[R]
    ledger: dict[str, Any]
    """examples = used + held_out + the sum of `dropped` (by reason), as many as rows unless rows hold several;
    `formats` counts the rows of each format read, `sources` says what was read."""


@overload
def load(data: DataConfig, kind: Literal["demonstrations"]) -> Split[Demonstration]: ...
@overload
def load(data: DataConfig, kind: Literal["preferences"]) -> Split[Preference]: ...
@overload
def load(data: DataConfig, kind: Literal["prompts"]) -> Split[Prompt]: ...
@overload
def load(data: DataConfig, kind: Literal["labels", "scores"]) -> Split[Rated]: ...
def load(data: DataConfig, kind: Kind) -> Split[Any]:
    """Read, check and split. `max_rows` is of usable rows, and of each file when there is an `eval_path`.

    Raises DataError that names the first 20 wrong rows as `file:line: field: what; what would work`.
    """
    reader = formats.Reader(kind, data.format, data.pairs, data.rank_by)
    intake = _Intake(reader, data.columns, sources=_sources(data))
    records = intake.take(files.read(data.path) if data.path else files.read_hub(data), data.max_rows)
    apart = intake.take(files.read(data.eval_path), data.max_rows) if data.eval_path else None
    intake.check(data)
    if apart is None:
        train, held_out = split_by_prompt(records, data.eval_fraction)
    else:
        keys = {prompt_key(record) for record in apart}
        train, held_out = [record for record in records if prompt_key(record) not in keys], apart
        if not train:
            raise DataError("data.eval_path: holds every prompt of the training file; name a file with other prompts")
        if len(train) < len(records):
            intake.dropped["prompt is in eval_path"] += len(records) - len(train)
    return Split(train, held_out, intake.ledger(len(train), len(held_out)))


def _sources(data: DataConfig) -> list[dict[str, str]]:
    """What is read: files by name and content, a hub dataset by its name and version."""
    if data.hub is not None:
        parts = (data.subset, data.split, data.revision)
        return [{"name": " ".join([data.hub, *(part for part in parts if part)])}]
    found = []
    for path in (data.path, data.eval_path):
        if path is not None and path.is_file():
            with path.open("rb") as file:
                found.append({"name": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()})
    return found


@dataclass(frozen=True)
class Scorable:
    """The conversations of a file, to be scored."""

    rows: list[tuple[str, dict[str, list[Message]]]]
    """Place of each row, and its conversations by side: `chosen` and `rejected` of a pair, else one without a name."""
    dropped: Counter[str]
    """Rows without a conversation to score, by reason."""


def scorable(path: Path) -> Scorable:
    """Every conversation of a file, both sides of a pair. Raises DataError as `load` does."""
    data = DataConfig.model_validate({"path": path})
    first = next((row for _, row in arranged(files.read(path), "demonstrations")), None)
    try:
        formats.recognise(first if isinstance(first, dict) else {}, "preferences")
        kind: Kind = "preferences"
    except DataError:
        kind = "demonstrations"
    intake = _Intake(formats.Reader(kind))
    records = intake.take(files.read(path), None)
    intake.check(data)
    kept = [record for record in records if not (isinstance(record, Preference) and record.tie)]
    intake.dropped["tie"] += len(records) - len(kept)
    return Scorable([(record.where, _sides(record)) for record in kept], +intake.dropped)


def _sides(record: Record) -> dict[str, list[Message]]:
    if isinstance(record, Preference):
        return {"chosen": record.prompt + record.chosen, "rejected": record.prompt + record.rejected}
    assert isinstance(record, Demonstration)
    return {"": record.messages}


def split_by_prompt(records: list[R], fraction: float) -> tuple[list[R], list[R]]:
    """`(train, held_out)`. A prompt's side follows from its text alone: the same in every file, order and run."""
    train: list[R] = []
    held_out: list[R] = []
    for record in records:
        draw = int.from_bytes(hashlib.sha256(prompt_key(record).encode("utf-8", "replace")).digest()[:8], "big") / 2**64
        (held_out if draw < fraction else train).append(record)
    return train, held_out


@dataclass
class _Intake:
    """Turns rows to records and keeps the books."""

    reader: formats.Reader
    columns: Mapping[str, str] = field(default_factory=dict)
    rows: int = 0
    examples: int = 0
    """What the rows hold: more than rows where a row holds several answers to compare."""
    dropped: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[str, str]] = field(default_factory=list)
    sources: list[dict[str, str]] = field(default_factory=list)

    def take(self, rows: files.Rows, most: int | None) -> list[Any]:
        """The usable records among rows, the first `most` of them."""
        records: list[Record] = []
        for where, row in rows if self.columns else arranged(rows, self.reader.kind, self.reader.format):
            self.rows += 1
            try:
                for example in self._examples(row, where):
                    self.examples += 1
                    if isinstance(example, UnusableError):
                        self.dropped[str(example)] += 1
                    else:
                        records.append(example)
            except UnusableError as reason:
                self.examples += 1
                self.dropped[str(reason)] += 1
            except DataError as fault:
                self.faults.append((where, str(fault)))
            if most is not None and len(records) >= most:
                break
        return records

    def _examples(self, row: Any, where: str) -> list[Record | UnusableError]:
        if isinstance(row, DataError | UnusableError):
            raise row
        if isinstance(row, str):
            row = {"text": row}
        if not isinstance(row, dict):
            raise DataError(f"row: is {kind_of(row)}; an object with named fields is needed")
        if self.columns:
            row = renamed(row, self.columns)
        return self.reader.read(row, where)

    def check(self, data: DataConfig) -> None:
        """Raises DataError for wrong rows, or when no row is left."""
        if self.faults:
            alike: dict[str, list[str]] = {}
            for where, fault in self.faults:
                alike.setdefault(fault, []).append(where)
            lines = [f"{w[0]}: {fault}" + f" (and {len(w) - 1} more rows)" * (len(w) > 1) for fault, w in alike.items()]
            more = f"\n… and {len(lines) - _TOLD} more" if len(lines) > _TOLD else ""
            told = "\n".join(lines[:_TOLD])
            raise DataError(
                f"{len(self.faults)} of {self.rows} rows cannot be read as {self.reader.kind}:\n{told}{more}"
            )
        if self.reader.kind == "preferences" and not self.reader.ranked:
            for name in ("pairs", "rank_by"):
                if getattr(data, name) != type(data).model_fields[name].default:
                    raise DataError(f"data.{name}: does nothing, for no row has several rated answers; leave it out")
        if self.examples == self.dropped.total():
            reasons = ", ".join(f"{count} × {reason}" for reason, count in self.dropped.items()) or "the file is empty"
            raise DataError(f"{data.path or data.hub}: no usable row among {self.rows} ({reasons})")

    def ledger(self, used: int, held_out: int) -> dict[str, Any]:
        assert self.examples == used + held_out + self.dropped.total(), "every example must be accounted for"
        return {
            "rows": self.rows,
            "examples": self.examples,
            "used": used,
            "held_out": held_out,
            "dropped": dict(self.dropped),
            "formats": dict(self.reader.seen),
            "sources": self.sources,
        }
