"""Memory that was freed goes back to the system."""

import ctypes
from collections.abc import Callable
from functools import cache


@cache
def _trim() -> Callable[[int], int] | None:
    """glibc's malloc_trim; None where the C library is another."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None


def give_back() -> None:
    """Return what the C library keeps of freed main memory.

    It keeps pages that lie between others still in use, and tensors of another phase seldom fit into them: without
    this, what a rollout leaves behind adds to the peak of the update. Takes milliseconds.
    """
    if (trim := _trim()) is not None:
        trim(0)
