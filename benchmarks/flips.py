"""What wrong labels do to a reward model, and how it shows: the corner shop's pairs with a share of them turned round.

python -m benchmarks.flips                    # as they are (5 % are wrong already), and with 30 % turned
python -m benchmarks.flips --shares 0 0.1 0.2 0.3 0.4
"""

import argparse
import json
import random
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, keep, run_recipe
from rlhf.measures.trust import training_signs

SHOP = ROOT / "data_samples" / "corner_shop"
KEPT = ("accuracy", "accuracy_stderr", "sure_accuracy", "sure_confidence", "ece", "brier", "margin", "pairs")


def flipped(source: Path, share: float, target: Path, seed: int = 0) -> Path:
    """Pairs of which a share, drawn anew, have chosen and rejected exchanged."""
    drawn = random.Random(seed)
    rows = [json.loads(line) for line in source.read_text("utf-8").split("\n") if line]
    for row in rows:
        if drawn.random() < share:
            row["chosen"], row["rejected"] = row["rejected"], row["chosen"]
    target.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return target


def one(share: float, seed: int, folder: Path) -> dict[str, Any]:
    """SFT and a reward model on such pairs: what its own held-out pairs say, which are as wrong, and clean ones; what
    the gate and the report find in that."""
    pairs = flipped(SHOP / "preferences.jsonl", share, folder / f"pairs-{share}.jsonl", seed)
    recipe = {
        "name": f"flips-{share}",
        "model": "tiny",
        "seed": seed,
        "backend": {"kind": "lora", "r": 16, "alpha": 32},
        "stages": {
            "sft": {
                "data": {"path": str(SHOP / "sft.jsonl"), "max_length": 192},
                "train": {"epochs": 2, "lr": 2e-3},
            },
            "reward": {
                "model": {"stage": "sft"},
                "data": {"path": str(pairs), "eval_fraction": 0.1, "max_length": 192},
                "train": {"epochs": 2, "lr": 2.5e-3},
            },
            "evaluate": {
                "reward_model": {"stage": "reward"},
                "preferences": {"path": str(SHOP / "heldout_preferences.jsonl"), "eval_fraction": 1},
                "batch_size": 100,
            },
        },
    }
    path = folder / f"flips-{share}.yaml"
    path.write_text(json.dumps(recipe), encoding="utf-8")
    result, seconds = run_recipe(str(path), out=folder)
    own, clean = (result["stages"][name]["metrics"] for name in ("reward", "evaluate"))
    return {
        "flipped": share,
        "seed": seed,
        "held_out": {key: round(own[key], 4) for key in KEPT},
        "clean": {key: round(clean[f"reward_{key}"], 4) for key in KEPT},
        "gate": training_signs(own),
        "report": [one["title"] for one in result["warnings"]],
        "seconds": round(seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.3])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="flips")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        keep(options.name, {"runs": [one(share, options.seed, Path(folder)) for share in options.shares]})


if __name__ == "__main__":
    main()
