"""The report as one HTML page: plotly once, styles and script inside, nothing from outside."""

import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rlhf.data.writing import written
from rlhf.measures.headline import JUDGES, Outcome, outcome
from rlhf.measures.policies import CALLED, SCORES, SIDES, agreed
from rlhf.privacy import without_folders
from rlhf.report import charts
from rlhf.report.charts import Chart
from rlhf.report.findings import Finding, findings
from rlhf.report.graph import drawn, graph
from rlhf.report.number import Name, Number, Words, computed, with_error, words
from rlhf.report.run import Line, Run, StageRun, read

FILE = "report.html"
_SHOWN = 500
"""Most samples on a page."""


def write(folder: Path, out: Path | None = None) -> tuple[Path, list[Finding]]:
    """Write the report of a run folder, and say where it is and what it warns of. Raises ArtifactError."""
    run = read(folder)
    found = findings(run)
    path = out or folder / FILE
    with written(path) as file:  # and not what a link of that name leads to
        file.write(html(run, found))
    return path, found


def html(run: Run, found: Iterable[Finding]) -> str:
    """The page."""
    evaluation = run.evaluation
    return render(
        "report.html.jinja",
        run=run,
        findings=list(found),
        verdict=verdict(evaluation) if evaluation else None,
        unjudged=_unjudged(evaluation) if evaluation else False,
        comparisons=comparisons(evaluation) if evaluation else [],
        others=[
            (stage.name, told) for stage in run.evaluations if stage is not evaluation and (told := comparisons(stage))
        ],
        graph=drawn(graph(run)),
        stages=[(stage, list(charts.curves(stage))) for stage in run.stages],
        judges=_judges(run),
        judged_on_the_way=any(map(charts.has_judge, run.kinds("ppo"))),
        frontier=[chart for stage in run.kinds("ppo") for chart in charts.frontier_charts(stage)],
        lengths=charts.lengths(evaluation) if evaluation else None,
        answers=_answers(evaluation) if evaluation else [],
        measured=_measured(run),
        losses=_losses(run),
        benchmarks=_benchmarks(run),
        samples=_samples(evaluation) if evaluation else None,
        ledger=list(_ledger(run)),
        spent=spent(run),
    )


