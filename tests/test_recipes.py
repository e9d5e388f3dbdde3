"""Every shipped recipe is valid, opens with its command, and is complete for editors."""

from pathlib import Path

import pytest

from rlhf.recipe import load
from rlhf.resources import recipe_names

RECIPES = Path(__file__).parent.parent / "recipes"


def test_recipes_are_found_by_name() -> None:
    assert recipe_names() == sorted(path.stem for path in RECIPES.glob("*.yaml"))
    assert "quickstart" in recipe_names()


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipe(name: str) -> None:
    recipe = load(name)
    assert recipe.stages
    lines = (RECIPES / f"{name}.yaml").read_text().splitlines()
    assert lines[0].startswith(f"# rlhf run {name}") or lines[0] == f"# rlhf run recipes/{name}.yaml"
    assert lines[1] == "# yaml-language-server: $schema=schema.json"


@pytest.mark.parametrize("kind", ["full", "lora", "qlora"])
def test_the_quickstart_takes_every_backend(kind: str) -> None:
    recipe = load("quickstart", [f"backend.kind={kind}"])
    rates = {name: stage.lr for name, stage in recipe.stages.items() if name != "evaluate"}
    assert all(0 < rate < 0.1 for rate in rates.values())
