"""What was found in a file of examples, for people and for machines."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rlhf.data.intake import unread_in_words
from rlhf.data.records import Kind

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")

TITLES = {
    "malformed_rows": "rows that cannot be read",
    "dropped_rows": "rows that teach nothing",
    "template_refuses": "conversations that the chat template refuses",
    "too_long": "longer than data.max_length",
    "ties": "ties",
    "parts_early": "pairs that part before the last turn",
    "exact_duplicates": "exact duplicates",
    "near_duplicates": "near-duplicates",
    "repeated_prompts": "prompts with several rows",
    "leaked_prompts": "evaluation prompts in this file",
    "leaked_prompts_nearly": "near-copies of evaluation prompts",
    "contradictions": "verdicts that contradict each other",
    "swapped": "pairs that look swapped",
    "refusals": "pairs in which one side refuses",
    "length_bias": "length tells the chosen answer",
    "label_noise": "pairs that the judge sees the other way round",
    "placeholders": "placeholders in place of text",
    "special_tokens": "special tokens inside text",
    "speaker_marks": "other speakers inside a turn",
    "control_characters": "control characters",
    "damaged_text": "damaged characters",
    "invisible_characters": "invisible characters",
    "languages": "other languages",
    "secrets": "keys, card numbers and bank accounts",
    "personal_data": "e-mail addresses, phone numbers, IP addresses",
}
"""Every finding by name, in the words of a heading."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found in several places."""

    name: str
    level: Level
    count: int
    of: int
    """Of how many, so that count / of is the share."""
    unit: str
    """What is counted: rows, pairs, …"""
    says: str
    """What it means and what to do."""
    places: Sequence[str] = ()
    """The first few, as `file:line`."""
    quotes: Sequence[str] = ()
    """A few words of the first places, private data masked."""
    numbers: Mapping[str, float] = field(default_factory=dict)
    """Further figures of a finding, by name."""

    @property
    def title(self) -> str:
        return TITLES[self.name]

    @property
    def share(self) -> float:
        return self.count / self.of if self.of else 0.0


Findings = dict[str, Finding | None]
"""By name; None for what was looked for and not found."""


@dataclass(frozen=True)
class Seen:
    """A format that was recognised."""

    name: str
    rows: int
    fields: list[str]
    """Fields of the first such row that told it from others."""


@dataclass(frozen=True)
class Dropped:
    """Rows that teach nothing, for one reason."""

    reason: str
    count: int
    places: list[str]


@dataclass(frozen=True)
class Spread:
    """Lengths of one part of the examples."""

    p50: int
    p95: int
    most: int
    bins: list[int]
    """How many are shorter than √2, 2, 2√2, 4, …, each counted once."""

    def between(self, first: int, last: int) -> list[int]:
        """The bins from `first` up to `last`; those past its own are empty."""
        return [*self.bins, *[0] * (last - len(self.bins))][first:last]


def edge(i: int) -> int:
    """The least length in a bin: 0, 1, 2, 2, 3, 4, 6, 8, …"""
    return -int(-(2 ** ((i - 1) / 2)) // 1) if i else 0


def percent(share: float) -> str:
    """With a digit more where it is small."""
    return f"{share:.2%}" if share < 0.01 else f"{share:.1%}"


@dataclass(frozen=True)
class Lengths:
    """Lengths of the parts of the examples, and what `data.max_length` does to them."""

    unit: Literal["tokens", "words"]
    measured: int
    """Examples that were measured, evenly spaced in the file."""
    of: int
    limit: int
    over: int
    """Measured examples that are longer than the limit."""
    columns: dict[str, Spread]
    """Of the prompt, of each answer, and of the `whole`: the prompt with its longest answer."""
    ledger: dict[str, Any] | None = None
    """What training keeps, cuts and drops of the measured ones; only where tokens are counted."""

    @property
    def span(self) -> tuple[int, int]:
        """The first bin of all columns that is not empty, and the one after the last."""
        filled = [i for column in self.columns.values() for i, count in enumerate(column.bins) if count]
        return (min(filled), max(filled) + 1) if filled else (0, 0)


State = Literal["context", "trained", "stop", "cut", "text"]
"""`context` is read and not learnt; `stop` is the trained token that ends an answer; `cut` is what max_length takes;
`text` where no tokenizer says what is trained."""


@dataclass(frozen=True)
class Piece:
    """A stretch of an example, and what becomes of it."""

    text: str
    state: State
    role: str = ""


@dataclass(frozen=True)
class Example:
    """One record as the model is given it."""

    where: str
    parts: dict[str, list[Piece]]
    """`prompt`, then `chosen` and `rejected`, or `answer`."""


@dataclass(frozen=True)
class Doubt:
    """A pair that the judge sees the other way round."""

    where: str
    margin: float
    """By how much it scores the rejected answer above the chosen one."""
    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True)
class Report:
    """What the doctor says of a file."""

    source: str
    kind: Kind
    formats: list[Seen]
    ledger: dict[str, Any]
    """Of the rows read: rows, examples, dropped by reason, formats."""
    usable: int
    """Examples that are left to train on."""
    malformed: int
    """Rows that cannot be read."""
    errors: list[dict[str, str]]
    """{file, line, field, reason} of the first malformed rows."""
    dropped: list[Dropped]
    lengths: Lengths | None
    findings: list[Finding]
    """Errors first, then warnings, then notes; within a level the largest share first."""
    clean: list[str]
    """Names of what was looked for and not found."""
    examples: list[Example]
    doubts: list[Doubt]
    compared: dict[str, int]
    """Evaluation files whose prompts were looked for, with the number of their prompts."""

    def count(self, level: Level) -> int:
        """How many findings are of a level."""
        return sum(finding.level == level for finding in self.findings)

    @property
    def unread(self) -> list[str]:
        """Fields that were not read, each with its rows."""
        return unread_in_words(self.ledger)

    def at(self, place: str) -> str:
        """A place in short: its line, and its file only where there are several."""
        return place.rpartition("/" if len(self.ledger["sources"]) > 1 else ":")[2]

    def as_json(self) -> dict[str, Any]:
        """Plain values for machines."""
        findings = [{**asdict(one), "title": one.title, "share": one.share} for one in self.findings]
        return {
            "source": self.source,
            "kind": self.kind,
            "format": self.formats[0].name if self.formats else None,
            "formats": [asdict(seen) for seen in self.formats],
            "rows": self.ledger["rows"],
            "usable": self.usable,
            "malformed": self.malformed,
            "ledger": self.ledger,
            "errors": self.errors,
            "dropped": [asdict(one) for one in self.dropped],
            "lengths": asdict(self.lengths) if self.lengths else None,
            "findings": findings,
            "clean": self.clean,
            "compared": self.compared,
            "examples": [asdict(one) for one in self.examples],
            "doubts": [asdict(one) for one in self.doubts],
        }
