"""What the top of a recipe file may say, and the kinds of stages that are installed."""

from functools import cache
from importlib.metadata import entry_points
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from rlhf.config import BackendConfig, LoRA, ModelRef, StageConfig, Strict, Template, TrackingConfig
from rlhf.config.data import path_alone

INHERITED = ("model", "backend", "seed", "deterministic", "precision", "template")
"""Keys that a recipe may set once for all its stages."""

LONGEST_NAME = 100
"""Characters of a name that a folder is called by."""


class RecipeConfig(Strict):
    """The top of a recipe file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=LONGEST_NAME)
    """Names the run folder."""
    description: str = ""
    """One sentence for the reader."""
    model: ModelRef | None = None
    """Model of every stage that names none."""
    backend: BackendConfig = Field(default_factory=LoRA)
    """Backend of every stage that names none."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of every stage that names none."""
    deterministic: bool = False
    """Whether every stage that does not say computes by deterministic algorithms alone."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of every stage that names none."""
    template: Template | None = None
    """Chat template of every stage that names none."""
    data: Annotated[dict[str, Any] | None, BeforeValidator(path_alone)] = None
    """Source of every data block that names none, and settings for those that do not say otherwise."""
    tracking: TrackingConfig = TrackingConfig()
    """Where metrics go besides metrics.jsonl."""
    stages: dict[str, dict[str, Any]] = Field(min_length=1)
    """Stage name to its settings, in the order they run."""


@cache
def stage_kinds() -> dict[str, type[StageConfig]]:
    """Every stage installed, by kind: the entry points of the group `rlhf.stages`."""
    return {point.name: point.load() for point in entry_points(group="rlhf.stages")}
