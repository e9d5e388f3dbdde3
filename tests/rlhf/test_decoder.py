"""Our decoder against transformers' own: every family of its form, every adapter, gradients, packing."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rlhf import text
from rlhf.adapters import POLICY
from rlhf.backends import backend
from rlhf.decoder import Decoder, has_form, matches
from rlhf.packing import Packed
from rlhf.parts import decoder
from tests.rlhf.test_backends import KINDS, TINY, random_model, train_a_little, weights_of

ROWS = [[5, 6, 7, 8, 9, 10], [11, 12, 13], [14, 15, 16, 17, 18]]
OURS = ("llama", "qwen2", "qwen3", "mistral")
THEIRS = ("gemma", "gemma2", "gemma3_text", "phi3", "gpt2", "gpt_neox", "olmo", "olmo2", "smollm3", "helium", "bloom")


def packed(rows: list[list[int]] = ROWS) -> Packed:
    return Packed.of(rows, [2] * len(rows), torch.device("cpu"))


def trained(kind: str, folder: Path = TINY):
    weights = weights_of(folder)
    model = backend(KINDS[kind]).load(weights, text.load(weights))
    train_a_little(model)
    return model.eval()


def theirs(model, batch: Packed) -> torch.Tensor:
    ids_BT, mask_BT = batch.padded()
    return decoder(model)(input_ids=ids_BT, attention_mask=mask_BT, use_cache=False).last_hidden_state.flatten(0, 1)[
        batch.slot_N
    ]


@pytest.mark.parametrize("model_type", OURS)
def test_families_of_its_form_match(tmp_path: Path, model_type: str) -> None:
    model = trained("lora", random_model(tmp_path, model_type))
    assert matches(model)
    torch.testing.assert_close(
        Decoder(model).hidden(packed(), (POLICY,)), theirs(model, packed()), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("model_type", THEIRS)
def test_families_of_another_form_are_left_to_transformers(tmp_path: Path, model_type: str) -> None:
    assert not matches(trained("full", random_model(tmp_path, model_type)))


@pytest.mark.parametrize(
    ("model_type", "odd"),
    [
        ("mistral", {"sliding_window": 64}),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}),
    ],
    ids=str,
)
def test_what_shows_in_long_rows_alone_is_left_to_transformers(tmp_path: Path, model_type: str, odd: dict) -> None:
    config = AutoConfig.for_model(model_type, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, **odd)
    model = AutoModelForCausalLM.from_config(config)
    assert not has_form(model) and not matches(model)


def test_a_model_that_only_looks_alike_is_found_out(tmp_path: Path) -> None:
    model = trained("full")
    for layer in model.model.layers:
        layer.mlp.act_fn = torch.nn.GELU()
    assert has_form(model) and not matches(model)


def test_dora_is_left_to_transformers() -> None:
    assert not has_form(trained("dora"))


@pytest.mark.parametrize("kind", ["full", "lora", "qlora"])
def test_hidden_states_and_gradients(kind: str) -> None:
    model = trained(kind)
    batch, rows = packed(), packed().predicts_M
    trains = [p for p in model.parameters() if p.requires_grad]
    weight = torch.randn(len(rows), model.config.hidden_size)
    ours = Decoder(model).hidden(batch, (POLICY,), rows)
    model_s = theirs(model, batch)[rows]
    torch.testing.assert_close(ours, model_s, rtol=1e-4, atol=1e-5)
    mine = torch.autograd.grad((ours * weight).sum(), trains, allow_unused=True)
    others = torch.autograd.grad((model_s * weight).sum(), trains, allow_unused=True)
    for one, other in zip(mine, others, strict=True):
        assert (one is None) == (other is None)
        assert one is None or other is None or (one - other).norm() <= 1e-3 * other.norm()
    again = Decoder(model).hidden(batch, (POLICY,), rows, checkpointing=True)
    for one, other in zip(mine, torch.autograd.grad((again * weight).sum(), trains, allow_unused=True), strict=True):
        assert (one is None and other is None) or torch.equal(one, other)


def test_a_sequence_does_not_see_its_neighbours() -> None:
    model = trained("lora")
    with torch.no_grad():
        together = Decoder(model).hidden(packed(), (POLICY,)).split(list(packed().lengths))
        for row, one in zip(ROWS, together, strict=True):
            torch.testing.assert_close(Decoder(model).hidden(packed([row]), (POLICY,)), one, rtol=1e-4, atol=1e-5)


PAIRS = [[5, 6, 7, 8, 9, 10], [11, 12, 13], [5, 6, 7, 21, 22, 23, 24], [11, 12, 13, 14], [5, 6], [31, 32]]
LENDERS = [0, 1, 0, 1, 0, 5]
"""A prompt with two answers, one that goes on where its lender ends, one that ends within it, and one alone."""


@pytest.mark.parametrize("kind", ["full", "lora", "qlora"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_beginning_that_is_shared_is_as_good_as_several(kind: str, checkpointing: bool) -> None:
    model = trained(kind)
    trains = [p for p in model.parameters() if p.requires_grad]
    found, held = [], []
    for lenders in ((), LENDERS):
        batch = Packed.of(PAIRS, [2, 1, 3, 2, 1, 1], torch.device("cpu"), lenders)
        hidden = Decoder(model).hidden(batch, (POLICY,), batch.predicts_M, checkpointing)
        ends = Decoder(model).hidden(batch, (POLICY,), batch.last_B, checkpointing)
        weight = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(0))
        loss = (hidden * weight).sum() + ends.square().sum()
        found.append([hidden, ends, *torch.autograd.grad(loss, trains, allow_unused=True)])
        held.append(len(batch.ids_N))
    assert held[0] - held[1] == 3 + 3 + 2
    for i, (one, other) in enumerate(zip(*found, strict=True)):
        assert (one is None) == (other is None)
        rounding = 1e-6 if i < 2 else 2e-3  # the gradient of keys is a ten-thousandth of the whole
        assert one is None or (one - other).norm() <= rounding * one.norm()


def test_no_adapter_is_the_plain_base() -> None:
    model = trained("lora")
    with torch.no_grad(), model.disable_adapter():
        base = theirs(model, packed())
    with torch.no_grad():
        torch.testing.assert_close(Decoder(model).hidden(packed(), None), base, rtol=1e-4, atol=1e-5)


def test_packing_by_hand() -> None:
    batch = Packed.of([[1, 2, 3, 4], [5, 6]], [2, 1], torch.device("cpu"))
    assert batch.position_N.tolist() == [0, 1, 2, 3, 0, 1]
    assert batch.slot_N.tolist() == [0, 1, 2, 3, 4, 5]
    assert batch.predicts_M.tolist() == [1, 2, 4]
    assert batch.target_M.tolist() == [3, 4, 6]
    assert batch.last_B.tolist() == [3, 5]
    ids, mask = batch.padded()
    assert (ids.tolist(), mask.tolist()) == ([[1, 2, 3, 4], [5, 6, 0, 0]], [[1, 1, 1, 1], [1, 1, 0, 0]])


def test_sharing_by_hand() -> None:
    """The second row holds what differs from the first; both are whole wherever they are asked for."""
    batch = Packed.of([[1, 2, 3, 4], [1, 2, 5], [6]], [2, 2, 0], torch.device("cpu"), [0, 0, 2])
    assert batch.ids_N.tolist() == [1, 2, 3, 4, 5, 6]
    assert batch.lengths == (4, 3, 1)
    assert batch.position_N.tolist() == [0, 1, 2, 3, 2, 0]
    assert batch.slot_N.tolist() == [0, 1, 2, 3, 6, 8]
    assert batch.token_R.tolist() == [0, 1, 2, 3, 0, 1, 4, 5]
    assert batch.spans == [(slice(0, 0), slice(0, 4)), (slice(0, 2), slice(4, 5)), (slice(5, 5), slice(5, 6))]
    assert batch.last_B.tolist() == [3, 4, 5]
    ids, mask = batch.padded()
    assert (ids.tolist(), mask.sum(1).tolist()) == ([[1, 2, 3, 4], [1, 2, 5, 0], [6, 0, 0, 0]], [4, 3, 1])
    answers = Packed.of([[1, 2, 3, 4], [1, 2, 5]], [2, 2], torch.device("cpu"), [0, 0])
    assert (answers.predicts_M.tolist(), answers.target_M.tolist()) == ([1, 2, 1], [3, 4, 5])
