"""Merge adapter and base into a plain model that needs nothing of ours."""

from pathlib import Path
from typing import Any

import torch

from rlhf import text
from rlhf.backends import merged
from rlhf.errors import ArtifactError
from rlhf.weights import Weights


def export(weights: Weights, out: Path, precision: str = "bf16") -> dict[str, Any]:
    """Write a merged model to the new folder `out`; returns its files and the commands that serve it.

    A policy loads with AutoModelForCausalLM, a reward model with AutoModelForSequenceClassification(num_labels=1).
    Merging is in float32, rounding to `precision` comes last.
    """
    if out.exists() and any(out.iterdir()):
        raise ArtifactError(f"{out} is not empty; name a new folder")
    chat = text.load(weights)
    model = merged(weights, chat, "score" if weights.head else "lm")
    model.to({"fp32": torch.float32, "bf16": torch.bfloat16}[precision])  # type: ignore[arg-type]
    model.save_pretrained(out)
    text.save(chat, out)
    return {"out": str(out), "score_shift": weights.score_shift, "serve": _serve(weights, out)}


def _serve(weights: Weights, out: Path) -> list[str]:
    if weights.head:
        return [
            f"load it: AutoModelForSequenceClassification.from_pretrained('{out}', num_labels=1)",
            f"its scores are {weights.score_shift:+.4f} above those of `rlhf score`, which centres them",
        ]
    return [
        f"vLLM:    vllm serve {out}",
        f"Ollama:  printf 'FROM %s\\n' {out} > Modelfile && ollama create {out.name} -f Modelfile",
    ]
