"""Every stage with every backend on the tiny base: trained, saved, reloaded, merged, resumed, chained.

python -m tests.matrix                          # all of it; README's table and benchmarks/results/matrix.json
python -m tests.matrix --stages dpo --backends qlora --families --chains       # a part; nothing is written

A cell is a stage with a backend. Of each is shown that
- it trains: its weights are not its parent's, and its loss or score moved;
- a fresh process that loads what it left computes the same bits;
- merged into plain weights it computes the same, relative to the largest log-probability (or score above 1): in float64
  for full, LoRA and DoRA, so that only the merge is seen, which rounds merged weights to float32;
- interrupted after a checkpoint and started again, it ends with the same bits;
- every stage that may follow starts from it, policies at their reference: KL 0, DPO's loss ln 2, KTO's 1/2.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file

from rlhf import adapters, libraries, text
from rlhf import artifact as artifacts
from rlhf import config as settings
from rlhf.artifact import Artifact
from rlhf.backends import backend
from rlhf.config import BackendConfig, ModelRef
from rlhf.console import Screen
from rlhf.data.chat import ChatFormat
from rlhf.export import export, export_adapter
from rlhf.job import Job
from rlhf.loading import merged
from rlhf.packing import Packed
from rlhf.parts import score_head
from rlhf.recipe import parse
from rlhf.roles import Role
from rlhf.runner import run
from rlhf.tracking import Tracker
from rlhf.trunk import trunk_of
from rlhf.weights import Weights, find
from tests.conftest import ROOT, metrics_of, small_recipe

BACKENDS: dict[str, dict[str, Any]] = {
    "full": {"kind": "full"},
    "lora": {"kind": "lora", "r": 8},
    "dora": {"kind": "lora", "r": 8, "dora": True},
    "qlora": {"kind": "qlora", "r": 8},
}
POLICIES = ("sft", "dpo", "kto", "orpo", "simpo", "ppo", "rloo", "grpo")
STAGES = ("sft", "reward", *POLICIES[1:])
FAMILIES = ("llama", "qwen2", "qwen3", "gemma3_text", "mistral", "phi3", "gpt2", "gpt_neox", "olmo2")
MERGE = {"full": 1e-6, "lora": 1e-6, "dora": 1e-6, "qlora": 1e-3}
"""How far a merge may be off at any token, relative to the largest log-probability or score where that is above 1."""
ROUNDING = 1e-5
"""Of float32, in a loss or KL that is exact in real numbers."""
RESULT = ROOT / "benchmarks" / "results" / "matrix.json"
TALKS = [
    ("Where is my lamp?", "It is on its way and comes on Friday."),
    ("The kettle you sent me is broken.", "Sorry! We will send another today."),
]

Settings = dict[str, Any]
Found = dict[str, Any]


# ------------------------------------------------------------------------------------------------ recipes


def stages_of(folder: Path, kind: str, steps: int) -> dict[str, Settings]:
    """Settings of every stage that a cell may be, a few steps each; checkpoints at every step."""
    known = small_recipe(folder, kind)["stages"]
    pairs, loop = known["dpo"], known["ppo"]
    train = {**pairs["train"], "max_steps": steps, "checkpoint_every": 1}
    rl = {**loop["rl"], "missing_stop_score": None}
    episodes = {**loop["train"], "episodes": 8 * steps, "checkpoint_every": 1}
    ungraded = {name: value for name, value in loop.items() if name not in ("rl", "train")}
    return {
        "sft": {**known["sft"], "train": train},
        "reward": {**known["reward"], "train": train},
        **{name: {**pairs, "stage": name, "train": train} for name in ("dpo", "kto", "orpo", "simpo")},
        "ppo": {**loop, "rl": rl, "train": episodes},
        "rloo": {**ungraded, "stage": "ppo", "rl": {**rl, "estimator": "rloo", "group": 4}, "train": episodes},
        "grpo": {**ungraded, "stage": "ppo", "rl": {**rl, "estimator": "grpo", "group": 4}, "train": episodes},
    }


class Bench:
    """Runs stages of one backend in a folder; parents are made once."""

    def __init__(self, folder: Path, kind: str, model: str = "tiny", steps: int = 3) -> None:
        self.folder, self.kind, self.model = folder, kind, model
        folder.mkdir(parents=True, exist_ok=True)
        self.stages = stages_of(folder, BACKENDS[kind]["kind"], steps)

    def run(self, name: str, wanted: Mapping[str, Settings]) -> dict[str, Artifact]:
        """Run a recipe of these stages under a name."""
        raw = {"name": name, "model": self.model, "backend": BACKENDS[self.kind], "stages": dict(wanted)}
        return run(parse(json.loads(json.dumps(raw))), self.folder, Screen(quiet=True))

    def chain(self, stage: str) -> dict[str, Settings]:
        """A stage with the parents it needs."""
        needed = {"sft": ["sft"], "reward": ["sft", "reward"]}
        names = needed.get(stage, ["sft", "reward", stage] if "reward_model" in self.stages[stage] else ["sft", stage])
        return {name: self.stages[name] for name in names}

    def follower(self, stage: str, parent: Artifact) -> Settings:
        """A stage that starts from what another left, found by its folder as another run's."""
        config = {**self.stages[stage], "stage": self.stages[stage].get("stage", stage)}
        where = "reward_model" if parent.makes == "reward" else "model"
        if "reward_model" in config:
            sft, judge = (str(self.folder / "cells" / "stages" / name) for name in ("sft", "reward"))
            config |= {"model": sft, "reward_model": judge}
        return {**config, where: str(parent.folder), "train": _one_step(config["train"])}


