"""Where an evaluated policy lost, and where its reward model was wrong or unsure: what is worth an annotator's time."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import pstdev
from typing import Any, Literal

from rlhf import artifact as artifacts
from rlhf.artifact import Artifact
from rlhf.config.data import DataConfig
from rlhf.data.load import load
from rlhf.data.records import Message, Preference
from rlhf.errors import ArtifactError, DataError
from rlhf.measures.pairs import right, sigmoid
from rlhf.measures.policies import SCORES, SIDES, agreed

Row = Mapping[str, Any]
Kind = Literal["label", "sft"]

UNSURE = 0.6
"""Probability that a reward model gives the winner of two answers, up to which it is called unsure."""
_OUTSIDE = ("gold", "llm", "held_out")
"""Judges that training did not see, the surest first: what they say of two answers is taken for right."""


@dataclass
class Failure:
    """A prompt with what went wrong on it."""

    prompt: list[Message]
    where: str
    answers: dict[str, str]
    """Text by whose it is: `policy` first, then the side it lost to; of a pair `chosen` and `rejected`."""
    why: list[str] = field(default_factory=list)
    badness: float = 0.0
    """Sum over judges of how clearly they say so, in standard deviations of their scores' differences."""
    better: str | None = None
    """Whose answer is known to be better."""

    def add(self, why: str, badness: float) -> None:
        self.why.append(why)
        self.badness += badness

    def row(self, kind: Kind) -> dict[str, Any]:
        """As `rlhf label` reads it, or as a demonstration, whose completion is to be written where none is known to be
        good."""
        provenance = {"where": Path(self.where).name, "why": self.why}
        if kind == "label":
            answers = [{"text": text, "model": model} for model, text in self.answers.items()]
            return {"prompt": self.prompt, "completions": answers, "provenance": provenance}
        completion = self.answers[self.better] if self.better else None
        return {"prompt": self.prompt, "completion": completion, "provenance": {**provenance, "model": self.better}}


def of_samples(rows: Sequence[Row]) -> list[Failure]:
    """From an evaluation's samples: where the policy lost to a judge, and where its reward model was wrong or unsure of
    the two answers."""
    other = next((side for side in SIDES if side in rows[0] and side != "policy"), None)
    if other is None:
        return []
    gaps = {
        judge: [row["policy"][judge] - row[other][judge] for row in rows] for judge in SCORES if judge in rows[0][other]
    }
    if other in rows[0].get("llm", {}):
        gaps["llm"] = [agreed(row["llm"][other]) - 0.5 for row in rows]
    units = {judge: pstdev(values) or 1.0 for judge, values in gaps.items()}
    found = []
    for i, row in enumerate(rows):
        answers = {side: row[side]["text"] for side in ("policy", other)}
        failure = Failure(list(row["prompt"]), row["where"], answers)
        said = {judge: gaps[judge][i] for judge in gaps}
        known = next((right(said[judge]) for judge in _OUTSIDE if judge in said), 0.5)
        failure.better = {1.0: "policy", 0.0: other}.get(known)
        for judge in (judge for judge in said if said[judge] < 0):
            failure.add(f"lost to {other} by {judge}", -said[judge] / units[judge])
        if "reward" in said:
            _reward(failure, said["reward"], known, units["reward"])
        found.append(failure)
    return _worst_first(found)


def _reward(failure: Failure, gap: float, known: float, unit: float) -> None:
    """Add what is wrong with a reward model's difference of two scores. `known`: 1 where the first ought to be higher,
    0 where it ought to be lower, half where nobody knows."""
    if known != 0.5 and right(gap) == 1 - known:
        failure.add("reward model is wrong", abs(gap) / unit)
    elif sigmoid(abs(gap)) <= UNSURE:
        failure.add("reward model is unsure", 1 - abs(gap) / _unsure_gap())


def _unsure_gap() -> float:
    return math.log(UNSURE / (1 - UNSURE))


def of_pairs(rows: Sequence[Row], records: Mapping[str, Preference]) -> list[Failure]:
    """From an evaluation's pairs: those of which the policy's reward model was wrong or unsure. `records` holds them by
    where they stand; those of several turns are left out."""
    rows = [row for row in rows if row["judge"] == "reward"]
    unit = pstdev([row["margin"] for row in rows]) or 1.0 if rows else 1.0
    found = []
    for row in rows:
        where = f"{row['file']}:{row['line']}"
        record = records.get(where)
        if record is not None and len(record.chosen) == len(record.rejected) == 1:
            answers = {"chosen": record.chosen[0]["content"], "rejected": record.rejected[0]["content"]}
            failure = Failure(record.prompt, where, answers, better="chosen")
            _reward(failure, row["margin"], 1.0, unit)
            found.append(failure)
    return _worst_first(found)


def _worst_first(found: Sequence[Failure]) -> list[Failure]:
    return sorted((one for one in found if one.why), key=lambda one: -one.badness)


# ------------------------------------------------------------------------------------------------ its folder


def evaluation_of(run: Path) -> Artifact:
    """The evaluation in a stage's folder, or the last one in a run's. Raises ArtifactError."""
    if (run / artifacts.FILE).is_file():
        made = [artifacts.read(run)]
    else:
        made = [artifacts.read(path.parent) for path in sorted((run / "stages").glob(f"*/{artifacts.FILE}"), key=_age)]
    found = [one for one in made if one.makes == "evaluation"]
    if not found:
        raise ArtifactError(
            f"{run}: no finished evaluation; name a run with an `evaluate` stage, or that stage's folder"
        )
    return found[-1]


def _age(path: Path) -> float:
    return path.stat().st_mtime


def of_evaluation(made: Artifact, say: Callable[[str], None]) -> list[Failure]:
    """Everything that failed in an evaluation, the worst first. Raises DataError where it wrote no rows, ArtifactError
    where they are not what it wrote; says where the texts of its pairs are no more."""
    artifacts.check_files(made)
    samples, pairs = (list(_lines(made.folder / name)) for name in ("samples.jsonl", "pairs.jsonl"))
    if not samples and not pairs:
        raise DataError(
            f"{made.folder}: no samples.jsonl or pairs.jsonl to look for failures in; evaluate on `prompts`"
        )
    found = of_samples(samples) if samples else []
    if pairs:
        try:
            split = load(DataConfig.model_validate(made.config["preferences"]), "preferences")
            if split.ledger["sources"] != made.data["preferences"]["file"]["sources"]:
                raise DataError("other rows stand there now; evaluate again")
            found += of_pairs(pairs, {record.where: record for record in split.held_out})
        except (DataError, ValueError) as error:
            say(f"the pairs of {made.name} cannot be read again, and are left out: {error}")
    return _worst_first(found)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_file():
        with path.open(encoding="utf-8") as file:
            yield from map(json.loads, file)
