"""Our side of the comparison: a stage's own program, told where to find its rows and nothing else.

python -m benchmarks.speed.ours WORK        as JSON; run by __main__.py, in a process of its own
"""

import os
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.speed.work import RANK, Meter, Work, fresh

os.environ["RLHF_CACHE"] = tempfile.mkdtemp(prefix="rlhf-speed-")  # a reference that was read before would cost nothing


def main() -> None:
    work = Work.told()
    from rlhf import libraries

    libraries.prepare()
    import bitsandbytes  # noqa: F401  (libraries are loaded before memory is counted, on both sides)
    import peft  # noqa: F401
    import torch
    from safetensors.torch import save_file
    from transformers import set_seed

    from rlhf import reference, training
    from rlhf.console import Screen
    from rlhf.weights import Weights, identity

    stage, config = program(work)
    set_seed(work.seed)
    base = Path(work.model)
    weights = Weights(base=base, name=base.name, identity=identity(base), tokenizer=base)
    spent = {"cpu": 0.0, "wall": 0.0}
    run, logprobs = training.run, reference.logprobs

    def from_here(trainer: Any, *rest: Any) -> Any:
        """Note what trains as it is before the first step."""
        save_file({name: p.detach().clone() for name, p in fresh(trainer.model).items()}, work.start)
        return run(trainer, *rest)

    def timed(job: Any, parent: Any, answers: Any, *rest: Any) -> Any:
        cpu, wall = time.process_time(), time.monotonic()
        found = logprobs(job, parent, answers, *rest)
        spent.update(cpu=time.process_time() - cpu, wall=time.monotonic() - wall)
        return found

    training.run, reference.logprobs = from_here, timed
    meter = Meter()
    tracker = SimpleNamespace(
        screen=Screen(quiet=True),
        log=lambda logs, *_: meter.mark(logs),
        rewind=lambda *_: None,
        histogram=lambda *_: None,
        curve=lambda *_: None,
    )
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as out:
        stage.run(config, {"model": weights}, Path(out), tracker)
    meter.tell(spent)


def program(work: Work) -> tuple[Any, Any]:
    """The stage's module and settings."""
    from importlib import import_module

    config_of = {"sft": "SFTConfig", "reward": "RewardConfig", "dpo": "DPOConfig"}[work.stage]
    lora = {"r": RANK, "alpha": 2 * RANK}
    raw: dict[str, Any] = {
        "name": work.stage,
        "model": work.model,
        "data": {"path": str(work.texts), "eval_fraction": 0.0, "max_length": work.max_length},
        "backend": {"kind": work.backend, **({} if work.backend == "full" else lora)},
        "seed": work.seed,
        "train": {
            "max_steps": work.steps,
            "batch_size": work.batch,
            "lr": work.lr,
            "schedule": "constant",
            "warmup": 0,
            "log_every": 1,
            "checkpoint_every": 0,
        },
    }
    if work.stage == "reward":
        raw |= {"center": False, "center_coefficient": 0.0}  # TRL has neither unless told
    settings = import_module(f"stages.{work.stage}.config")
    return import_module(f"stages.{work.stage}.run"), getattr(settings, config_of).model_validate(raw)


if __name__ == "__main__":
    main()
