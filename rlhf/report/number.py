"""Numbers that say where they are from, as text for a screen and as HTML for a page.

A source is `FILE#POINTER`, with the file relative to the run folder and a JSON pointer (RFC 6901) into it; of a file of
JSON lines, the pointer's first part is the line, counted from 0. A number that is computed from several names them all,
and how: `difference`, `sum`, `mean` or `cost`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from markupsafe import Markup

from rlhf.console import duration

Style = Literal["plain", "count", "percent", "signed", "nats", "seconds", "bytes", "money", "given"]
Calc = Literal["", "difference", "sum", "mean", "cost"]

_CALCS: dict[str, Callable[..., float]] = {
    "difference": lambda a, b: a - b,
    "sum": lambda *values: sum(values),
    "mean": lambda *values: sum(values) / len(values),
    "cost": lambda *values: sum(values[:-1]) / 3600 * values[-1],  # seconds, and then the price of an hour
}


@dataclass(frozen=True)
class Number:
    """A value, what it was read from, and how it is written."""

    value: float
    sources: tuple[str, ...]
    style: Style = "plain"
    calc: Calc = ""

    def as_(self, style: Style) -> "Number":
        return replace(self, style=style)

    def __str__(self) -> str:
        return written(self.value, self.style)

    def __html__(self) -> str:
        calc = Markup(' data-calc="{}"').format(self.calc) if self.calc else ""
        return Markup('<span class="n" data-from="{}" data-value="{}"{}>{}</span>').format(
            " ".join(self.sources), repr(self.value), calc, str(self)
        )


def computed(calc: Calc, numbers: Sequence[Number], style: Style | None = None) -> Number:
    """A number that others make, with all that they were read from; written as they are unless `style` says."""
    value = _CALCS[calc](*(number.value for number in numbers))
    sources = tuple(source for number in numbers for source in number.sources)
    return Number(value, sources, style or numbers[0].style, calc)


class Name(str):
    """Text that stands in a file of the run and may hold numbers of its own: what a stage is called, why a row was
    dropped. No sentence of ours, whose numbers say where they are from."""

    def __html__(self) -> str:
        return Markup('<span class="named">{}</span>').format(str.__str__(self))


@dataclass(frozen=True)
class Words:
    """A sentence with numbers in it."""

    parts: tuple[Any, ...]

    def __str__(self) -> str:
        return "".join(map(str, self.parts))

    def __html__(self) -> str:
        return Markup("").join(self.parts)


def words(*parts: Any) -> Words:
    """A sentence of texts and numbers, as they come."""
    return Words(parts)


def with_error(value: Number, error: Number | None) -> Words:
    """A number and, where there is one, its standard error: written alike, but that an error has no sign."""
    style = "plain" if value.style == "signed" else value.style
    return words(value) if error is None else words(value, " ± ", error.as_(style))


# ------------------------------------------------------------------------------------------------ writing

_NARROW = "\u202f"  # does not break


def written(value: float, style: Style) -> str:
    """As a person writes it, with its unit."""
    if not math.isfinite(value):
        return "–"
    match style:
        case "count":
            return f"{value:,.0f}"
        case "percent":
            return _minus(f"{100 * value:.1f}") + f"{_NARROW}%"
        case "signed":
            return _minus(f"{value:+.2f}")
        case "nats":
            return _minus(f"{value + 0.0:.1f}")
        case "seconds":
            return duration(value).replace(" ", _NARROW)
        case "bytes":
            return f"{value / 2**30:.2f}{_NARROW}GiB" if value >= 2**30 else f"{value / 2**20:.0f}{_NARROW}MiB"
        case "money":
            return f"{value:.2f}"
        case "given":
            return _minus(f"{value:g}")
        case "plain":
            return _minus(f"{value:.3g}" if 0 < abs(value) < 0.01 else f"{value:,.2f}")


def _minus(text: str) -> str:
    """With a minus sign in place of a hyphen, and none before zero."""
    return text[1:] if text.startswith("-") and not text.strip("-0.") else text.replace("-", "−")
