"""A short version of `make matrix` (tests/matrix.py): cells that the chain's own tests do not show."""

from pathlib import Path

import pytest

from tests.matrix import failed, matrix

CHAINS = [
    "sft r 8 → dpo r 2 → ppo r 16",
    "sft with new tokens → kto → simpo",
    "sft full → reward lora → ppo qlora",
    "sft r 8 with new tokens → orpo r 2",
]


@pytest.mark.parametrize(
    ("stages", "kinds", "families", "chains"),
    [
        (["simpo"], ["full"], [], []),
        (["kto"], ["dora"], [], []),
        (["reward"], ["qlora"], [], []),
        ([], [], ["gpt_neox"], CHAINS),
    ],
)
def test_cells(tmp_path: Path, stages: list[str], kinds: list[str], families: list[str], chains: list[str]) -> None:
    cells = matrix(tmp_path, stages, kinds, families, chains)
    assert len(cells) == len(stages) * len(kinds) + len(families) + len(chains)
    assert not failed(cells), {name: {k: v for k, v in cells[name].items() if not v["ok"]} for name in failed(cells)}
