"""Runs of a small stage in children of their own, which may be killed, starved or stopped; and what they left behind.

A child is forked after the libraries are imported, so that a trial takes a second and not ten.
"""

import argparse
import gc
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import xxhash

from benchmarks.common import ROOT
from benchmarks.reliability.common import report
from rlhf.privacy import no_unasked_traffic

SHOP = ROOT / "data_samples" / "corner_shop"
STAGES = ("sft", "reward", "dpo", "ppo", "sample", "watched")
"""What is tried; `watched` is ppo with a judge that looks at held-out prompts, and the policy that it likes best."""
BACKENDS = ("full", "lora", "qlora")
STEPS = 3
"""Steps, or rollouts, of the stage that is tried; a checkpoint after each."""


@dataclass(frozen=True)
class Bench:
    """A folder where the stages before the one that is tried have run, and what it makes when nothing happens."""

    stage: str
    kind: str
    folder: Path
    parents: Path
    expected: str
    """Hash of the weights, or of the examples."""
    went_on: list[int] = field(default_factory=list)
    """Steps of the checkpoints that trials went on from."""

    def raw(self) -> dict[str, Any]:
        return _recipe(self.stage, self.kind, self.folder)

    @contextmanager
    def copy(self) -> Iterator[Path]:
        """A folder of runs where only the stage that is tried has not run."""
        with tempfile.TemporaryDirectory(dir=self.folder) as runs:
            shutil.copytree(self.parents, runs, dirs_exist_ok=True)
            yield Path(runs)

    def run(self, runs: Path, before: Callable[[], None] | None = None) -> int:
        """Run the recipe in a child; its exit code, or minus the signal that ended it."""
        return forked(lambda: run_recipe(self.raw(), runs), before)

    def goes_on(self, runs: Path) -> str:
        """What is wrong when the same command is run again; empty where it goes on from the newest checkpoint that is
        whole, finishes with the weights that it should make, and leaves nothing else.

        A run from the start makes the same weights: so what the second run does first is looked at as well.
        """
        begun, log = newest_whole(self.scratch(runs)), self.folder / "steps"
        log.write_text("")
        if code := self.run(runs, lambda: note_steps(log)):
            return f"exit code {code} when it goes on"
        steps = [int(step) for step in log.read_text().split()]
        if begun and steps and steps[0] != begun + 1:
            return f"began at step {steps[0]}, and a whole checkpoint lay there of step {begun}"
        if begun:
            self.went_on.append(begun)
        if made(runs, self.stage) != self.expected:
            return "other weights"
        return f"leaves {', '.join(more)}" if (more := left_over(runs)) else ""

    def scratch(self, runs: Path) -> Path:
        """Where the stage is at work."""
        return runs / "trial" / "stages" / f".{self.stage}.partial"


@contextmanager
def bench(stage: str, kind: str) -> Iterator[Bench]:
    """Run what comes before a stage, and the stage itself once, undisturbed."""
    with tempfile.TemporaryDirectory(prefix="rlhf-trial-") as name:
        folder = Path(name)
        for source, rows in (("sft", 32), ("preferences", 32), ("prompts", 16)):
            with (SHOP / f"{source}.jsonl").open(encoding="utf-8") as file:
                (folder / f"{source}.jsonl").write_text("".join(islice(file, rows)), encoding="utf-8")
        parents, whole = folder / "parents", folder / "whole"
        raw = _recipe(stage, kind, folder)
        if len(raw["stages"]) > 1:
            del raw["stages"][stage]
            assert forked(lambda: run_recipe(raw, parents)) == 0, f"what {stage} starts from does not run"
        parents.mkdir(exist_ok=True)
        shutil.copytree(parents, whole)
        assert forked(lambda: run_recipe(_recipe(stage, kind, folder), whole)) == 0, f"{stage} × {kind} does not run"
        yield Bench(stage, kind, folder, parents, made(whole, stage))


