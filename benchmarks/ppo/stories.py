"""Does it learn? A story model made cheerful by a reward model from film reviews, judged by a lexicon it never saw.

Sentiment (VADER) and KL of every rollout, for full, LoRA and QLoRA, for each estimator, and for the PPO that TRL 1.12
shipped, on the same reward model, prompts, episodes, batch, number of passes, lambda and stop. TRL trains a value
model of its own, ours a head on the policy's states.

python -m benchmarks.ppo.stories                     # settings were tuned on seed 10, never on those reported
"""

import argparse
import gzip
import json
import os
import random
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.common import ROOT, keep, metrics_of, run_recipe
from benchmarks.ppo.compare import TRL_112, environment

HERE = Path(__file__).resolve().parent
ARMS = {
    "lora": [],
    "full": ["ppo.backend.kind=full"],
    "qlora": ["ppo.backend.kind=qlora"],
    "lora-rloo": ["ppo.rl.estimator=rloo", "ppo.rl.group=4"],
    "lora-grpo": ["ppo.rl.estimator=grpo", "ppo.rl.group=4"],
    "lora-reinforce++": ["ppo.rl.estimator=reinforce++"],
}
PEERS = {"trl-lora": "lora", "trl-full": "full"}


def main() -> None:
    shared = ROOT.parent / "shared"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=shared / "models" / "stories15M")
    parser.add_argument("--openings", type=Path, default=shared / "data" / "prompts" / "tinystories_openings.txt")
    parser.add_argument("--reviews", type=Path, default=shared / "data" / "sentiment" / "sst2_train.tsv.gz")
    parser.add_argument("--work", type=Path, default=ROOT / ".bench")
    parser.add_argument("--arms", nargs="+", default=[*ARMS, *PEERS], choices=[*ARMS, *PEERS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--lr", type=float, help="for every arm, while tuning")
    parser.add_argument("--set", nargs="*", default=[], help="further overrides of our arms, while tuning")
    parser.add_argument("--name", default="ppo-stories")
    options = parser.parse_args()
    folder = prepare(options)
    runs: list[dict[str, Any]] = []
    for seed, arm in product(options.seeds, options.arms):
        runs.append({"arm": arm, "seed": seed, **(peer if arm in PEERS else ours)(options, folder, arm, seed)})
        done = dict.fromkeys(run["arm"] for run in runs)
        found = {arm: summary([run for run in runs if run["arm"] == arm]) for arm in done}
        keep(options.name, {"updates": options.updates, "arms": found, "runs": runs})  # hours: each arm is kept


def prepare(options: argparse.Namespace) -> Path:
    """The recipe with its data: pairs of a good and a bad review of like length, and openings of stories."""
    folder = options.work.resolve() / "stories"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("stories.yaml", "vader.py"):
        shutil.copy(HERE / name, folder / name)
    openings = [line for line in options.openings.read_text("utf-8").split("\n") if line]
    draw = random.Random(0)
    with gzip.open(options.reviews, "rt", encoding="utf-8") as file:
        reviews = [line.rstrip("\n").rsplit("\t", 1) for line in file]
    good, bad = (sorted((text for text, label in reviews if label == wanted), key=len) for wanted in "10")
    pairs = list(zip(good, bad, strict=False))
    draw.shuffle(pairs)
    rows = [{"prompt": draw.choice(openings), "chosen": f" {c}", "rejected": f" {r}"} for c, r in pairs]
    write(folder / "pairs.jsonl", rows)
    write(folder / "prompts.jsonl", [{"prompt": opening} for opening in openings])
    return folder


def write(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def recipe(options: argparse.Namespace, folder: Path, arm: str, seed: int) -> dict[str, Any]:
    """Run the recipe; the reward model is made by the first arm and found by the others."""
    size = [f"ppo.train.episodes={64 * options.updates}", f"ppo.seed={seed}", f"model={options.model.resolve()}"]
    rate = [f"ppo.train.lr={options.lr}"] if options.lr else []
    result, _ = run_recipe(str(folder / "stories.yaml"), *size, *rate, *ARMS[arm], *options.set, out=folder / "runs")
    return result["stages"]


def ours(options: argparse.Namespace, folder: Path, arm: str, seed: int) -> dict[str, Any]:
    stages = recipe(options, folder, arm, seed)
    lines = [line for line in metrics_of(stages["ppo"]) if "score" in line]
    print(f"{arm} seed {seed}: VADER {lines[-1]['score/vader']:.3f} KL {lines[-1]['kl']:.2f}", file=sys.stderr)
    return {
        "reward_accuracy": stages["reward"]["metrics"]["accuracy"],
        "vader": [round(line["score/vader"], 4) for line in lines],
        "kl": [round(line["kl"], 3) for line in lines],
        "reward": [round(line["score/reward_model"], 3) for line in lines],
        "seconds": round(lines[-1]["time"]),
    }


def peer(options: argparse.Namespace, folder: Path, arm: str, seed: int) -> dict[str, Any]:
    """TRL's trainer, in an environment of its own, on our reward model, exported."""
    judge = folder / "judge"
    if not judge.exists():
        stage = folder / "runs" / "stories" / "stages" / "reward"
        words = [sys.executable, "-m", "rlhf", "export", stage, "--out", judge, "--precision", "fp32"]
        subprocess.run(words, check=True, stdout=sys.stderr)
    python = environment(options.work.resolve(), "trl112", TRL_112, shares=True)
    words = [python, HERE / "trl_stories.py", "--model", options.model.resolve(), "--judge", judge]
    words += ["--prompts", folder / "prompts.jsonl", "--mode", PEERS[arm], "--updates", str(options.updates)]
    words += ["--seed", str(seed), *(["--lr", str(options.lr)] if options.lr else [])]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, cwd=folder, env=dict(os.environ))
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"{arm} seed {seed}: VADER {found['vader'][-1]:.3f} KL {found['kl'][-1]:.2f}", file=sys.stderr)
    return found


def summary(runs: list[dict[str, Any]], last: int = 5) -> dict[str, float]:
    """Means over seeds of the first rollout, before any update, and of the last few."""
    return {
        "vader_first": round(fmean(run["vader"][0] for run in runs), 4),
        "vader_last": round(fmean(value for run in runs for value in run["vader"][-last:]), 4),
        "kl_last": round(fmean(value for run in runs for value in run["kl"][-last:]), 3),
    }


if __name__ == "__main__":
    main()
