"""What was freed goes back to the system, and compiled kernels are bounded."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlhf import memory


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


@pytest.mark.skipif(memory._trim() is None, reason="the C library has no malloc_trim")
def test_what_lies_between_pieces_in_use_is_given_back() -> None:
    pieces = [bytearray(b"x") * 60_000 for _ in range(2_000)]
    stay = pieces[::20]
    full = resident_mb()
    del pieces
    memory.give_back()
    assert resident_mb() < full - 60
    assert all(len(piece) == 60_000 for piece in stay)


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_trim", lambda: None)
    memory.give_back()


def test_kernels_of_many_shapes_are_not_kept() -> None:
    """In processes of their own: oneDNN reads the bound at the first product."""
    program = """
import sys, torch
from pathlib import Path
from rlhf import memory
if sys.argv[1] == "few":
    memory.keep_few_kernels()
torch.set_num_threads(1)
weight = torch.randn(256, 256).bfloat16()
for tokens in range(64, 1400):
    torch.nn.functional.linear(torch.ones(tokens, 256).bfloat16(), weight)
print(int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ONEDNN")}
    few, many = (
        float(
            subprocess.run(
                [sys.executable, "-c", program, how], env=environment, capture_output=True, check=True
            ).stdout
        )
        for how in ("few", "many")
    )
    assert few < many - 15


def test_a_bound_of_the_users_own_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")
    memory.keep_few_kernels()
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"
