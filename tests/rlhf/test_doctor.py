"""What is said of a machine."""

import pytest
import torch

from rlhf import doctor


def test_a_rate_is_products_and_sums_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    ran = []
    monkeypatch.setattr(doctor, "_fastest", lambda act: ran.append(act()) or 0.5)
    assert doctor._rate(torch.device("cpu"), torch.float32) == 2 * doctor._SIZE**3 / 0.5 and len(ran) == 1


@pytest.mark.parametrize(("ratio", "words"), [(2.5, "uses that"), (0.4, "saves memory and no time here")])
def test_bf16_is_advised_where_it_is_faster(monkeypatch: pytest.MonkeyPatch, ratio: float, words: str) -> None:
    rates = {torch.float32: 1e11, torch.bfloat16: ratio * 1e11}
    monkeypatch.setattr(doctor, "_rate", lambda device, dtype: rates[dtype])
    told = doctor.accelerations()
    assert told["products"] == "100 GFLOP/s in float32"
    assert told["bf16"].startswith(f"products go {ratio:.1f} times as fast") and told["bf16"].endswith(words)


def test_idle_cores_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_rate", lambda device, dtype: 1e11)
    monkeypatch.setattr(doctor.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    threads = torch.get_num_threads()
    assert doctor.accelerations()["threads"] == f"{64 - threads} of the cores do nothing: OMP_NUM_THREADS=64 uses them"
