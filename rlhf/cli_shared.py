"""What the commands share."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rlhf.weights import Weights

Model = Annotated[str, typer.Argument(help="Registry name, folder, a run's stage (runs/…/stages/ppo), or hub id.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line.")]


def ready(model: str) -> "Weights":
    """The weights that a command line names, and the libraries made ready to load them."""
    from rlhf import libraries, weights

    libraries.prepare()
    return weights.named(model)
