"""The GSM8K recipe (GRPO, a rule that knows the answer) with a real 135M model, sized for two CPU cores by overrides.

python -m benchmarks.gsm8k --model FOLDER --data gsm8k_train.jsonl.gz       # a quarter of an hour

A model of this size solves about one problem in fifty, so a few rollouts show that the recipe runs, not that it learns.
"""

import argparse
from pathlib import Path

from benchmarks.common import keep, metrics_of, run_recipe, samples_of, without_paths

SHORT = [
    "ppo.rollout.batch_size=64", "ppo.rollout.max_new_tokens=128", "ppo.train.episodes=256",
    "evaluate.max_new_tokens=128", "evaluate.max_prompts=64", "data.eval_fraction=0.02",
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of SmolLM2-135M-Instruct")
    parser.add_argument("--data", required=True, help="file of GSM8K rows")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("more", nargs="*", help="further overrides")
    options = parser.parse_intermixed_args()
    where = [f"model={options.model}", f"evaluate.baseline={options.model}", f"data.path={options.data}"]
    result, seconds = run_recipe("gsm8k-grpo.lora", *where, *SHORT, *options.more, out=options.out)
    lines = metrics_of(result["stages"]["ppo"])
    keep(
        "gsm8k-grpo",
        {
            "overrides": [*SHORT, *options.more],
            "seconds": round(seconds),
            "stages": without_paths(result),
            "curve": [line for line in lines if "score" in line],
            "samples": samples_of(result["stages"]["evaluate"], 4),
        },
    )


if __name__ == "__main__":
    main()
