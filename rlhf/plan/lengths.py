"""How long a stage's examples are, in tokens: those of the first, by the model's tokenizer where it is here."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from rlhf.config import DataConfig
from rlhf.data.load import sample
from rlhf.data.records import Demonstration, Preference, Prompt, Rated, Record

READ = 2000
"""Examples that are looked at."""
_CHARACTERS = 4.0
"""A token's, of English prose, where no tokenizer is at hand."""
_FRAME = 5
"""Tokens that a chat template writes around a message."""
_DRAWS = 512
"""Most micro-batches that the largest is looked for in."""

Sequences = tuple[int, ...]
"""Tokens of each sequence of an example."""


@dataclass(frozen=True)
class Lengths:
    """Of the examples to train on."""

    prompts: Sequence[int]
    """Tokens before the answers, of each example that was looked at."""
    answers: Sequence[Sequences]
    """Tokens of its answers."""
    rows: int | None
    """Examples in all; None where that is not known before the recipe runs."""
    assumed: str = ""
    """What was not read but taken for granted; empty for nothing."""
    shared: bool = False
    """Whether the answers of an example share its prompt."""

    def whole(self, most: int, new_tokens: int = 0) -> list[Sequences]:
        """Tokens of each sequence, prompt and answer, of each example: at most `most`; or of a prompt of that length
        with an answer that is drawn, of `new_tokens`."""
        if new_tokens:
            return [(min(prompt, most) + new_tokens,) for prompt in self.prompts]
        return [
            tuple(min(prompt + answer, most) for answer in answers)
            for prompt, answers in zip(self.prompts, self.answers, strict=True)
        ]

    def held(self, most: int, new_tokens: int = 0) -> list[int]:
        """Tokens of each example that pass the model: a prompt that several sequences share does so once."""
        again = [
            min(prompt, most) * max(len(answers) - 1, 0) if self.shared else 0
            for prompt, answers in zip(self.prompts, self.answers, strict=True)
        ]
        return [sum(one) - twice for one, twice in zip(self.whole(most, new_tokens), again, strict=True)]

    def mean(self, most: int, new_tokens: int = 0) -> float:
        """Tokens of an example that pass the model."""
        held = self.held(most, new_tokens)
        return sum(held) / len(held)

    def learned(self) -> float:
        """Tokens of an example's answers."""
        return sum(map(sum, self.answers)) / len(self.answers)

    def largest(self, most: int, size: int, count: int, new_tokens: int = 0) -> "Batch":
        """The largest of `count` micro-batches of `size` examples that chance makes of them."""
        whole, held, chance = self.whole(most, new_tokens), self.held(most, new_tokens), random.Random(0)
        drawn = [chance.choices(range(len(whole)), k=size) for _ in range(max(1, min(count, _DRAWS)))]
        places = max(drawn, key=lambda some: sum(held[i] for i in some))
        sequences = [length for i in places for length in whole[i]]
        answers = [min(answer, most) for i in places for answer in (self.answers[i] or (new_tokens,))]
        longest = max(length for some in drawn for i in some for length in whole[i])
        return Batch(sum(held[i] for i in places), len(sequences) * longest, size * new_tokens or sum(answers))


@dataclass(frozen=True)
class Batch:
    """A micro-batch."""

    tokens: int
    padded: int
    """Tokens if every sequence were as long as the longest, as attention on an accelerator has it."""
    learned: int
    """Tokens of answers."""


def lengths(
    data: DataConfig, kind: Literal["demonstrations", "preferences", "labels", "scores", "prompts"],
    tokenizer: Path | None, most: int, shared: bool = False,
) -> Lengths:  # fmt: skip
    """Of a stage's examples. `tokenizer`: a tokenizer.json; `most`: tokens of an example where none can be read, such
    as on the hub, of which nothing is fetched here; `shared`: whether answers share their prompt. Raises DataError."""
    away = [source for source in data.sources.values() if source.path is None]
    records, rows = ([], 0) if away else sample(data, kind, READ)
    if not records:
        why = f"{away[0].called} is not read" if away else f"{data.called} holds none to train on"
        return replace(_all_alike(kind, most, f"every example has {most} tokens: {why}"), shared=shared)
    count = _Counter(tokenizer)
    prompts, answers = zip(*(_split(record) for record in records), strict=True)
    told = count.all(prompts)
    flat = count.all([answer for some in answers for answer in some])
    taken = iter(flat)
    each = [tuple(islice(taken, len(some))) for some in answers]
    assumed = "" if tokenizer else f"a token is {_CHARACTERS:g} characters (no tokenizer.json here)"
    return Lengths(told, each, rows, assumed, shared)


def _all_alike(kind: str, most: int, why: str) -> Lengths:
    """Examples of which nothing is known."""
    answers: Sequences = () if kind == "prompts" else (most // 2,) * (2 if kind == "preferences" else 1)
    return Lengths([most - most // 2 if answers else most], [answers], None, why)


Text = list[Mapping[str, str]]


def _split(record: Record) -> tuple[Text, list[Text]]:
    """What stands before the answers, and the answers."""
    match record:
        case Demonstration():
            return list(record.messages[:-1]), [list(record.messages[-1:])]
        case Preference():
            return list(record.prompt), [list(record.chosen), list(record.rejected)]
        case Prompt():
            return list(record.messages), []
        case Rated():
            return list(record.prompt), [list(answer) for answer, _ in record.answers]


class _Counter:
    """Counts tokens of messages."""

    def __init__(self, tokenizer: Path | None) -> None:
        self.tokenizer: Any = None
        if tokenizer is not None:
            from tokenizers import Tokenizer

            self.tokenizer = Tokenizer.from_file(str(tokenizer))
            self.tokenizer.no_padding()  # which some files ask for
            self.tokenizer.no_truncation()

    def all(self, texts: Sequence[Text]) -> list[int]:
        """Tokens of each text, with what a template writes around its messages."""
        contents = [message["content"] for text in texts for message in text]
        if self.tokenizer is None:
            sizes = [int(len(content) / _CHARACTERS) + 1 for content in contents]
        else:
            sizes = [len(one.ids) for one in self.tokenizer.encode_batch(contents, add_special_tokens=False)]
        taken = iter(sizes)
        return [sum(size + _FRAME for size in islice(taken, len(text))) for text in texts]
