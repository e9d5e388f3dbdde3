"""The quickstart over seeds and backends: gold win rate, KL, seconds of training.

python -m benchmarks.quickstart                    # seeds 0 1 2 with LoRA, seed 0 with QLoRA and full
python -m benchmarks.quickstart --seeds 10 11      # tuning was on such seeds, never on those reported
"""

import argparse
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.common import keep, metrics_of, run_recipe, samples_of

KEPT = ("gold_win_rate", "gold_win_rate_low", "gold_win_rate_high", "gold_win_rate_ties", "baseline_gold_score",
        "policy_gold_score", "reward_win_rate", "reward_accuracy", "reward_accuracy_stderr", "kl")  # fmt: skip


def one(kind: str, seed: int, out: Path) -> dict[str, Any]:
    """One run: what the evaluation found, seconds in all and seconds each training stage took."""
    result, seconds = run_recipe("quickstart", f"seed={seed}", f"backend.kind={kind}", f"name={kind}-{seed}", out=out)
    stages = {name: metrics_of(stage)[-1]["time"] for name, stage in result["stages"].items() if name != "evaluate"}
    evaluation = {key: round(result["evaluation"][key], 4) for key in KEPT}
    rollouts = [line for line in metrics_of(result["stages"]["ppo"]) if "score" in line]
    curve = [(line["step"], round(line["score"], 3), round(line["kl"], 2)) for line in rollouts]
    samples = samples_of(result["stages"]["evaluate"], 3)
    return {
        "backend": kind,
        "seed": seed,
        **evaluation,
        "seconds": round(seconds),
        "training_seconds": round(sum(stages.values())),
        "stage_seconds": {name: round(value) for name, value in stages.items()},
        "step_score_kl": curve,
        "samples": samples,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--others", nargs="*", default=["qlora", "full"], help="backends run with the first seed only")
    parser.add_argument("--name", default="quickstart")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = [one("lora", seed, Path(folder)) for seed in options.seeds]
        runs += [one(kind, options.seeds[0], Path(folder)) for kind in options.others]
    lora = [run for run in runs if run["backend"] == "lora"]
    summary = {key: round(fmean(run[key] for run in lora), 4) for key in ("gold_win_rate", "kl", "training_seconds")}
    keep(options.name, {"lora_mean": summary, "runs": runs})


if __name__ == "__main__":
    main()
