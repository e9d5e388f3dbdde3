"""`rlhf status` and `rlhf watch`: how far runs are. Thin, as the other commands are."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlhf.cli_shared import AsJson

if TYPE_CHECKING:
    from rlhf.progress import Run

app = typer.Typer(rich_markup_mode=None)


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(metavar="[RUN]", help="A run's folder, or one of runs.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Which runs there are, and how far each is."""
    from rich.console import Console

    from rlhf import progress, watching

    found = progress.runs(folder)
    alone = len(found) == 1 and found[0].folder == folder
    Console(stderr=as_json).print(watching.frame(found[0]) if alone else watching.overview(found))
    if as_json:
        print(json.dumps({"runs": [_as_json(run) for run in found]}))


@app.command()
def watch(
    run: Annotated[Path, typer.Argument(help="A run's folder.")],
    once: Annotated[bool, typer.Option("--once", help="One look.")] = False,
    as_json: AsJson = False,
) -> None:
    """Follow a run from another terminal, until it ends."""
    from rich.console import Console

    from rlhf import progress, watching

    console = Console(stderr=as_json)
    if once:
        seen = progress.read(run)
        console.print(watching.frame(seen))
    else:
        seen = watching.watch(run, console)
    if as_json:
        print(json.dumps(_as_json(seen)))


def _as_json(run: "Run") -> dict[str, Any]:
    return {"folder": str(run.folder), "state": run.state, "stages": [asdict(stage) for stage in run.stages]}
