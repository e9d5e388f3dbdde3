"""Rules: Python functions that score a response, for what can be computed and need not be learned."""

import inspect
from collections.abc import Callable
from typing import Any, Protocol

from rlhf import usercode
from rlhf.config import RuleConfig
from rlhf.errors import DataError, RecipeError


class Rule(Protocol):
    """Judges a response."""

    def __call__(self, messages: list[dict[str, str]], response: str, answer: str | None = None) -> float:
        """Score of a response to a conversation, given what the prompt's row says is right."""
        ...


def load(config: RuleConfig) -> Rule:
    """The function a rule names. Raises RecipeError when its file does not run, or lacks the function."""
    rule = usercode.function(config, "rule")
    return _guarded(rule, f"{config.file.name}: {config.function}")


def _guarded(rule: Callable[..., Any], name: str) -> Rule:
    """The rule, with its faults told as the user's own. It is told the right answer when it has an argument of that
    name or needs a third one."""
    places = inspect.signature(rule).parameters
    plain = [p for p in places.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = [p for p in plain if p.default is p.empty]
    takes_any = any(p.kind is p.VAR_POSITIONAL for p in places.values())
    if len(needed) > 3 or (len(plain) < 2 and not takes_any):
        raise RecipeError(
            f"rule {name} takes {', '.join(places)}; it is given messages, response and, third, the answer"
        )
    by_name, told = "answer" in places, len(needed) > 2

    def score(messages: list[dict[str, str]], response: str, answer: str | None = None) -> float:
        if told and answer is None:
            raise DataError(
                f"rule {name} compares with the right answer: give the prompt's row a field `answer`, a text"
            )
        messages = [dict(message) for message in messages]  # a rule may write on its copy
        try:
            if by_name:
                return float(rule(messages, response, answer=answer))
            return float(rule(messages, response, answer) if told else rule(messages, response))
        except (Exception, SystemExit) as error:
            what = f"{type(error).__name__}: {error}"
            raise RecipeError(f"rule {name} failed on the response {response[:80]!r}: {what}") from error

    return score
