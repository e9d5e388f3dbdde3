"""A part of benchmarks/reliability/recipes.py: recipes wrong in one place are refused at once, with the place."""

import itertools
from pathlib import Path

import pytest

from benchmarks.reliability.recipes import Case, attempt, bases, shapes, spoilt, uncovered, workplace
from rlhf.recipe import load, parse
from rlhf.recipe.config import stage_kinds
from rlhf.resources import recipe_names
from rlhf.yamlfile import MOST_BYTES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return workplace(tmp_path_factory.mktemp("reliability"))


@pytest.mark.parametrize("case", [c for c in shapes() if len(c.text) < MOST_BYTES], ids=lambda case: case.name)
def test_a_file_that_is_no_recipe(case: Case, folder: Path) -> None:
    assert not attempt(case, folder)


@pytest.mark.parametrize("base", [*recipe_names(), *(f"whole-{kind}" for kind in stage_kinds())])
def test_a_recipe_wrong_in_one_place(base: str, folder: Path) -> None:
    few = itertools.islice(spoilt(base, *bases(folder, base)[base]), len(base), None, 83)
    assert not [f"{case.name}: {problem}" for case in few if (problem := attempt(case, folder))]


def test_every_field_is_spoilt_somewhere(folder: Path) -> None:
    assert not uncovered(folder)


@pytest.mark.parametrize("name", recipe_names())
def test_a_lock_is_a_recipe(name: str) -> None:
    assert parse(load(name).resolved()).stages == load(name).stages
