"""Losses on judged answers: pairs, ties, scores, and pairs without a reference. Means over the batch, in nats.

Log-probabilities are of whole answers, summed over their tokens, unless a name says `mean`.
"""

# B pairs or answers, K heads

import torch
import torch.nn.functional as F
from torch import Tensor

# ------------------------------------------------------------------------------------------------ policies


def cpo(chosen_B: Tensor, rejected_B: Tensor, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """DPO with a uniform reference (Xu et al. 2024a, eq. 6); the demonstrations' term is added by the caller."""
    return _logistic(beta * (chosen_B - rejected_B), label_smoothing)


def hinge(chosen_B: Tensor, rejected_B: Tensor, beta: float) -> Tensor:
    """Sequence likelihood calibration (Zhao et al. 2023, eq. 1, with beta = 1 / its margin)."""
    return F.relu(1 - beta * (chosen_B - rejected_B)).mean()


def ipo(chosen_mean_B: Tensor, rejected_mean_B: Tensor, beta: float) -> Tensor:
    """Identity preference optimisation (Azar et al. 2023, eq. 17) with a uniform reference, on log-probabilities a
    token."""
    return (chosen_mean_B - rejected_mean_B - 1 / (2 * beta)).square().mean()


def simpo(
    chosen_mean_B: Tensor, rejected_mean_B: Tensor, beta: float, gamma: float, label_smoothing: float = 0.0
) -> Tensor:
    """Mean log-probabilities as rewards, with a target margin gamma (Meng et al. 2024, eq. 6)."""
    return _logistic(beta * (chosen_mean_B - rejected_mean_B) - gamma, label_smoothing)


def orpo(chosen_mean_B: Tensor, rejected_mean_B: Tensor) -> Tensor:
    """The odds ratio's loss, without its weight and the demonstrations' term (Hong et al. 2024, eq. 7).

    odds = p / (1 - p) with p the geometric mean of an answer's token probabilities.
    """
    return -F.logsigmoid(log_odds(chosen_mean_B) - log_odds(rejected_mean_B)).mean()


def log_odds(logprob_B: Tensor) -> Tensor:
    """log p / (1 - p) from log p, also near p = 1."""
    return logprob_B - log_1m_exp(logprob_B)


def log_1m_exp(x: Tensor) -> Tensor:
    """log(1 - exp x) for x < 0, by the form that keeps its digits (Mächler 2012)."""
    x = x.clamp(max=-torch.finfo(x.dtype).eps)
    near = x > -0.6931
    return torch.where(
        near, torch.log(-torch.expm1(torch.where(near, x, -1.0))), torch.log1p(-torch.exp(torch.where(near, -1.0, x)))
    )


def _logistic(logit_B: Tensor, label_smoothing: float) -> Tensor:
    """-log sigmoid; with smoothing, a share of the labels counts as flipped (Mitchell 2023)."""
    flipped = label_smoothing * F.logsigmoid(-logit_B)
    return -((1 - label_smoothing) * F.logsigmoid(logit_B) + flipped).mean()


# ------------------------------------------------------------------------------------------------ reward models


def bradley_terry(difference_B: Tensor, margin_B: Tensor, tie_B: Tensor, tie_threshold: float) -> Tensor:
    """-log P of what was said about each pair, from the difference of its scores (Bradley & Terry 1952).

    The chosen answer wins with probability sigmoid(difference - margin - threshold). `margin_B` says how much better
    it was judged (Touvron et al. 2023, eq. 2), 0 where nobody said. Tied pairs (`tie_B`): with a threshold above 0
    they have what the two wins leave of the probability (Rao & Kupper 1967, threshold = log theta); with 0, where a
    tie has none, they count as half a win of each.
    """
    wins_B = -F.logsigmoid(difference_B - margin_B - tie_threshold)
    if not bool(tie_B.any()):
        return wins_B.mean()
    if tie_threshold:
        # 1 - s(d - t) - s(-d - t) = s(t - d) s(t + d) (1 - exp(-2 t))
        odd = torch.log1p(-torch.exp(torch.tensor(-2 * tie_threshold, dtype=difference_B.dtype)))
        ties_B = -(F.logsigmoid(tie_threshold - difference_B) + F.logsigmoid(tie_threshold + difference_B) + odd)
    else:
        ties_B = -0.5 * (F.logsigmoid(difference_B) + F.logsigmoid(-difference_B))
    return torch.where(tie_B, ties_B, wins_B).mean()


def centred(chosen_B: Tensor, rejected_B: Tensor) -> Tensor:
    """Keeps scores near zero: the mean squared sum of a pair's scores (Eisenstein et al. 2023, eq. 2)."""
    return (chosen_B + rejected_B).square().mean()


def regression(predicted_BK: Tensor, said_BK: Tensor) -> Tensor:
    """Mean squared error of each head's scores where they are known (not NaN), in the targets' units squared."""
    known_BK = ~said_BK.isnan()
    error_BK = torch.where(known_BK, predicted_BK - said_BK.nan_to_num(), 0.0)
    return error_BK.square().sum() / known_BK.sum().clamp(min=1)
