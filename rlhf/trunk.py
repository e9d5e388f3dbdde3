"""The body that roles share: packed tokens in, hidden states out, under the adapters of whoever asks."""

# B sequences, N packed tokens, D hidden size

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from rlhf.adapters import activate, adapted_layers
from rlhf.decoder import Decoder, matches
from rlhf.packing import Packed
from rlhf.parts import Adapter, decoder


class Trunk(Protocol):
    """A frozen or training body that several adapters may share: packed tokens in, hidden states out."""

    dtype: torch.dtype

    def hidden(
        self, batch: Packed, adapter: Adapter | None, rows: Tensor | None = None, checkpointing: bool = False
    ) -> Tensor:
        """Last hidden states of the tokens `rows` (all when None), (rows, D). `adapter` as in `Role`."""
        ...


class Padded:
    """transformers' own forward pass, for families that `Decoder` does not know."""

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        self.model, self.dtype = model, dtype

    def hidden(
        self, batch: Packed, adapter: Adapter | None, rows: Tensor | None = None, checkpointing: bool = False
    ) -> Tensor:
        ids_BT, mask_BT = batch.padded()
        with (
            active(self.model, adapter),
            recomputing(self.model, adapter) if checkpointing and torch.is_grad_enabled() else nullcontext(),
            torch.autocast(batch.device.type, self.dtype, enabled=self.dtype != torch.float32),
        ):
            out = decoder(self.model)(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False)
        hidden_ND = out.last_hidden_state.flatten(0, 1)[batch.slot_N]
        return hidden_ND if rows is None else hidden_ND[rows]


@contextmanager
def recomputing(model: nn.Module, adapter: Adapter | None) -> Iterator[None]:
    """Have a transformers model keep only its layers' inputs, and compute the rest again with the same adapter.

    It does so when a layer says that it trains; inside, where a layer may drop out, none says so.
    """

    def both(layer: nn.Module) -> tuple[Any, Any]:
        return evaluating(layer), active(model, adapter)

    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    before = [layer.training for layer in layers]
    for layer in layers:
        layer.gradient_checkpointing, layer.training = True, True
        again = partial(checkpoint, use_reentrant=False, context_fn=partial(both, layer))
        layer._gradient_checkpointing_func = again  # type: ignore[assignment]
    try:
        yield
    finally:
        for layer, trains in zip(layers, before, strict=True):
            layer.gradient_checkpointing, layer.training = False, trains


@contextmanager
def evaluating(layer: nn.Module) -> Iterator[None]:
    """The layer itself does not train; what is inside it is left as it is."""
    before = layer.training
    layer.training = False
    try:
        yield
    finally:
        layer.training = before


def trunk_of(model: nn.Module, dtype: torch.dtype) -> Trunk:
    """The fastest trunk that computes what the model does, in arithmetic of `dtype`."""
    return Decoder(model, dtype) if matches(model) else Padded(model, dtype)


@contextmanager
def active(model: nn.Module, adapter: Adapter | None) -> Iterator[None]:
    """Make a shared model one role's. Unlike PEFT's own switches, leaves `requires_grad` alone."""
    if adapter is None:
        yield
        return
    layers = adapted_layers(model)
    before = [layer._active_adapter for layer in layers]
    activate(model, adapter)
    try:
        yield
    finally:
        for layer, names in zip(layers, before, strict=True):
            layer._active_adapter = names
