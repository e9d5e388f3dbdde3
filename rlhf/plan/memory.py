"""Bytes that a stage holds at once when it holds most, from shapes and settings alone.

What is kept for the backward pass is what `rlhf.fused` and `rlhf.decoder` keep: of each layer the raw inputs of its
products, and the attention's own. Checked against measurements by `python -m benchmarks.plan`.
"""

# D hidden size, F inner size of the MLP, V vocabulary, H heads, G heads that share keys and values, E size of a head

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlhf.config import Full, LoRA, Optimizer, QLoRA
from rlhf.config.demand import Demand
from rlhf.plan.devices import Device
from rlhf.plan.lengths import Batch
from rlhf.plan.shape import Shape

Parts = Mapping[str, float]
"""Bytes by what they hold."""

LOGIT_ROWS = 512
"""Of logits that exist at a time (`rlhf.lm_head.ROWS`)."""
_LOGITS = 3
"""Tables of them in float32."""
_RANK = 16
"""Of adapters whose recipe names none."""
_NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a weight in 4 bit: blocks of 64 with a constant in 8 bit each, 256 of which share one in float32."""
_NF4_SINGLE = 0.5 + 4 / 64
OWN = {"llama", "mistral", "qwen2", "qwen3"}
"""Families that our own decoder runs."""


@dataclass(frozen=True)
class Setup:
    """What decides how much memory a stage takes."""

    shape: Shape
    backend: Full | LoRA | QLoRA
    precision: str
    demand: Demand
    device: Device
    batch: Batch
    """The largest micro-batch."""
    accumulates: bool = False
    """Whether gradients wait for further micro-batches."""
    checkpointing: bool = False
    optimizer: Optimizer = "adamw"
    judges: tuple[Shape, ...] = ()
    """Of the reward models that are held beside as models of their own."""
    judging_adapters: int = 0
    """Reward models that are adapters on the base of the one that trains."""
    drawn: Batch | None = None
    """The answers that are drawn side by side, as long as they may become, with their prompts."""
    frozen_layers: int = 0

    @property
    def stored(self) -> int:
        """Bytes of a number in what is frozen, and of activations."""
        return 2 if self.precision == "bf16" else 4

    @property
    def trained(self) -> float:
        """Parameters that train, of one model."""
        if not self.demand.trains:
            return 0
        head = 0 if self.demand.reads_head else self.shape.hidden
        if isinstance(self.backend, Full):
            whole = self.shape.parameters - (0 if self.demand.reads_head else self.shape.head)
            return whole + head
        return self.shape.adapter(self.backend.r or _RANK, tuple(self.backend.targets or ())) + head


def need(setup: Setup) -> Parts:
    """Bytes by what they hold, at the moment when a stage holds most."""
    held = _held(setup)
    phases: list[Parts] = [{"activations": 0.0}]
    if setup.demand.trains:
        phases += [_backward_begins(setup), _backward_ends(setup)]
    if setup.drawn is not None:
        phases.append(_drawing(setup, setup.drawn))
    most = max(phases, key=lambda parts: sum(parts.values()))
    if setup.device.is_cpu:
        most = {name: _SCATTERED * size for name, size in most.items()}
    return {name: size for name, size in {**held, **most}.items() if size}


_SCATTERED = 1.12
"""What the C library's allocator holds on a CPU, of what comes and goes, beside what is in use."""


def _held(setup: Setup) -> Parts:
    """What is there all the time."""
    demand, shape, backend = setup.demand, setup.shape, setup.backend
    bodies = 1 + demand.critics
    whole = shape.parameters - (0 if demand.reads_head else shape.head)
    parts = {"libraries": setup.device.context}
    if isinstance(backend, Full):
        frozen = _frozen_bytes(backend, setup)
        parts["weights"] = whole * (4.0 if demand.trains else setup.stored) * bodies
        parts["frozen copies"] = demand.copies * frozen(shape.parameters, shape.linear) + sum(
            frozen(judge.parameters - judge.head, judge.linear) for judge in setup.judges
        )
    else:
        double = isinstance(backend, QLoRA) and backend.double_quant
        four = (_NF4 if double else _NF4_SINGLE) if isinstance(backend, QLoRA) else setup.stored
        parts["weights"] = four * shape.linear + setup.stored * (whole - shape.linear)
        rank = shape.adapter(backend.r or _RANK, tuple(backend.targets or ()))
        parts["adapters"] = 4.0 * rank * (bodies + demand.copies + setup.judging_adapters)
        parts["frozen copies"] = float(sum(setup.stored * (judge.parameters - judge.head) for judge in setup.judges))
    parts["optimizer"] = adam(setup) * bodies
    return parts