def _recipe(stage: str, kind: str, folder: Path) -> dict[str, Any]:
    data = {"max_length": 128, "eval_fraction": 0.2}
    train = {"batch_size": 4, "max_steps": STEPS, "lr": 1e-3, "log_every": 1, "checkpoint_every": 1}
    before = {**train, "max_steps": 1, "checkpoint_every": 0}
    pairs = {"path": str(folder / "preferences.jsonl"), **data}
    ppo = {
        "model": {"stage": "sft"},
        "reward_model": {"stage": "reward"},
        "gate": "off",
        "data": {"path": str(folder / "prompts.jsonl"), "max_length": 96, "eval_fraction": 0},
        "rollout": {"batch_size": 4, "max_new_tokens": 8},
        "rl": {"epochs": 1, "missing_stop_score": None},
        "train": {"episodes": 4 * STEPS, "lr": 1e-3, "log_every": 1, "checkpoint_every": 1},
    }
    sample = {
        "model": {"stage": "sft"},
        "reward_model": {"stage": "reward"},
        "data": {"path": str(folder / "prompts.jsonl"), "max_length": 96, "max_rows": 2 * STEPS},
        "n": 2,
        "rollout": {"batch_size": 4, "max_new_tokens": 8},
        "keep_unfinished": True,
    }
    watched = {
        **ppo,
        "stage": "ppo",
        "data": {**ppo["data"], "eval_fraction": 0.2},
        "watch": {"judge": {"model": {"stage": "reward"}}, "every": 1, "prompts": 2},
    }
    stages: dict[str, dict[str, Any]] = {
        "sft": {"data": {"path": str(folder / "sft.jsonl"), **data}, "train": before},
        "reward": {"model": {"stage": "sft"}, "data": pairs, "train": before},
        "dpo": {"model": {"stage": "sft"}, "data": pairs, "train": before},
        "ppo": ppo,
        "sample": sample,
        "watched": watched,
    }
    needed = {"sft": [], "reward": ["sft"], "dpo": ["sft"]}.get(stage, ["sft", "reward"])
    kept = {name: stages[name] for name in (*needed, stage)}
    if kept[stage].get("train") is before:
        kept[stage] = {**kept[stage], "train": train}
    return {"name": "trial", "model": "tiny", "backend": {"kind": kind}, "stages": kept}


def run_recipe(raw: dict[str, Any], runs: Path) -> None:
    """Run a recipe in this process."""
    from rlhf.console import Screen
    from rlhf.recipe import parse
    from rlhf.runner import run

    run(parse(raw), runs, Screen(quiet=True))


def forked(action: Callable[[], None], before: Callable[[], None] | None = None) -> int:
    """Do something in a child: 0, the exit code of an error of ours, 3 where it was interrupted, 1 for a bug (which is
    printed), or minus the signal that killed it. `before` is done in the child first."""
    from rlhf.errors import RLHFError

    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    renew_threads()
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        told = os.dup(2)
        for stream in (1, 2):
            os.dup2(quiet, stream)
        if before is not None:
            before()
        action()
        code = 0
    except KeyboardInterrupt:
        code = 3
    except RLHFError as error:
        code = error.exit_code
    except BaseException:
        os.write(told, traceback.format_exc().encode())
    finally:
        os._exit(code)


def renew_threads() -> None:
    """In a forked child: torch makes itself a new pool of threads when first asked, and fails where two threads ask."""
    import torch

    torch.set_num_threads(1)


