"""Held-out prompts with every side's answer."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from rlhf.measures.headline import JUDGES
from rlhf.measures.policies import CALLED, SCORES, SIDES, agreed
from rlhf.report.number import Number, computed
from rlhf.report.run import Line, StageRun

_SHOWN = 500
"""Most samples on a page."""


class Sample(NamedTuple):
    """A held-out prompt with every side's answer."""

    where: str
    prompt: list[Mapping[str, str]]
    sides: list[dict[str, Any]]
    changes: dict[str, Number]
    """Of each judge's score and of the length, after less before."""
    kl: Number | None
    llm: dict[str, str]


def samples(stage: StageRun) -> dict[str, Any] | None:
    """The first of them, how many there are, and the judges that score them; None where nothing was answered."""
    rows = stage.rows("samples.jsonl")
    if not rows:
        return None
    judges = {judge: JUDGES[judge] for judge in SCORES if judge in rows[0].values["policy"]}
    return {"all": len(rows), "rows": [_sample(stage, row, judges) for row in rows[:_SHOWN]], "judges": judges}


def _sample(stage: StageRun, row: Line, judges: Mapping[str, str]) -> Sample:
    def cell(*path: str, style: Any = "plain") -> Number | None:
        return stage.cell("samples.jsonl", row, *path, style=style)

    sides = [
        {
            "name": CALLED[side],
            "side": side,
            "text": row.values[side]["text"],
            "scores": [(called, cell(side, judge)) for judge, called in judges.items()],
            "tokens": cell(side, "tokens", style="count"),
            "cut": not row.values[side]["finished"],
        }
        for side in SIDES
        if side in row.values
    ]
    changes = {}
    for key in (*judges, "tokens"):
        after, before = cell("policy", key), cell("baseline", key)
        if after and before:
            changes[key] = computed("difference", [after, before], "signed")
    said = {
        other: {1.0: CALLED["policy"], 0.5: "a tie", 0.0: CALLED[other]}[agreed(verdicts)]
        for other, verdicts in row.values.get("llm", {}).items()
    }
    return Sample(row.values["where"], row.values["prompt"], sides, changes, cell("policy", "kl", style="nats"), said)