def adam(setup: Setup) -> float:
    """Bytes of AdamW's two moments; in 8 bit with a constant for every 256 of each, but for embeddings."""
    if setup.optimizer == "adamw":
        return 8.0 * setup.trained
    embeddings = setup.shape.embedding if isinstance(setup.backend, Full) else 0
    return 2 * (1 + 4 / 256) * (setup.trained - embeddings) + 8.0 * embeddings


def _frozen_bytes(backend: Full, setup: Setup) -> Any:
    """How many bytes a frozen copy takes, of so many parameters, so many of which are of linear layers."""
    if backend.offload:
        return lambda parameters, linear: 0.0
    if backend.frozen_bits:
        small = _NF4 if backend.frozen_bits == 4 else 1.0
        return lambda parameters, linear: small * linear + setup.stored * (parameters - linear)
    return lambda parameters, linear: float(setup.stored * parameters)


# ------------------------------------------------------------------------------------------------ phases


def _backward_begins(setup: Setup) -> Parts:
    """All activations are there, and gradients of what came before."""
    activations, one_layer = _activations(setup)
    gradients = 4.0 * setup.trained * (1 + setup.demand.critics) if setup.accumulates else 0.0
    return {"activations": activations + one_layer, "logits": _logits(setup), "gradients": gradients}


def _backward_ends(setup: Setup) -> Parts:
    """All gradients are there, and one layer's activations."""
    _, one_layer = _activations(setup)
    return {"gradients": 4.0 * setup.trained * (1 + setup.demand.critics), "activations": one_layer}


def _activations(setup: Setup) -> tuple[float, float]:
    """What is kept of a micro-batch for the backward pass, and what one layer needs besides while it is computed."""
    shape, stored, batch = setup.shape, setup.stored, setup.batch
    of_layer = _kept_by_layer(setup)
    layers = shape.layers - setup.frozen_layers
    passing = batch.tokens * stored * (2 * shape.inner * (2 if shape.gated else 1) + 2 * shape.hidden)
    states = batch.tokens * shape.hidden * stored
    if setup.checkpointing:
        return layers * states, of_layer + passing
    return layers * of_layer + states, passing


def _kept_by_layer(setup: Setup) -> float:
    """Bytes that a layer keeps of a micro-batch."""
    shape, stored, batch = setup.shape, setup.stored, setup.batch
    q, kv = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    inner = shape.inner * (2 if shape.gated else 1)
    if shape.model_type in OWN:
        products = 2 * shape.hidden + inner  # inputs of attention and of the MLP; gate and up
        attention = (2 * q + 2 * kv) * stored + 4 * shape.heads
        if setup.device.is_cpu:  # row by row, and its output is what the next layer keeps
            return batch.tokens * (products * stored + attention)
        return batch.tokens * (products + q) * stored + batch.padded * attention
    products = 6 * shape.hidden + q + inner + (2 if shape.gated else 1) * shape.inner  # norms in float32 too
    return batch.padded * (products * stored + (4 * q + 4 * kv) * stored + 4 * shape.heads)


def _logits(setup: Setup) -> float:
    """Of the rows that exist at a time, with what becomes of them."""
    if not setup.demand.reads_head:
        return 0.0
    shape, rows = setup.shape, min(LOGIT_ROWS, setup.batch.learned)
    tables = rows * shape.vocabulary * 4.0 * _LOGITS
    if isinstance(setup.backend, Full) and setup.demand.trains:
        tables += 2 * 4.0 * shape.embedding  # the head's gradient, and what is added to it
    return tables


def _drawing(setup: Setup, drawn: Batch) -> Parts:
    """Keys and values of all answers, one layer's work on all prompts at once, and weights made ready for many small
    steps."""
    shape, stored = setup.shape, setup.stored
    q, kv = shape.heads * shape.head_size, shape.kv_heads * shape.head_size
    reading = (drawn.tokens - drawn.learned) * stored * (3 * shape.inner + 3 * shape.hidden + q + 2 * kv)
    cache = 2.0 * shape.layers * shape.kv_heads * shape.head_size * drawn.padded * stored
    answers = max(setup.demand.drawn, 1)
    logits = answers * shape.vocabulary * (4.0 * 3 + 8.0 * setup.device.is_cpu)
    ready = stored * (shape.linear + shape.embedding) if setup.device.is_cpu and shape.model_type in OWN else 0.0
    return {"keys and values": cache, "activations": reading, "logits": logits, "weights for drawing": ready}
