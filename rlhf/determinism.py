"""Deterministic algorithms alone, for as long as a stage runs, and what must be set before the first one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from rlhf.errors import RecipeError

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def foreseen(wanted: bool) -> Iterator[None]:
    """Have cuBLAS be ready for `deterministic` stages to come: it reads its setting once, at a process's first product
    on an accelerator, which may be an earlier stage's. Raises RecipeError where that product has been."""
    if not wanted or _WORKSPACE in os.environ:
        yield
        return
    import torch

    if torch.cuda.is_initialized():
        raise RecipeError(
            "deterministic: this process has used the accelerator before, and cuBLAS listens no more; start another "
            f"process, or set {_WORKSPACE}=:4096:8 before the first stage"
        )
    os.environ[_WORKSPACE] = ":4096:8"
    try:
        yield
    finally:
        if not torch.cuda.is_initialized():  # else it holds for as long as the process lasts
            del os.environ[_WORKSPACE]


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Have PyTorch, cuDNN and cuBLAS compute by algorithms that give the same bits again, and put back what was set;
    inside of `foreseen`. Raises RecipeError where something has no such algorithm."""
    if not wanted:
        yield
        return
    import torch

    cudnn = torch.backends.cudnn
    mode, flags = torch.get_deterministic_debug_mode(), (cudnn.deterministic, cudnn.benchmark)
    torch.set_deterministic_debug_mode("error")
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    except RuntimeError as error:
        if "deterministic implementation" not in str(error):
            raise
        what = str(error).split(" does not have")[0]
        raise RecipeError(f"deterministic: {what} has no deterministic algorithm here; leave the setting out") from None
    finally:
        torch.set_deterministic_debug_mode(mode)
        cudnn.deterministic, cudnn.benchmark = flags
