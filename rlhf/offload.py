"""Models that do not train, out of the way between their uses."""

import mmap
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from rlhf.errors import ArtifactError

_ALIGNED = 64
"""Bytes; where a tensor of a mapped file may begin."""


class Offloaded:
    """A model that does not train, out of the way between its uses.

    One that works on an accelerator waits in main memory. One that works in main memory lies in a file without a name
    under TMPDIR, which goes with the process however that ends: its pages come as they are read, and leave memory after
    each use. Raises ArtifactError where that file does not fit.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self.tensors: list[Tensor] = [*model.parameters(), *model.buffers()]
        self.device = device
        self.file: mmap.mmap | None = None
        if device.type == "cpu":
            self.file, mapped = _mapped(self.tensors)
            self._put(mapped)

    @contextmanager
    def present(self) -> Iterator[None]:
        """Have the model where it works for as long as this lasts. Nothing is written back: it does not train."""
        home = [tensor.data for tensor in self.tensors]
        if self.file is None:
            self._put([tensor.to(self.device) for tensor in home])
        try:
            yield
        finally:
            self._put(home)
            if self.file is not None:
                self.file.madvise(mmap.MADV_DONTNEED)

    def _put(self, data: Sequence[Tensor]) -> None:
        for tensor, value in zip(self.tensors, data, strict=True):
            tensor.data = value


def _mapped(tensors: Sequence[Tensor]) -> tuple[mmap.mmap, list[Tensor]]:
    """A file without a name that holds the tensors, and the same tensors as views of it."""
    places: list[int] = []
    try:
        with tempfile.TemporaryFile() as file:
            for tensor in tensors:
                file.write(bytes(-file.tell() % _ALIGNED))
                places.append(file.tell())
                file.write(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().data)
            file.flush()
            whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    except OSError as error:
        raise ArtifactError(
            f"backend.offload: a frozen model of {sum(tensor.nbytes for tensor in tensors) // 2**20} MB does not go to "
            f"{tempfile.gettempdir()}: {error.strerror}; name another folder by TMPDIR, or leave offload out"
        ) from None
    return whole, [_view(whole, place, tensor) for place, tensor in zip(places, tensors, strict=True)]


def _view(whole: mmap.mmap, place: int, like: Tensor) -> Tensor:
    if not like.numel():
        return like.data
    return torch.frombuffer(whole, dtype=like.dtype, count=like.numel(), offset=place).view(like.shape)
