"""docs/metrics.md names every number that stages log, and none that nothing logs."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from trl.trainer import dpo_trainer, kto_trainer, sft_trainer

from rlhf.artifact import ACCOUNTS
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "metrics.md").read_text("utf-8")
PLACES = {"side": "(baseline|prompted|policy)", "judge": "(reward|held_out|gold|llm)"}
EVERY = ("Every line", "The last line")
RUN = ("sft", "reward", "dpo", "ppo", "evaluate")
"""Kinds of stages that the tests' recipe has."""


class Named(NamedTuple):
    """A name on the page, and the stages under which it stands; none for all."""

    name: str
    kinds: tuple[str, ...]

    def matches(self, key: str) -> bool:
        parts = re.split(r"(<\w+>|\[\w+\])", self.name)
        told = {"<": lambda part: PLACES.get(part[1:-1], ".+"), "[": lambda part: f"({part[1:-1]})?"}
        pattern = "".join(told.get(part[:1], re.escape)(part) for part in parts)
        return re.fullmatch(pattern, key) is not None


def named() -> Iterator[Named]:
    for section in PAGE.split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        kinds = tuple(re.findall(r"`(\w+)`", title))
        if kinds or title in EVERY:
            for row in re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE):
                yield from (Named(name, kinds) for name in re.findall(r"`(.+?)`", row))


def logged(folder: Path) -> set[str]:
    """Names in a stage's log; those of its account without the path that says so."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert ACCOUNTS in lines[-1]
    return {name.removeprefix("metrics/") for line in lines for name in line}


def unnamed(kind: str, folder: Path) -> list[str]:
    mine = [one for one in named() if not one.kinds or kind in one.kinds]
    return sorted(name for name in logged(folder) if not any(one.matches(name) for one in mine))


@pytest.mark.parametrize("finished", ["lora"], indirect=True)
def test_what_stages_log_is_on_the_page(finished: Any) -> None:
    _, _, made = finished
    assert {made[kind].stage for kind in RUN} == set(RUN)
    assert [name for kind in RUN for name in unnamed(kind, made[kind].folder)] == []


@pytest.mark.parametrize("finished", ["lora"], indirect=True)
def test_a_name_that_is_not_on_the_page_is_found(finished: Any, tmp_path: Path) -> None:
    log = (finished[2]["sft"].folder / "metrics.jsonl").read_text("utf-8")
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 1, "explained_variance": 0.1, "a_new_one": 2}}\n{log}')
    assert unnamed("sft", tmp_path) == ["a_new_one", "explained_variance"], "that of `ppo` is none of `sft`"


SOURCES = [*ROOT.glob("rlhf/**/*.py"), *ROOT.glob("stages/**/*.py")]
LIBRARIES = [Path(str(module.__file__)) for module in (dpo_trainer, kto_trainer, sft_trainer)]
TRAINERS = {"loss", "grad_norm", "learning_rate", "epoch", "runtime", "samples_per_second", "steps_per_second"}
"""What transformers' own trainer logs; it makes some of these names up of others."""


def test_what_is_on_the_page_is_logged() -> None:
    """The words that a name is made of stand in the code that logs it, each as a string or a part of one."""
    code = "\n".join(path.read_text("utf-8") for path in (*SOURCES, *LIBRARIES))
    strings = re.findall(r'"([^"\s]+)"', code)  # and no sentence
    words = TRAINERS | {word for string in strings for word in re.findall(r"\w+", re.sub(r"\{.*?\}", " ", string))}
    names = [one.name for one in named()]
    assert len(names) > 120 and len(set(named())) == len(names)
    assert [name for name in names if not made_of(name, words)] == []
    assert not made_of("<side>_no_such_measure", words) and not made_of("heldout/nothing_such", words)


def made_of(name: str, words: set[str]) -> bool:
    """Whether all of a name's parts are words, or several of them with `_` between."""
    plain = re.sub(r"<\w+>|\[\w+\]", " ", name)
    return all(_joined(part.strip("_"), words) for part in re.findall(r"\w+", plain) if part.strip("_"))


def _joined(part: str, words: set[str]) -> bool:
    known = {word.strip("_") for word in words}
    return part in known or any(
        part[:i] in known and _joined(part[i + 1 :], words) for i, letter in enumerate(part) if letter == "_"
    )
