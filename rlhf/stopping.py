"""Ctrl-C, SIGTERM or a closed terminal while a model trains: the step ends, a checkpoint is written, the run leaves."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rlhf.streams import HANGUP, stop_signals


@contextmanager
def patiently() -> Iterator[Callable[[], bool]]:
    """Whether somebody asked for the end, to look at between two steps. A second time ends the run at once, but for a
    closed terminal, of which one may hear twice; elsewhere the first does. Leaving after one was asked for raises
    KeyboardInterrupt."""
    asked: list[int] = []

    def ask(number: int, frame: Any) -> None:
        asked.append(number)
        if len(asked) > 1 and number not in HANGUP:
            raise KeyboardInterrupt
        print("stopping after this step; again to stop at once", file=sys.stderr)

    try:
        before = {number: signal.signal(number, ask) for number in stop_signals()}
    except ValueError:  # another thread than the main one, where no signal arrives
        yield lambda: False
        return
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        raise KeyboardInterrupt
