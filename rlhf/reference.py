"""Log-probabilities of a policy's parent, computed once: they never change, so no reference model is kept.

The parent is the policy itself before its first step. What was computed is kept on disk, by the content of the weights
and of the examples, so that another run of the same stage (another beta, another loss) finds it there.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from safetensors.torch import load, save
from torch import Tensor

from rlhf import artifact as artifacts
from rlhf import disk, evaluate
from rlhf.job import Job
from rlhf.resources import cache_folder, code_hash
from rlhf.roles import Role
from rlhf.tracking import Tracker

Answer = tuple[list[int], list[int]]
"""Token ids of a prompt and of an answer to it."""


def logprobs(job: Job, parent: Role, answers: Sequence[Answer], size: int, tracker: Tracker) -> list[float]:
    """Log-probability of each answer after its prompt under the policy that the stage starts from, in nats."""
    path = cache_folder("reference") / f"{_key(job, answers, size)}.sealed"
    known = _read(path)
    if known is None:
        tracker.screen.say(f"  computing the reference's log-probabilities of {len(answers)} answers")
        parent.model.eval()  # nothing drops out
        known = evaluate.answer_logprobs(parent, answers, size)
        if why := _keep(path, known):
            tracker.screen.say(f"  note: {path}: cannot be kept ({why}); another run computes them anew")
    return known.tolist()


def _key(job: Job, answers: Sequence[Answer], size: int) -> str:
    """Changes with everything that the numbers depend on, to the last bit."""
    weights, device = job.weights, job.how.device
    adapters = [artifacts.sha256(folder / artifacts.ADAPTER) for folder in weights.adapters]
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.get_num_threads()
    how = [str(job.how.dtype), job.how.quantisation(weights), device.type, where, size, code_hash("rlhf")]
    vocabulary = [len(job.chat.tokenizer), job.chat.new_ids]
    versions = [torch.__version__, transformers.__version__]
    return artifacts.digest([weights.identity, adapters, vocabulary, how, versions, [list(one) for one in answers]])


def _read(path: Path) -> Tensor | None:
    """What was kept; None where there is nothing, or no longer what was written."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    seal, kept = content[:_SEAL], content[_SEAL:]
    return load(kept)["logprob_N"] if hashlib.sha256(kept).digest() == seal else None


_SEAL = hashlib.sha256().digest_size
"""Bytes at the start of a file that are the hash of the others."""


def _keep(path: Path, logprob_N: Tensor) -> str:
    """Written whole or not at all. Where the disk does not take it, that costs the next run its time, not this one:
    why it did not; empty where it did."""
    kept = save({"logprob_N": logprob_N.contiguous()})
    try:
        disk.put(path, hashlib.sha256(kept).digest() + kept)
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""
