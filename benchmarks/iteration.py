"""One turn of the loop on the corner shop: train, find failures, label them in a browser, train again; and its gain.

python -m benchmarks.iteration                    # seeds 0 1 2: some minutes each on one core that is free
python -m benchmarks.iteration --control          # beside the loop: as many more pairs of the kind there were

A script stands in for the annotator: it reads the page that `rlhf label` serves in Chromium, judges by the shop's
written rule (data_samples/corner_shop/rule.py) and presses keys. Nothing else sees the rule but the last evaluations,
on prompts that are neither trained on nor labelled.
"""

import argparse
import inspect
import json
import math
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmarks.browser import Browser
from benchmarks.common import ROOT, keep, run_recipe, samples_of
from rlhf import usercode
from rlhf.config import RuleConfig
from rlhf.measures.policies import win_rate

SHOP = ROOT / "data_samples" / "corner_shop"
RULE = {"file": str(SHOP / "rule.py"), "function": "gold_score"}
PAIRS, LABELS = 300, 200
"""Pairs that there are before the loop turns, and pairs to label."""
READY = "return typeof state === 'object' && state !== null && !busy"
KEPT = ("gold_win_rate", "gold_win_rate_low", "gold_win_rate_high", "gold_win_rate_ties", "baseline_gold_score",
        "policy_gold_score", "reward_accuracy", "reward_accuracy_stderr", "kl", "policy_tokens")  # fmt: skip


def label(*words: str, cwd: Path) -> tuple[subprocess.Popen[str], str]:
    """`rlhf label` at work, and the address that it told. Whoever ends it calls `communicate`."""
    command = [sys.executable, "-m", "rlhf", "label", *words, "--no-browser"]
    going = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd)
    assert going.stdout is not None
    address = re.search(r"http://127\.0\.0\.1:\S+", line := going.stdout.readline())
    assert address, line + going.communicate()[1]
    return going, address[0]


def annotate(page: Browser, words: Sequence[str], folder: Path) -> dict[str, Any]:
    """Label all that is asked, by the rule, with the keyboard: what `rlhf label` tells at the end."""
    going, address = label(*words, "--annotator", "rule", "--json", cwd=folder)
    gold_score = _rule()
    page.open(address)
    page.wait(READY)
    start = time.monotonic()
    while question := page.ask(
        "return state.pair && {prompt: document.querySelector('.turn:last-child').textContent, "
        "answers: [...document.querySelectorAll('.answer .text')].map((one) => one.textContent), done: state.done}"
    ):
        asked = [{"role": "user", "content": question["prompt"]}]
        first, second = (gold_score(asked, answer) for answer in question["answers"])
        page.press("t" if first == second else "1" if first > second else "2")
        page.wait(f"return !busy && state.done === {question['done'] + 1}")
    seconds = time.monotonic() - start
    page.press("q")
    told, _ = going.communicate(timeout=60)
    return {**json.loads(told.splitlines()[-1]), "seconds": round(seconds, 1)}


# ------------------------------------------------------------------------------------------------ recipes


def recipe(name: str, seed: int, parts: Path, pairs: Sequence[Mapping[str, Any]], sft: str | None) -> dict[str, Any]:
    """Train on pairs, from an SFT policy that there is or a new one; measure."""
    start = sft or {"stage": "sft"}
    judged = {"policy": {"stage": "ppo"}, "max_new_tokens": 64, "batch_size": 100}
    prompts, held_out = SHOP / "heldout_prompts.jsonl", SHOP / "heldout_preferences.jsonl"
    stages: dict[str, Any] = {
        "sft": {
            "data": {"path": str(SHOP / "sft.jsonl"), "max_length": 192},
            "train": {"epochs": 2, "batch_size": 16, "lr": 2e-3},
        },
        "reward": {
            "model": start,
            "data": {"mix": list(pairs), "eval_fraction": 0, "max_length": 192},
            "train": {"epochs": 4, "batch_size": 16, "lr": 2.5e-3},
        },
        "ppo": {
            "model": start,
            "reward_model": {"stage": "reward"},
            "gate": "off",  # which looks at held-out pairs, and there is none to spare
            "data": {"path": str(parts / "train.jsonl"), "eval_fraction": 0, "max_length": 96},
            "rollout": {"batch_size": 96, "max_new_tokens": 64},
            "rl": {"critic": "reward", "epochs": 1, "kl_coef": 0.03},
            "train": {"episodes": 1152, "lr": 5e-3, "micro_batch_size": 16, "log_every": 1},
        },
        "evaluate": {
            **judged,
            "baseline": start,
            "reward_model": {"stage": "reward"},
            "rule": RULE,
            "prompts": {"path": str(prompts), "eval_fraction": 1},
            "preferences": {"path": str(held_out), "eval_fraction": 1},
            "forgetting": False,
        },
    }
    return {
        "name": name,
        "model": "tiny",
        "backend": {"kind": "lora", "r": 16, "alpha": 32},
        "seed": seed,
        "stages": {key: stage for key, stage in stages.items() if key != "sft" or sft is None},
    }


