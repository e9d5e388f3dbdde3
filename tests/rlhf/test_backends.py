"""Backends on every family: what trains, what is saved, what comes back, and right QLoRA gradients on a CPU."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from rlhf import adapters, text
from rlhf import config as settings
from rlhf.adapters import POLICY, of_adapter
from rlhf.artifact import Base
from rlhf.backends import backend, for_weights
from rlhf.errors import ArtifactError, RecipeError
from rlhf.loading import merged
from rlhf.packing import Packed
from rlhf.parts import check_lm_head, decoder, score_head
from rlhf.resources import resource
from rlhf.roles import Role, standalone
from rlhf.training import trainable_kept
from rlhf.trunk import trunk_of
from rlhf.weights import BELOW, Weights, identity

TINY = resource("data_samples/tiny_base")
KINDS = {
    "full": settings.Full(),
    "lora": settings.LoRA(r=4),
    "qlora": settings.QLoRA(r=4),
    "dora": settings.LoRA(r=4, dora=True),
}
FAMILIES = ("llama", "qwen2", "qwen3", "gemma2", "gemma3_text", "mistral", "phi3", "gpt2", "gpt_neox", "olmo2", "bloom")
IDS = torch.tensor([[5, 6, 7, 8, 9, 10]])


def random_model(folder: Path, model_type: str) -> Path:
    """A model of a family with the tiny base's tokenizer; linear sizes are multiples of 64, as NF4 on a CPU needs."""
    sizes: dict[str, Any] = {
        "vocab_size": 1024,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 3,
        "n_embd": 64,
        "n_layer": 2,
        "n_head": 2,
    }
    if model_type == "mistral":
        sizes["sliding_window"] = None  # as its later versions have it
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **sizes)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(TINY).save_pretrained(folder)
    return folder


def weights_of(folder: Path) -> Weights:
    return Weights(base=folder, name=folder.name, identity=identity(folder), tokenizer=folder)


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(IDS).logits.float()


