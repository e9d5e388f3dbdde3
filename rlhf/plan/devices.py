"""What there is to run on: memory, and how fast it multiplies and reads.

Figures of accelerators are their makers' (dense products of bfloat16 with sums in float32, without sparsity); what
share of them training reaches is ours, measured on an H200 (benchmarks/results/gpu-ppo.json). A CPU is measured here.
"""

import os
import re
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from rlhf.errors import RecipeError

GB = 1e9


@dataclass(frozen=True)
class Device:
    """One accelerator, or the CPU with its main memory."""

    name: str
    memory: float
    """Bytes."""
    rate: float | None = None
    """Products and sums a second in bfloat16, or in float32 on a CPU; None where it is not known."""
    bandwidth: float | None = None
    """Bytes a second from its memory."""
    is_cpu: bool = False

    @property
    def context(self) -> float:
        """Bytes that are taken before a model is loaded: of CUDA and its libraries, or of this process with its own."""
        return _CPU_CONTEXT if self.is_cpu else _CUDA_CONTEXT

    def flops(self, precision: str) -> float | None:
        """What training reaches a second."""
        if self.rate is None or self.is_cpu:
            return self.rate and _CPU_SHARE * self.rate
        return _SHARE * self.rate / (1 if precision == "bf16" else _FLOAT32)


_CUDA_CONTEXT = 0.6 * GB
_CPU_CONTEXT = 0.62 * GB
"""torch, transformers, trl, peft and datasets, imported and at work."""
_SHARE = 0.4
_FLOAT32 = 10.0
"""How much slower float32 is, of which no product is shortened to fewer bits here."""
_CPU_SHARE = 0.55

# name: memory in GB, teraflops, terabytes a second
_KNOWN = {
    "t4": (16, 65, 0.32),
    "l4": (24, 121, 0.3),
    "a10g": (24, 70, 0.6),
    "l40s": (48, 362, 0.86),
    "rtx3060": (12, 51, 0.36),
    "rtx3090": (24, 71, 0.94),
    "rtx4070": (12, 117, 0.5),
    "rtx4080": (16, 195, 0.72),
    "rtx4090": (24, 165, 1.01),
    "rtx5090": (32, 210, 1.79),
    "rtx-a6000": (48, 155, 0.77),
    "a100-40gb": (40, 312, 1.55),
    "a100": (80, 312, 2.04),
    "h100": (80, 989, 3.35),
    "h200": (141, 989, 4.8),
    "b200": (180, 2250, 8.0),
}


def named(name: str) -> Device:
    """`cpu`, a card such as `rtx4090`, or an amount of memory such as `24GB`. Raises RecipeError."""
    said = re.sub(r"[ _-]+", "-", name.strip().lower()).removeprefix("nvidia-").removeprefix("geforce-")
    said = re.sub(r"^rtx-(?=\d)", "rtx", said)
    if said == "cpu":
        return cpu()
    if size := re.fullmatch(r"(\d+(?:\.\d+)?)-?(gib|gb|g)?", said):
        unit = "GiB" if size[2] == "gib" else "GB"
        return Device(f"a card of {size[1]} {unit}", float(size[1]) * (2**30 if unit == "GiB" else GB))
    if (row := _KNOWN.get(said)) is None:
        raise RecipeError(
            f"--gpu '{name}': no card of that name is known; give its memory, such as 24GB, or one of cpu, "
            f"{', '.join(_KNOWN)}"
        )
    memory, teraflops, terabytes = row
    return Device(said, memory * GB, teraflops * 1e12, terabytes * 1e12)


def here() -> Device:
    """What stages would run on here: the first accelerator, or the CPU."""
    return _first_card() or cpu()


def _first_card() -> Device | None:
    """As the driver tells it, which takes no library; None where there is none."""
    if shutil.which("nvidia-smi") is None:
        return None
    asked = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits", "--id=0"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=True).stdout
        name, mebibytes = told.strip().rsplit(",", 1)
        memory = float(mebibytes) * 2**20
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    known = [key for key in _KNOWN if key.replace("-", "") in plain]
    like = named(max(known, key=len)) if known else Device(name, memory)
    return replace(like, name=name, memory=memory)


def cpu() -> Device:
    """This machine's processor and main memory."""
    return Device("cpu", _main_memory(), _cpu_rate(), is_cpu=True)


def _main_memory() -> float:
    """Bytes, or fewer where a control group allows no more."""
    whole = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # no such group, or "max"
            whole = min(whole, float(Path(path).read_text("ascii")))
    return whole


def _cpu_rate() -> float:
    """Products and sums a second, of float32 matrices, with as many threads as numpy takes."""
    import numpy as np

    left = np.ones((768, 768), np.float32)
    best = 0.0
    for _ in range(4):
        start = time.perf_counter()
        _ = left @ left
        best = max(best, 2 * 768**3 / (time.perf_counter() - start))
    return best
