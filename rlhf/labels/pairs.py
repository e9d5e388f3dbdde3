"""What an annotator is asked about: prompts with two answers, which `sample`, `evaluate` or `rlhf failures` wrote, or
pairs in any format."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

from rlhf.config.data import DataConfig
from rlhf.data import files
from rlhf.data.intake import Intake
from rlhf.data.records import Message, Preference
from rlhf.errors import DataError
from rlhf.measures.policies import SIDES

_SIDES = ("policy", *(side for side in SIDES if side != "policy"))
"""Whose answers a row of an evaluation holds; the first two that are there are compared."""


class Answer(NamedTuple):
    """What was answered, and by whom where that is known."""

    text: str
    model: str = ""


@dataclass(frozen=True)
class Asked:
    """A prompt and its answers, which all differ."""

    prompt: list[Message]
    answers: tuple[Answer, ...]
    where: str

    def pairs(self) -> list["Pair"]:
        """Every two answers."""
        return [Pair(self.prompt, both, self.where) for both in combinations(self.answers, 2)]


@dataclass(frozen=True)
class Pair:
    """A prompt and two answers."""

    prompt: list[Message]
    answers: tuple[Answer, Answer]
    where: str
    gap: float | None = None
    """How far apart a reward model scores them."""

    @property
    def key(self) -> str:
        return key(self.prompt, *(answer.text for answer in self.answers))


def key(prompt: Sequence[Message], *answers: str) -> str:
    """Identity of a question: the prompt and both answers, in either order."""
    turns = [[message["role"], message["content"]] for message in prompt]
    return hashlib.sha256(json.dumps([turns, sorted(answers)]).encode()).hexdigest()[:16]


def read(path: Path) -> list[Asked]:
    """Prompts with two or more different answers; those with fewer are left out. Raises DataError where no row is such,
    or rows cannot be read."""
    found = [asked for where, row in files.read(path) if (asked := _asked(row, where)) is not None]
    found = found or list(_of_preferences(path))
    if not (several := [asked for asked in found if len(asked.answers) > 1]):
        raise DataError(
            f"{path}: no prompt with two different answers; what a `sample` stage, an `evaluate` stage or `rlhf "
            "failures` wrote is needed, or pairs"
        )
    return several


def _asked(row: Any, where: str) -> Asked | None:
    """A row of `sample`, `evaluate` or `failures`; None for another. Raises the DataError that stands in its place."""
    if isinstance(row, DataError):
        raise row
    if not isinstance(row, dict) or not _is_talk(row.get("prompt")):
        return None
    given = row.get("completions") or [
        {**row[side], "model": side} for side in _SIDES if isinstance(row.get(side), dict)
    ]
    if not isinstance(given, list) or not all(
        isinstance(one, dict) and isinstance(one.get("text"), str) for one in given
    ):
        return None
    answers: dict[str, Answer] = {}
    for one in given:
        answers.setdefault(one["text"], Answer(one["text"], str(one.get("model", ""))))
    answers.pop("", None)
    return Asked(row["prompt"], tuple(answers.values()), where) if given else None


def _is_talk(prompt: Any) -> bool:
    return isinstance(prompt, list) and all(
        isinstance(turn, dict) and {"role", "content"} <= turn.keys() for turn in prompt
    )


def _of_preferences(path: Path) -> Iterator[Asked]:
    """Pairs in any format that training takes, to be judged once more; of those whose sides are one answer each."""
    intake = Intake(DataConfig(path=path), "preferences")
    for record in intake.take(intake.data):
        assert isinstance(record, Preference)
        if len(record.chosen) == len(record.rejected) == 1:
            both = (
                Answer(side[0]["content"], name)
                for side, name in ((record.chosen, "chosen"), (record.rejected, "rejected"))
            )
            yield Asked(record.prompt, tuple(both), record.where)
    intake.check()
