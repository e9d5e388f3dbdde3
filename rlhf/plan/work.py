"""What a stage computes, and how long that takes: products of matrices, by the token."""

from dataclasses import dataclass

from rlhf.config import Full
from rlhf.plan.memory import OWN, Setup, adam
from rlhf.plan.shape import Shape

_DRAWN = 0.6
"""Share of its memory's rate that an accelerator reads weights at while it draws answers."""
_DRAWN_ON_CPU = 0.5
"""Share of a CPU's rate in training that it reaches while it draws answers, whose products are small."""
_START = 10.0
"""Seconds until the first step: libraries and models are loaded, examples are made tokens."""


@dataclass(frozen=True)
class Work:
    """What a stage computes in all."""

    examples: int
    """That are trained on or answered, all passes counted."""
    tokens: float
    """That pass the model, all passes counted; drawn ones once."""
    flops: float
    seconds: float | None
    """None where it is not known how fast the device is."""


def work(setup: Setup, examples: int, tokens: float, learned: float, drawn: float) -> Work:
    """Of so many examples, with their mean `tokens`, those of answers among them, and those of answers that are drawn,
    as long as they may become."""
    demand, shape = setup.demand, setup.shape
    mean = tokens / demand.sequences
    forward = 2.0 * (shape.linear + _attention(shape, mean)) * tokens
    head = 2.0 * shape.embedding * learned * demand.reads_head
    once = forward + head
    backward = once * (2.0 if isinstance(setup.backend, Full) else 1.0) + forward * setup.checkpointing
    trained = demand.passes * (once + backward) * (1 + demand.critics) if demand.trains else 0.0
    read = demand.reads * once + len(demand.judges) * forward
    generated = once if drawn else 0.0
    flops = examples * (trained + read + generated)
    return Work(
        examples=round(examples * demand.passes),
        tokens=examples * tokens * (demand.passes if demand.trains else 1.0),
        flops=flops,
        seconds=_seconds(setup, examples, trained + read, generated, drawn),
    )


def _attention(shape: Shape, length: float) -> float:
    """Products of attention a token: scores and their sums, over half of the tokens on average."""
    return shape.layers * shape.heads * shape.head_size * length


def _seconds(setup: Setup, examples: int, flops: float, generated: float, drawn: float) -> float | None:
    rate, device = setup.device.flops(setup.precision), setup.device
    if rate is None:
        return None
    seconds = _START + examples * flops / rate
    if not drawn:
        return seconds
    if device.is_cpu or device.bandwidth is None:
        return seconds + examples * generated / (_DRAWN_ON_CPU * rate)
    at_once = max(setup.demand.drawn, 1)
    weights = setup.stored * setup.shape.parameters  # read at every step, 4-bit ones as they are dequantised
    cache = 2.0 * setup.stored * setup.shape.layers * setup.shape.kv_heads * setup.shape.head_size
    step = (weights + cache * at_once * drawn) / (_DRAWN * device.bandwidth)
    return seconds + examples * drawn / at_once * step


def output(setup: Setup) -> float:
    """Bytes that a stage leaves: adapters or whole weights, in float32."""
    return 4.0 * setup.trained


def on_disk(setup: Setup, checkpoints: bool) -> float:
    """Bytes while it trains: what it leaves, and two checkpoints with Adam's state and one that is being made."""
    return output(setup) + (3 * (4.0 * setup.trained + adam(setup)) if checkpoints else 0.0)


def runs_on_ours(shape: Shape) -> bool:
    """Whether our own decoder runs it, whose memory is known to the byte."""
    return shape.model_type in OWN
