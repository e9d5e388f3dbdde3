"""A language model's head with the loss inside: logits exist for a few rows at a time.

`head_loss` forms their gradient at once, for losses that are sums over tokens; `said` is for losses that need all
log-probabilities of a sequence first. Tested against autograd in float64.
"""

# N tokens, D hidden size, V vocabulary

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlhf.fused import times, wide


class LMHead(NamedTuple):
    """A language model's head: logits = weight · hidden + bias, perhaps capped."""

    weight: Tensor
    """(V, D)."""
    bias: Tensor | None = None
    cap: float | None = None
    """Logits are cap · tanh(logits / cap) (Gemma 2)."""

    def of(self, dtype: torch.dtype) -> "LMHead":
        """With its weight in that type."""
        return self._replace(weight=self.weight.to(dtype))

    def logits(self, hidden_ND: Tensor, temperature: float) -> tuple[Tensor, Tensor | None]:
        """Float32 logits at a temperature, (N, V), and, where they are capped, the cap's slope."""
        logits_NV = wide(times(hidden_ND, self.weight.to(hidden_ND.dtype)))
        if self.bias is not None:
            logits_NV.add_(self.bias)
        slope = None
        if self.cap is not None:
            logits_NV.div_(self.cap).tanh_()
            slope = 1 - logits_NV.square()
            logits_NV.mul_(self.cap)
        if temperature != 1:
            logits_NV.div_(temperature)
        return logits_NV, slope


ROWS = 512
"""Rows of logits that exist at a time."""


@torch.no_grad()
def logprobs(hidden_ND: Tensor, head: LMHead, target_N: Tensor, temperature: float) -> Tensor:
    """Log-probability of each target, (N,) float32."""
    found, head = [], head.of(hidden_ND.dtype)
    for rows in range(0, len(target_N), ROWS):
        logits_NV, _ = head.logits(hidden_ND[rows : rows + ROWS], temperature)
        drawn_N = logits_NV.gather(1, target_N[rows : rows + ROWS, None])[:, 0]
        found.append(drawn_N - logits_NV.logsumexp(-1))
    return torch.cat(found)


TokenLoss = Callable[[Tensor, slice], Tensor]
"""From log-probabilities of some rows, and which rows they are, to a loss summed over these rows."""


def head_loss(
    hidden_ND: Tensor, head: LMHead, target_N: Tensor, temperature: float, loss: TokenLoss, entropy_coef: float = 0.0
) -> Tensor:
    """The sum of `loss` over all tokens, less `entropy_coef` times their entropies: a scalar, with gradients of the
    hidden states and of the head."""
    return _HeadLoss.apply(  # type: ignore[return-value]
        hidden_ND, head.weight, head.bias, head, target_N, temperature, loss, entropy_coef
    )


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, head: LMHead, target: Tensor, temperature: float,
        loss: TokenLoss, entropy_coef: float,
    ) -> Tensor:  # fmt: skip
        grads = _HeadGradients(ctx.needs_input_grad, hidden, weight, bias, head.of(hidden.dtype))
        total = wide(hidden.new_zeros(()))
        for rows in _chunks(target):
            logits, slope = grads.head.logits(hidden[rows], temperature)
            logprob, weight_NV, sum_N = _softmax(logits, target[rows])
            with torch.enable_grad():
                logprob.requires_grad_(True)
                part = loss(logprob, rows)
                (slope_N,) = torch.autograd.grad(part, logprob)
            total += part.detach()
            if entropy_coef:  # dH/dlogits = -p (log p + H)
                p_NV = weight_NV / sum_N[:, None]
                log_NV = p_NV.clamp(min=torch.finfo(p_NV.dtype).tiny).log_()
                entropy_N = -torch.einsum("nv,nv->n", p_NV, log_NV)
                total -= entropy_coef * entropy_N.sum()
                dlogits = log_NV.add_(entropy_N[:, None]).mul_(entropy_coef).sub_(slope_N[:, None]).mul_(p_NV)
                dlogits[torch.arange(len(dlogits), device=dlogits.device), target[rows]] += slope_N
            else:
                dlogits = _dlogits(weight_NV, sum_N, target[rows], slope_N)
            if temperature != 1:
                dlogits.div_(temperature)
            grads.add(rows, dlogits, slope)
        ctx.grads = grads.found
        return total

    @staticmethod
    def backward(ctx: Any, *dtotal: Tensor) -> Any:
        grads = [None if grad is None else grad.mul_(dtotal[0].to(grad.dtype)) for grad in ctx.grads]
        ctx.grads = None
        return *grads, None, None, None, None, None


class Said(NamedTuple):
    """What a language model thinks of each of some tokens, (N,) each; only `logprob_N` has gradients."""

    logprob_N: Tensor
    entropy_N: Tensor
    """Of the distribution that the token is one of, in nats."""
    mean_logit_N: Tensor
    is_top_N: Tensor
    """Whether the token is the likeliest."""


