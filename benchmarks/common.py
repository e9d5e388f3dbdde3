"""What benchmarks share: run a recipe as a user does, name the machine, keep what was printed."""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from rlhf.artifact import ACCOUNTS

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def machine() -> dict[str, Any]:
    """The machine in words, and the versions that matter."""
    import torch

    cpu = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": gpu,
        "torch": torch.__version__,
    }


def run_recipe(recipe: str, *overrides: str, out: Path, only: str = "run") -> tuple[dict[str, Any], float]:
    """`rlhf run … --json` in a process of its own: its result and the seconds it took. `only`: one kind of stage."""
    start = time.monotonic()
    words = [sys.executable, "-m", "rlhf", only, recipe, *overrides, "--out", str(out), "--json"]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1]), time.monotonic() - start


def metrics_of(stage: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of a stage's metrics.jsonl, but the last, which accounts for it."""
    path = Path(stage["artifact"]) / "metrics.jsonl"
    return [line for line in map(json.loads, path.read_text().splitlines()) if ACCOUNTS not in line]


def samples_of(stage: dict[str, Any], count: int | None) -> list[dict[str, Any]]:
    """The first lines of an evaluation's samples.jsonl; all for None."""
    path = Path(stage["artifact"]) / "samples.jsonl"
    return [json.loads(line) for line in path.read_text().split("\n")[:count] if line]


def without_paths(result: dict[str, Any]) -> dict[str, Any]:
    """A run's stages by name, without where they lie."""
    return {name: {"kind": stage["kind"], "metrics": stage["metrics"]} for name, stage in result["stages"].items()}


def keep(name: str, record: dict[str, Any]) -> None:
    """Write a result file and print it as the last line."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    record = {"machine": machine(), **record}
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(record, ensure_ascii=False))