def train_a_little(model: torch.nn.Module) -> None:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    for _ in range(2):
        model.train()(IDS, labels=IDS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def saved(folder: Path, model: torch.nn.Module, how, weights: Weights) -> Weights:
    """What a stage's output would be loaded from."""
    how.save(model, folder / "model")
    base: Base = how.base_of(weights, folder / "model")
    adapter = folder / "model" if (folder / "model" / "adapter_model.safetensors").is_file() else None
    return Weights(
        base=(folder / base.location).resolve() if base.location == "model" else Path(base.location),
        name=base.name,
        identity=base.identity,
        tokenizer=weights.tokenizer,
        adapter=adapter,
        below=tuple(sorted((folder / "model" / BELOW).glob("*"))),
        quantisation=base.quantisation,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_trains_saves_and_reloads_bitwise(tmp_path: Path, kind: str) -> None:
    weights = weights_of(TINY)
    chat = text.load(weights)
    torch.manual_seed(0)
    how = backend(KINDS[kind])
    model = how.load(weights, chat)
    before = logits(model)
    train_a_little(model)
    trained = logits(model)
    assert not torch.equal(before, trained)
    again = saved(tmp_path, model, how, weights)
    assert torch.equal(logits(how.load(again, chat)), trained)
    gap = (logits(merged(again, chat)).log_softmax(-1) - trained.log_softmax(-1)).abs().max()
    assert gap < (1e-3 if kind == "qlora" else 3e-4)  # log-probabilities of around -20 after steps as large as these


@pytest.mark.parametrize("model_type", FAMILIES)
def test_lora_on_every_family(tmp_path: Path, model_type: str, caplog: pytest.LogCaptureFixture) -> None:
    """Trains what it should, keeps the base, comes back the same; an unknown family works and says so."""
    weights = weights_of(random_model(tmp_path / "base", model_type))
    chat = text.load(weights)
    how = backend(KINDS["lora"])
    model = how.load(weights, chat)
    trains = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trains and all(f".{POLICY}." in name for name in trains)
    assert torch.equal(logits(model), logits(merged(weights, chat)))  # a fresh adapter changes nothing
    train_a_little(model)
    again = saved(tmp_path / "out", model, how, weights)
    assert identity(again.base) == weights.identity
    assert torch.equal(logits(how.load(again, chat)), logits(model))
    assert ("unknown to the registry" in caplog.text) == (model_type == "bloom")


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_reward_model_of_every_family_starts_from_the_policys_adapter(tmp_path: Path, model_type: str) -> None:
    weights = weights_of(random_model(tmp_path / "base", model_type))
    chat = text.load(weights)
    how = backend(KINDS["lora"])
    policy = how.load(weights, chat)
    train_a_little(policy)
    judge = how.load(saved(tmp_path / "out", policy, how, weights), chat, "score")
    assert judge.config.num_labels == 1
    mask = torch.ones_like(IDS)
    with torch.no_grad():
        left = decoder(policy.eval())(input_ids=IDS, attention_mask=mask).last_hidden_state
        right = decoder(judge.eval())(input_ids=IDS, attention_mask=mask).last_hidden_state
    assert torch.equal(left, right)
    trains = {name for name, p in judge.named_parameters() if p.requires_grad}
    assert any("score" in name for name in trains)


@pytest.mark.parametrize("kind", ["full", "lora", "qlora"])
def test_a_score_head_starts_small_trains_and_comes_back_bitwise(tmp_path: Path, kind: str) -> None:
    """Its first weights are as Huang et al. 2024, detail 20, has them."""
    weights = weights_of(TINY)
    chat, how = text.load(weights), backend(KINDS[kind])
    torch.manual_seed(0)
    model = how.load(weights, chat, "score")
    head = score_head(model)
    assert head is not None and head.bias is None
    fresh = head.weight.detach().clone()
    assert float(fresh.std()) == pytest.approx((head.in_features + 1) ** -0.5, rel=0.15)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.1)
    for _ in range(2):
        model.train()(IDS, attention_mask=torch.ones_like(IDS)).logits.square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    now = score_head(model)
    assert now is not None and not torch.equal(now.weight, fresh)
    again = dataclasses.replace(saved(tmp_path, model, how, weights), head=tmp_path / "model" / "head.safetensors")
    packed = Packed.of(IDS.tolist(), [IDS.shape[1]], torch.device("cpu"))
    with torch.no_grad():
        states = decoder(model.eval())(input_ids=IDS).last_hidden_state[0, -1:]
        torch.testing.assert_close(standalone(how, again, chat).scores(packed), now(states)[:, 0])
    reloaded = score_head(how.load(again, chat, "score"))
    assert reloaded is not None and torch.equal(reloaded.weight, now.weight)


def test_qlora_gradients_on_a_cpu_survive_an_evaluation() -> None:
    """bitsandbytes repacks 4-bit weights in an eval-mode forward on some CPUs; gradients after that were wrong."""
    weights = weights_of(TINY)
    chat = text.load(weights)
    torch.manual_seed(0)
    model = backend(KINDS["qlora"]).load(weights, chat)

    def gradient() -> torch.Tensor:
        model.zero_grad()
        model.train()(IDS, labels=IDS).loss.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    before = gradient()
    logits(model)
    assert torch.equal(gradient(), before)
    assert before.abs().max() > 0


def test_an_adapter_that_is_continued_keeps_its_shape_and_takes_the_stages_dropout(tmp_path: Path) -> None:
    weights = weights_of(TINY)
    chat = text.load(weights)
    parent = backend(KINDS["lora"]).load(weights, chat)
    train_a_little(parent)
    again = saved(tmp_path, parent, backend(KINDS["lora"]), weights)
    model = backend(settings.LoRA(dropout=0.5)).load(again, chat)
    assert model.peft_config[POLICY].r == 4 and model.peft_config[POLICY].lora_dropout == 0.5
    assert not torch.equal(model.train()(IDS).logits, model(IDS).logits)


@pytest.mark.parametrize("kind", ["lora", "qlora"])
@pytest.mark.parametrize("shape", [{"r": 8}, {"r": 2}, {"alpha": 1}, {"targets": ["q_proj"]}, {"rslora": True}])
def test_an_adapter_of_another_shape_goes_on_top_of_its_parents(tmp_path: Path, kind: str, shape: dict) -> None:
    """Starts as the parent exactly, trains alone, comes back bitwise, merges, and is continued or built upon again."""
    weights = weights_of(TINY)
    chat = text.load(weights)
    parent = backend(KINDS[kind]).load(weights, chat)
    train_a_little(parent)
    first = saved(tmp_path / "first", parent, backend(KINDS[kind]), weights)
    how = backend(type(KINDS[kind])(**shape))
    model = how.load(first, chat)
    torch.testing.assert_close(logits(model), logits(parent), rtol=0, atol=1e-5)
    under = {name: p.clone() for name, p in model.named_parameters() if ".below0." in name}
    assert under and all(f".{POLICY}." in name for name, p in model.named_parameters() if p.requires_grad)
    train_a_little(model)
    assert not torch.equal(logits(model), logits(parent))
    assert all(torch.equal(p, under[name]) for name, p in model.named_parameters() if name in under)
    second = saved(tmp_path / "second", model, how, weights)
    again = how.load(second, chat)
    assert torch.equal(logits(again), logits(model)) and adapters.trained(again) == ("below0", POLICY)
    role = Role(model, trunk_of(model, torch.float32), adapters.trained(model))
    batch = Packed.of(IDS.tolist(), [1], torch.device("cpu"))
    said = role.logprobs(batch, 1.0)
    expected = logits(model)[0].log_softmax(-1)[:-1].gather(1, IDS[0, 1:, None])[:, 0]
    torch.testing.assert_close(said, expected, rtol=1e-5, atol=1e-5)
    gap = (logits(merged(second, chat)).log_softmax(-1) - logits(model).log_softmax(-1)).abs().max()
    assert gap < (2e-3 if kind == "qlora" else 5e-4)
    third = backend(type(KINDS[kind])(r=3)).load(second, chat)
    assert adapters.trained(third) == ("below0", "below1", POLICY)
    torch.testing.assert_close(logits(third), logits(model), rtol=0, atol=1e-5)
    placed = how.frozen_roles(third, {"reference": second}, chat)["reference"]
    reference = Role(placed[0], trunk_of(placed[0], torch.float32), placed[1])
    torch.testing.assert_close(reference.logprobs(batch, 1.0), said, rtol=1e-5, atol=1e-5)


def test_doras_of_different_shapes_do_not_add_up(tmp_path: Path) -> None:
    weights = weights_of(TINY)
    chat = text.load(weights)
    parent = backend(KINDS["dora"]).load(weights, chat)
    again = saved(tmp_path, parent, backend(KINDS["dora"]), weights)
    assert backend(settings.LoRA()).load(again, chat).peft_config[POLICY].use_dora
    for other in (settings.LoRA(r=8), settings.LoRA(dora=False)):
        with pytest.raises(ArtifactError, match="DoRA's do not add up"):
            backend(other).load(again, chat)


def test_what_trains_keeps_its_values_through_a_trainers_rounding() -> None:
    weights = weights_of(TINY)
    model = backend(KINDS["qlora"]).load(weights, text.load(weights))
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    with trainable_kept(model):
        for p in model.parameters():
            p.data = p.data.bfloat16() if p.requires_grad else p.data
    for name, p in model.named_parameters():
        assert name not in before or torch.equal(p, before[name])


def test_what_trains_is_float32_whatever_the_precision() -> None:
    weights = weights_of(TINY)
    chat = text.load(weights)
    for kind, config in KINDS.items():
        model = backend(config, "bf16").load(weights, chat)
        assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}, kind