def _one_step(train: Settings) -> Settings:
    short = {"episodes": 8} if "episodes" in train else {"max_steps": 1}
    return {**train, **short, "checkpoint_every": 0}


# ------------------------------------------------------------------------------------------------ what a model says


def said_by(model: Any, how: Any, chat: ChatFormat, scores: bool, shift: float) -> dict[str, torch.Tensor]:
    """What a model computes on fixed conversations, by the trunk and by transformers: log-probabilities, or scores."""
    was_training = model.training
    head = score_head(model) if scores else None
    role = Role(model.eval(), trunk_of(model, how.dtype), adapters.trained(model), head)
    found = {}
    with torch.no_grad():
        for i, (question, answer) in enumerate(TALKS):
            talk = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            ids = list(chat.encode(talk).ids)
            batch = Packed.of([ids], [len(ids) if scores else 1], role.device)
            found[f"trunk/{i}"] = role.scores(batch) - shift if scores else role.logprobs(batch, 1.0)
            forward = type(model).forward  # a trainer may have put another in its place
            ids_BT = torch.tensor([ids], device=role.device)
            out = forward(model, input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT))
            found[f"plain/{i}"] = out.logits[0].float().clone()
    model.train(was_training)
    return found


@contextmanager
def noted(into: Path) -> Iterator[None]:
    """While this lasts, what each stage's model computes when its training has ended is written down, by stage."""
    finish = Job.finish

    def noting(self: Job, model: Any, out: Path, *more: Any, **others: Any) -> Artifact:
        made = finish(self, model, out, *more, **others)
        into.mkdir(parents=True, exist_ok=True)
        said = said_by(model, self.how, self.chat, made.head, made.score_shift)
        save_file(said, into / f"{self.config.name}.safetensors")
        return made

    Job.finish = noting  # type: ignore[method-assign]
    try:
        yield
    finally:
        Job.finish = finish  # type: ignore[method-assign]


def reloaded(folder: Path) -> dict[str, torch.Tensor]:
    """What is computed by what a stage left, loaded as a stage that follows loads it."""
    made = artifacts.read(folder)
    weights = Weights.of(made)
    chat = text.load(weights)
    how = backend(TypeAdapter(BackendConfig).validate_python(made.backend), made.config["precision"])
    model = how.load(weights, chat, weights.head_kind)
    return said_by(model, how, chat, weights.scores, weights.score_shift)


# ------------------------------------------------------------------------------------------------ the proofs