def said(hidden_ND: Tensor, head: LMHead, target_N: Tensor) -> Said:
    """Log-probability of each target with gradients of the hidden states and of the head, and what is worth telling
    of its distribution. Where the head trains, logits are formed again in the backward pass, a few rows at a time;
    where it does not, the gradient of each log-probability is formed at once, for the loss to scale."""
    return Said(*_Said.apply(hidden_ND, head.weight, head.bias, head, target_N))  # type: ignore[misc]


class _Said(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, head: LMHead, target: Tensor) -> Any:
        ctx.head, ctx.target = head, target
        ctx.at_once = ctx.needs_input_grad[0] and not any(ctx.needs_input_grad[1:3])
        grads = _HeadGradients((ctx.at_once, False, False), hidden, weight, bias, head.of(hidden.dtype))
        found = []
        for rows in _chunks(target):
            logits, slope = grads.head.logits(hidden[rows], 1.0)
            mean_N, shifted_NV = logits.mean(-1), logits.sub_(logits.amax(-1, keepdim=True))
            drawn_N, weight_NV = shifted_NV.gather(1, target[rows, None])[:, 0], shifted_NV.exp()
            sum_N = weight_NV.sum(-1)
            entropy_N = sum_N.log() - torch.einsum("nv,nv->n", weight_NV, shifted_NV) / sum_N
            found.append((drawn_N - sum_N.log(), entropy_N, mean_N, drawn_N == 0))
            if ctx.at_once:
                grads.add(rows, _dlogits(weight_NV, sum_N, target[rows], torch.ones_like(sum_N)), slope)
        ctx.save_for_backward(*((grads.dhidden,) if ctx.at_once else (hidden, weight, bias)))
        whole = tuple(torch.cat(parts) for parts in zip(*found, strict=True))
        ctx.mark_non_differentiable(*whole[1:])
        return whole

    @staticmethod
    def backward(ctx: Any, *douts: Tensor) -> Any:
        if ctx.at_once:
            (slope_ND,) = ctx.saved_tensors
            return slope_ND * douts[0][:, None].to(slope_ND.dtype), None, None, None, None
        hidden, weight, bias = ctx.saved_tensors
        grads = _HeadGradients(ctx.needs_input_grad, hidden, weight, bias, ctx.head.of(hidden.dtype))
        for rows in _chunks(ctx.target):
            logits, slope = grads.head.logits(hidden[rows], 1.0)
            _, weight_NV, sum_N = _softmax(logits, ctx.target[rows])
            grads.add(rows, _dlogits(weight_NV, sum_N, ctx.target[rows], douts[0][rows]), slope)
        return *grads.found, None, None


def _dlogits(weight_NV: Tensor, sum_N: Tensor, target_N: Tensor, dlogprob_N: Tensor) -> Tensor:
    """Gradient of the logits, in place of the weights, from that of each target's log-probability."""
    dlogits = weight_NV.mul_((-dlogprob_N / sum_N)[:, None])
    dlogits[torch.arange(len(dlogits), device=dlogits.device), target_N] += dlogprob_N
    return dlogits


def _chunks(target_N: Tensor) -> Iterator[slice]:
    """The rows of logits that exist at a time."""
    for start in range(0, len(target_N), ROWS):
        yield slice(start, min(start + ROWS, len(target_N)))


def _softmax(logits_NV: Tensor, target_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probability of each target, and the weight of each token and their sum: divided, probabilities. The weights
    take the place of the logits."""
    drawn_N = logits_NV.gather(1, target_N[:, None])[:, 0]
    top_N = logits_NV.amax(-1)
    weight_NV = logits_NV.sub_(top_N[:, None]).exp_()
    sum_N = weight_NV.sum(-1)
    return drawn_N - top_N - sum_N.log(), weight_NV, sum_N


class _HeadGradients:
    """Gradients of hidden states, weight and bias, gathered a few rows at a time."""

    def __init__(
        self, needs: Sequence[bool], hidden: Tensor, weight: Tensor, bias: Tensor | None, head: LMHead
    ) -> None:
        """`head`: in the type of the hidden states."""
        self.hidden, self.head = hidden, head
        self.dhidden = torch.empty_like(hidden) if needs[0] else None
        self.dweight = torch.zeros_like(weight) if needs[1] else None
        self.dbias = torch.zeros_like(bias) if bias is not None and needs[2] else None

    def add(self, rows: slice, dlogits: Tensor, slope: Tensor | None) -> None:
        if slope is not None:
            dlogits.mul_(slope)
        dlogits = dlogits.to(self.hidden.dtype)
        if self.dhidden is not None:
            self.dhidden[rows] = times(dlogits, self.head.weight.t())
        if self.dweight is not None:
            self.dweight += times(dlogits.t(), self.hidden[rows].t())
        if self.dbias is not None:
            self.dbias += dlogits.sum(0)

    @property
    def found(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        return self.dhidden, self.dweight, self.dbias