def test_a_vocabulary_without_a_spare_token_gets_a_pad_row(tmp_path: Path) -> None:
    """The new row is the mean of the others, so that it is never the likeliest token."""
    folder = random_model(tmp_path / "base", "gpt2")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    weights = weights_of(folder)
    chat = text.load(weights)
    chat.tokenizer.add_special_tokens({"additional_special_tokens": ["<|new|>"]})
    assert len(chat.tokenizer) == len(tokenizer) + 1
    model = merged(weights, chat)
    rows = model.get_input_embeddings().weight
    assert len(rows) == 1025
    torch.testing.assert_close(rows[-1], rows[:-1].mean(0))


def test_a_target_that_no_layer_is_called_is_refused(tmp_path: Path) -> None:
    weights = weights_of(random_model(tmp_path, "llama"))
    with pytest.raises(RecipeError, match="no layer of the model is called 'q_prj'; did you mean 'q_proj'"):
        backend(settings.LoRA(targets=["v_proj", "q_prj"])).load(weights, text.load(weights))


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_an_adapter_that_nobody_would_read_is_refused(tmp_path: Path, target: str) -> None:
    weights = weights_of(random_model(tmp_path, "llama"))
    how = backend(settings.LoRA(targets=["q_proj", target]))
    with pytest.raises(RecipeError, match=rf"backend.targets: .*{target} is no linear layer of the decoder"):
        how.load(weights, text.load(weights))


