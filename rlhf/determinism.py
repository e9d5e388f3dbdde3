"""Deterministic algorithms alone, for as long as a stage runs."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from rlhf.errors import RecipeError

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"


@contextmanager
def deterministic(wanted: bool) -> Iterator[None]:
    """Have PyTorch, cuDNN and cuBLAS compute by algorithms that give the same bits again, and put back what was set.

    cuBLAS reads its setting at a process's first product on an accelerator: a recipe that wants this wants it of its
    first stage too. Raises RecipeError where something has no such algorithm.
    """
    if not wanted:
        yield
        return
    import torch

    cudnn = torch.backends.cudnn
    workspace = os.environ.get(_WORKSPACE)
    mode, flags = torch.get_deterministic_debug_mode(), (cudnn.deterministic, cudnn.benchmark)
    os.environ.setdefault(_WORKSPACE, ":4096:8")
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
        if workspace is None:
            del os.environ[_WORKSPACE]
