"""Any file of conversations, to be scored by a reward model."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rlhf.config.data import DataConfig
from rlhf.data import files, formats
from rlhf.data.arrange import arranged
from rlhf.data.intake import Intake
from rlhf.data.records import Demonstration, Kind, Message, Preference, Record
from rlhf.errors import DataError


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
    first = next((row for _, row in arranged(files.read(path), data, "demonstrations")), None)
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
