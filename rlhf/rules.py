"""Rules: Python functions that score a response, for what can be computed and need not be learned."""

import importlib.util
import inspect
from collections.abc import Callable
from typing import cast

from rlhf.config import RuleConfig
from rlhf.errors import RecipeError
from rlhf.resources import is_shipped

Rule = Callable[[list[dict[str, str]], str], float]


def load(config: RuleConfig) -> Rule:
    """The function a rule names. Raises RecipeError when the file is missing, not trusted, or lacks the function."""
    if not config.file.is_file():
        raise RecipeError(f"rule: no file {config.file}")
    if not (config.trust_code or is_shipped(config.file)):
        raise RecipeError(f"rule: {config.file} is Python code from outside rlhf; read it, then set `trust_code: true`")
    spec = importlib.util.spec_from_file_location(f"rlhf_rule_{config.file.stem}", config.file)
    assert spec is not None and spec.loader is not None, config.file
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rule = getattr(module, config.function, None)
    if not callable(rule):
        known = [name for name, item in vars(module).items() if inspect.isfunction(item) and not name.startswith("_")]
        raise RecipeError(f"rule: {config.file} has no function '{config.function}'; it has: {', '.join(known)}")
    return cast(Rule, rule)
