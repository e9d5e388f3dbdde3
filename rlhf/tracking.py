"""Metrics of a stage: always a line in `metrics.jsonl`; Weights & Biases when asked. A tracker never stops a run."""

import json
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlhf.config import TrackingConfig, WandB
from rlhf.console import Screen
from rlhf.privacy import masked, no_telemetry
from rlhf.progress import METRICS, STEPS


class Tracker:
    """Where a stage reports. One a stage; close it when the stage is over."""

    def __init__(
        self,
        folder: Path,
        screen: Screen,
        config: TrackingConfig,
        *,
        recipe: str,
        stage: str,
        settings: Mapping[str, Any],
        home: Path | None = None,
    ) -> None:
        """`home`: where `folder` will lie once the stage is over."""
        self.path = folder / METRICS
        self.screen = screen
        self._file = self.path.open("a", encoding="utf-8")
        self._start = time.time()
        self._step, self._steps = 0, 0
        self._wandb = _start_wandb(config.wandb, folder, recipe, stage, settings) if config.wandb else None
        if self._wandb is not None and self._wandb.settings.mode == "offline":
            kept = (home or folder) / Path(self._wandb.dir).parent.relative_to(folder.resolve())
            screen.say(f"  W&B is offline; upload later with: wandb sync {kept}")

    def log(self, metrics: Mapping[str, Any], step: int, steps: int | None = None) -> None:
        """Record numbers at a step; shown on screen when `steps`, the last step to come, is given."""
        self._step = step
        values = {key: _plain(value) for key, value in metrics.items()}
        record = {"step": step, "time": round(time.time() - self._start, 3), **values}
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        if steps and steps != self._steps:
            self._steps = steps
            self.path.with_name(STEPS).write_text(f"{steps}\n", encoding="utf-8")
        if steps:
            self.screen.progress(step, steps, values)
        self._to_wandb(lambda run: run.log(dict(values), step=step))

    def rewind(self, step: int) -> None:
        """Forget what was logged after `step`: an interrupted stage goes on from there."""
        self._file.close()
        beside, last = self.path.with_suffix(".new"), 0.0
        with self.path.open(encoding="utf-8") as old, beside.open("w", encoding="utf-8") as new:
            for line in old:
                if line.endswith("}\n") and (logged := json.loads(line))["step"] <= step:  # the last may be torn
                    new.write(line)
                    last = logged["time"]
        self._start = min(self._start, time.time() - last)
        beside.replace(self.path)
        self._file = self.path.open("a", encoding="utf-8")

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table of samples: to W&B; the stage keeps its own file."""

        def send(run: Any) -> None:
            import wandb

            run.log({name: wandb.Table(columns=list(columns), data=[list(row) for row in rows])}, step=self._step)

        self._to_wandb(send)

    def close(self, summary: Mapping[str, Any] | None = None) -> None:
        """Finish; `summary` becomes the W&B run's summary."""

        def finish(run: Any) -> None:
            run.summary.update({k: v for k, v in (summary or {}).items() if isinstance(v, int | float)})
            run.finish()

        self._to_wandb(finish)
        self._wandb = None
        self._file.close()

    def _to_wandb(self, action: Any) -> None:
        if self._wandb is None:
            return
        try:
            action(self._wandb)
        except Exception as error:  # a tracker never stops a run
            warnings.warn(masked(f"W&B failed and is off for the rest of this stage: {error}"), stacklevel=2)
            self._wandb = None


def _start_wandb(config: WandB, folder: Path, recipe: str, stage: str, settings: Mapping[str, Any]) -> Any | None:
    """A W&B run: one group a recipe, one job type a stage. Offline without a key; None when W&B cannot start.

    It is told the stage's settings and metrics, not how the command was called, on what machine or with what packages.
    """
    if config.mode == "disabled":
        return None
    no_telemetry()
    try:
        import wandb

        mode = config.mode
        if mode == "auto":
            mode = os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False) else "offline")
        return wandb.init(
            project=config.project,
            entity=config.entity,
            group=recipe,
            job_type=stage,
            name=f"{recipe}/{stage}",
            tags=config.tags,
            config=masked(dict(settings)),
            dir=folder.resolve(),
            mode=mode,  # type: ignore[arg-type]
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                save_code=False,
                x_disable_meta=True,  # the command's words among others
                x_disable_machine_info=True,
                x_save_requirements=False,
            ),
        )
    except Exception as error:  # a tracker never stops a run
        warnings.warn(masked(f"W&B did not start, training goes on without it: {error}"), stacklevel=2)
        return None


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