def trains(stage: str, made: Mapping[str, Artifact], model: str) -> Found:
    """Its weights are not what it started from, and its loss or score moved."""
    lines = metrics_of(made[stage].folder)
    key = "score" if "score" in lines[0] else "loss"
    values = [line[key] for line in lines if key in line]
    moved = len(set(values)) > 1 and all(map(math.isfinite, values))
    mine = _tensors(made[stage].model)
    if stage != "sft":
        theirs = _tensors(made["sft"].model)
        changed = any(not torch.equal(mine[name], theirs[name]) for name in mine.keys() & theirs.keys())
    elif made[stage].adapter:  # B is zero before the first step
        changed = any(bool(value.any()) for name, value in mine.items() if "lora_B" in name)
    else:
        base = _tensors(find(ModelRef(name=model), {}).base)
        changed = any(not torch.equal(mine[name], base[name].float()) for name in mine.keys() & base.keys())
    return {"ok": moved and changed, key: [values[0], values[-1]]}


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    """All that a stage wrote, its heads too, or a model's own weights."""
    names = ("model.safetensors", "adapter_model.safetensors", "head.safetensors", "heads.safetensors")
    return {f"{name}/{key}": value for name in names if (folder / name).is_file()
            for key, value in load_file(folder / name).items()}  # fmt: skip


def merges(made: Artifact, kind: str, folder: Path) -> Found:
    """The merge alone, in float64 where the live model can be that; and the export, as others load it."""
    weights = Weights.of(made)
    chat = text.load(weights)
    shutil.rmtree(folder, ignore_errors=True)
    compared = export(weights, folder / "whole", "fp32")["compared"]
    if kind != "full":
        compared["adapter"] = export_adapter(weights, folder / "adapter")["compared"]["exported"]
    gap = exported = compared["exported"]["largest"]  # of QLoRA in nats: a 4-bit model has no float64
    if kind != "qlora":
        live = backend(settings.Full() if kind == "full" else settings.LoRA()).load(weights, chat, weights.head_kind)
        whole = merged(weights, chat, weights.head_kind)
        gap = _apart(live.cpu().double().eval(), whole.double().eval(), chat, weights.scores)
    fits = "adapter" not in compared or compared["adapter"]["largest"] < 1e-3
    return {"ok": gap <= MERGE[kind] and fits, "gap": gap, "float32": exported}


@torch.no_grad()
def _apart(live: Any, whole: Any, chat: ChatFormat, scores: bool) -> float:
    largest, scale = 0.0, 1.0
    for question, answer in TALKS:
        talk = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        ids = torch.tensor([list(chat.encode(talk).ids)])
        said = [model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits for model in (live, whole)]
        left, right = said if scores else [logits.log_softmax(-1) for logits in said]
        largest, scale = max(largest, float((left - right).abs().max())), max(scale, float(left.abs().max()))
    return largest / scale


def resumes(bench: Bench, stage: str, made: Artifact) -> Found:
    """Stopped at its second line of metrics, after a checkpoint, and run again: the same bits."""
    again = bench.folder / "again"
    shutil.rmtree(again, ignore_errors=True)
    shutil.copytree(bench.folder / "cells", again)
    shutil.rmtree(again / "stages" / stage)
    log, stopped = Tracker.log, []

    def stopping(self: Tracker, metrics: Mapping[str, Any], step: int, steps: int | None = None) -> None:
        log(self, metrics, step, steps)
        if step == 2 and steps and not stopped:
            stopped.append(step)
            raise KeyboardInterrupt

    Tracker.log = stopping  # type: ignore[method-assign]
    try:
        bench.run("again", bench.chain(stage))
    except KeyboardInterrupt:
        pass
    finally:
        Tracker.log = log  # type: ignore[method-assign]
    checkpoint = again / "stages" / f".{stage}.partial" / artifacts.CHECKPOINT
    was_there = checkpoint.is_dir()
    second = bench.run("again", bench.chain(stage))[stage]
    mine, theirs = _tensors(second.model), _tensors(made.model)
    same = mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
    steps = [line["step"] for line in metrics_of(second.folder)]
    return {"ok": bool(stopped) and was_there and same and steps == sorted(steps)}


