"""Merge adapter and base into a plain model that needs nothing of ours."""

from pathlib import Path
from typing import Any

import torch

from rlhf import text
from rlhf.errors import ArtifactError
from rlhf.loading import merged
from rlhf.weights import Weights

ENDS_AT_STOP = "{{% set whole %}}{template}{{% endset %}}{{{{ whole if add_generation_prompt else whole.rstrip() }}}}"
"""A chat template without the white space that many write after the last turn, which a reward model never read."""


def export(weights: Weights, out: Path, precision: str = "bf16") -> dict[str, Any]:
    """Write a merged model to the new folder `out`; returns its files and the commands that serve it.

    A policy loads with AutoModelForCausalLM, a reward model with AutoModelForSequenceClassification(num_labels=1).
    Merging is in float32, rounding to `precision` comes last.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(f"{out}: cannot be a folder ({error.strerror}); name another with --out") from None
    if any(out.iterdir()):
        raise ArtifactError(f"{out} is not empty; name a new folder")
    chat = text.load(weights)
    model = merged(weights, chat, "score" if weights.scores else "lm")
    model.to({"fp32": torch.float32, "bf16": torch.bfloat16}[precision])  # type: ignore[arg-type]
    model.save_pretrained(out)
    if weights.scores:  # read by others, a conversation must end as it did in training: with the stop token
        chat.tokenizer.chat_template = ENDS_AT_STOP.format(template=chat.template_text)
    text.save(chat, out)
    return {"out": str(out), "score_shift": weights.score_shift, "serve": _serve(weights, out)}


def _serve(weights: Weights, out: Path) -> list[str]:
    if weights.scores:
        return [
            f"load it: AutoModelForSequenceClassification.from_pretrained('{out}', num_labels=1)",
            f"its scores are {weights.score_shift:+.4f} above those of `rlhf score`, which centres them "
            "(and rounded, unless exported with --precision fp32)",
            "format conversations with its own chat template, tokenizer.apply_chat_template(messages)",
        ]
    return [
        f"vLLM:    vllm serve {out}",
        f"Ollama:  printf 'FROM %s\\n' {out} > Modelfile && ollama create {out.name} -f Modelfile",
    ]
