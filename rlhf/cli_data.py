"""`rlhf data …`: look at examples, check them, write them anew. Thin, as the other commands are."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlhf.cli_shared import AsJson, ready
from rlhf.data.records import Kind

if TYPE_CHECKING:
    from rlhf.config.data import DataConfig

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at examples, check them, write them anew.")


Words = Annotated[
    list[str],
    typer.Argument(metavar="PATH [KEY=VALUE]...", help="Files, and settings of a recipe's `data` block."),
]
OfKind = Annotated[Kind | None, typer.Option("--kind", help="What rows are read as; left out: seen from them.")]
File = Annotated[Path, typer.Option("--out", help="File of canonical rows to write (.jsonl).")]


@app.command()
def inspect(
    words: Words,
    kind: OfKind = None,
    model: Annotated[str | None, typer.Option(help="Model whose tokenizer and template count lengths.")] = None,
    reward_model: Annotated[str | None, typer.Option(help="Reward model that estimates wrong labels.")] = None,
    against: Annotated[
        list[Path] | None, typer.Option(help="Files whose prompts must not be among these (may be repeated).")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page too.")] = None,
    as_json: AsJson = False,
) -> None:
    """What is in a data set, and what is wrong with it."""
    from rlhf.config.data import DataConfig
    from rlhf.data.inspect import inspect as look
    from rlhf.data.inspect import page, terminal
    from rlhf.data.writing import written
    from rlhf.recipe.data import data_block

    chat = judge = None
    if model is not None:
        from rlhf import text

        chat = text.load(ready(model))
    if reward_model is not None:
        from rlhf.reward_model import RewardModel

        judge = RewardModel.load(ready(reward_model)).score_what_fits
    others = [DataConfig(path=path) for path in against or ()]
    report = look(data_block(words), kind, chat=chat, against=others, judge=judge)
    if not as_json:
        terminal.show(report)
    if html is not None:
        with written(html) as file:
            file.write(page.html(report))
    if as_json:
        print(json.dumps(report.as_json(), ensure_ascii=False))
    elif html is not None:
        print(f"page: {html}")


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@app.command()
def check(words: Words, kind: OfKind = None, as_json: AsJson = False) -> None:
    """Read every row as training would, and keep none.

    Malformed rows are named with file, line and field; all of them are listed in bad_rows.KIND.jsonl, and all rows
    that teach nothing in dropped_rows.KIND.jsonl.
    """
    from rlhf.data.load import validate

    data, of = _read(words, kind)
    _tell(of, validate(data, of, Path.cwd(), workers=_cores()), as_json)


@app.command()
def convert(words: Words, out: File, kind: OfKind = None, as_json: AsJson = False) -> None:
    """Write rows of any format as canonical JSON lines."""
    from rlhf.data import rewrite

    data, of = _read(words, kind)
    _tell(of, rewrite.convert(data, of, out), as_json, out)


@app.command()
def split(
    words: Words,
    out: Annotated[Path, typer.Option("--out", help="Folder for train.jsonl and held_out.jsonl.")],
    kind: OfKind = None,
    as_json: AsJson = False,
) -> None:
    """Write what a stage would train on, and what it would hold out.

    By hash of the prompt, so that no prompt is on both sides: eval_fraction=0.1.
    """
    from rlhf.data import rewrite

    data, of = _read(words, kind)
    _tell(of, rewrite.split(data, of, out), as_json, out)


@app.command()
def mix(
    sources: Annotated[list[str], typer.Argument(metavar="PATH[:WEIGHT]...", help="Files, each with its weight.")],
    out: File,
    kind: OfKind = None,
    seed: Annotated[int, typer.Option(help="Seed of the order.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Write several sources as one, shuffled.

    A weight says how often each example is there: 2 twice, 0.5 a half of them.
    """
    from rlhf.data import rewrite

    blocks: list[dict[str, Any]] = []
    for source in sources:
        path, colon, weight = source.rpartition(":")
        blocks.append({"path": path, "weight": weight} if colon and not Path(source).exists() else {"path": source})
    data, of = _read([f"mix={json.dumps(blocks)}"], kind)
    _tell(of, rewrite.mix(data, of, out, seed), as_json, out)


def _read(words: list[str], kind: Kind | None) -> "tuple[DataConfig, Kind]":
    from rlhf.data.load import kind_of_source
    from rlhf.recipe.data import data_block

    data = data_block(words)
    return data, kind or kind_of_source(data)


def _tell(kind: str, books: dict[str, Any], as_json: bool, out: Path | None = None) -> None:
    """The books, in a few lines and to a machine."""
    from rlhf.visible import visible

    print("\n".join(visible(line) for line in _in_words(kind, books)))
    if "dropped_rows" in books:
        folder = Path() if out is None else out if out.is_dir() else out.parent
        print(f"rows that teach nothing: {folder / books['dropped_rows']}")
    if "bad_rows" in books:
        print(visible(books["bad_rows"]), file=sys.stderr)
    if out is not None:
        print(f"wrote {out}")
    if as_json:
        print(json.dumps({"kind": kind, "ledger": books, "out": str(out) if out else None}, ensure_ascii=False))


def _in_words(kind: str, books: dict[str, Any]) -> Iterator[str]:
    """What became of the rows: as many examples as rows, unless it says so."""
    from rlhf.data.intake import unread_in_words

    found = ", ".join(f"{count} {name}" for name, count in books["formats"].items())
    several = (
        "" if books["examples"] == books["rows"] else f", {books['examples']} example{'s' * (books['examples'] != 1)}"
    )
    yield f"{books['rows']} rows{several} read as {kind} ({found})"
    for name in ("used", "held_out"):
        if books[name]:
            yield f"{books[name]:>9} {name.replace('_', ' ')}"
    for reason, count in books["dropped"].items():
        yield f"{count:>9} dropped: {reason}"
    if books["duplicates"] and "duplicate" not in books["dropped"]:
        yield f"duplicates: {books['duplicates']} (used all the same)"
    if books["repeated"]:
        yield f"repeated: {books['repeated']} more, by weight"
    if books["unread"]:
        yield f"fields that were not read: {', '.join(unread_in_words(books))}"
