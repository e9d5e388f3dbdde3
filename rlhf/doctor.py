"""What this machine offers, and what would make it faster, measured where that takes a moment."""

import os
import platform
import shutil
import time
from collections.abc import Callable
from typing import Any

from rlhf import libraries

_SIZE = 768
"""Rows and columns of the matrices that are multiplied to see how fast that goes."""


def examine() -> dict[str, Any]:
    """Versions, devices and keys, each in a word or a line."""
    import torch

    findings: dict[str, Any] = {"machine": f"{platform.system()} {platform.machine()}"}
    findings |= {name: f"missing: pip install {name}" for name in libraries.NAMES} | libraries.versions()
    findings["cpu"] = (
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    )
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            device = torch.cuda.get_device_properties(index)
            findings[f"gpu {index}"] = f"{device.name}, {device.total_memory / 2**30:.0f} GiB"
    else:
        findings["gpu"] = "none: everything runs on the CPU"
    findings |= accelerations()
    findings["disk"] = f"{shutil.disk_usage('.').free / 2**30:.0f} GiB free here"
    findings["hub token"] = "set" if os.environ.get("HF_TOKEN") else "none: gated models need one"
    findings["wandb key"] = "set" if os.environ.get("WANDB_API_KEY") else "none: W&B runs are kept offline"
    return findings


def accelerations() -> dict[str, str]:
    """How fast matrices are multiplied here, and which setting or part that is missing would make it faster."""
    import torch

    on_cpu = not torch.cuda.is_available()
    device = torch.device("cpu" if on_cpu else "cuda")
    whole, half = (_rate(device, dtype) for dtype in (torch.float32, torch.bfloat16))
    found = {"products": _told(whole), "bf16": _of_bf16(half / whole)}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if on_cpu and (idle := cores - torch.get_num_threads()) > 0:
        found["threads"] = f"{idle} of the cores do nothing: OMP_NUM_THREADS={cores} uses them"
    if on_cpu and not torch.backends.cpu.get_cpu_capability().startswith("AVX512"):
        found["vectors"] = "no AVX512: without it float32 products took 1.1 to 2.3 times as long on AMD's CPUs"
    return found


def _of_bf16(times: float) -> str:
    """What the setting would give, of a ratio of rates."""
    if times > 1.2:
        return f"products go {times:.1f} times as fast as in float32: `precision: bf16` uses that"
    return f"products go {times:.1f} times as fast as in float32: `precision: bf16` saves memory and no time here"


def _told(rate: float) -> str:
    return f"{rate / 1e12:.1f} TFLOP/s in float32" if rate > 1e12 else f"{rate / 1e9:.0f} GFLOP/s in float32"


def _rate(device: Any, dtype: Any) -> float:
    """Products and sums a second, as training multiplies there."""
    import torch

    from rlhf.fused import times

    size = _SIZE * (8 if device.type == "cuda" else 1)
    left, right = (torch.ones(size, size, device=device, dtype=dtype) for _ in range(2))

    def multiply() -> None:
        times(left, right)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return 2 * size**3 / _fastest(multiply)


def _fastest(act: Callable[[], None], tries: int = 5) -> float:
    """Seconds of the fastest of some tries, after one that warms up."""
    act()
    taken = []
    for _ in range(tries):
        start = time.perf_counter()
        act()
        taken.append(time.perf_counter() - start)
    return min(taken)
