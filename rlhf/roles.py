"""Policy, reference, reward and value: adapters of one model where they can be, models of their own where not.

A `Role` is a trunk, the adapters that make it this role, and perhaps a linear head on the last hidden state. Whoever
holds a role cannot tell whether it shares its trunk. Roles run without dropout: `train()` is never called on them.
"""

# B sequences, N packed tokens, M response tokens of all sequences, D hidden size, K heads

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from rlhf import text
from rlhf.adapters import of_adapter, trained
from rlhf.backends import Backend
from rlhf.data.chat import ChatFormat
from rlhf.decoder import Decoder
from rlhf.errors import RecipeError
from rlhf.lm_head import LMHead, logprobs
from rlhf.offload import Offloaded
from rlhf.packing import Packed
from rlhf.parts import Adapter, check_lm_head, lm_head, score_head
from rlhf.trunk import Trunk, trunk_of
from rlhf.weights import Weights

Critic = Literal["shared", "reward_head", "reward", "policy"]


@dataclass(frozen=True)
class Heads:
    """Several heads on one state: an ensemble, or one for each attribute."""

    linear: nn.Linear
    """(D) to (K), float32; in an ensemble each is centred as the score is, so that they differ by opinion alone."""
    names: tuple[str, ...]
    """Of the attributes; empty for an ensemble."""


@dataclass
class Role:
    """One role of a model. `adapter`: None for a model of its own, else the adapters on a shared one that make it this
    role, of which the last is the role's own; none of them for the plain base."""

    model: Any
    trunk: Trunk
    adapter: Adapter | None = None
    head: nn.Linear | None = None
    heads: Heads | None = None
    """What the head is made of, where it is several: their mean, or their weighted sum."""
    owns_body: bool = True
    """Whether adapter or model are this role's alone; false for a critic that reads another role's states."""
    exact: bool = True
    """Whether it computes what the weights it was loaded from do; false for a quantised copy of whole weights."""
    offloaded: Offloaded | None = None
    """Set where the model waits elsewhere between its uses."""

    def present(self) -> AbstractContextManager[None]:
        """Have the model at hand; one that waits elsewhere comes for as long as this lasts."""
        return self.offloaded.present() if self.offloaded else nullcontext()

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def lm_head(self) -> LMHead:
        """The head of a policy, as its adapters make it."""
        return lm_head(self.model, self.adapter)

    def hidden(self, batch: Packed, rows: Tensor | None = None, checkpointing: bool = False) -> Tensor:
        """Last hidden states of the tokens `rows` (all when None), (rows, D)."""
        return self.trunk.hidden(batch, self.adapter, rows, checkpointing)

    @torch.no_grad()
    def logprobs(self, batch: Packed, temperature: float, hidden_MD: Tensor | None = None) -> Tensor:
        """Log-probabilities of the response tokens, (M,) float32.

        `hidden_MD`: the states before the response tokens, where they are at hand.
        """
        if hidden_MD is None:
            hidden_MD = self.hidden(batch, batch.predicts_M)
        return logprobs(hidden_MD, self.lm_head, batch.target_M, temperature)

    def values(self, batch: Packed) -> Tensor:
        """Value of the state in which each response token is chosen, (M,) float32."""
        return self.read(self.hidden(batch, batch.predicts_M))

    def scores(self, batch: Packed) -> Tensor:
        """Score at the last token of each sequence, (B,) float32."""
        return self.read(self.hidden(batch, batch.last_B))

    def all_scores(self, batch: Packed, checkpointing: bool = False) -> Tensor:
        """What every output of the head says at the last token of each sequence, (B, K) float32."""
        assert self.head is not None, "this role has no head"
        return self.head(self.hidden(batch, batch.last_B, checkpointing).float())

    def read(self, hidden: Tensor) -> Tensor:
        """The head's output in float32: scores and values are differences of small numbers."""
        assert self.head is not None, "this role has no head"
        return self.head(hidden.float()).squeeze(-1)

    def opinions(self, hidden: Tensor) -> Tensor:
        """What each head of an ensemble scores, (N, K) float32; the head itself where it is one."""
        if self.heads is None or self.voices == 1:
            return self.read(hidden)[:, None]
        return self.heads.linear(hidden.float())

    @property
    def voices(self) -> int:
        """How many `opinions` it has."""
        return 1 if self.heads is None or self.heads.names else self.heads.linear.out_features

    def reads_states_of(self, other: "Role") -> bool:
        """Whether this is no more than a head on the other role's states."""
        return not self.owns_body and self.model is other.model and self.adapter == other.adapter

    def parameters(self) -> list[nn.Parameter]:
        """What belongs to this role alone: its own adapter, or its whole model, and its head."""
        named = self.model.named_parameters() if self.owns_body else ()
        body = [p for name, p in named if self.adapter is None or of_adapter(name, self.adapter[-1:])]
        return body + (list(self.head.parameters()) if self.head is not None else [])


