"""A user's own Python functions, run only when a recipe says that their code may be trusted."""

import importlib.util
import inspect
import sys
from collections.abc import Callable
from typing import Any

from rlhf.config.strict import CodeConfig
from rlhf.errors import RecipeError


def function(config: CodeConfig, called: str) -> Callable[..., Any]:
    """The function that a block names; `called` is what errors call it. Raises RecipeError when its file does not run,
    or lacks the function."""
    spec = importlib.util.spec_from_file_location(f"rlhf_{called}_{config.file.stem}", config.file)
    assert spec is not None and spec.loader is not None, config.file
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for it
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise RecipeError(f"{called}: {config.file} does not run: {type(error).__name__}: {error}") from error
    found = getattr(module, config.function, None)
    if not callable(found):
        known = [name for name, item in vars(module).items() if inspect.isfunction(item) and not name.startswith("_")]
        raise RecipeError(f"{called}: {config.file} has no function '{config.function}'; it has: {', '.join(known)}")
    return found
