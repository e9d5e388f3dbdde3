"""What a backend costs and what its models are worth: full, LoRA and QLoRA on the same pairs, parents and steps.

python -m benchmarks.cells --model FOLDER --data hh_harmless_base.jsonl.gz                   # seeds 0 1 2
python -m benchmarks.cells --model FOLDER --data … --seeds 10 --name cells-tuning sft.train.lr.full=1e-3

Each stage is a process of its own, whose CPU-seconds and peak memory are taken; learning rates were tuned on seed 10.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.common import keep

RECIPE = Path(__file__).with_suffix(".yaml")
MEASURES = {
    "sft": ("eval_loss",),
    "reward": ("accuracy", "accuracy_stderr", "ece"),
    "dpo": ("eval_loss", "eval_rewards/accuracies", "eval_rewards/margins"),
}


def stage(kind: str, words: list[str], out: Path) -> dict[str, Any]:
    """Run one stage of the recipe: what it measured, CPU-seconds, peak memory and the size of what it left."""
    command = [sys.executable, "-m", "rlhf", kind, str(RECIPE), *words, "--out", str(out), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{kind} failed: {' '.join(words)}")
    made = json.loads(said.splitlines()[-1])["stages"][kind]
    size = sum(path.stat().st_size for path in (Path(made["artifact"]) / "model").rglob("*.safetensors"))
    return {
        **{name: made["metrics"][name] for name in MEASURES[kind]},
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mb": used.ru_maxrss / 1024,
        "output_mb": size / 1e6,
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over seeds and, of the measures, their standard deviation."""
    table: dict[str, Any] = {}
    for kind in dict.fromkeys(run["backend"] for run in runs):
        mine = [run["stages"] for run in runs if run["backend"] == kind]
        table[kind] = {
            name: {
                key: [fmean(values), stdev(values) if len(values) > 1 else 0.0]
                for key in mine[0][name]
                if (values := [stages[name][key] for stages in mine])
            }
            for name in mine[0]
        }
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--backends", nargs="+", default=["full", "lora", "qlora"])
    parser.add_argument("--name", default="cells", help="of the result file")
    parser.add_argument("more", nargs="*", help="further overrides")
    options = parser.parse_intermixed_args()
    runs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RLHF_CACHE"] = folder  # every run pays for its own reference
        for seed in options.seeds:
            for kind in options.backends:
                words = [f"model={options.model}", f"data.path={options.data}", f"seed={seed}", *options.more]
                words += [f"backend.kind={kind}", f"name={kind}-{seed}"]
                stages = {name: stage(name, words, Path(folder)) for name in MEASURES}
                runs.append({"seed": seed, "backend": kind, "stages": stages})
                print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    keep(
        options.name,
        {
            "model": Path(options.model).name,
            "data": Path(options.data).name,
            "overrides": options.more,
            "summary": summary(runs),
            "runs": runs,
        },
    )


if __name__ == "__main__":
    main()