def of(model: nn.Module, how: Backend) -> Role:
    """A model as the role that it trains for, with its head where it has one."""
    return Role(model, trunk_of(model, how.dtype), trained(model), score_head(model))


@dataclass
class Roles:
    """The roles of reinforcement learning; `value` only when the estimator needs a critic."""

    policy: Role
    reference: Role
    rewards: dict[str, Role]
    """Reward models that share the policy's base and tokens, by name."""
    value: Role | None

    @property
    def shared_critic(self) -> Role | None:
        """The critic, where it is a head on the policy's own states."""
        value = self.value
        return value if value is not None and value.reads_states_of(self.policy) else None

    @property
    def judge_below(self) -> str | None:
        """The reward whose states the critic reads, where it is a head on a reward model's."""
        value = self.value
        return next((n for n, role in self.rewards.items() if value is not None and value.reads_states_of(role)), None)

    def freeze(self, depth: int = 0) -> None:
        """Only policy and value train, and of the policy only what lies above its first `depth` layers.

        Adding an adapter re-enables gradients elsewhere, so this is said last. Raises RecipeError where the trunk is
        not one of ours, or has no layer above `depth`.
        """
        everyone = [self.policy, self.reference, *self.rewards.values(), *([self.value] if self.value else [])]
        for role in everyone:
            role.model.eval()
            for parameter in role.model.parameters():
                parameter.requires_grad_(False)
        for role in everyone:
            trains = role is self.policy or role is self.value
            for parameter in role.parameters():
                parameter.requires_grad_(trains)
        if depth:
            trunk = self.policy.trunk
            if not isinstance(trunk, Decoder):
                raise RecipeError(f"freeze_layers {depth}: the model's family is not one whose layers can be cached")
            if depth >= len(trunk.layers):
                raise RecipeError(
                    f"freeze_layers {depth}: the model has {len(trunk.layers)} layers, and one must train"
                )
            for parameter in trunk.bottom(depth):
                parameter.requires_grad_(False)


@dataclass
class _Loader:
    """Puts roles beside the policy's model, and gives roles of one model one trunk."""

    backend: Backend
    chat: ChatFormat
    model: nn.Module
    trunks: dict[int, Trunk] = field(default_factory=dict)

    def frozen(self, roles: Mapping[str, Weights]) -> dict[str, Role]:
        """Roles that do not train, by name."""
        how, found = self.backend, dict[str, Role]()
        for name, (model, adapter) in how.frozen_roles(self.model, roles, self.chat).items():
            head = head_of(roles[name], model, how.device) if roles[name].scores else None
            heads = heads_of(roles[name], how.device)
            found[name] = Role(model, self.trunk(model), adapter, head, heads, exact=how.exact)
        return _offloaded(found, how.device) if how.offloads else found

    def critic(self, weights: Weights) -> Role:
        """A role of its own that trains."""
        model, adapter = self.backend.trained_role(self.model, "value", weights, self.chat)
        return Role(model, self.trunk(model), adapter, head_of(weights, model, self.backend.device))

    def trunk(self, model: nn.Module) -> Trunk:
        if id(model) not in self.trunks:
            self.trunks[id(model)] = trunk_of(model, self.backend.dtype)
        return self.trunks[id(model)]


