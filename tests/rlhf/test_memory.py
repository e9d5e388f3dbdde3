"""What was freed goes back to the system, and compiled kernels are bounded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rlhf import fused, memory

CACHES = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


@pytest.mark.skipif(memory._trim() is None, reason="the C library has no malloc_trim")
def test_what_lies_between_pieces_in_use_is_given_back() -> None:
    pieces = [bytearray(b"x") * 60_000 for _ in range(2_000)]
    stay = pieces[::20]
    full = resident_mb()
    del pieces
    memory.give_back()
    assert resident_mb() < full - 60
    assert all(len(piece) == 60_000 for piece in stay)


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_trim", lambda: None)
    memory.give_back()


BF16 = torch.ops.mkldnn._is_mkldnn_bf16_supported()


@pytest.mark.parametrize(
    "dtype",
    [
        pytest.param("bfloat16", marks=pytest.mark.skipif(not BF16, reason="this CPU has no bf16 products")),
        pytest.param("float32", marks=pytest.mark.skipif(not fused._has_onednn(), reason="MKL has float32 here")),
    ],
)
def test_kernels_of_many_shapes_are_not_kept(dtype: str) -> None:
    """In processes of their own: the bounds are read at the first product. PyTorch's is that of fused products."""
    program = """
import sys, torch
from pathlib import Path
from rlhf import memory
from rlhf.fused import times
if sys.argv[1] == "few":
    memory.keep_few_kernels()
torch.set_num_threads(1)
dtype = getattr(torch, sys.argv[2])
weight = torch.randn(256, 256, dtype=dtype)
for tokens in range(64, 1400):
    times(torch.ones(tokens, 256, dtype=dtype), weight)
memory.give_back()
print(int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6)
"""
    environment = {name: value for name, value in os.environ.items() if name not in CACHES}
    few, many = (
        float(
            subprocess.run(
                [sys.executable, "-c", program, how, dtype], env=environment, capture_output=True, check=True
            ).stdout
        )
        for how in ("few", "many")
    )
    assert few < many - 200  # one bound alone leaves most of them with the other


def test_a_bound_of_the_users_own_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for cache in CACHES:
        monkeypatch.setenv(cache, "7")
    memory.keep_few_kernels()
    assert [os.environ[cache] for cache in CACHES] == ["7", "7"]


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of"), "2.00 GiB"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), ""),
        (RuntimeError("[enforce fail] not enough memory: you tried to allocate 52428800 bytes."), "50.0 MiB"),
        (OSError(12, "Cannot allocate memory"), ""),
        (MemoryError(), ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_running_out_is_told_with_what_was_done(error: Exception, asked: str) -> None:
    with pytest.raises(memory.OutOfMemory) as told, memory.spent_on("loading"), memory.spent_on("batch"):
        raise error
    assert (told.value.doing, told.value.asked) == ("batch", asked)


def test_what_pytorch_says_of_main_memory_is_known() -> None:
    with pytest.raises(memory.OutOfMemory), memory.spent_on("batch"):
        torch.empty(2**60, dtype=torch.uint8)


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), OSError(28, "No space left on device"), KeyError("x")]
)
def test_other_errors_are_not_of_memory(error: Exception) -> None:
    with pytest.raises(type(error)), memory.spent_on("batch"):
        raise error
