"""Losses on held-out text, and rows that were lost."""

from collections.abc import Iterator, Mapping
from typing import Any

from rlhf.report.findings.finding import ERRORS, Finding, error_of
from rlhf.report.number import Name, with_error, words
from rlhf.report.run import Run, StageRun

DROPPED = 0.05
"""Share of the rows, or of the tokens, that may be lost."""
RISEN = 0.02
"""Share of its lowest by which a held-out loss may rise on the way."""
FORGOTTEN = 0.05
"""Nats a token that may be lost of other text."""


def rises(run: Run) -> Iterator[Finding]:
    """The loss on held-out rows was lowest after an earlier epoch than the last."""
    for stage in run.kinds("sft", "dpo", "kto", "orpo", "simpo", "cpo"):
        losses = stage.series("eval_loss")
        if not losses.lines:
            continue
        lowest = losses.ys.index(min(losses.ys))
        if losses.ys[-1] - losses.ys[lowest] > RISEN * abs(losses.ys[lowest]):
            yield Finding(
                stage.name,
                "Its held-out loss rises",
                words(
                    "from ",
                    losses.number(lowest),
                    " after step ",
                    losses.step(lowest),
                    " to ",
                    losses.number(-1),
                    " after step ",
                    losses.step(-1),
                ),
                "From there on it learned its own examples, and others less well: it over-fits.",
                "train fewer epochs (train.epochs), at a lower train.lr, with a smaller backend.r, or on more examples",
            )


def overfits(run: Run) -> Iterator[Finding]:
    for stage in run.kinds("evaluate"):
        names = [f"{model}_{split}loss" for split in ("train_", "") for model in ("baseline", "policy")]
        seen_before, seen, unseen_before, unseen = (stage.last(name) for name in names)
        if not (seen_before and seen and unseen_before and unseen):
            continue
        train, held_out = (error_of(stage, *names[i : i + 2]) for i in (0, 2))
        if seen_before.value - seen.value > train and unseen.value - unseen_before.value > held_out:
            yield Finding(
                stage.name,
                "It over-fits",
                words(
                    "loss rose on held-out demonstrations (",
                    unseen_before,
                    " to ",
                    unseen,
                    ") and fell on those beside them (",
                    seen_before,
                    " to ",
                    seen,
                    ")",
                ),
                "It learns these examples by heart.",
                "train fewer epochs, at a lower train.lr, with a smaller backend.r, or on more examples",
            )


def forgets(run: Run) -> Iterator[Finding]:
    for stage in run.kinds("evaluate"):
        for key in stage.measured.values:
            if not key.startswith("forgetting/") or key.endswith("_stderr"):
                continue
            lost, error = stage.last(key, "signed"), stage.last(f"{key}_stderr")
            if lost and error and lost.value > max(FORGOTTEN, ERRORS * error.value):
                data = key.removeprefix("forgetting/")
                is_general = data == "general_text"
                yield Finding(
                    stage.name,
                    words("Its loss on held-out ", "general text" if is_general else Name(data), " rose"),
                    words("by ", with_error(lost, error), " nats a token"),
                    "Text of no task has become less likely: it has forgotten some of what it knew."
                    if is_general
                    else "Forgotten, or unlearned on purpose: preferences and rewards pull away from what it imitated.",
                    "raise rl.kl_coef or sft_coef, lower train.lr, or mix general text into the data (data.mix)",
                )


def rows_are_lost(run: Run) -> Iterator[Finding]:
    """Said once a stage, of the first of its rows that it holds for: training's before those held out."""
    for stage in run.stages:
        yield from {found.title: found for found in reversed([*_lost(stage)])}.values()


def _lost(stage: StageRun) -> Iterator[Finding]:
    for path, books in _books(stage.record.get("data", {})):
        block = path[0] if stage.kind == "evaluate" else "data"
        rows = stage.told("data", *path, "rows", style="count")
        for reason in books.get("dropped", {}):
            lost = stage.told("data", *path, "dropped", reason, style="count")
            if lost and rows and lost.value > DROPPED * rows.value:
                yield Finding(
                    stage.name,
                    "Many rows are dropped",
                    words(lost, " of ", rows, " rows: ", Name(reason)),
                    "What is left may be another kind of data than what you gave.",
                    f"rlhf data inspect lists them; raise {block}.max_length where they are too long",
                )
        tokens = books.get("tokens", {})
        if tokens.get("cut", 0) > DROPPED * sum(tokens.values()):
            cut = stage.told("data", *path, "tokens", "cut", style="count")
            yield Finding(
                stage.name,
                "Many tokens are cut off",
                words(cut, f" tokens do not fit into {block}.max_length"),
                "Prompts lose their beginning.",
                f"raise {block}.max_length",
            )


def _books(
    blocks: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Every count of rows, and where it stands: of training at the top, of an evaluation in each block of its data."""
    for name, part in blocks.items():
        if isinstance(part, Mapping):
            yield from [((*path, name), part)] if part.get("rows") else _books(part, (*path, name))
