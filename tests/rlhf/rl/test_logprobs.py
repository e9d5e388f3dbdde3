"""Log-probabilities and entropy of sampled tokens."""

import math

import torch

from rlhf.rl.logprobs import token_logprobs


def test_by_hand_with_temperature() -> None:
    logits = torch.tensor([[[0.0, math.log(3.0)]]])
    token = torch.tensor([[1]])
    logprob, entropy = token_logprobs(logits, token)
    assert math.isclose(float(logprob), math.log(0.75), rel_tol=1e-6)
    assert math.isclose(float(entropy), -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)), rel_tol=1e-6)
    cooler, _ = token_logprobs(logits, token, temperature=0.5)
    assert math.isclose(float(cooler), math.log(0.9), rel_tol=1e-6)  # odds 3 squared


def test_float32_whatever_the_logits_are() -> None:
    logits = torch.randn(2, 3, 50).bfloat16()
    token = torch.randint(50, (2, 3))
    logprob, entropy = token_logprobs(logits, token)
    assert logprob.dtype == entropy.dtype == torch.float32
    expected = torch.log_softmax(logits.float(), -1).gather(-1, token.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(logprob, expected)
