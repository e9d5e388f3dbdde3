"""How long the parts of examples are, and what `data.max_length` leaves of them."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rlhf.data import chat as encoding
from rlhf.data.chat import ChatFormat
from rlhf.data.inspect.material import Material, answers_of, messages_of, sample, words
from rlhf.data.inspect.report import Finding, Findings, Lengths, Spread
from rlhf.data.records import Demonstration, Message, Preference, Prompt, Rated, Record, prompt_of
from rlhf.errors import DataError

_MOST_TOKENISED = 2_000
"""Records that are turned into tokens."""
_MOST_WORK = 1_000_000
"""Characters among them, each turn counted as 400 more for its template: two to four seconds of a fast tokenizer."""
_TURN = 400
_ENDLESS = 1 << 40

Sizes = tuple[int, list[tuple[str, int]]]
"""Length of a prompt, and of each answer to it by side."""


def check(material: Material, limit: int, chat: ChatFormat | None) -> tuple[Lengths | None, Findings]:
    """In tokens with `chat`, of a sample where all would take long; in words without."""
    if not material.records:
        return None, {}
    return _in_words(material, limit) if chat is None else _in_tokens(material, limit, chat)


# ------------------------------------------------------------------------------------------------ words


def _in_words(material: Material, limit: int) -> tuple[Lengths, Findings]:
    known: dict[str, int] = {}

    def size(messages: Sequence[Message]) -> int:
        for message in messages:
            if message["content"] not in known:
                known[message["content"]] = words(message["content"])
        return sum(known[message["content"]] for message in messages)

    table = _Table()
    long: list[int] = []
    for i, record in enumerate(material.records):
        if table.add((size(prompt_of(record)), [(side, size(answer)) for side, answer in answers_of(record)])) > limit:
            long.append(i)
    lengths = table.lengths("words", len(material.records), len(material.records), limit, len(long))
    says = (
        f"They have more than data.max_length = {limit:,} words, and so more than as many tokens: training cuts the "
        "beginning of their prompts, or drops them. Name a model to count tokens."
    )
    return lengths, {"too_long": _too_long(material, long, lengths, says)}


# ------------------------------------------------------------------------------------------------ tokens


def _in_tokens(material: Material, limit: int, chat: ChatFormat) -> tuple[Lengths | None, Findings]:
    """Lengths as they would be without a limit; of the longer ones, what training does."""
    table, books = _Table(), _Sum()
    long: list[int] = []
    refused: list[tuple[int, str]] = []
    chosen = _affordable(material.records)
    for i in chosen:
        try:
            rows, ledger = _encoded(material.records[i], chat, _ENDLESS)
            if rows and table.add(_sizes(rows)) > limit:
                long.append(i)
                ledger = _encoded(material.records[i], chat, limit)[1]
            books.add(ledger)
        except DataError as error:
            refused.append((i, str(error)))
    findings: Findings = {"template_refuses": _refused(material, refused, len(chosen))}
    if not table.columns:
        return None, findings
    measured = len(table.columns["prompt"])
    lengths = table.lengths("tokens", measured, len(material.records), limit, len(long), books.ledger())
    lost = books.dropped["too long"]
    done = [f"cuts the beginning of {books.cut:,} prompts"] if books.cut else []
    done += [f"drops {lost:,} whose answers leave no room for a prompt"] if lost else []
    says = (
        f"To fit data.max_length = {limit:,} tokens, training {' and '.join(done)}. A larger max_length keeps them, "
        "where the model reads as many tokens and memory allows."
    )
    findings["too_long"] = _too_long(material, long, lengths, says, {"cut": books.cut, "dropped": lost})
    return lengths, findings


def _affordable(records: Sequence[Record]) -> list[int]:
    """Which records to tokenise, evenly spaced."""
    some = sample(range(len(records)), _MOST_TOKENISED)
    work = sum(_TURN + len(message["content"]) for i in some for message in messages_of(records[i]))
    return list(sample(range(len(records)), math.ceil(len(some) * min(1, _MOST_WORK / max(work, 1)))))


def _encoded(record: Record, chat: ChatFormat, limit: int) -> tuple[list[Any], dict[str, Any]]:
    """The rows that training makes of a record, and the books on it."""
    match record:
        case Preference():
            return encoding.encode_preferences([record], chat, limit, ties=True)
        case Demonstration():
            return encoding.encode_demonstrations([record], chat, limit)
        case Rated():
            return encoding.encode_rated([record], chat, limit)
        case Prompt():
            return encoding.encode_prompts([record], chat, limit)[1:]


def _sizes(rows: list[Any]) -> Sizes:
    """Lengths in the rows of one record, whatever its kind."""
    match rows[0]:
        case {"chosen_ids": chosen, "rejected_ids": rejected, "prompt_ids": prompt}:
            return len(prompt), [("chosen", len(chosen)), ("rejected", len(rejected))]
        case {"prompt_ids": prompt}:
            return len(prompt), [("answer", len(row["completion_ids"])) for row in rows]
        case encoding.Encoded(ids, mask):
            answer = next((n for n, bit in enumerate(reversed(mask)) if not bit), len(mask))
            return len(ids) - answer, [("answer", answer)]
        case ids:
            return len(ids), []


# ------------------------------------------------------------------------------------------------ books


@dataclass
class _Table:
    """Lengths by column."""

    columns: dict[str, list[int]] = field(default_factory=dict)

    def add(self, sizes: Sizes) -> int:
        """Note an example's lengths, and return the whole: of the prompt and the longest answer."""
        prompt, answers = sizes
        whole = prompt + max((length for _, length in answers), default=0)
        for name, length in [("prompt", prompt), *answers, *([("whole", whole)] if answers else [])]:
            self.columns.setdefault(name, []).append(length)
        return whole

    def lengths(
        self,
        unit: Literal["tokens", "words"],
        measured: int,
        of: int,
        limit: int,
        over: int,
        ledger: dict[str, Any] | None = None,
    ) -> Lengths:
        columns = {name: _spread(values) for name, values in self.columns.items() if any(values)}
        return Lengths(unit, measured, of, limit, over, columns, ledger)


