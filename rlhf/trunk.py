"""Roles on one trunk: policy, reference, reward and value as adapters of one model where they can be, as models else.

A `Role` is a model, the adapter that makes it this role, and perhaps a linear head on the last hidden state. Whoever
holds a role cannot tell whether it shares its trunk. Roles run without dropout: `train()` is never called on them.
"""

# B batch, T tokens (prompt and response), R response tokens, D hidden size

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from rlhf import text
from rlhf.backends import POLICY, Backend, decoder
from rlhf.data.chat import ChatFormat
from rlhf.rl.logprobs import token_logprobs
from rlhf.weights import Weights


@dataclass
class Role:
    """One role of a model. `adapter`: None for a model of its own, "" for the plain base, else an adapter's name."""

    model: Any
    adapter: str | None = None
    head: nn.Linear | None = None

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make the shared trunk this role. Unlike PEFT's own switches, leaves `requires_grad` alone."""
        if self.adapter is None:
            yield
            return
        layers = _adapted_layers(self.model)
        before = [layer._active_adapter for layer in layers]
        _activate(layers, [self.adapter] if self.adapter else [])
        try:
            yield
        finally:
            for layer, names in zip(layers, before, strict=True):
                layer._active_adapter = names

    def hidden(self, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Last hidden states, (B, T, D)."""
        with self.active():
            out = decoder(self.model)(
                input_ids=ids_BT, attention_mask=mask_BT, position_ids=positions(mask_BT), use_cache=False
            )
        return out.last_hidden_state

    def logprobs(self, ids_BT: Tensor, mask_BT: Tensor, responses: int, temperature: float) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the last `responses` tokens and the entropies there, both (B, R) float32."""
        with self.active():
            logits_BRV = self.model(
                input_ids=ids_BT,
                attention_mask=mask_BT,
                position_ids=positions(mask_BT),
                use_cache=False,
                logits_to_keep=responses + 1,
            ).logits[:, :-1]
        return token_logprobs(logits_BRV, ids_BT[:, -responses:], temperature)

    def values(self, ids_BT: Tensor, mask_BT: Tensor, responses: int) -> Tensor:
        """Value of the state in which each of the last `responses` tokens is chosen, (B, R) float32."""
        return self._read(self.hidden(ids_BT, mask_BT)[:, -responses - 1 : -1])

    def scores(self, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Score at the last unmasked token of each row, (B,) float32."""
        hidden_BTD = self.hidden(ids_BT, mask_BT)
        last_B = mask_BT.shape[1] - 1 - mask_BT.flip(1).long().argmax(1)
        rows_B = torch.arange(len(ids_BT), device=ids_BT.device)
        return self._read(hidden_BTD[rows_B, last_B])

    def _read(self, hidden: Tensor) -> Tensor:
        """The head's output in float32, under autocast too: scores and values are differences of small numbers."""
        assert self.head is not None, "this role has no head"
        with torch.autocast(hidden.device.type, enabled=False):
            return self.head(hidden.float()).squeeze(-1)

    def parameters(self) -> list[nn.Parameter]:
        """What belongs to this role alone: its adapter, or its whole model, and its head."""
        body = [p for name, p in self.model.named_parameters() if self.adapter is None or f".{self.adapter}." in name]
        return body + (list(self.head.parameters()) if self.head is not None else [])


@dataclass
class Roles:
    """The four roles of reinforcement learning from a reward model; `value` only when the estimator needs a critic."""

    policy: Role
    reference: Role
    reward: Role | None
    value: Role | None

    def freeze(self) -> None:
        """Only policy and value train. Adding an adapter re-enables gradients elsewhere, so this is said last."""
        everyone = [role for role in (self.policy, self.reference, self.reward, self.value) if role is not None]
        for role in everyone:
            role.model.eval()
            for parameter in role.model.parameters():
                parameter.requires_grad_(False)
        for role in everyone:
            trains = role is self.policy or role is self.value
            for parameter in role.parameters():
                parameter.requires_grad_(trains)


def load(backend: Backend, policy: Weights, reward: Weights, chat: ChatFormat, critic: bool) -> Roles:
    """Put the roles on one trunk where the backend can, on models of their own where it cannot.

    The reference is the policy's parent: its adapter, or a frozen copy. The critic starts from the reward model
    (Stiennon et al. 2020), shifted as its scores are. A reward model on another base, or one that reads other tokens,
    is left out (`reward` is None: score text instead); the critic then starts from the policy with a zero head.
    """
    model = backend.load(policy, chat)
    reference = Role(*backend.role(model, "reference", policy, chat))
    fits = backend.takes(reward, policy) and text.same(chat, text.load(reward))
    judge = _with_head(backend, model, "reward", reward, chat) if fits else None
    value = _with_head(backend, model, "value", reward if fits else policy, chat, trains=True) if critic else None
    roles = Roles(Role(model, POLICY if reference.adapter is not None else None), reference, judge, value)
    roles.freeze()
    return roles


def standalone(backend: Backend, weights: Weights, chat: ChatFormat) -> Role:
    """A frozen model on its own: a policy, or a reward model with its head."""
    model = backend.load(weights, chat, "score" if weights.head else "lm").eval().requires_grad_(False)
    head = _head(weights, model) if weights.head else None
    return Role(model, None, head)


def _with_head(
    backend: Backend, model: nn.Module, name: str, weights: Weights, chat: ChatFormat, trains: bool = False
) -> Role:
    role = Role(*backend.role(model, name, weights, chat, trains))
    role.head = _head(weights, role.model)
    return role


def _head(weights: Weights, model: Any) -> nn.Linear:
    """The saved score head, in float32, with the artifact's shift as its bias; zero when there is none."""
    config = model.config
    device = next(model.parameters()).device
    head = nn.Linear(config.get_text_config().hidden_size, 1, device=device, dtype=torch.float32)
    nn.init.zeros_(head.weight)
    nn.init.constant_(head.bias, -weights.score_shift)
    if weights.head is not None:
        head.weight.data.copy_(load_file(weights.head)["weight"])
    return head


def positions(mask_BT: Tensor) -> Tensor:
    """Position ids that follow the attention mask, so that left padding shifts nothing."""
    return (mask_BT.long().cumsum(1) - 1).clamp(min=0)


def _adapted_layers(model: nn.Module) -> list[Any]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [layer for layer in model.modules() if isinstance(layer, BaseTunerLayer)]


def _activate(layers: list[Any], names: list[str]) -> None:
    for layer in layers:
        layer._active_adapter = names
