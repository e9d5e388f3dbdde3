"""SFT, reward models and DPO beside TRL's trainers: the same model, rows, order, batch, rate and adapters, one thread.

python -m benchmarks.speed                  # kept as benchmarks/results/speed.json
python -m benchmarks.speed --short          # three minutes, as `make bench-speed` runs it

Two peers, engines in turn, each in a process of its own. `trl`: TRL's trainer with its defaults, among which are bf16
autocast and gradient checkpointing. `trl_matched`: the same in float32 and without checkpointing, as ours is, which is
the strongest fair peer. Steps alone are measured (the first two warm up), by CPU-seconds; what DPO's reference costs is
in them, though we read it ahead of the first step. Losses are compared with those of `trl_matched`.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import ROOT, keep
from benchmarks.speed.work import Work, write

ENGINES = ("rlhf", "trl", "trl_matched")
RATES = {"sft": 2e-5, "reward": 1e-5, "dpo": 1e-6}
"""Our stages' own, which are ten times as much for adapters."""
TARGETS = {"sft": 1.5, "reward": 1.5, "dpo": 2.0}
"""Tokens a CPU-second over those of `trl` that are asked for."""
NAMES = {"full": "full", "lora": "LoRA", "qlora": "QLoRA"}
BEGIN, END = "<!-- speed: written by `python -m benchmarks.speed` -->", "<!-- end of speed -->"
Run = dict[str, Any]


def main() -> None:
    shared = ROOT.parent / "shared"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", nargs="+", default=list(TARGETS), choices=TARGETS)
    parser.add_argument("--backends", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=8, help="TRL's default")
    parser.add_argument("--max-length", type=int, default=256, help="as many as stories15M reads")
    parser.add_argument("--model", type=Path, default=shared / "models" / "stories15M")
    parser.add_argument("--data", type=Path, default=shared / "data" / "preference" / "ultrafeedback_1k.jsonl.gz")
    parser.add_argument("--work", type=Path, default=ROOT / ".bench" / "speed")
    parser.add_argument("--short", action="store_true", help="LoRA, one seed, few and small steps")
    parser.add_argument("--name", default="speed")
    options = parser.parse_args()
    if options.short:
        options.backends, options.seeds, options.steps, options.batch = ["lora"], [0], 4, 4
        options.name = f"{options.name}-short"
    options.work.mkdir(parents=True, exist_ok=True)
    prepare(options)
    runs = [
        run(engine, work_of(options, stage, backend, seed))
        for stage in options.stages
        for backend in options.backends
        for seed in options.seeds
        for engine in ENGINES
    ]
    found = {
        stage: {backend: summary(of(runs, stage=stage, backend=backend)) for backend in options.backends}
        for stage in options.stages
    }
    settings = {name: getattr(options, name) for name in ("seeds", "steps", "batch", "max_length")}
    peers = {"trl": "bf16 autocast, gradient checkpointing", "trl_matched": "float32, no checkpointing"}
    if options.name == "speed":
        tell(found)
    keep(options.name, {"settings": settings, "peers": peers, "targets": TARGETS, "ratios": found, "runs": runs})