def follows(bench: Bench, made: Artifact) -> Found:
    """Every stage that may follow takes one step; those with a reference start at it."""
    after = STAGES if made.makes == "policy" else ("ppo", "rloo", "grpo")
    found: Found = {"ok": True}
    for stage in after:
        name = f"{made.name}-{stage}"
        child = bench.run(name, {stage: bench.follower(stage, made)})[stage]
        first = metrics_of(child.folder)[0]
        start = STARTS.get(stage, lambda line: 0.0)(first)
        found[stage] = start
        found["ok"] = found["ok"] and abs(start) <= ROUNDING and child.parents[_parent_field(made)] == made.hash
        shutil.rmtree(bench.folder / name)
    return found


def _parent_field(made: Artifact) -> str:
    return "reward_model" if made.makes == "reward" else "model"


STARTS: dict[str, Callable[[Mapping[str, float]], float]] = {
    "dpo": lambda line: line["loss"] - math.log(2),
    "kto": lambda line: max(abs(line.get("kl", 0.0)), abs(line["rewards/chosen"]), abs(line["rewards/rejected"])),
    **dict.fromkeys(("ppo", "rloo", "grpo"), lambda line: line["kl"]),
}
"""How far a stage's first line is from where it must start."""


# ------------------------------------------------------------------------------------------------ cells


def cell(bench: Bench, stage: str, after: Sequence[str] | None = None) -> Found:
    """Everything that is shown of a stage with the bench's backend, but for the fresh process."""
    with noted(bench.folder / "said"):
        made = bench.run("cells", bench.chain(stage))
        bench.run("cells", bench.chain("reward"))  # which those that follow learn from
    proofs: dict[str, Callable[[], Found]] = {
        "trains": lambda: trains(stage, made, bench.model),
        "merges": lambda: merges(made[stage], bench.kind, bench.folder / "merged"),
        "resumes": lambda: resumes(bench, stage, made[stage]),
        "follows": lambda: follows(bench, made[stage]),
    }
    return {name: _tried(proof) for name, proof in proofs.items() if after is None or name in after}


def _tried(proof: Callable[[], Found]) -> Found:
    try:
        return proof()
    except Exception as error:
        traceback.print_exc()
        return {"ok": False, "error": f"{type(error).__name__}: {error}".strip()[:300]}


def family(folder: Path, model_type: str) -> Found:
    """SFT → reward model → PPO with LoRA on a family's architecture, and what is shown of each stage."""
    from tests.rlhf.test_backends import random_model

    bench = Bench(folder, "lora", str(random_model(folder / "base", model_type)), steps=2)
    with noted(folder / "said"):
        made = bench.run("cells", bench.chain("ppo"))
    first = metrics_of(made["ppo"].folder)[0]
    found: Found = {"starts": {"ok": abs(first["kl"]) <= ROUNDING, "kl": first["kl"]}}
    for stage in ("sft", "reward", "ppo"):
        found[f"{stage} trains"] = _tried(lambda stage=stage: trains(stage, made, bench.model))
        found[f"{stage} merges"] = _tried(lambda stage=stage: merges(made[stage], "lora", folder / "merged"))
    return found


TOKENS = {"new_tokens": ["<think>", "</think>"]}

CHAINS: dict[str, list[tuple[str, str, Settings]]] = {
    "sft → dpo → ppo": [("sft", "lora", {}), ("dpo", "lora", {}), ("ppo", "lora", {})],
    "sft full → reward lora → ppo qlora": [("sft", "full", {}), ("reward", "lora", {}), ("ppo", "qlora", {})],
    "sft qlora → dpo lora → ppo full": [("sft", "qlora", {}), ("dpo", "lora", {}), ("ppo", "full", {})],
    "sft r 8 → dpo r 2 → ppo r 16": [("sft", "lora", {}), ("dpo", "lora", {"r": 2}), ("ppo", "lora", {"r": 16})],
    "sft with new tokens → kto → simpo": [("sft", "lora", TOKENS), ("kto", "lora", {}), ("simpo", "lora", {})],
    "sft → dpo with new tokens": [("sft", "lora", {}), ("dpo", "lora", TOKENS)],
    "sft r 8 with new tokens → orpo r 2": [("sft", "lora", TOKENS), ("orpo", "lora", {"r": 2})],
    "sft rslora → dpo r 2": [("sft", "lora", {"rslora": True}), ("dpo", "lora", {"r": 2, "rslora": False})],
    "sft → dpo, dora with dropout": [("sft", "dora", {"dropout": 0.3}), ("dpo", "dora", {"dropout": 0.3})],
    "reward only": [("reward", "lora", {})],
    "kto only": [("kto", "qlora", {})],
}
"""Stages one after the other, with the backend of each and what is different in it."""


