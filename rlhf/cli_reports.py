"""`rlhf report` and `rlhf compare`: what runs came to. Thin, as the other commands are."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlhf.cli_shared import AsJson

if TYPE_CHECKING:
    from rlhf.console import Screen

app = typer.Typer(rich_markup_mode=None)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run folder, such as runs/quickstart; also of a run that was stopped.")],
    out: Annotated[Path | None, typer.Option("--out", help="The page, in place of RUN/report.html.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the report of a run: one page that opens offline."""
    from rlhf.console import Screen

    told = _written(run, out, Screen(quiet=as_json))
    if as_json:
        print(json.dumps(told))


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Run folders.")],
    html: Annotated[Path | None, typer.Option("--html", help="Write a page too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Put runs side by side.

    The settings that differ, what each came to with its intervals, and what it took.
    """
    from rlhf.console import Screen
    from rlhf.report import compare as comparing

    if len(runs) < 2:
        raise typer.BadParameter("name two run folders or more")
    found = comparing.compare(runs)
    screen = Screen(quiet=as_json)
    rows = [[name, *(str(one.said) if one else "–" for one in row)] for name, row in found.numbers.items()]
    screen.table("What they came to", ["", *found.names], rows)
    if found.settings:
        differing = [[key, *("–" if one is None else str(one) for one in row)] for key, row in found.settings.items()]
        screen.table("Settings that differ", ["", *found.names], differing)
    for name, warnings in zip(found.names, found.warnings, strict=True):
        for one in warnings:
            screen.say(f"warning: {name}: {one.line()}")
    if html is not None:
        comparing.write(found, html)
        screen.say(f"page: {html}")
    if as_json:
        print(json.dumps(found.plain() | ({"page": str(html)} if html else {})))


def report_of(folder: Path, screen: "Screen") -> dict[str, Any]:
    """Write the run's report, and say what it warns of. The run is done, whatever becomes of its report."""
    from rlhf.privacy import masked
    from rlhf.visible import visible

    try:
        return _written(folder, None, screen)
    except Exception as error:
        screen.say(visible(masked(f"warning: the report could not be written: {error}")))
        return {}


def _written(folder: Path, out: Path | None, screen: "Screen") -> dict[str, Any]:
    """Write a run's report, and say where it is and what it warns of; the same for machines."""
    from rlhf.report import page

    path, found = page.write(folder, out)
    for one in found:
        screen.say(f"warning: {one.line()}")
    screen.say(f"report: {path}")
    return {"report": str(path), "warnings": [one.plain() for one in found]}
