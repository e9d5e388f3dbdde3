"""The HH recipes on real preferences with a real 135M model, sized for two CPU cores, through overrides alone.

python -m benchmarks.hh ppo --model FOLDER --data hh_harmless_base.jsonl.gz     # about an hour
python -m benchmarks.hh dpo --model FOLDER --data hh_harmless_base.jsonl.gz --judge RUN/stages/reward
"""

import argparse
from pathlib import Path

from benchmarks.common import keep, metrics_of, run_recipe, samples_of, without_paths

SHORT = {
    "ppo": [
        "sft.data.max_length=128", "sft.train.max_steps=32", "sft.train.micro_batch_size=8",
        "data.eval_fraction=0.2", "reward.data.max_length=160", "reward.train.micro_batch_size=8",
        "ppo.data.max_length=96", "ppo.rollout.batch_size=32", "ppo.rollout.max_new_tokens=40",
        "ppo.train.episodes=640", "ppo.seed=1", "ppo.rl.minibatches=1",
        "evaluate.prompts.max_length=96", "evaluate.preferences.max_length=160",
        "evaluate.demonstrations.max_length=128",
        "evaluate.max_prompts=96", "evaluate.max_new_tokens=40",
    ],
    "dpo": [
        "sft.data.max_length=128", "sft.train.max_steps=32", "sft.train.micro_batch_size=8",
        "data.eval_fraction=0.2", "dpo.data.max_length=128", "dpo.train.max_steps=32", "dpo.train.micro_batch_size=8",
        "evaluate.prompts.max_length=96", "evaluate.demonstrations.max_length=128",
        "evaluate.max_prompts=96", "evaluate.max_new_tokens=40",
    ],
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", choices=SHORT)
    parser.add_argument("--model", required=True, help="folder of SmolLM2-135M-Instruct")
    parser.add_argument("--data", required=True, help="file of HH pairs")
    parser.add_argument("--judge", help="a reward model's stage, to judge the DPO policy")
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("more", nargs="*", help="further overrides")
    options = parser.parse_intermixed_args()
    overrides = [f"model={options.model}", f"data.path={options.data}", *SHORT[options.recipe], *options.more]
    if options.judge:
        overrides.append(f"evaluate.reward_model={options.judge}")
    result, _ = run_recipe(f"hh-{options.recipe}.lora", *overrides, out=options.out)
    shown = [f"model={Path(options.model).name}", f"data.path={Path(options.data).name}", *overrides[2:]]
    if options.judge:  # the run it comes from, not where that lies
        shown[-1] = f"evaluate.reward_model={'/'.join(Path(options.judge).parts[-3:])}"
    lines = {name: metrics_of(stage) for name, stage in result["stages"].items()}
    keep(
        f"hh-{options.recipe}",
        {
            "overrides": shown,
            "stage_seconds": {name: round(found[-1]["time"]) for name, found in lines.items()},
            "stages": without_paths(result),
            "curves": {name: found for name, found in lines.items() if name != "evaluate"},
            "samples": samples_of(result["stages"]["evaluate"], 8),
        },
    )


if __name__ == "__main__":
    main()
