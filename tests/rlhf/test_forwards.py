"""What a trainer is given by the trunk is what the model itself would give it, rows of any labels."""

import pytest
import torch

from rlhf import adapters, text
from rlhf.backends import backend
from rlhf.forwards import logprobs_from_trunk
from rlhf.roles import Role
from rlhf.trunk import trunk_of
from tests.rlhf.test_backends import KINDS, TINY, train_a_little, weights_of

IDS = torch.tensor([[2, 50, 60, 70, 71, 3], [2, 80, 3, 1, 1, 1], [2, 90, 91, 92, 3, 1]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0]])
LABELS = torch.tensor(
    [[-100, 50, -100, 70, 71, 3], [-100, -100, 3, -100, -100, -100], [2, 90, -100, -100, 3, -100]]
)  # turns apart, one token, and a label that nothing precedes


@pytest.mark.parametrize("kind", ["full", "lora", "qlora"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_log_probabilities_and_gradients(kind: str, checkpointing: bool) -> None:
    weights = weights_of(TINY)
    how = backend(KINDS[kind])
    model = how.load(weights, text.load(weights))
    train_a_little(model)
    model.zero_grad()
    place = LABELS[:, 1:] != -100
    plain = model(IDS, attention_mask=MASK).logits[:, :-1].log_softmax(-1)
    expected = plain.gather(2, LABELS[:, 1:].clamp(min=0)[..., None])[..., 0] * place
    slope = torch.randn(place.shape, generator=torch.Generator().manual_seed(0))
    (expected * slope).sum().backward()
    theirs = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    logprobs_from_trunk(Role(model, trunk_of(model, how.dtype), adapters.trained(model)), checkpointing)
    found = model(input_ids=IDS, attention_mask=MASK, labels=LABELS, fused_lm_head=True, use_cache=False)
    torch.testing.assert_close(found.log_probs, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(found.label_mask, place)
    assert torch.equal(found.is_top1[place], (plain.argmax(-1) == LABELS[:, 1:])[place])
    (found.log_probs * slope).sum().backward()
    for name, parameter in model.named_parameters():
        if name in theirs:
            assert parameter.grad is not None, name
            off = (parameter.grad - theirs[name]).norm() / theirs[name].norm().clamp(min=1e-6)
            assert off < 1e-3, name