def render(template: str, **content: Any) -> str:
    """A template of this room, with what all pages hold. Whatever comes from a file is escaped."""
    here = Path(__file__).parent
    rooms = Environment(
        loader=FileSystemLoader(here),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rooms.filters |= {
        "figure": _figure,
        "name": lambda value: Name(value),
        "pretty": lambda value: json.dumps(without_folders(value), indent=1, ensure_ascii=False),
        "short": lambda name: name.removeprefix("the ").removeprefix("a "),
    }
    plotly = Markup(files("plotly").joinpath("package_data/plotly.min.js").read_text("utf-8"))
    inside = {name: Markup((here / f"page.{name}").read_text("utf-8")) for name in ("css", "js")}
    return rooms.get_template(template).render(plotly=plotly, **inside, **content)


def _figure(chart: Chart) -> Markup:
    """As JSON that no text in it can end."""
    text = json.dumps(chart.figure, separators=(",", ":"))
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(text)


# ------------------------------------------------------------------------------------------------ is it better?


class Rated(NamedTuple):
    """How often a judge calls the policy's answer better than another's."""

    judge: str
    rate: Number
    low: Number
    high: Number
    ties: Number

    @property
    def outcome(self) -> Outcome:
        return outcome(self.low.value, self.high.value)


class Comparison(NamedTuple):
    """What all judges say of the policy beside one other."""

    other: str
    rated: list[Rated]


def comparisons(stage: StageRun) -> list[Comparison]:
    """With what it came from, and with a model that was only told what to do."""
    found = []
    others = {
        "win_rate": _called(stage, "baseline", "its baseline"),
        "win_rate_over_prompted": "a model with a prompt",
    }
    for rated, other in others.items():
        rows = []
        for judge, called in JUDGES.items():
            name = f"{judge}_{rated}"
            said = [stage.last(f"{name}{end}", "percent") for end in ("", "_low", "_high", "_ties")]
            if all(said):
                rows.append(Rated(called, *said))  # type: ignore[arg-type]
        if rows:
            found.append(Comparison(other, rows))
    return found


def _called(stage: StageRun, field: str, otherwise: str = "") -> str:
    """What the model of a setting is called."""
    named = stage.settings.get(field) or {}
    name = named.get("stage") or named.get("name")
    return Name(name) if name else otherwise


_HOW = {
    "better": "is better than",
    "worse": "is worse than",
    "unclear": "is not clearly better than",
    "own": "is better to its own reward than",
}


def verdict(stage: StageRun) -> tuple[str, Words, Words] | None:
    """`better`, `worse`, `unclear` or, where the training reward alone says so, `own`; that in words, and by how much,
    to the judge that is least likely to be gamed."""
    against = comparisons(stage)
    if not against:
        return None
    first, other, policy = against[0].rated[0], against[0].other, _called(stage, "policy", "the policy")
    came_out = "own" if first.outcome == "better" and stage.judges_itself else first.outcome
    kl = _with_error(stage, "kl", "nats")
    moved = (" It has moved ", kl, " nats an answer away from it.") if kl else ()
    sentence = words(
        f"{first.judge[0].upper()}{first.judge[1:]} prefers its answer on ",
        first.rate,
        " of ",
        stage.last("prompts", "count"),
        " held-out prompts; the interval of 95 % is ",
        first.low,
        " to ",
        first.high,
        ".",
        *moved,
    )
    return came_out, words(policy, f" {_HOW[came_out]} ", other), sentence


def _unjudged(stage: StageRun) -> bool:
    """Whether other answers were there to compare the policy's with, and nothing to judge them."""
    return not stage.judges and any(stage.last(f"{side}_tokens") for side in SIDES if side != "policy")


def _with_error(stage: StageRun, key: str, style: Any = "plain") -> Words | None:
    value = stage.last(key, style)
    return with_error(value, stage.last(f"{key}_stderr")) if value else None


# ------------------------------------------------------------------------------------------------ tables


def _judges(run: Run) -> list[dict[str, Any]]:
    """Reward models, each where it was measured: by an evaluation, else by its own stage."""
    found = []
    for stage in run.kinds("evaluate"):
        names = {"reward": _called(stage, "reward_model"), "held_out": _called(stage, "held_out_reward")}
        names = {judge: name for judge, name in names.items() if stage.last(f"{judge}_accuracy")}
        for judge, name in names.items():
            numbers = _judge_numbers(stage, f"{judge}_")
            found.append(
                {
                    "name": name,
                    "where": Name(stage.name),
                    "numbers": numbers,
                    "charts": [*charts.reliabilities(stage, {judge: name}), *charts.slices(stage, judge)],
                }
            )
    for stage in run.kinds("reward"):
        if stage.name not in {one["name"] for one in found} and (numbers := _judge_numbers(stage, "")):
            found.append({"name": stage.name, "where": "its own held-out pairs", "numbers": numbers, "charts": []})
    return found


def _judge_numbers(stage: StageRun, prefix: str) -> list[tuple[str, Any, str]]:
    def of(key: str, style: Any = "plain") -> Number | None:
        return stage.told("metrics", f"{prefix}{key}", style=style)

    accuracy = of("accuracy", "percent")
    ranked = with_error(accuracy, of("accuracy_stderr")) if accuracy else None
    rows = [
        ("accuracy", ranked, "of held-out pairs ranked rightly"),
        ("calibration error", of("ece"), "zero where it is as sure as it is right"),
        ("Brier score", of("brier"), "a quarter is a coin's"),
        ("follows length", of("length_correlation", "signed"), "correlation of score and length"),
        ("pairs", of("pairs", "count"), "held out"),
    ]
    return [(name, value, says) for name, value, says in rows if value is not None]


_OF_SIDES: tuple[tuple[str, str, Any], ...] = (
    ("reward_score", "training reward", "plain"),
    ("held_out_score", "held-out reward model", "plain"),
    ("gold_score", "rule", "plain"),
    ("tokens", "tokens an answer", "nats"),
    ("finished", "answers that end", "percent"),
    ("distinct_1", "distinct words", "percent"),
    ("distinct_2", "distinct pairs of words", "percent"),
    ("self_bleu", "likeness to each other (self-BLEU)", "plain"),
    ("copied", "answers with a copy of training data", "percent"),
)


def _answers(stage: StageRun) -> list[tuple[str, list[Number | None]]]:
    """What is measured of each side's answers."""
    sides = [side for side in SIDES if stage.last(f"{side}_tokens")]
    rows = [(name, [stage.last(f"{side}_{key}", style) for side in sides]) for key, name, style in _OF_SIDES]
    return [("", [CALLED[side] for side in sides]), *((n, v) for n, v in rows if any(v))] if sides else []  # type: ignore[list-item]


_BESIDE: tuple[tuple[str, str, Any], ...] = (
    ("over_refusal", "safe prompts refused", "percent"),
    ("under_refusal", "unsafe prompts answered", "percent"),
    ("loss", "loss on held-out demonstrations, nats a token", "plain"),
    ("train_loss", "loss on those beside them, nats a token", "plain"),
    ("perplexity", "perplexity of held-out demonstrations", "plain"),
)


def _measured(run: Run) -> list[tuple[str, str, str, Words]]:
    """What needs no judge: of a stage, what it measured, of which side, and what that came to."""
    found = []
    for stage in run.kinds("evaluate"):
        rows = [(name, side, f"{side}_{key}", style) for key, name, style in _BESIDE for side in SIDES]
        for name, side, key, style in [*rows, ("KL to before, nats an answer", "policy", "kl", "nats")]:
            if (value := _with_error(stage, key, style)) is not None:
                found.append((stage.name, name, CALLED[side], value))
    return found


def _losses(run: Run) -> list[dict[str, Any]]:
    """Held-out losses of each model on the way, by data, of each stage that measured them."""
    found = []
    for stage in run.kinds("evaluate"):
        keys = [key.split("/") for key in stage.measured.values if key.startswith("loss/")]
        if not keys:
            continue
        models = list(dict.fromkeys(model for _, _, model in keys))
        rows = []
        for data in dict.fromkeys(data for _, data, _ in keys):
            said = _with_error(stage, f"forgetting/{data}", "signed")
            name = "general text" if data == "general_text" else Name(data)
            rows.append((name, [stage.last(f"loss/{data}/{model}") for model in models], said))
        found.append({"stage": stage.name, "models": models, "rows": rows})
    return found


def _benchmarks(run: Run) -> list[tuple[str, str, Words | None]]:
    """What public benchmarks say of each side."""
    found = [
        (key.partition("_harness/")[2], CALLED[side], _with_error(stage, key))
        for stage in run.kinds("evaluate")
        for side in SIDES
        for key in stage.measured.values
        if key.startswith(f"{side}_harness/") and not key.endswith("_stderr")
    ]
    return sorted(found, key=lambda row: row[0])  # the sides of a task together


def _ledger(run: Run) -> Iterable[dict[str, Any]]:
    """What each stage read, and what became of it."""
    for stage in run.stages:
        blocks = stage.record.get("data", {})
        found = {(): blocks} if "file" in blocks else {(name,): part for name, part in blocks.items()}
        for path, block in found.items():
            books = block.get("file") if isinstance(block, Mapping) else None
            if not books:
                continue
            place = ("data", *path, "file")
            yield {
                "stage": stage.name,
                "block": path[0].replace("_", " ") if path else "",
                "sources": [
                    (
                        one["name"],
                        (one.get("sha256") or "")[:12],
                        f"{stage.where}/artifact.json#/{'/'.join(place)}/sources/{i}/sha256",
                    )
                    for i, one in enumerate(books.get("sources", []))
                ],
                **{key: stage.told(*place, key, style="count") for key in ("rows", "used", "held_out")},
                "lost": list(_lost(stage, path, block)),
            }


def _lost(stage: StageRun, path: tuple[str, ...], block: Mapping[str, Any]) -> Iterable[Words]:
    for part, books in block.items():
        if not isinstance(books, Mapping):
            continue
        for reason in books.get("dropped", {}):
            yield words(stage.told("data", *path, part, "dropped", reason, style="count"), " ", Name(reason))
        if books.get("cut"):
            yield words(stage.told("data", *path, part, "cut", style="count"), " cut to fit")


def spent(run: Run) -> dict[str, Any]:
    """Time, tokens, memory and cost of each stage, and of all."""
    rows = []
    for stage in run.stages:
        if not stage.lines:
            continue
        seconds = stage.told("spent", "seconds", style="seconds") or stage.series("time").number(-1, "seconds")
        steps = stage.told("metrics", "steps", style="count") if stage.kind != "ppo" else None
        steps = steps or stage.told("metrics", "updates", style="count")
        tokens = [stage.told("data", "train", "tokens", kind, style="count") for kind in ("trained", "context")]
        tokens = [one for one in tokens if one]
        rows.append(
            {
                "stage": stage.name,
                "seconds": seconds,
                "steps": steps,
                "answers": stage.last("episodes", "count"),
                "tokens": computed("sum", tokens) if tokens else None,
                "memory": stage.told("spent", "memory", style="bytes"),
                "accelerator": stage.told("spent", "accelerator", style="bytes"),
                "cost": _cost(seconds, run.price),
            }
        )
    total = computed("sum", [row["seconds"] for row in rows]) if rows else None
    return {"rows": rows, "seconds": total, "cost": _cost(total, run.price) if total else None}


def _cost(seconds: Number, price: Number | None) -> Number | None:
    return None if price is None else computed("cost", [seconds, price], "money")


# ------------------------------------------------------------------------------------------------ samples


class Sample(NamedTuple):
    """A held-out prompt with every side's answer."""

    where: str
    prompt: list[Mapping[str, str]]
    sides: list[dict[str, Any]]
    changes: dict[str, Number]
    """Of each judge's score and of the length, after less before."""
    kl: Number | None
    llm: dict[str, str]


def _samples(stage: StageRun) -> dict[str, Any] | None:
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
