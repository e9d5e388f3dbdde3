"""`rlhf plan`: will it fit, how long, how much. Thin, as the other commands are."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlhf.cli_shared import AsJson

if TYPE_CHECKING:
    from rich.table import Table

    from rlhf.plan.plan import Estimate, Plan

app = typer.Typer(rich_markup_mode=None)


@app.command()
def plan(
    recipe: Annotated[str, typer.Argument(help="A .yaml file, or the name of a shipped recipe.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change.")] = None,
    gpu: Annotated[
        str | None, typer.Option(metavar="NAME", help="24GB, rtx4090, h100, … or cpu; left out: what is here.")
    ] = None,
    price: Annotated[float | None, typer.Option(min=0, help="What an hour costs there.")] = None,
    as_json: AsJson = False,
) -> None:
    """Will it fit, how long, how much: of every stage and backend, before anything is loaded.

    From the sizes in config.json and the lengths of the first examples. `rlhf run --fit` takes the settings that this
    advises.
    """
    from rich.console import Console

    from rlhf.plan import devices
    from rlhf.plan.plan import plan as planned
    from rlhf.recipe import load

    made = planned(load(recipe, overrides or []), devices.named(gpu) if gpu else devices.here(), price)
    console = Console(stderr=as_json, highlight=False)
    console.print(_table(made))
    for line in _lines(made):
        console.print(line, markup=False)
    if as_json:
        print(json.dumps(_as_json(made)))


# ------------------------------------------------------------------------------------------------ on a screen


def _table(made: "Plan") -> "Table":
    from rich import box
    from rich.table import Table

    device = made.device
    title = f"{made.recipe} on {device.name}, {_size(device.memory)}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("stage", "backend", "peak", "fits", *_GROUPS, "time", *_priced(made, "cost"), "disk"):
        table.add_column(name, justify="left" if name in ("stage", "backend", "fits") else "right", no_wrap=True)
    for stage in made.stages:
        for one in (stage.own, *stage.others):
            is_own = one is stage.own
            table.add_row(
                stage.name if is_own else "",
                one.backend + (" ←" if is_own and one.backend else ""),
                _size(one.peak),
                "yes" if one.fits else "no",
                *(_size(sum(one.memory.get(part, 0.0) for part in parts)) for parts in _GROUPS.values()),
                _time(one.work.seconds),
                *_priced(made, _cost(one.work.seconds, made.price)),
                _size(one.disk) if one.disk else "",
                style="" if is_own else "dim",
            )
    return table


_GROUPS = {
    "weights": ("weights", "adapters", "frozen copies", "weights for drawing"),
    "training": ("gradients", "optimizer"),
    "working": ("activations", "logits", "keys and values"),
}
"""Columns of what takes the memory."""


def _priced(made: "Plan", cell: str) -> tuple[str, ...]:
    """A cell of the column that there is where an hour has a price."""
    return () if made.price is None else (cell,)


def _lines(made: "Plan") -> list[str]:
    """What to do, and what was taken for granted."""
    from rlhf.plan.plan import advice

    lines = [advice(stage) for stage in made.stages if not stage.own.fits]
    if made.seconds is not None:
        cost = f", {_cost(made.seconds, made.price)}" if made.price is not None else ""
        lines.append(f"all stages, each as it fits: {_time(made.seconds)}{cost}")
    else:
        lines.append("how long it takes is known of cards by name: --gpu rtx4090")
    assumed: dict[str, list[str]] = {note: [] for stage in made.stages for note in stage.assumed}
    for stage in made.stages:
        for note in stage.assumed:
            assumed[note].append(stage.name)
    return [*lines, *(f"assumed ({', '.join(names)}): {note}" for note, names in assumed.items())]


def _size(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def _time(seconds: float | None) -> str:
    from rlhf.console import duration

    return "" if seconds is None else duration(seconds)


def _cost(seconds: float | None, price: float | None) -> str:
    return "" if seconds is None or price is None else f"{seconds / 3600 * price:.2f}"


# ------------------------------------------------------------------------------------------------ for a machine


def _as_json(made: "Plan") -> dict[str, Any]:
    return {
        "recipe": made.recipe,
        "device": {"name": made.device.name, "bytes": made.device.memory},
        "fits": made.fits,
        "seconds": made.seconds,
        "cost": None if made.seconds is None or made.price is None else made.seconds / 3600 * made.price,
        "stages": {
            stage.name: {
                "kind": stage.kind,
                "model": stage.model,
                "parameters": stage.parameters,
                **_numbers(stage.own),
                "backends": {one.backend: _numbers(one) for one in (stage.own, *stage.others) if one.backend},
                "settings": dict(stage.settings),
                "assumed": list(stage.assumed),
            }
            for stage in made.stages
        },
    }


def _numbers(one: "Estimate") -> dict[str, Any]:
    return {
        "bytes": one.peak,
        "fits": one.fits,
        "memory": dict(one.memory),
        "seconds": one.work.seconds,
        "tokens": one.work.tokens,
        "flops": one.work.flops,
        "disk": one.disk,
    }
