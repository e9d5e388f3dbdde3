"""What the page has in rows: reward models, answers, losses, benchmarks, what was read, what it took."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from rlhf.measures.policies import CALLED, SIDES
from rlhf.report import charts
from rlhf.report.number import Name, Number, Words, computed, with_error, words
from rlhf.report.run import Run, StageRun


def judges(run: Run) -> list[dict[str, Any]]:
    """Reward models, each where it was measured: by an evaluation, else by its own stage."""
    found = []
    for stage in run.kinds("evaluate"):
        names = {"reward": stage.called("reward_model"), "held_out": stage.called("held_out_reward")}
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


class Answers(NamedTuple):
    """What is measured of each side's answers."""

    sides: list[str]
    rows: list[tuple[str, list[Number | None]]]


def answers(stage: StageRun) -> Answers | None:
    """None where there are no answers."""
    sides = [side for side in SIDES if stage.last(f"{side}_tokens")]
    rows = [(name, [stage.last(f"{side}_{key}", style) for side in sides]) for key, name, style in _OF_SIDES]
    return Answers([CALLED[side] for side in sides], [(n, v) for n, v in rows if any(v)]) if sides else None


_BESIDE: tuple[tuple[str, str, Any], ...] = (
    ("over_refusal", "safe prompts refused", "percent"),
    ("under_refusal", "unsafe prompts answered", "percent"),
    ("loss", "loss on held-out demonstrations, nats a token", "plain"),
    ("train_loss", "loss on those beside them, nats a token", "plain"),
    ("perplexity", "perplexity of held-out demonstrations", "plain"),
)


def measured(run: Run) -> list[tuple[str, str, str, Words]]:
    """What needs no judge: of a stage, what it measured, of which side, and what that came to."""
    found = []
    for stage in run.kinds("evaluate"):
        rows = [(name, side, f"{side}_{key}", style) for key, name, style in _BESIDE for side in SIDES]
        for name, side, key, style in [*rows, ("KL to before, nats an answer", "policy", "kl", "nats")]:
            if (value := stage.with_error(key, style)) is not None:
                found.append((stage.name, name, CALLED[side], value))
    return found


def losses(run: Run) -> list[dict[str, Any]]:
    """Held-out losses of each model on the way, by data, of each stage that measured them."""
    found = []
    for stage in run.kinds("evaluate"):
        keys = [key.split("/") for key in stage.measured.values if key.startswith("loss/")]
        if not keys:
            continue
        models = list(dict.fromkeys(model for _, _, model in keys))
        rows = []
        for data in dict.fromkeys(data for _, data, _ in keys):
            said = stage.with_error(f"forgetting/{data}", "signed")
            name = "general text" if data == "general_text" else Name(data)
            rows.append((name, [stage.last(f"loss/{data}/{model}") for model in models], said))
        found.append({"stage": stage.name, "models": models, "rows": rows})
    return found


def benchmarks(run: Run) -> list[tuple[str, str, Words | None]]:
    """What public benchmarks say of each side."""
    found = [
        (key.partition("_harness/")[2], CALLED[side], stage.with_error(key))
        for stage in run.kinds("evaluate")
        for side in SIDES
        for key in stage.measured.values
        if key.startswith(f"{side}_harness/") and not key.endswith("_stderr")
    ]
    return sorted(found, key=lambda row: row[0])  # the sides of a task together


def ledger(run: Run) -> Iterable[dict[str, Any]]:
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