@pytest.mark.parametrize("model_type", FAMILIES)
def test_the_head_of_every_family_is_found_to_be_known(tmp_path: Path, model_type: str) -> None:
    weights = weights_of(random_model(tmp_path, model_type))
    check_lm_head(backend(KINDS["full"]).load(weights, text.load(weights)))


def test_logits_that_are_more_than_the_heads_product_are_refused() -> None:
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model("cohere", vocab_size=64, hidden_size=32, intermediate_size=32, num_hidden_layers=1,
                             num_attention_heads=2, num_key_value_heads=2, pad_token_id=1, logit_scale=0.25)
    )  # fmt: skip
    with pytest.raises(ArtifactError, match="'cohere' makes its logits in a way that rlhf does not know"):
        check_lm_head(model)
    model.logit_scale = 1.0
    check_lm_head(model)


def test_a_module_that_is_called_like_a_role_is_no_part_of_its_adapter() -> None:
    assert of_adapter("layers.0.attention.value.lora_A.value.weight", ("value",))
    assert of_adapter("layers.0.mlp.lora_magnitude_vector.value", ("value",))
    assert not of_adapter("layers.0.attention.value.lora_A.default.weight", ("value",))
    assert not of_adapter("layers.0.attention.value.base_layer.weight", ("value",))
    assert not of_adapter("layers.0.mlp.lora_A.reward_watch-judge.weight", ("reward_watch",))


def test_a_model_of_its_own_is_held_as_the_stages_frozen_models_are() -> None:
    weights = weights_of(TINY)
    chat = text.load(weights)
    beside = backend(settings.Full(frozen_bits=4), "bf16")
    assert for_weights(weights, beside=backend(KINDS["lora"])) is not for_weights(weights, beside=beside) is beside
    held = standalone(beside, weights, chat)
    assert not held.exact and any(type(m).__name__ == "Linear4bit" for m in held.model.modules())
    half = standalone(backend(KINDS["full"], "bf16"), weights, chat)
    assert {parameter.dtype for parameter in half.model.parameters()} == {torch.bfloat16}


@torch.no_grad()
def test_a_frozen_copy_in_bf16_reads_far_tokens_as_what_trains_does() -> None:
    """A cast of the whole model rounds its rotary frequencies too, and the gap grows with the position."""
    weights = weights_of(TINY)
    chat = text.load(weights)
    how = backend(KINDS["full"], "bf16")
    row = torch.randint(10, 1000, (500,), generator=torch.Generator().manual_seed(0)).tolist()
    batch = Packed.of([row], [1], torch.device("cpu"))
    policy, frozen = (
        Role(model, trunk_of(model, how.dtype), None).logprobs(batch, 1.0)
        for model in (how.load(weights, chat), how.frozen(weights, chat))
    )
    assert torch.equal(policy, frozen)


def test_the_adapters_of_other_roles_keep_their_shape_beside_the_policys(tmp_path: Path) -> None:
    weights = weights_of(TINY)
    chat = text.load(weights)
    judge = backend(settings.LoRA(r=2)).load(weights, chat)
    train_a_little(judge)
    again = saved(tmp_path, judge, backend(settings.LoRA(r=2)), weights)
    before = logits(judge)
    how = backend(settings.LoRA(r=4))
    policy = how.load(weights, chat)
    placed = how.frozen_roles(policy, {"judge": again}, chat) | {
        "value": how.trained_role(policy, "value", again, chat)
    }
    for model, name in placed.values():
        adapters.activate(model, name)
        torch.testing.assert_close(logits(model), before, rtol=0, atol=1e-5)
