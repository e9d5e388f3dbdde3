"""Log-probabilities of a policy's parent, computed once: they never change, so no reference model is kept.

The parent is the policy itself before its first step. What was computed is kept on disk, by the content of the weights
and of the examples, so that another run of the same stage (another beta, another loss) finds it there.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from rlhf import artifact as artifacts
from rlhf import evaluate
from rlhf.job import Job
from rlhf.resources import cache_folder, code_hash
from rlhf.roles import Role
from rlhf.tracking import Tracker

Answer = tuple[list[int], list[int]]
"""Token ids of a prompt and of an answer to it."""


def logprobs(job: Job, parent: Role, answers: Sequence[Answer], size: int, tracker: Tracker) -> list[float]:
    """Log-probability of each answer after its prompt under the policy that the stage starts from, in nats."""
    path = cache_folder("reference") / f"{_key(job, answers)}.safetensors"
    known = _read(path, len(answers))
    if known is None:
        tracker.screen.say(f"  computing the reference's log-probabilities of {len(answers)} answers")
        parent.model.eval()  # nothing drops out
        known = evaluate.answer_logprobs(parent, answers, size)
        _keep(path, known)
    return known.tolist()


def _key(job: Job, answers: Sequence[Answer]) -> str:
    """Changes with everything that the numbers depend on."""
    weights = job.weights
    adapters = [artifacts.sha256(folder / artifacts.ADAPTER) for folder in weights.adapters]
    how = [str(job.how.dtype), job.how.quantisation(weights), str(job.how.device.type), code_hash("rlhf")]
    vocabulary = [len(job.chat.tokenizer), job.chat.new_ids]
    versions = [torch.__version__, transformers.__version__]
    return artifacts.digest([weights.identity, adapters, vocabulary, how, versions, [list(one) for one in answers]])


def _read(path: Path, count: int) -> Tensor | None:
    """What was kept; None where there is nothing, or no longer what was written."""
    try:
        known = load_file(path)["logprob_N"]
    except Exception:
        return None
    return known if len(known) == count and bool(known.isfinite().all()) else None


def _keep(path: Path, logprob_N: Tensor) -> None:
    """Written whole or not at all; a disk that cannot be written to costs the next run its time, not this one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_suffix(f".{os.getpid()}.partial")
        save_file({"logprob_N": logprob_N.contiguous()}, scratch)
        artifacts.sync(scratch)
        scratch.replace(path)
    except OSError:
        return
