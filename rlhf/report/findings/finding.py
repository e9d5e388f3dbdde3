"""What a rule finds, and what rules ask of a log."""

import math
from collections.abc import Callable, Iterable
from statistics import stdev
from typing import NamedTuple

from rlhf.report.number import Number, Style, Words, computed
from rlhf.report.run import Run, Series, StageRun

ERRORS = 2.0
"""Standard errors beyond which a difference is told."""
FEWEST = 3
"""Lines of a log whose mean is looked at."""


class Finding(NamedTuple):
    """Something that a person should look at."""

    stage: str
    title: str | Words
    seen: Words
    means: str
    do: str | Words

    def line(self) -> str:
        """In one line, for a screen."""
        title = str(self.title)
        return f"{self.stage}: {title[0].lower()}{title[1:]} ({self.seen}): {self.do}"

    def plain(self) -> dict[str, str]:
        """For a machine."""
        return {name: str(part) for name, part in self._asdict().items()}


Rule = Callable[[Run], Iterable[Finding]]


def above(number: Number | None, limit: float) -> bool:
    """Whether it is there, and more."""
    return number is not None and number.value > limit


def below(number: Number | None, limit: float) -> bool:
    """Whether it is there, and less."""
    return number is not None and number.value < limit


def error_of(stage: StageRun, *names: str) -> float:
    """How far means may be apart by chance; infinite where nothing says how sure they are."""
    errors = [stage.last(f"{name}_stderr") for name in names]
    return ERRORS * math.hypot(*(error.value if error else math.inf for error in errors))


class Mean(NamedTuple):
    """Of some lines of a log."""

    number: Number
    error: float
    """Standard error, in which it is the batches that differ."""


def _mean(series: Series, places: range, style: Style = "plain") -> Mean:
    values = [series.ys[at] for at in places]
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return Mean(computed("mean", [series.number(at, style) for at in places]), error)


def quarter(series: Series, style: Style = "plain") -> Mean | None:
    """Mean of the last quarter of the lines, for one batch says little."""
    count = max(len(series.lines) // 4, FEWEST)
    return _mean(series, range(-count, 0), style) if len(series.lines) >= 2 * count else None


def ends(series: Series, fixed: bool) -> tuple[Mean, Mean] | None:
    """The first and the last line where all are of the same `fixed` rows, else the means of the outer quarters."""
    count = 1 if fixed else max(len(series.lines) // 4, FEWEST)
    enough = len(series.lines) >= 2 * count
    return (_mean(series, range(count)), _mean(series, range(-count, 0))) if enough else None
