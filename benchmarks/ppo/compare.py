"""Our RL stage beside the last PPO that TRL shipped (1.12) and the older, faster 0.9.6: in turn, one thread, fp32.

Same model, reward model, prompts, batch and updates. The peers' side and the assets come from a folder outside this
repository (`--peers`); their libraries are installed into virtual environments of their own under `--work`.

python -m benchmarks.ppo.compare speed      # CPU-seconds an episode, and peak memory above the loaded libraries
python -m benchmarks.ppo.compare reward --seeds 0 1 2 3 4       # CPU-seconds to a fixed reward
python -m benchmarks.ppo.compare memory     # peak memory of PPO with four roles over that of SFT
python -m benchmarks.ppo.compare all        # a short version of the three, as `make bench-ppo` runs it

Modes: `lora` and `full` have the stage's default critic, a head on the policy's states, as TRL 0.9.6 has it: that peer
is the like-for-like one. TRL 1.12 trains a value model of its own, whole under LoRA too; much of the factor over it is
that choice. `lora-critic` and `full-critic` make the same one: an adapter or a model, started from the reward model as
the peer's is. With `full`, frozen copies wait on disk between their uses (`backend.offload`), which takes no more time
here; `full-resident` keeps them in memory, as the stage does by default. `fast` is LoRA on a bf16 trunk with frozen
lower layers, which changes precision and what trains; its peer is LoRA.

For `reward` our critic is a head on the reward model's states, and lambda is 0.5: a critic that knows the reward from
the start gives each token its credit. Found on seeds 10 and 11, and no secret of ours: `trl112-tuned` is TRL with that
lambda, `trl112` with its own default.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import ROOT, keep

HERE = Path(__file__).resolve().parent
RATES = {"lora": 1e-3, "full": 1e-4}
"""Learning rates of the peers' own script, and of ours where nothing else is said."""
PEER_RATES = {("trl112", "lora"): 3e-4, ("trl112-tuned", "lora"): 3e-4, ("trl112-tuned", "full"): 2e-4}
"""Rates of the peers for `reward` where others did better on seed 10: at 1e-3 TRL's value model, which trains whole
under LoRA too, does not learn."""
LAMBDA = 0.5
CRITIC = ["--set", "rl.critic=reward"]
OFFLOAD = ["--set", "backend.offload=true"]
TUNED = ["--set", "rl.critic=reward_head", "--set", f"rl.lam={LAMBDA}"]
MODES: dict[str, tuple[str, list[str]]] = {
    "lora": ("lora", []),
    "full": ("full", OFFLOAD),
    "full-resident": ("full", []),
    "lora-critic": ("lora", CRITIC),
    "full-critic": ("full", [*OFFLOAD, *CRITIC]),
    "fast": ("lora", ["--precision", "bf16", "--set", "train.freeze_layers=3"]),
}
"""Of each mode, what trains, which is the mode of its peers, and what our side is told besides."""
TRL_112 = ["--no-deps", "trl==1.12.0"]
TRL_096 = [
    "torch==2.13.0", "trl==0.9.6", "transformers==4.41.2", "peft==0.11.1", "accelerate==0.33.0", "numpy<2",
    "datasets<3", "pyarrow<18", "rich",
]  # fmt: skip
SHAPE = "v4096_h256_l6"
BATCH = 16
UPDATES = {"trl112": 40, "trl112-tuned": 16, "trl096": 40, "rlhf": 16}
"""Updates in which a fixed reward should be reached."""
SHORT = 4
"""Updates of the short version for speed; it runs one seed against TRL 1.12."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "reward", "memory", "all"])
    parser.add_argument("--peers", type=Path, default=ROOT.parent / "shared" / "bench" / "ppo_peers")
    parser.add_argument("--work", type=Path, default=ROOT / ".bench")
    parser.add_argument("--modes", nargs="+", default=["lora", "full", "fast"], choices=MODES)
    parser.add_argument("--engines", nargs="+", choices=["trl112", "trl112-tuned", "trl096", "rlhf"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--updates", type=int, default=5, help="of `speed`")
    parser.add_argument("--target", type=float, default=0.5, help="reward to reach, of a moving mean of three updates")
    parser.add_argument("--set", action="append", default=[], help="setting of our side, such as rl.critic=reward")
    parser.add_argument("--lr", type=float, help="learning rate of our side")
    parser.add_argument("--name", help="name of the result file")
    options = parser.parse_args()
    options.work = options.work.resolve()
    name = options.name or f"ppo-{options.what}"
    if options.what == "all":
        options.engines, options.seeds = ["trl112", "trl112-tuned", "rlhf"], [0]
    options.engines = options.engines or ["trl112", "trl112-tuned" if options.what == "reward" else "trl096", "rlhf"]
    bench = Bench(options)
    if options.what == "all":
        short(bench, options, name)
    elif options.what == "memory":
        keep(name, {"over_sft": {mode: bench.over_sft(mode) for mode in options.modes}})
    else:
        runs = bench.runs(UPDATES if options.what == "reward" else dict.fromkeys(options.engines, options.updates))
        found = {mode: summary(options.engines, mode, runs) for mode in options.modes}
        keep(name, {"settings": settings(options), "products_gflops": products(), "ratios": found, "runs": runs})


def short(bench: "Bench", options: argparse.Namespace, name: str) -> None:
    """The three in short: kept in a result file, and the figures that are asked for most as the last line."""
    speed, reward = bench.runs({"trl112": SHORT, "rlhf": SHORT}), bench.runs(UPDATES)
    found: dict[str, dict[str, float | None]] = {}
    for mode in options.modes:
        fast, far = summary(["trl112"], mode, speed), summary(["trl112", "trl112-tuned"], mode, reward)
        memory = fast.get("trl112/rlhf peak_over_base_mb")
        far = {peer: far.get(f"{peer}/rlhf cpu_s_to_target") for peer in ("trl112", "trl112-tuned")}
        found[mode] = {
            "speedup": fast.get("trl112/rlhf cpu_s_per_episode"),
            "memory_ratio": round(1 / memory, 3) if memory else None,
            "to_reward": far["trl112"],
            "to_reward_tuned": far["trl112-tuned"],
            "over_sft": bench.over_sft(mode)["ratio"],
        }
    runs = {"speed": speed, "reward": reward}
    keep(name, {"settings": settings(options), "products_gflops": products(), "ratios": found, "runs": runs})
    print(json.dumps(found))


class Bench:
    """Sets up the peers once and runs one engine at a time."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.env = {**os.environ, "BENCH_ASSETS": str(options.work / "assets"), "OMP_NUM_THREADS": "1"}
        self.env |= {"TQDM_DISABLE": "1", "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
        options.work.mkdir(exist_ok=True)
        self.assets = options.work / "assets" / SHAPE
        if not (self.assets / "done").exists():
            print("building the peers' model and reward models (minutes)", file=sys.stderr)
            subprocess.run([sys.executable, options.peers / "common.py"], env=self.env, check=True, stdout=sys.stderr)
        if not (self.assets / "merged").exists():
            merge_reward(self.assets)
        self.python = {"rlhf": sys.executable}
        for engine in {"trl112", "trl112-tuned"} & {*options.engines}:
            self.python[engine] = environment(options.work, "trl112", TRL_112, shares=True)
        if "trl096" in options.engines:
            self.python["trl096"] = environment(options.work, "trl096", TRL_096, shares=False)

    def runs(self, updates: dict[str, int]) -> list[dict[str, Any]]:
        """Every engine for its number of updates, in every mode, in turn."""
        options = self.options
        peers = [engine for engine in options.engines if engine != "rlhf" and engine in updates]
        modes = dict.fromkeys(MODES[mode][0] for mode in options.modes)
        jobs = [(peer, mode) for mode in modes for peer in peers]
        jobs += [("rlhf", mode) for mode in options.modes if "rlhf" in options.engines]
        tunes = "trl112-tuned" in updates
        return [self.run(engine, mode, seed, updates[engine], tunes) for seed in options.seeds for engine, mode in jobs]

    def run(self, engine: str, mode: str, seed: int, updates: int, tuned: bool) -> dict[str, Any]:
        """One engine in a process of its own; what it found."""
        trained = MODES[mode][0]
        common = ["--mode", trained, "--updates", str(updates), "--batch", str(BATCH), "--seed", str(seed)]
        if engine == "rlhf":
            found = self.ours(mode, *common, *(TUNED if tuned else []))
        else:
            script = self.options.peers / ("trl096_ppo_bench.py" if engine == "trl096" else "trl_ppo_bench.py")
            rate = PEER_RATES.get((engine, trained), RATES[trained]) if tuned else RATES[trained]
            through = [HERE / "peer.py", LAMBDA] if engine == "trl112-tuned" else []
            found = self._process(engine, [*through, script, *common, "--lr", rate, "--quiet", 1])
        print(f"{engine} {mode} seed {seed}: {found['med_cpu_per_ep']:.3f} CPU-s an episode", file=sys.stderr)
        curve = [round(value, 3) for value in found["true_reward"]]
        reached = first_at(curve, self.options.target)
        return {
            "engine": engine,
            "mode": mode,
            "seed": seed,
            "cpu_s_per_episode": found["med_cpu_per_ep"],
            "peak_over_base_mb": found["peak_over_base_mb"],
            "cpu_s_to_target": None if reached is None else sum(found["upd_cpu"][: reached + 1]) * BATCH,
            "kl_at_target": None if reached is None else round(found["kl"][reached], 2),
            "true_reward": curve,
            "kl": [round(value, 2) for value in found["kl"]],
        }

    def ours(self, mode: str, *words: str) -> dict[str, Any]:
        """Our side, with the settings that the options give it."""
        options = self.options
        trained, more = MODES[mode]
        rate = str(options.lr or RATES[trained])
        more = [*more, *(word for one in options.set for word in ("--set", one))]
        paths = ["--peers", options.peers, "--assets", self.assets]
        return self._process("rlhf", ["-m", "benchmarks.ppo.ours", *paths, *words, "--lr", rate, *more])

    def over_sft(self, mode: str, runs: int = 5) -> dict[str, Any]:
        """Peak memory of PPO over that of SFT: same model, backend, rows, tokens; with checkpointing too. Medians."""
        trained = MODES[mode][0]
        found: dict[str, Any] = {}
        for suffix, extra in (("", []), ("_checkpointing", ["--checkpointing"])):
            words = ["--mode", trained, "--updates", "4", *extra]
            each = [
                {what: self.ours(mode, "--what", what, *words)["peak_over_base_mb"] for what in ("sft", "ppo")}
                for _ in range(runs)
            ]
            peaks = {what: median(one[what] for one in each) for what in ("sft", "ppo")}
            found |= {f"{what}_mb{suffix}": round(peak) for what, peak in peaks.items()}
            found[f"ratio{suffix}"] = round(peaks["ppo"] / peaks["sft"], 3)
        print(f"{mode}: {found}", file=sys.stderr)
        return found

    def _process(self, engine: str, words: list[Any]) -> dict[str, Any]:
        done = subprocess.run(
            [self.python[engine], *map(str, words)], env=self.env, cwd=self.options.work, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"{engine} failed:\n{done.stderr[-3000:]}")
        return json.loads(done.stdout.splitlines()[-1])


def environment(work: Path, name: str, packages: list[str], shares: bool) -> str:
    """Python of a virtual environment, made once; with `shares`, our own libraries lie behind its packages."""
    folder = work / name
    python = folder / "bin" / "python"
    if not (folder / "done").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True, stdout=sys.stderr)
        if shares:
            import torch

            (site,) = (folder / "lib").glob("python*/site-packages")
            (site / "shared.pth").write_text(f"{Path(torch.__file__).parent.parent}\n")
        (folder / "done").touch()
    return str(python)


