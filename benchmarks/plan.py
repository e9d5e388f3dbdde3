"""What `rlhf plan` foretells beside what a run takes: four stages, three backends, three shapes, on this machine.

python -m benchmarks.plan                         # 36 runs of a few steps, a minute or two each on one core
python -m benchmarks.plan --stages sft --shapes small --backends lora
python -m benchmarks.plan --tuning                # the other shapes and data that the planner's constants are set on

Models have random weights, on which memory and time do not depend. Each run is a process of its own, whose stage says
in artifact.json how much memory it held at once and how long it took.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from benchmarks.common import ROOT, keep

STAGES, BACKENDS = ("sft", "reward", "dpo", "ppo"), ("full", "lora", "qlora")
_Sizes = tuple[int, int, int, int, int, int, bool]
"""Hidden size, layers, heads, those that share keys and values, inner size of the MLP, vocabulary, whether tied."""
SHAPES: dict[str, _Sizes] = {
    "small": (384, 6, 6, 6, 1024, 16000, True),
    "medium": (576, 12, 9, 3, 1536, 24000, True),
    "large": (768, 14, 12, 4, 2048, 32000, False),
}
TUNING: dict[str, _Sizes] = {
    "narrow": (256, 10, 8, 4, 768, 8000, False),
    "wide": (640, 8, 10, 5, 1792, 28000, True),
}
_TRAIN = {"batch_size": 8, "max_steps": 3, "lr": 1e-5, "log_every": 1, "checkpoint_every": 0}


def build(folder: Path, sizes: _Sizes) -> Path:
    """A model of a shape, with the tiny base's tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    hidden, layers, heads, groups, inner, vocabulary, tied = sizes
    config = LlamaConfig(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=groups,
        intermediate_size=inner,
        vocab_size=vocabulary,
        tie_word_embeddings=tied,
        max_position_embeddings=1024,
        bos_token_id=0,
        pad_token_id=1,
        eos_token_id=3,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(ROOT / "data_samples" / "tiny_base" / name, folder)
    return folder


def examples(folder: Path, seed: int) -> None:
    """Pairs and prompts of many lengths, of the words of the passages in data_samples."""
    words = (ROOT / "data_samples" / "passages.txt").read_text("utf-8").split()
    chance = random.Random(seed)

    def some(least: int, most: int) -> str:
        start = chance.randrange(len(words) - most)
        return " ".join(words[start : start + chance.randint(least, most)])

    pairs = [{"prompt": some(20, 120), "chosen": some(20, 90), "rejected": some(20, 90)} for _ in range(64)]
    for name, rows in (("pairs", pairs), ("prompts", [{"prompt": some(20, 80)} for _ in range(48)])):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def recipe(stage: str, backend: str, model: Path, folder: Path) -> dict[str, Any]:
    """A few steps of a stage."""
    data = {"path": str(folder / "pairs.jsonl"), "max_length": 512, "eval_fraction": 0.1}
    trained = {"data": data, "train": dict(_TRAIN)}
    stages: dict[str, Any] = {stage: trained}
    if stage == "ppo":
        stages = {
            "reward": {**trained, "train": {**_TRAIN, "max_steps": 1}},
            "ppo": {
                "reward_model": {"stage": "reward"},
                "gate": "off",
                "data": {"path": str(folder / "prompts.jsonl"), "max_length": 256, "eval_fraction": 0},
                "rollout": {"batch_size": 16, "max_new_tokens": 64},
                "rl": {"epochs": 2, "missing_stop_score": None},
                "train": {"episodes": 32, "micro_batch_size": 8, "lr": 1e-6, "checkpoint_every": 0},
            },
        }
    return {"name": "plan", "model": str(model), "backend": backend, "stages": stages}


def measured(path: Path, stage: str, out: Path) -> dict[str, float]:
    """Run a recipe, and say what its last stage spent."""
    command = [sys.executable, "-m", "rlhf", "run", str(path), "--out", str(out), "--json"]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "RLHF_CACHE": str(out / "cache")})
    return json.loads((out / "plan" / "stages" / stage / "artifact.json").read_text("utf-8"))["spent"]


def foretold(path: Path, stage: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "rlhf", "plan", str(path), "--gpu", "cpu", "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])["stages"][stage]


def cells(given: argparse.Namespace, folder: Path) -> Iterator[dict[str, Any]]:
    shapes = TUNING if given.tuning else SHAPES
    examples(folder, seed=1 if given.tuning else 0)
    chosen = [name for name in given.shapes or shapes if name in shapes]
    models = {name: build(folder / name, shapes[name]) for name in chosen}
    for shape, stage, backend in product(chosen, given.stages, given.backends):
        path, out = folder / "recipe.yaml", folder / "runs"
        path.write_text(yaml.safe_dump(recipe(stage, backend, models[shape], folder)), encoding="utf-8")
        told, took = foretold(path, stage), measured(path, stage, out)
        shutil.rmtree(out)
        cell = {
            "shape": shape,
            "parameters": told["parameters"],
            "stage": stage,
            "backend": backend,
            "foretold_mb": round(told["bytes"] / 1e6, 1),
            "measured_mb": round(took["memory"] / 1e6, 1),
            "memory_error": round(told["bytes"] / took["memory"] - 1, 4),
            "foretold_s": round(told["seconds"], 1),
            "measured_s": round(took["seconds"], 1),
            "parts_mb": {name: round(size / 1e6, 1) for name, size in told["memory"].items()},
        }
        print(json.dumps(cell), file=sys.stderr, flush=True)
        yield cell


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", nargs="+", default=STAGES)
    parser.add_argument("--backends", nargs="+", default=BACKENDS)
    parser.add_argument("--shapes", nargs="+", help=f"of {', '.join(SHAPES)}")
    parser.add_argument("--tuning", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = list(cells(given, Path(folder)))
    errors = [cell["memory_error"] for cell in found]
    record = {
        "median_error": round(median(map(abs, errors)), 4),
        "least_error": min(errors),
        "most_error": max(errors),
        "cells": found,
    }
    keep("plan-tuning" if given.tuning else "plan", record)


if __name__ == "__main__":
    main()