def load(
    backend: Backend,
    policy: Weights,
    rewards: Mapping[str, Weights],
    chat: ChatFormat,
    critic: Critic | None,
    frozen_layers: int = 0,
    judges: Mapping[str, Weights] | None = None,
) -> Roles:
    """Put the roles on one trunk where the backend can, on models of their own where it cannot.

    The reference is the policy's parent: its adapter, or a frozen copy, on which reward models may be adapters. A
    critic `shared` is a head on the policy's own states, zero at first; `reward_head` one on the frozen states of the
    first reward model, at first the head that scores; `reward` starts from the first reward model (Stiennon et al.
    2020), shifted as its scores are; `policy` from the policy with a zero head. A reward model on another base, or one
    that reads other tokens, is left out (score text instead), and a critic cannot start from it (RecipeError).
    `judges` are further reward models, which the policy is not trained on and no critic starts from. Raises
    ArtifactError where logits are made in a way that is not known.
    """
    load_ = _Loader(backend, chat, backend.load(policy, chat))
    check_lm_head(load_.model)
    fit = _fitting(backend, policy, {**rewards, **(judges or {})}, chat)
    frozen = load_.frozen({"reference": policy, **{f"reward_{name}": weights for name, weights in fit.items()}})
    reference = frozen.pop("reference")
    scorers = {name: frozen[f"reward_{name}"] for name in fit}
    actor = Role(load_.model, load_.trunk(load_.model), trained(load_.model))
    value = None
    if critic == "shared":
        value = Role(actor.model, actor.trunk, actor.adapter, _zero_head(actor.model, backend.device), owns_body=False)
    elif critic == "policy":
        value = load_.critic(policy)
    elif critic is not None:
        judge = next((name for name in fit if name in rewards), None)
        if judge is None:
            raise RecipeError(
                f"rl.critic '{critic}': no reward model has the policy's base and tokens; use 'shared' or 'policy'"
            )
        if critic == "reward_head":
            value = replace(scorers[judge], head=deepcopy(scorers[judge].head), heads=None, owns_body=False)
        else:
            value = load_.critic(fit[judge])
    roles = Roles(actor, reference, scorers, value)
    roles.freeze(frozen_layers)
    return roles


def judged(
    backend: Backend, policy: Weights, judges: Mapping[str, Weights], chat: ChatFormat
) -> tuple[Role, dict[str, Role]]:
    """A frozen policy, and beside it, on its trunk where the backend can, the judges that read its tokens."""
    actor = standalone(backend, policy, chat)
    fit = _fitting(backend, policy, judges, chat)
    return actor, _Loader(backend, chat, actor.model, {id(actor.model): actor.trunk}).frozen(fit)


def _fitting(backend: Backend, policy: Weights, judges: Mapping[str, Weights], chat: ChatFormat) -> dict[str, Weights]:
    """The judges that can be roles beside the policy and read the same tokens."""
    return {n: w for n, w in judges.items() if backend.takes(w, policy) and text.same(chat, text.load(w))}


def standalone(backend: Backend, weights: Weights, chat: ChatFormat) -> Role:
    """A frozen model on its own: a policy, or a reward model with its head."""
    model = backend.frozen(weights, chat, weights.head_kind)
    head = head_of(weights, model, backend.device) if weights.scores else None
    if head is None:
        check_lm_head(model)
    heads = heads_of(weights, backend.device)
    role = Role(model, trunk_of(model, backend.dtype), trained(model), head, heads, exact=backend.exact)
    return _offloaded({"": role}, backend.device)[""] if backend.offloads else role


def _offloaded(roles: Mapping[str, Role], device: torch.device) -> dict[str, Role]:
    """The same roles, whose models wait elsewhere; a model that several share does so once."""
    models = {id(role.model): role.model for role in roles.values()}
    away = {key: Offloaded(model, device) for key, model in models.items()}
    return {name: replace(role, offloaded=away[id(role.model)]) for name, role in roles.items()}


def heads_of(weights: Weights, device: torch.device) -> Heads | None:
    """What a reward model's head is made of, where it is several."""
    if weights.heads is None:
        return None
    with safe_open(weights.heads, "pt") as file:
        weight_KD, bias_K = file.get_tensor("weight"), file.get_tensor("bias")
        names = json.loads((file.metadata() or {}).get("names", "[]"))
    linear = nn.Linear(*reversed(weight_KD.shape), device=device, dtype=torch.float32)
    linear.weight.data.copy_(weight_KD)
    linear.bias.data.copy_(bias_K)
    return Heads(linear.requires_grad_(False), tuple(names))


def head_of(weights: Weights, model: Any, device: torch.device) -> nn.Linear:
    """The score head of a reward model, in float32, with the artifact's shift as its bias; zero for other weights."""
    head = _zero_head(model, device)
    if weights.head is not None:
        nn.init.constant_(head.bias, -weights.score_shift)
        head.weight.data.copy_(load_file(weights.head)["weight"])
    elif weights.own_head and (own := score_head(model)) is not None:
        head.weight.data.copy_(own.weight)
    return head


def _zero_head(model: Any, device: torch.device) -> nn.Linear:
    head = nn.Linear(model.config.get_text_config().hidden_size, 1, device=device, dtype=torch.float32)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return head
