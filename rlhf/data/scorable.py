"""Any file of conversations, to be scored by a reward model."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rlhf.config.data import DataConfig
from rlhf.data.intake import Intake
from rlhf.data.load import kind_of_source
from rlhf.data.records import Demonstration, Message, Preference, Rated, Record

Sides = dict[str, list[Message]]
"""Conversations that belong together: `chosen` and `rejected` of a pair, else one without a name."""


@dataclass(frozen=True)
class Scorable:
    """The conversations of a file, to be scored."""

    rows: list[tuple[str, Sides]]
    """Place of each row, and its conversations; a row of several answers stands there once for each."""
    dropped: Counter[str]
    """Rows without a conversation to score, by reason."""


def scorable(path: Path) -> Scorable:
    """Every conversation of a file: both sides of a pair, an answer whatever was said of it. Raises DataError as `load`
    does."""
    data = DataConfig(path=path)
    kind = kind_of_source(data)
    with Intake(data, "demonstrations" if kind == "prompts" else kind) as intake:  # which says what prompts lack
        records = list(intake.take(data))
        intake.check()
    kept = [record for record in records if not (isinstance(record, Preference) and record.tie)]
    intake.dropped["tie"] += len(records) - len(kept)
    return Scorable([(record.where, sides) for record in kept for sides in _sides(record)], +intake.dropped)


def _sides(record: Record) -> Iterator[Sides]:
    match record:
        case Preference():
            yield {"chosen": record.prompt + record.chosen, "rejected": record.prompt + record.rejected}
        case Rated():
            yield from ({"": record.prompt + answer} for answer, _ in record.answers)
        case Demonstration():
            yield {"": record.messages}