def _spread(values: list[int]) -> Spread:
    order = sorted(values)
    last = len(order) - 1
    bins = Counter(0 if n < 1 else math.floor(2 * math.log2(n)) + 1 for n in order)
    return Spread(
        p50=order[round(last * 0.5)],
        p95=order[round(last * 0.95)],
        most=order[-1],
        bins=[bins[i] for i in range(max(bins) + 1)],
    )


@dataclass
class _Sum:
    """The ledgers of many encodings in one."""

    rows: int = 0
    used: int = 0
    cut: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)

    def add(self, ledger: dict[str, Any]) -> None:
        self.rows += ledger["rows"]
        self.used += ledger["used"]
        self.cut += ledger["cut"]
        self.dropped.update(ledger["dropped"])
        self.tokens.update(ledger["tokens"])

    def ledger(self) -> dict[str, Any]:
        books = {"rows": self.rows, "used": self.used, "cut": self.cut, "dropped": dict(self.dropped)}
        return {**books, "tokens": dict(self.tokens)}


# ------------------------------------------------------------------------------------------------ findings


def _too_long(
    material: Material, long: list[int], lengths: Lengths, says: str, numbers: dict[str, float] | None = None
) -> Finding | None:
    if not long:
        return None
    told = numbers or {}
    share = len(long) / lengths.measured
    lost = told.get("dropped", 0) / lengths.measured
    return Finding(
        name="too_long",
        level="warning" if share >= 0.1 or lost >= 0.01 else "note",
        count=len(long),
        of=lengths.measured,
        unit="examples",
        says=says,
        places=material.places(long),
        numbers=told,
    )


def _refused(material: Material, refused: list[tuple[int, str]], of: int) -> Finding | None:
    if not refused:
        return None
    _, first = refused[0]
    return Finding(
        name="template_refuses",
        level="error",
        count=len(refused),
        of=of,
        unit="examples",
        says=f"Training would stop at the first. It is: {first.partition(': ')[2] or first}",
        places=material.places([i for i, _ in refused]),
    )
