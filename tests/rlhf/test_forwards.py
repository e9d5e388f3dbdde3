"""What a trainer is given by the trunk is what the model itself would give it, rows of any labels."""

import pytest
import torch

from rlhf import adapters, forwards, text
from rlhf.backends import backend
from rlhf.forwards import logprobs_from_trunk, scores_from_trunk
from rlhf.packing import Packed
from rlhf.roles import Role
from rlhf.roles import of as of_model
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


@pytest.mark.parametrize("kind", ["full", "lora", "qlora"])
def test_pairs_read_their_prompt_once(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Log-probabilities, scores and gradients are those of rows by themselves."""
    ids = torch.tensor([[2, 50, 60, 70, 71, 3], [2, 80, 3, 1, 1, 1], [2, 50, 60, 72, 3, 1], [2, 80, 81, 82, 83, 3]])
    labels = torch.tensor(
        [[-100, -100, -100, 70, 71, 3], [-100, -100, 3, -100, -100, -100], [-100, -100, -100, 72, 3, -100],
         [-100, -100, 81, 82, 83, 3]]
    )  # fmt: skip
    mask, how, weights = (ids != 1).long(), backend(KINDS[kind]), weights_of(TINY)
    held, of = [], Packed.of
    monkeypatch.setattr(forwards.Packed, "of", lambda *given: held.append(made := of(*given)) or made)
    for head in ("lm", "score"):
        torch.manual_seed(0)
        model = how.load(weights, text.load(weights), head)
        role, found = of_model(model, how), []
        for in_pairs in (False, True):
            model.zero_grad()
            if head == "lm":
                logprobs_from_trunk(role, False, in_pairs)
                said = model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True).log_probs
            else:
                scores_from_trunk(role, False, in_pairs)
                said = model(input_ids=ids, attention_mask=mask).logits
            said.square().sum().backward()
            found.append({"": said} | {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        assert len(held[-2].ids_N) - len(held[-1].ids_N) == 3 + 2
        assert len(found[0]) > 1
        for name, alone in found[0].items():
            assert (found[1][name] - alone).norm() <= 1e-5 * alone.norm() + 1e-6, name
