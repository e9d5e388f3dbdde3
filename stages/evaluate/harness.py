"""Public benchmarks by EleutherAI's lm-evaluation-harness, an optional extra, through its API."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rlhf import loading
from rlhf.errors import RecipeError
from stages.evaluate.config import HarnessConfig
from stages.evaluate.sides import Side

Row = dict[str, Any]


def benchmarked(config: HarnessConfig, sides: Mapping[str, Side], size: int, seed: int) -> Iterator[Row]:
    """A row for each side, task and metric: its `value`, and its `stderr` where the harness tells one.

    Models are merged in memory and answer as plain ones of transformers. Raises RecipeError for a task that it does not
    know.
    """
    import lm_eval  # type: ignore[import-not-found]
    from lm_eval.models.huggingface import HFLM  # type: ignore[import-not-found]
    from lm_eval.tasks import TaskManager  # type: ignore[import-not-found]

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    known = TaskManager()
    if unknown := [name for name in config.tasks if not known.match_tasks([name])]:
        raise RecipeError(f"harness.tasks: '{unknown[0]}' is no task or group of lm-evaluation-harness")
    for name, side in sides.items():
        model = loading.in_precision(loading.merged(side.weights, side.chat), side.role.trunk.dtype)
        model.to(side.role.device).eval()  # type: ignore[arg-type]
        found = lm_eval.simple_evaluate(
            model=HFLM(pretrained=model, tokenizer=side.chat.tokenizer, batch_size=size),
            tasks=[*config.tasks, *([str(config.file)] if config.file else [])],
            num_fewshot=config.examples,
            limit=config.limit,
            task_manager=known,
            apply_chat_template=config.chat,
            log_samples=False,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
        assert found is not None, "this is the process that is told"
        for task, measured in found["results"].items():
            yield from _rows(name, task, measured)


def _rows(side: str, task: str, measured: Mapping[str, Any]) -> Iterator[Row]:
    """The harness writes `acc,none` and `acc_stderr,none` for a metric and a filter of answers."""
    for key, value in measured.items():
        metric, _, filtered = key.partition(",")
        if metric.endswith("_stderr") or not filtered or not isinstance(value, int | float):
            continue
        error = measured.get(f"{metric}_stderr,{filtered}")
        known = {"stderr": error} if isinstance(error, int | float) else {}
        called = metric if filtered == "none" else f"{metric}_{filtered}"
        yield {"model": side, "task": task, "metric": called, "value": float(value), **known}


def metrics(rows: Sequence[Row]) -> dict[str, float]:
    """`policy_harness/TASK/METRIC`, and its standard error beside it."""
    found: dict[str, float] = {}
    for row in rows:
        name = f"{row['model']}_harness/{row['task']}/{row['metric']}"
        found |= {name: row["value"], **({f"{name}_stderr": row["stderr"]} if "stderr" in row else {})}
    return found
