"""What keeps libraries from holding memory: what was freed goes back to the system, few compiled kernels are kept."""

import ctypes
import os
from collections.abc import Callable
from functools import cache

_KERNELS = "32"
"""Products of about eight shapes, forward and backward, and as many again of adapters: none is compiled twice in one
pass over equal layers."""


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


def keep_few_kernels() -> None:
    """Have oneDNN, and PyTorch in front of it, keep few compiled kernels; to be said before a process's first product.

    Each keeps one of every shape, 1024 by default, and packed micro-batches have another number of tokens at every
    step: on a CPU memory grew by megabytes a rollout. A user's own bounds stay.
    """
    for bound in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(bound, _KERNELS)
