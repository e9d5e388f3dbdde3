"""The RL stage's own loop with a clock at its phases: what the benchmarks measure is this, and nothing rewritten."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rlhf.rollout import Rollout
from stages.ppo.loop import Loop

PHASES = ("rollout", "score", "advantages", "update")


class TimedLoop(Loop):
    """Counts what each phase takes by `clock`; hands each rollout to `listen`."""

    clock: Callable[[], float]
    listen: Callable[[Rollout], None] = staticmethod(lambda _: None)

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.spent = dict.fromkeys(PHASES, 0.0)

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        start = self.clock()
        yield
        self.spent[phase] += self.clock() - start

    def rollout(self, *args: Any, **named: Any) -> Any:
        with self.timed("rollout"):
            drawn = super().rollout(*args, **named)
        self.listen(drawn)
        return drawn

    def score(self, *args: Any, **named: Any) -> Any:
        with self.timed("score"):
            return super().score(*args, **named)

    def advantages(self, *args: Any, **named: Any) -> Any:
        with self.timed("advantages"):
            return super().advantages(*args, **named)

    def update(self, *args: Any, **named: Any) -> Any:
        with self.timed("update"):
            return super().update(*args, **named)


class Log:
    """Stands in for a tracker: keeps every line, and what each phase had taken by then."""

    def __init__(self, loop: TimedLoop) -> None:
        self.loop = loop
        self.lines: list[dict[str, Any]] = []
        self.marks: list[dict[str, float]] = []

    def log(self, metrics: dict[str, Any], *_: Any) -> None:
        self.lines.append(metrics)
        self.marks.append(dict(self.loop.spent))

    def each(self) -> list[dict[str, float]]:
        """What each update took, by phase."""
        before = [dict.fromkeys(PHASES, 0.0), *self.marks[:-1]]
        return [{k: now[k] - was[k] for k in now} for was, now in zip(before, self.marks, strict=True)]