def tell(found: dict[str, dict[str, Run]]) -> None:
    """Put the table into README."""
    head = ["", "tokens a CPU-s", *(f"over `{peer}`" for peer in ENGINES[1:])]
    head += [f"memory over `{peer}`'s" for peer in ENGINES[1:]] + ["largest loss gap to `trl_matched`"]
    lines = [head, ["---"] * len(head)]
    for stage, backends in found.items():
        for backend, one in backends.items():
            cells = [f"{one['tokens_per_cpu_s rlhf']:,.0f}"]
            cells += [f"{one[f'speedup over {peer}']:.1f} ×" for peer in ENGINES[1:]]
            cells += [f"{one[f'memory over {peer}']:.2f}" for peer in ENGINES[1:]]
            lines.append([f"`{stage}`, {NAMES[backend]}", *cells, f"{one['loss apart from trl_matched']:.0e}"])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    readme = ROOT / "README.md"
    before, rest = readme.read_text("utf-8").split(BEGIN)
    table = f"{table}\n\n([speed](benchmarks/results/speed.json))"
    readme.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def prepare(options: argparse.Namespace) -> None:
    """The first rows that fit, as text for our stages, and as the tokens that they make of it for TRL's trainers."""
    from rlhf import libraries, text
    from rlhf.config import DataConfig
    from rlhf.data.chat import encode_demonstrations, encode_preferences
    from rlhf.data.load import load
    from rlhf.data.records import Demonstration
    from rlhf.weights import Weights, identity

    libraries.prepare()
    options.model, count = options.model.resolve(), options.steps * options.batch
    chat = text.load(Weights(options.model, options.model.name, identity(options.model), options.model))
    pairs = load(DataConfig(path=options.data.resolve(), eval_fraction=0.0), "preferences", options.work).train

    both = encode_preferences(pairs, chat, options.max_length, one_answer=True)[0][:count]
    read = {row["where"] for row in both}
    texts = [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in pairs if p.where in read]
    write(options.work / "pairs.jsonl", texts)
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    write(options.work / "dpo.tokens.jsonl", [{name: row[name] for name in names} for row in both])
    whole = [{name: row["prompt_ids"] + row[name] for name in names[1:]} for row in both]
    write(options.work / "reward.tokens.jsonl", whole)

    answered = {p.where: [*p.prompt, *p.chosen] for p in pairs}
    demonstrations = [Demonstration(messages, where) for where, messages in answered.items()]
    shown = encode_demonstrations(demonstrations, chat, options.max_length)[0][:count]
    write(options.work / "demonstrations.jsonl", [{"messages": answered[row.where]} for row in shown])
    labels = [[i if said else -100 for i, said in zip(*row[:2], strict=True)] for row in shown]
    rows = [{"input_ids": row.ids, "labels": one} for row, one in zip(shown, labels, strict=True)]
    write(options.work / "sft.tokens.jsonl", rows)
    if min(len(both), len(shown)) < count:
        raise SystemExit(f"{options.data}: {count} rows are asked for, and {min(len(both), len(shown))} fit")


def work_of(options: argparse.Namespace, stage: str, backend: str, seed: int) -> Work:
    rate = RATES[stage] * (1 if backend == "full" else 10)
    given = (options.steps, options.batch, rate, options.max_length, str(options.model), str(options.work.resolve()))
    return Work(stage, backend, seed, *given)


def run(engine: str, work: Work) -> Run:
    """One engine in a process of its own; what it found."""
    words = [sys.executable, "-m", f"benchmarks.speed.{'ours' if engine == 'rlhf' else 'peer'}"]
    words += [json.dumps(asdict(work)), engine]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, env=env, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{engine} failed at {work.stage} with {work.backend}:\n{done.stderr[-3000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    told = f"{found['tokens_per_cpu_s']:.0f} tokens a CPU-second, {found['peak_over_base_mb']:.0f} MB over base"
    print(f"{work.stage} {work.backend} seed {work.seed}, {engine}: {told}", file=sys.stderr)
    return {"stage": work.stage, "backend": work.backend, "seed": work.seed, "engine": engine, **found}


def of(runs: list[Run], **wanted: Any) -> list[Run]:
    return [one for one in runs if all(one[name] == value for name, value in wanted.items())]


def summary(runs: list[Run]) -> dict[str, float]:
    """Medians over the seeds, ours over each peer's; and how far losses are from those of the peer in float32."""
    keys = ("tokens_per_cpu_s", "cpu_s_per_step", "wall_s_per_step", "peak_over_base_mb")
    middle = {engine: {key: median(one[key] for one in of(runs, engine=engine)) for key in keys} for engine in ENGINES}
    mine, *theirs = ENGINES
    found: dict[str, float] = {f"tokens_per_cpu_s {engine}": round(middle[engine][keys[0]], 1) for engine in ENGINES}
    for peer in theirs:
        found[f"speedup over {peer}"] = round(middle[mine][keys[0]] / middle[peer][keys[0]], 3)
        found[f"wall speedup over {peer}"] = round(middle[peer][keys[2]] / middle[mine][keys[2]], 3)
        found[f"memory over {peer}"] = round(middle[mine][keys[3]] / middle[peer][keys[3]], 3)
        pairs = zip(of(runs, engine=mine), of(runs, engine=peer), strict=True)
        found[f"loss apart from {peer}"] = max(
            round(abs(a - b), 7) for one, other in pairs for a, b in zip(one["loss"], other["loss"], strict=True)
        )
    return found


if __name__ == "__main__":
    main()
