"""What this machine offers."""

import os
import platform
import shutil
from typing import Any

from rlhf import libraries


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
        findings["gpu"] = "none: everything runs on the CPU; bf16 pays where the CPU has AVX512-BF16 or AMX"
    findings["disk"] = f"{shutil.disk_usage('.').free / 2**30:.0f} GiB free here"
    findings["hub token"] = "set" if os.environ.get("HF_TOKEN") else "none: gated models need one"
    findings["wandb key"] = "set" if os.environ.get("WANDB_API_KEY") else "none: W&B runs are kept offline"
    return findings