def chained(folder: Path, name: str) -> Found:
    """A chain in one recipe; every stage that has a reference starts at it."""
    bench = Bench(folder, "lora", steps=2)
    stages: dict[str, Settings] = {}
    latest: str | None = None
    for stage, kind, more in CHAINS[name]:
        shape = {key: value for key, value in more.items() if key != "new_tokens"}
        config = {**bench.stages[stage], "backend": {**BACKENDS[kind], **shape}}
        config |= {key: value for key, value in more.items() if key == "new_tokens"}
        config.pop("model", None)
        if latest is not None:
            config["model"] = {"stage": "sft" if stage == "reward" else latest}
        if "reward_model" in config:
            if "reward" not in stages:
                stages["reward"] = {**bench.stages["reward"], "backend": BACKENDS["lora"]}
            config |= {"reward_model": {"stage": "reward"}, "model": {"stage": latest if latest != "reward" else "sft"}}
        stages[stage] = config
        latest = stage
    with noted(folder / "said"):
        made = bench.run("cells", stages)
    found: Found = {}
    for stage, config in stages.items():
        start = STARTS.get(stage, lambda line: 0.0)(metrics_of(made[stage].folder)[0])
        found[f"{stage} starts"] = {"ok": abs(start) <= ROUNDING, "from": start}
        parent = config.get("model", {}).get("stage")
        if parent is not None:
            found[f"{stage} starts as its parent"] = _tried(partial(as_parent, made[parent], made[stage]))
    last = list(stages)[-1]
    found["merges"] = _tried(lambda: merges(made[last], CHAINS[name][-1][1], folder / "merged"))
    return found


def as_parent(parent: Artifact, child: Artifact) -> Found:
    """A stage starts from the model that its parent is, in its own backend too; but holding in 4 bit what was not
    changes a model, and is left out here."""
    weights = Weights.of(parent)
    chat, scores = text.load(weights), weights.scores
    how = backend(TypeAdapter(BackendConfig).validate_python(child.backend), child.config["precision"])
    if child.backend and child.backend["kind"] == "qlora" and weights.quantisation == "":
        return {"ok": True, "gap": None}
    start = said_by(how.load(weights, chat, weights.head_kind), how, chat, scores, weights.score_shift)
    gap = max(float((start[name] - said).abs().max()) for name, said in reloaded(parent.folder).items())
    return {"ok": gap <= 1e-3, "gap": gap}


def compare_fresh(folders: Sequence[Path]) -> dict[str, Found]:
    """Of all stages under these folders: whether a fresh process computes what they did, bit for bit."""
    with tempfile.TemporaryDirectory() as out:
        listed = Path(out) / "folders.json"
        stages = [path for folder in folders for path in sorted((folder / "cells" / "stages").glob("*/artifact.json"))]
        listed.write_text(json.dumps([str(path.parent) for path in stages]))
        subprocess.run([sys.executable, "-m", "tests.matrix", "--reload", str(listed)], check=True, cwd=ROOT)
        found = {}
        for i, path in enumerate(stages):
            stage, home = path.parent.name, path.parents[3]
            before, file = load_file(home / "said" / f"{stage}.safetensors"), Path(out) / f"{i}.safetensors"
            after = load_file(file) if file.is_file() else {}
            same = [torch.equal(before[name], after[name]) for name in before if name in after]
            found[f"{home.name}/{stage}"] = {"ok": len(same) == len(before) and all(same)}
        return found


def reload_all(listed: Path) -> None:
    """What a fresh process does: load, compute, write down."""
    for i, folder in enumerate(json.loads(listed.read_text())):
        try:
            save_file(reloaded(Path(folder)), listed.parent / f"{i}.safetensors")
        except Exception:
            traceback.print_exc()


# ------------------------------------------------------------------------------------------------ all of it


