"""Everything that is to be measured on one GPU, in one command; at a tiny shape where there is none.

Each arm is a process of its own. Writes benchmarks/results/gpu-ppo.json, which says what could not be measured; some
arms alone go into gpu-ppo-part.json.

python -m benchmarks.gpu.run                 # all arms, about a quarter of an hour on an H200
python -m benchmarks.gpu.run --arms 8b-lora

The peer, TRL 1.12, runs in an environment of its own; on a host without a network, pip takes its wheel from the folder
that PIP_FIND_LINKS names (with PIP_NO_INDEX=1). It trains a value model of its own; `8b-lora-critic` does so too.
"""

import argparse
import json
import subprocess
import sys
from typing import Any

from benchmarks.common import ROOT, keep
from benchmarks.ppo.compare import TRL_112, environment

ARMS: dict[str, list[str]] = {
    "8b-lora": ["--shape", "8b", "--backend", "lora"],
    "8b-lora-64": ["--shape", "8b", "--backend", "lora", "--rollouts", "64", "--epochs", "1"],
    "8b-qlora": ["--shape", "8b", "--backend", "qlora"],
    "70b-qlora": ["--shape", "70b", "--backend", "qlora", "--rollouts", "8", "--epochs", "1", "--cap-gb", "80"],
    "8b-trl": ["--peer", "8b"],
    "8b-lora-critic": ["--shape", "8b", "--backend", "lora", "--critic", "policy"],
    "8b-lora-frozen": ["--shape", "8b", "--backend", "lora", "--freeze-layers", "16"],
}
TARGETS = {
    "8b-lora": {"peak_gb": "<= 26", "episodes_per_s": ">= 1.6"},
    "8b-qlora": {"peak_gb": "<= 14"},
    "8b-lora-64": {"rollout_tokens_per_s": ">= 0.5 x decode_bound_tokens_per_s"},
    "8b-trl": {"episodes_per_s": "8b-lora >= 3 x this; like for like is 8b-lora-critic"},
    "70b-qlora": {"reserved_gb": "<= 80"},
}
TINY = ["--shape", "tiny", "--prompt", "16", "--response", "16", "--rollouts", "4", "--micro-tokens", "64"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--limit-s", type=int, default=420, help="longest an arm may take")
    options = parser.parse_args()
    import torch

    gpu = torch.cuda.is_available()
    found: dict[str, Any] = {}
    for arm in options.arms:
        found[arm] = one(ARMS[arm] if gpu else tiny(ARMS[arm]), options.limit_s)
        missing = [] if gpu else ["memory and speed of every arm: no GPU; each ran at a tiny shape on the CPU"]
        missing += [f"{arm}: {result['failed']}" for arm, result in found.items() if "failed" in result]
        missing += [f"{arm}: not run" for arm in ARMS if arm not in found]
        # after each arm: a lent machine may be gone before the last
        keep(
            "gpu-ppo" if set(options.arms) == set(ARMS) else "gpu-ppo-part",
            {"targets": TARGETS, "not_measured": missing, "arms": found},
        )


def tiny(words: list[str]) -> list[str]:
    """The same arm at a shape for a CPU."""
    if "--peer" in words:
        return ["--peer", "tiny"]
    kept = dict(zip(words[::2], words[1::2], strict=True))
    frozen = ["--freeze-layers", "2"] if "--freeze-layers" in kept else []
    critic = ["--critic", kept["--critic"]] if "--critic" in kept else []
    return [*TINY, "--backend", kept["--backend"], *frozen, *critic]


def one(words: list[str], limit_s: int) -> dict[str, Any]:
    """An arm in a process of its own: its last line, or why there is none."""
    python, module = sys.executable, ["ppo", *words]
    if words[0] == "--peer":
        module = ["trl_ppo", "--shape", words[1]]
        try:
            python = environment(ROOT / ".bench", "trl112", TRL_112, shares=True)
        except subprocess.CalledProcessError:
            return {
                "failed": "trl 1.12 cannot be installed here; carry its wheel and name its folder in PIP_FIND_LINKS"
            }
    command = [python, "-m", f"benchmarks.gpu.{module[0]}", *module[1:]]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, cwd=ROOT)
    except subprocess.TimeoutExpired:
        return {"failed": f"took more than {limit_s} s"}
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["no word"])[-1]}
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
