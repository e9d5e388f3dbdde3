"""From a recipe's `data` block to records. Every row is used, held out, or dropped for a reason; the ledger adds up."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, overload

from rlhf.config.data import DataConfig, MixedSource
from rlhf.data import files
from rlhf.data.arrange import arranged
from rlhf.data.faults import NOWHERE, Fault, Lists
from rlhf.data.formats.reader import kind_of_row, like_none
from rlhf.data.formats.table import Row
from rlhf.data.intake import EMPTY, Intake, preparer
from rlhf.data.messages import UnusableError
from rlhf.data.parts import parts_of, read_in_parts
from rlhf.data.records import Demonstration, Kind, Preference, Prompt, Rated, Record, prompt_key, share
from rlhf.errors import DataError

R = TypeVar("R", bound=Record, covariant=True)


@dataclass(frozen=True)
class Split(Generic[R]):
    """Records to train on and records never trained on; no prompt is among both."""

    train: list[R]
    """Those of a mix as often as its weights say."""
    held_out: list[R]
    ledger: dict[str, Any]
    """examples = used + held_out + the sum of `dropped` (by reason), as many as rows unless a row holds
    several, or several rows make one; `train` holds `repeated` more than are used. `duplicates` counts examples equal
    to an earlier one, `formats` the rows of each format, `unread` the rows with something in a field
    that was not read, by its name; `sources` says what was read, `dropped_rows` the file that lists the rows that teach
    nothing."""


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

    All malformed rows, and all that teach nothing, are listed in the folder `out`. Raises DataError that names the
    first 20 malformed ones as `file:line: field: what; what would work`.
    """
    train: list[Record] = []
    held_out: list[Record] = []
    used = 0
    with Intake(data, kind, _lists(out, kind)) as intake:
        for record, times in _placed(intake, data):
            train += [record] * times
            used += times > 0
            if not times:
                held_out.append(record)
        return Split(train, held_out, _checked(intake, data, used, len(held_out), len(train) - used))


def validate(data: DataConfig, kind: Kind, out: Path | None = None, workers: int = 1) -> dict[str, Any]:
    """The ledger of `load`, which keeps no record here, and its errors. A large file of JSON lines is read by so many
    processes, which must not be forked where other threads run."""
    with Intake(data, kind, _lists(out, kind)) as intake:
        if parts := parts_of(data, kind, workers):
            return _checked(intake, data, *read_in_parts(intake, parts), 0)
        seen = Counter(times for _, times in _placed(intake, data))
        held_out, used = seen.pop(0, 0), seen.total()
        return _checked(intake, data, used, held_out, sum(times * n for times, n in seen.items()) - used)


def sample(data: DataConfig, kind: Kind, most: int) -> tuple[list[Any], int]:
    """The first records to train on, `most` of them, and how many there are in all; of files too long to read in a
    moment, about how many. Where all are held out, those. Raises DataError for what cannot be read."""
    told, records, seen = data.model_copy(update={"bad_rows": "drop"}), list[Any](), 0
    all_held_out = data.eval_fraction == 1
    with Intake(told, kind) as intake:
        for record, trained in _placed(intake, told):
            times = int(all_held_out) or trained
            records += [record] * times if len(records) < most else []
            seen += times
            if seen >= _COUNTED and (lines := _lines(data)) is not None:
                return records[:most], round(seen * lines / max(intake.rows, 1))
    return records[:most], seen


_COUNTED = 20_000
"""Records after which the others are reckoned by the lines of their files."""


def _lines(data: DataConfig) -> int | None:
    """Lines of files that are nothing but lines; None for others."""
    paths = [path for source in data.sources.values() if source.path for path in files.found(source.path)]
    if len(data.sources) != 1 or any(
        path.suffix not in (".jsonl", ".ndjson", ".txt", ".csv", ".tsv") for path in paths
    ):
        return None
    total = 0
    for path in paths:
        with path.open("rb") as file:
            total += sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    return total


def _placed(intake: Intake, data: DataConfig) -> Iterator[tuple[Record, int]]:
    """Every usable record, and how many times it is trained on: never where it is held out."""
    keys: set[str] = set()
    if data.eval_path is not None:
        for record in intake.take(data.evaluating()):
            keys.add(prompt_key(record))
            yield record, 0
    fraction = data.eval_fraction if data.eval_path is None else 0.0
    for source in data.sources.values():
        whole, rest = divmod(source.weight, 1) if isinstance(source, MixedSource) else (1, 0)
        for record in intake.take(source):
            if fraction and share(record) < fraction:
                yield record, 0
            elif keys and prompt_key(record) in keys:
                intake.lose(record.where, _ASKED)
            elif times := int(whole) + (rest > 0 and share(record, 8) < rest):
                yield record, times
            else:
                intake.lose(record.where, _UNWEIGHTED)


_ASKED, _UNWEIGHTED = "prompt is in eval_path", "left out by weight"


def _checked(intake: Intake, data: DataConfig, used: int, held_out: int, repeated: int) -> dict[str, Any]:
    """The ledger. Raises DataError for malformed rows, and where a side that was named is empty."""
    intake.check()
    if data.eval_path is not None:
        if not held_out:
            raise DataError(f"{data.eval_path}: holds no usable row; name a file that does")
        if not used and intake.dropped[_ASKED]:
            raise DataError("data.eval_path: holds every prompt of the training file; name a file with other prompts")
        if not used and not intake.dropped[_UNWEIGHTED]:
            raise DataError(f"{data.called}: holds no usable row; name a file that does")
    return intake.ledger(used, held_out, repeated)


def _lists(out: Path | None, kind: Kind) -> Lists:
    """Where rows that are not used are listed."""
    return Lists.under(out, kind) if out else NOWHERE


@dataclass(frozen=True)
class Survey:
    """All that is known of some sources without a tokenizer; nothing is held out, and malformed rows are listed."""

    kind: Kind
    records: list[Any]
    lost: list[tuple[str, str]]
    """Where examples that are not used stand, and why they are not; the first thousand."""
    faults: list[Fault]
    """Malformed rows; the first thousand."""
    ledger: dict[str, Any]


def survey(data: DataConfig, kind: Kind | None = None, out: Path | None = None) -> Survey:
    """Read everything, whatever is wrong with it. `kind`: recognised from the first rows when None.

    Raises DataError for files that cannot be opened.
    """
    kind = kind or kind_of_source(data)
    with Intake(data.model_copy(update={"bad_rows": "drop"}), kind, _lists(out, kind)) as intake:
        records = [record for source in data.sources.values() for record in intake.take(source)]
        return Survey(kind, records, intake.lost, intake.faults.first, intake.ledger(len(records), 0))


def kind_of_source(data: DataConfig) -> Kind:
    """The kind of record that most of the first rows were written as. Raises DataError where they are none."""
    source = next(iter(data.sources.values()))
    prepare = preparer(source)
    first: list[Row] = []
    placed = ""
    reasons: list[str] = []
    for where, row in islice(arranged(files.read_source(source), source, None), 100):
        try:
            first += prepare(row)
            placed = placed or where
        except (DataError, UnusableError) as reason:
            reasons.append(f"{where}: {reason}")
    if not first:
        told = f"none of its first rows can be read:\n{reasons[0]}" if reasons else EMPTY
        raise DataError(f"{source.called}: {told}")
    found: Counter[Kind] = Counter(kind for row in first if (kind := kind_of_row(row)))
    if not found:
        raise DataError(f"{placed}: {like_none(first[0])}")
    return found.most_common(1)[0][0]