def matrix(
    work: Path, stages: Sequence[str], kinds: Sequence[str], families: Sequence[str], chains: Sequence[str]
) -> dict[str, Found]:
    """Every cell, family and chain, by name, with what was shown of each."""
    cells: dict[str, Found] = {}
    homes: dict[str, Path] = {}

    def note(name: str, home: Path, proof: Callable[[], Found]) -> None:
        found = _tried(proof)
        cells[name] = {"run": found} if "ok" in found else found
        homes[name] = home
        bad = [key for key, value in cells[name].items() if not value["ok"]]
        print(f"{name}: {'ok' if not bad else 'FAILED: ' + ', '.join(bad)}", file=sys.stderr, flush=True)

    for kind in kinds:
        bench = Bench(work / kind, kind)
        for stage in stages:
            note(f"{stage} × {kind}", bench.folder, lambda bench=bench, stage=stage: cell(bench, stage))
    for model_type in families:
        note(model_type, work / model_type, lambda model_type=model_type: family(work / model_type, model_type))
    for i, name in enumerate(chains):
        note(name, work / f"chain{i}", lambda i=i, name=name: chained(work / f"chain{i}", name))
    fresh = compare_fresh(list(dict.fromkeys(homes.values())))
    for name, home in homes.items():
        stage = name.partition(" × ")[0] if " × " in name else None
        for key, value in fresh.items():
            where, _, which = key.partition("/")
            if where == home.name and which == (stage or which):
                cells[name][f"{which} reloads" if stage is None else "reloads"] = value
    return cells


def failed(cells: Mapping[str, Found]) -> list[str]:
    """Names of cells of which something was not shown."""
    return [name for name, found in cells.items() if not all(value["ok"] for value in found.values())]


# ------------------------------------------------------------------------------------------------ what is written

BEGIN, END = "<!-- matrix: written by `make matrix` -->", "<!-- end of matrix -->"


def table(cells: Mapping[str, Found]) -> str:
    """README's table, from a run: largest gap of the merge in each cell, or what failed."""
    lines = ["| stage | full | LoRA | DoRA | QLoRA |", "|---|---|---|---|---|"]
    for stage in STAGES:
        row = [_word(cells.get(f"{stage} × {kind}")) for kind in BACKENDS]
        lines.append(f"| `{stage}` | {' | '.join(row)} |")
    shown = [name for name in FAMILIES if name in cells]
    lines += ["", f"SFT → reward → PPO with LoRA: {', '.join(f'{name} {_word(cells[name])}' for name in shown)}."]
    lines += [f"Chains: {'; '.join(f'{name} {_word(cells[name])}' for name in CHAINS if name in cells)}."]
    return "\n".join(lines)


def _word(found: Found | None) -> str:
    if found is None:
        return ""
    bad = [name for name, value in found.items() if not value["ok"]]
    if bad:
        return "✗ " + ", ".join(bad)
    gap = found.get("merges", {}).get("gap")
    return "✓" if gap is None else f"✓ {gap:.0e}"


def write(cells: Mapping[str, Found]) -> None:
    """The result file, and README's table from it."""
    from benchmarks.common import machine

    record = {"machine": machine(), "cells": dict(cells)}
    RESULT.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    readme = ROOT / "README.md"
    before, rest = readme.read_text("utf-8").split(BEGIN)
    readme.write_text(f"{before}{BEGIN}\n{table(cells)}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", nargs="*", default=list(STAGES), choices=STAGES)
    parser.add_argument("--backends", nargs="*", default=list(BACKENDS), choices=list(BACKENDS))
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--chains", nargs="*", default=list(CHAINS), choices=list(CHAINS))
    parser.add_argument("--reload", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    libraries.prepare()
    if options.reload is not None:
        reload_all(options.reload)
        return
    with tempfile.TemporaryDirectory() as work:
        os.environ["RLHF_CACHE"] = str(Path(work) / "cache")
        cells = matrix(Path(work), options.stages, options.backends, options.families, options.chains)
    whole = len(cells) == len(STAGES) * len(BACKENDS) + len(FAMILIES) + len(CHAINS)
    if whole:
        write(cells)
    bad = failed(cells)
    print(json.dumps({"cells": len(cells), "passed": len(cells) - len(bad), "failed": bad}, ensure_ascii=False))
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