def merge_reward(assets: Path) -> None:
    """Give the peers the reward model that ours reads as an adapter, merged: all are to climb the same hill."""
    from peft import AutoPeftModelForSequenceClassification

    model = AutoPeftModelForSequenceClassification.from_pretrained(assets / "rm_lora", num_labels=1)
    model.merge_and_unload().save_pretrained(assets / "rm")  # type: ignore[operator]
    (assets / "merged").touch()


def products(size: int = 512) -> dict[str, float]:
    """GFLOP/s of float32 products on one thread, ours and PyTorch's own: where MKL is slow, we gain more."""
    import torch
    import torch.nn.functional as F

    from rlhf.fused import times

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    x, weight = torch.randn(4 * size, size), torch.randn(size, size)
    found = {}
    for name, product in (("ours", times), ("pytorch", F.linear)):
        seconds = []
        for _ in range(20):
            start = time.process_time()
            product(x, weight)
            seconds.append(time.process_time() - start)
        found[name] = round(8 * size**3 / median(seconds) / 1e9)
    torch.set_num_threads(before)
    return found


def settings(options: argparse.Namespace) -> dict[str, Any]:
    return {k: getattr(options, k) for k in ("what", "modes", "engines", "seeds", "updates", "target", "set", "lr")}


def first_at(curve: list[float], target: float) -> int | None:
    """The update at which the mean of the last three first reaches the target; None when it never does."""
    return next((i for i in range(2, len(curve)) if sum(curve[i - 2 : i + 1]) / 3 >= target), None)


def summary(engines: list[str], mode: str, runs: list[dict[str, Any]]) -> dict[str, float]:
    """Each peer over us: medians of the seeds."""

    def middle(engine: str, key: str) -> float | None:
        trained = mode if engine == "rlhf" else MODES[mode][0]
        values = [one[key] for one in runs if one["engine"] == engine and one["mode"] == trained]
        return median(values) if values and None not in values else None

    found: dict[str, float] = {}
    for peer in engines:
        if peer == "rlhf":
            continue
        for key in ("cpu_s_per_episode", "peak_over_base_mb", "cpu_s_to_target", "kl_at_target"):
            theirs, mine = middle(peer, key), middle("rlhf", key)
            if theirs and mine:
                found[f"{peer}/rlhf {key}"] = round(theirs / mine, 3)
    return found


if __name__ == "__main__":
    main()
