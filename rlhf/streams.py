"""What is printed, and who reads it: a reader that is gone stops nothing."""

import os
import signal
import sys
from typing import Any, TextIO

HANGUP = (signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()


class Lasting:
    """A stream that may lose its reader: a pipe that `head` closed, a terminal whose window is gone. What is written
    from then on goes nowhere; metrics.jsonl goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._lose()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._lose()

    def _lose(self) -> None:
        """Have what waits to be written go nowhere too, or the interpreter would fail on it as it leaves."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def outlive_readers() -> None:
    """Print through streams that may lose their readers."""
    for name in ("stdout", "stderr"):
        if (stream := getattr(sys, name)) is not None and not isinstance(stream, Lasting):
            setattr(sys, name, Lasting(stream))


def stop_signals() -> tuple[signal.Signals, ...]:
    """Signals that ask a run to end. One that is ignored, as `nohup` does with a closed terminal's, asks nothing."""
    asked = (signal.SIGINT, signal.SIGTERM, *HANGUP)
    return tuple(number for number in asked if signal.getsignal(number) is not signal.SIG_IGN)
