"""A model that waits elsewhere is the same model whenever it is present."""

import tempfile
from pathlib import Path

import pytest
import torch

from rlhf import memory, text
from rlhf.backends import backend
from rlhf.config import Full
from rlhf.errors import ArtifactError
from rlhf.offload import Offloaded
from rlhf.roles import load, standalone
from tests.rlhf.test_backends import TINY, weights_of
from tests.rlhf.test_memory import resident_mb
from tests.rlhf.test_roles import batch


def test_on_a_cpu_it_lies_in_a_file_and_computes_the_same_bits() -> None:
    weights = weights_of(TINY)
    chat = text.load(weights)
    here = standalone(backend(Full()), weights, chat)
    away = standalone(backend(Full(offload=True)), weights, chat)
    for _ in range(2):
        with away.present():
            assert torch.equal(away.logprobs(batch(), 1.0), here.logprobs(batch(), 1.0))


def test_its_pages_leave_memory_after_each_use() -> None:
    layer = torch.nn.Linear(4096, 4096)  # 64 MiB
    away = Offloaded(layer, torch.device("cpu"))
    for _ in range(2):
        memory.give_back()
        before = resident_mb()
        with away.present():
            layer.weight.sum()
            assert resident_mb() > before + 60
        assert resident_mb() < before + 4


def test_what_is_written_while_it_is_present_is_forgotten() -> None:
    layer = torch.nn.Linear(3, 3)
    before = layer.weight.detach().clone()
    away = Offloaded(layer, torch.device("cpu"))
    with away.present():
        layer.weight.data.zero_()
    with away.present():
        assert torch.equal(layer.weight, before)


def test_for_an_accelerator_it_waits_in_main_memory_and_is_not_copied_back() -> None:
    layer = torch.nn.Linear(3, 3)
    home = [tensor.data_ptr() for tensor in layer.parameters()]
    away = Offloaded(layer, torch.device("cuda"))
    away.device = torch.float64  # type: ignore[assignment]  # where there is one device, another type shows the visit
    with away.present():
        assert {tensor.dtype for tensor in layer.parameters()} == {torch.float64}
    assert [tensor.data_ptr() for tensor in layer.parameters()] == home


def test_types_shapes_and_odd_sizes_come_back() -> None:
    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scalar", torch.tensor(3.5, dtype=torch.float64))
            self.register_buffer("small", torch.arange(7, dtype=torch.uint8))
            self.register_buffer("turned", torch.randn(3, 5).bfloat16().T)
            self.register_buffer("none", torch.empty(0, 4))
            self.register_buffer("flags", torch.tensor([True, False, True]))

    odd = Odd()
    before = {name: tensor.clone() for name, tensor in odd.named_buffers()}
    away = Offloaded(odd, torch.device("cpu"))
    with away.present():
        for name, tensor in odd.named_buffers():
            assert tensor.dtype == before[name].dtype and torch.equal(tensor, before[name]), name


def test_roles_of_one_frozen_copy_wait_as_one() -> None:
    weights = weights_of(TINY)
    roles = load(backend(Full(offload=True)), weights, {}, text.load(weights), None)
    assert roles.reference.offloaded is not None and roles.policy.offloaded is None
    assert all(parameter.numel() for parameter in roles.policy.parameters())


def test_nothing_is_left_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    away = Offloaded(torch.nn.Linear(64, 64), torch.device("cpu"))
    assert away.file is not None and list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_take_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = tmp_path / "missing"
    monkeypatch.setattr(tempfile, "tempdir", str(missing))
    with pytest.raises(ArtifactError, match=rf"a frozen model of 1 MB does not go to {missing}: No such .*TMPDIR"):
        Offloaded(torch.nn.Linear(512, 512, bias=False), torch.device("cpu"))
