"""Memory: what was freed goes back to the system, few compiled kernels are kept, and running out is known as that."""

import ctypes
import gc
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Literal

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


def release() -> None:
    """Return what nothing holds any more, on an accelerator too: models whose parts name each other are collected."""
    gc.collect()
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    give_back()


# ------------------------------------------------------------------------------------------------ what was needed


def begin_peak() -> None:
    """Have `peak` tell of what comes from here on, where the system lets a process say so."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def peak() -> dict[str, float]:
    """Most bytes that this process held at once, in main `memory` and, once it is used, on the `accelerator`."""
    found = {"memory": float(_resident())}
    if (torch := sys.modules.get("torch")) is not None and torch.cuda.is_initialized():
        found["accelerator"] = float(torch.cuda.max_memory_allocated())
    return found


def _resident() -> int:
    """The high-water mark of resident memory, in bytes."""
    with suppress(OSError):
        if known := re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()):
            return 1024 * int(known[1])
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


# ------------------------------------------------------------------------------------------------ running out

Doing = Literal["loading", "batch", "answers"]
"""What memory went into: models; rows that are computed at once; answers that are drawn side by side."""


class OutOfMemory(Exception):
    """Memory ran out: the runner knows which settings need less."""

    def __init__(self, doing: Doing, asked: str) -> None:
        super().__init__(doing, asked)
        self.doing, self.asked = doing, asked


@contextmanager
def spent_on(doing: Doing) -> Iterator[None]:
    """Raises OutOfMemory, once and with what was being done, where memory runs out inside."""
    try:
        yield
    except Exception as error:
        if not ran_out(error):
            raise
        raise OutOfMemory(doing, _asked(error)) from None


def ran_out(error: BaseException) -> bool:
    """Whether an error says that an accelerator or this machine has no memory left."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError | OSError) and re.search(_WORDS, str(error)) is not None


_WORDS = r"out of memory|(?:can't|Cannot) allocate memory|not enough memory|CUBLAS_STATUS_ALLOC_FAILED"
"""Of CUDA, of PyTorch's allocators on a CPU, of the system, of cuBLAS."""


def _asked(error: BaseException) -> str:
    """How much was asked for when there was no more, such as `2.00 GiB`; empty where that is not told."""
    found = re.search(r"ried to allocate ([\d.]+) ?(\w+)", str(error))
    if found is None:
        return ""
    return f"{int(found[1]) / 2**20:.1f} MiB" if found[2] == "bytes" else f"{found[1]} {found[2]}"
