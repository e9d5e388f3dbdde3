"""What was freed between pieces that stay goes back to the system."""

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