def looking(parts: Path) -> dict[str, Any]:
    """Stages that look for failures, on prompts of their own and without the rule."""
    prompts = str(parts / "held_out.jsonl")
    return {
        "look": {
            "stage": "evaluate",
            "policy": {"stage": "ppo"},
            "baseline": {"stage": "sft"},
            "reward_model": {"stage": "reward"},
            "prompts": {"path": prompts, "eval_fraction": 1},
            "max_new_tokens": 64,
            "batch_size": 100,
            "forgetting": False,
        },
        "answers": {
            "stage": "sample",
            "model": {"stage": "ppo"},
            "reward_model": {"stage": "reward"},
            "data": {"path": prompts, "eval_fraction": 1, "max_length": 96},
            "n": 2,
            "rollout": {"batch_size": 160, "max_new_tokens": 64},
        },
    }


def run(made: dict[str, Any], folder: Path) -> dict[str, Any]:
    path = folder / f"{made['name']}.yaml"
    path.write_text(json.dumps(made), encoding="utf-8")  # which is YAML too
    return run_recipe(str(path), out=folder)[0]


def found(result: dict[str, Any]) -> dict[str, float]:
    metrics = result["stages"]["evaluate"]["metrics"]
    return {key: round(metrics[key], 4) for key in KEPT if key in metrics}


def versus(result: dict[str, Any], before: dict[str, Any]) -> dict[str, float]:
    """How often the rule likes a policy's answers better than those of the policy before, to the same prompts."""
    gold = [[row["policy"]["gold"] for row in samples_of(one["stages"]["evaluate"], None)] for one in (result, before)]
    return {name: round(value, 4) for name, value in win_rate(*gold).items()}


# ------------------------------------------------------------------------------------------------ the loop


def rlhf(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "rlhf", *words], check=True, stdout=subprocess.DEVNULL)


def one(seed: int, folder: Path, control: bool) -> dict[str, Any]:
    """One turn of the loop."""
    start, parts = time.monotonic(), folder / "prompts"
    rlhf("data", "split", str(SHOP / "prompts.jsonl"), "eval_fraction=0.5", "--kind", "prompts", "--out", str(parts))

    # 1. train and evaluate
    pool = {"path": str(SHOP / "preferences.jsonl")}
    made = recipe("before", seed, parts, [{**pool, "max_rows": PAIRS}], None)
    made["stages"] |= looking(parts)
    before = run(made, folder)
    sft, reward, answers = (before["stages"][name]["artifact"] for name in ("sft", "reward", "answers"))

    # 2. find failures, and label them beside what the reward model is least sure of
    failures = folder / "failures.jsonl"
    rlhf("failures", before["stages"]["look"]["artifact"], "--out", str(failures))
    (folder / "guide.txt").write_text(inspect.getdoc(inspect.getmodule(_rule())) or "", encoding="utf-8")
    asked = [str(failures), f"{answers}/examples.jsonl", "--reward-model", reward, "--most", str(LABELS)]
    labels = folder / "labels.jsonl"
    with Browser() as page:
        said = annotate(page, [*asked, "--guide", "guide.txt", "--out", str(labels)], folder)

    # 3. train again on both
    rows = [json.loads(line) for line in labels.read_text("utf-8").splitlines()]
    mixes = {"after": [{**pool, "max_rows": PAIRS}, {"path": str(labels)}]}
    if control:
        mixes["control"] = [{**pool, "max_rows": PAIRS + len(rows)}]
    results = {name: run(recipe(name, seed, parts, pairs, sft), folder) for name, pairs in mixes.items()}
    return {
        "seed": seed,
        "failures": len(failures.read_text("utf-8").splitlines()),
        "labelled": len(rows),
        "ties": sum(row["tie"] for row in rows),
        "labelling_seconds": said["seconds"],
        "before": found(before),
        **{name: found(result) for name, result in results.items()},
        **{f"{name}_against_before": versus(result, before) for name, result in results.items()},
        "seconds": round(time.monotonic() - start),
    }


def gains(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """What each arm's win rate is above another's, in the mean over seeds, with the standard error of that mean."""
    arms = [name for name in ("before", "control", "after") if name in runs[0]]
    found = {}
    for low, high in combinations(arms, 2):
        gained = [run[high]["gold_win_rate"] - run[low]["gold_win_rate"] for run in runs]
        error = stdev(gained) / math.sqrt(len(gained)) if len(gained) > 1 else math.inf
        found[f"{high} over {low}"] = {"mean": round(fmean(gained), 4), "stderr": round(error, 4)}
    return found


def _rule() -> Callable[[list[dict[str, str]], str], float]:
    return usercode.function(RuleConfig.model_validate(RULE), "rule")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--name", default="iteration")
    options = parser.parse_args()
    runs = []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            runs.append(one(seed, Path(folder), options.control))
        arms = [name for name in ("before", "after", "control") if name in runs[0]]
        means = {name: fmean(run[name]["gold_win_rate"] for run in runs) for name in arms}
        means |= {
            f"{name}_against_before": fmean(r[f"{name}_against_before"]["rate"] for r in runs) for name in arms[1:]
        }
        keep(options.name, {"pairs_before": PAIRS, "mean_gold_win_rate": means, "gains": gains(runs), "runs": runs})


if __name__ == "__main__":
    main()