def prepare() -> None:
    """Import all that a stage needs, and start no thread: children are forked from here."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import importlib

    no_unasked_traffic()  # before what stages import
    renew_threads()
    for stage in set(STAGES) - {"watched"}:
        importlib.import_module(f"stages.{stage}.run")
    from rlhf import libraries

    libraries.prepare()
    gc.collect()
    gc.freeze()  # children copy no page of it, and do not walk it when a stage collects garbage


def made(runs: Path, stage: str) -> str:
    """Hash of every tensor and example that a stage has made; empty where it has made none."""
    home, hash = runs / "trial" / "stages" / stage, hashlib.sha256()
    paths = [*sorted((home / "model").rglob("*.safetensors")), *home.glob("examples.jsonl")]
    for path in paths:
        hash.update(path.name.encode() + path.read_bytes())
    return hash.hexdigest() if paths else ""


def newest_whole(scratch: Path) -> int:
    """Step of the newest checkpoint that is what was written, and so is what it counts on; 0 where there is none."""
    steps = sorted((int(path.name) for path in (scratch / "checkpoint").glob("[0-9]*")), reverse=True)
    return next((step for step in steps if _is_whole(scratch / "checkpoint" / f"{step:08d}")), 0)


def _is_whole(folder: Path) -> bool:
    try:
        known: dict[str, str] = json.loads((folder / "manifest.json").read_text("utf-8"))["files"]
        held = all(xxhash.xxh3_128_hexdigest((folder / name).read_bytes()) == known[name] for name in known)
    except (OSError, ValueError):
        return False
    if not held or "state.pt" not in known:
        return held
    import torch

    drawn, state = folder.with_name("drawn.jsonl"), torch.load(folder / "state.pt", weights_only=True)
    if "bytes" not in state:
        return True
    there = drawn.read_bytes() if drawn.is_file() else b""  # what a stage that makes examples appends to
    return xxhash.xxh3_128_hexdigest(there[: state["bytes"]]) == state["hash"]


def note_steps(log: Path) -> None:
    """In a child: have each step that is trained, or batch that is drawn, noted as it is done."""
    from rlhf.tracking import Tracker

    said = Tracker.log

    def noted(self: Tracker, metrics: Any, step: int, steps: int | None = None) -> None:
        said(self, metrics, step, steps)
        if steps:
            with log.open("a") as file:
                file.write(f"{step}\n")

    Tracker.log = noted


def left_over(runs: Path) -> list[str]:
    """What a finished run has no use for."""
    return [path.name for path in (runs / "trial").rglob("*") if ".partial" in path.name or path.name == "checkpoint"]


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def suite(
    about: str | None,
    trials: Callable[[Bench, argparse.Namespace], Iterator[tuple[str, str]]],
    stages: Sequence[str] = STAGES,
    **options: dict[str, Any],
) -> None:
    """The command of a suite: its trials of every stage and backend that is asked for, each a name and what went wrong,
    which is empty where nothing did. Where nothing was tried of a stage and a backend, that is a failure. `options` are
    words of its own, as argparse takes them."""
    words = argparse.ArgumentParser(description=about)
    words.add_argument("--stages", nargs="+", default=stages)
    words.add_argument("--backends", nargs="+", default=BACKENDS)
    words.add_argument("--cells", type=int, help="so many of stages × backends, spread over both; all when left out")
    for name, how in options.items():
        words.add_argument(f"--{name}", **how)
    given = words.parse_args()
    prepare()
    tried, failed = 0, []
    for stage, kind in cells(given.stages, given.backends)[: given.cells]:
        start, count = time.monotonic(), 0
        with bench(stage, kind) as one:
            for name, why in _some(trials(one, given)):
                count += 1
                if why:
                    failed.append(f"{stage} × {kind}, {name}: {why}")
                    print(f"failed: {failed[-1]}", flush=True)
        tried += count
        went_on = f"{len(one.went_on)} times from a checkpoint, " if one.went_on else ""
        print(f"{stage} × {kind}: {count} tried, {went_on}{time.monotonic() - start:.0f} s", file=sys.stderr)
    report(tried, failed)


def _some(trials: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The trials; one that failed where there are none."""
    first = next(trials, None)
    yield first or ("every trial", "nothing was tried")
    yield from trials


def cells(stages: Sequence[str], backends: Sequence[str]) -> list[tuple[str, str]]:
    """Every stage with every backend, in an order whose beginning has as many of each as can be."""
    across = len(stages)
    return [
        (stages[i % across], backends[(i % across + i // across) % len(backends)])
        for i in range(across * len(backends))
    ]
