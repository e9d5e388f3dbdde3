"""A recipe makes the same bytes in fresh processes, whatever seeds Python's hashes and wherever it is started.

python -m benchmarks.reliability.determinism [--stages sft ppo] [--backends lora] [--times 2]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT
from benchmarks.reliability.trials import Bench, made, prepare, run_recipe, suite

_CHILD = "import sys; from benchmarks.reliability import determinism; determinism.child(*sys.argv[1:])"


def child(recipe: str, runs: str) -> None:
    """What a fresh process does."""
    prepare()
    run_recipe(json.loads(Path(recipe).read_text("utf-8")), Path(runs))


def fresh(raw: dict[str, Any], runs: Path, seed: int) -> str:
    """Run a recipe in a process, a working directory and a cache of its own; the last line of what it complains of."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "recipe.json"
        recipe.write_text(json.dumps(raw), encoding="utf-8")
        known = {"PYTHONHASHSEED": str(seed), "PYTHONPATH": str(ROOT), "RLHF_CACHE": str(Path(folder) / "cache")}
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, str(recipe), str(runs)],
            cwd=folder,
            env=os.environ | known,
            capture_output=True,
            text=True,
        )
    return (done.stderr.strip().splitlines() or ["it failed"])[-1] if done.returncode else ""


def trials(one: Bench, given: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """A stage in fresh processes, each against the weights that it made in this one's child."""
    for seed in range(1, given.times + 1):
        with one.copy() as runs:
            why = fresh(one.raw(), runs, seed)
            same = made(runs, one.stage) == one.expected
            yield f"PYTHONHASHSEED={seed}", why or ("" if same else "other weights")


if __name__ == "__main__":
    suite(__doc__, trials, times={"type": int, "default": 2})
