"""What both sides of the comparison are told, what they work on, and how they are measured."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlhf import memory

WARM_UP = 2
"""Steps that are not counted."""
RANK = 16
"""Of adapters on all linear layers, scaled by 2."""
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Work:
    """One training, whoever does it."""

    stage: str
    backend: str
    seed: int
    steps: int
    batch: int
    lr: float
    max_length: int
    model: str
    folder: str
    """Holds the rows as text and as tokens, and what trains as it was when our side began."""

    @classmethod
    def told(cls) -> "Work":
        """By the command line."""
        return cls(**json.loads(sys.argv[1]))

    @property
    def texts(self) -> Path:
        """Rows as our side reads them."""
        return Path(self.folder) / ("demonstrations.jsonl" if self.stage == "sft" else "pairs.jsonl")

    @property
    def tokens(self) -> Path:
        """The same rows as token ids, as our side has made them."""
        return Path(self.folder) / f"{self.stage}.tokens.jsonl"

    @property
    def start(self) -> Path:
        """Fresh adapters and heads: they are drawn at random, and both sides begin with the same."""
        return Path(self.folder) / f"{self.stage}-{self.backend}-{self.seed}.safetensors"


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def fresh(model: Any) -> dict[str, Any]:
    """Adapters and head of a model, by names that do not depend on who made them."""
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and ("lora_" in name or "score" in name):
            for part in ("base_model.model.", "modules_to_save.", "default.", "original_module."):
                name = name.replace(part, "")
            found[name] = parameter
    return found


class Meter:
    """Counts steps from when it is made, after libraries are loaded and before models are."""

    def __init__(self) -> None:
        memory.release()
        memory.begin_peak()
        self.base = memory.peak()["memory"]
        self.marks: list[dict[str, float]] = []

    def mark(self, logs: Mapping[str, Any]) -> None:
        """A step has ended; `logs` are the trainer's."""
        if "loss" not in logs:
            return
        now = {"cpu": time.process_time(), "wall": time.monotonic(), "memory": memory.peak()["memory"]}
        self.marks.append({**now, "loss": float(logs["loss"]), "tokens": float(logs["num_tokens"])})

    def tell(self, before: Mapping[str, float] | None = None) -> None:
        """Print what was found as the last line. `before`: seconds of what one side does ahead of its steps and the
        other within them, of all rows that are trained on."""
        first, last = self.marks[WARM_UP - 1], self.marks[-1]
        share = (last["tokens"] - first["tokens"]) / last["tokens"]
        spent = {
            clock: last[clock] - first[clock] + share * (before or {}).get(clock, 0.0) for clock in ("cpu", "wall")
        }
        steps = len(self.marks) - WARM_UP
        found = {
            "cpu_s_per_step": spent["cpu"] / steps,
            "wall_s_per_step": spent["wall"] / steps,
            "tokens_per_cpu_s": (last["tokens"] - first["tokens"]) / spent["cpu"],
            "peak_over_base_mb": (last["memory"] - self.base) / 2**20,
            "tokens": last["tokens"],
            "loss": [mark["loss"] for mark in self.marks],
        }
        print(json.dumps(found))
