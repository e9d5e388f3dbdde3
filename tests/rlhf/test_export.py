"""What others are given: it loads without us, computes the same, says where it came from, and goes to the hub."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from rlhf import export as exporting
from rlhf import text
from rlhf.backends import backend
from rlhf.errors import ArtifactError, GuardError
from rlhf.export import COMPARED, export, export_adapter, push
from rlhf.reward_model import RewardModel
from rlhf.weights import Weights
from tests.rlhf.test_backends import KINDS, TINY, saved, train_a_little, weights_of

TALK = [{"role": "user", "content": "Where is my lamp?"}, {"role": "assistant", "content": "On its way."}]


@pytest.mark.parametrize("stage", ["dpo", "ppo"])
def test_a_merged_policy_loads_with_transformers_alone(finished, tmp_path: Path, stage: str) -> None:
    recipe, _, made = finished
    said = export(Weights.of(made[stage]), tmp_path / "out", "fp32")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert not hasattr(model, "peft_config") and {p.dtype for p in model.parameters()} == {torch.float32}
    found = json.loads((tmp_path / "out" / COMPARED).read_text())
    assert found == said["compared"] and found["tokens"] > 500
    assert found["exported"]["largest"] < (1e-3 if recipe.config.backend.kind == "qlora" else 1e-4)


def test_what_rounding_costs_is_told_apart_from_the_merge(finished, tmp_path: Path) -> None:
    _, _, made = finished
    found = export(Weights.of(made["dpo"]), tmp_path / "out", "bf16")["compared"]
    assert found["merged"]["largest"] < 1e-3 < found["exported"]["largest"]


def test_another_model_than_the_live_one_is_not_exported(finished, tmp_path: Path, monkeypatch) -> None:
    _, _, made = finished
    weights = Weights.of(made["dpo"])
    other = exporting.loading.merged(weights, text.load(weights))
    with torch.no_grad():
        other.get_input_embeddings().weight[5:200] *= 1.5
    given = [exporting.loading.merged(weights, text.load(weights))] if weights.adapter is None else []  # the live one
    monkeypatch.setattr(exporting.loading, "merged", lambda *_: given.pop() if given else other)
    with pytest.raises(GuardError, match="it is another model"):
        export(weights, tmp_path / "out", "fp32")


def _spoil(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


def _another_embedding(tensors: dict[str, torch.Tensor]) -> None:
    tensors["model.embed_tokens.weight"][9:40] *= 1.5


SPOILT: dict[str, tuple[str, Callable[[Path], object]]] = {
    "another number": ("it is another model", lambda path: _spoil(path, _another_embedding)),
    "a tensor gone": ("lacks model.norm.weight", lambda path: _spoil(path, lambda t: t.pop("model.norm.weight"))),
    "torn": ("cannot be read back", lambda path: path.write_bytes(path.read_bytes()[:90_000])),
}


@pytest.mark.parametrize("how", SPOILT)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_an_export_that_is_wrong_on_disk_is_none(how: str, precision: str, tmp_path: Path, monkeypatch) -> None:
    whole, (message, spoil) = PreTrainedModel.save_pretrained, SPOILT[how]

    def mutilated(self: PreTrainedModel, out: Path) -> None:
        whole(self, out)
        spoil(out / "model.safetensors")

    monkeypatch.setattr(PreTrainedModel, "save_pretrained", mutilated)
    with pytest.raises(GuardError, match=message) as told:
        export(weights_of(TINY), tmp_path / "out", precision)
    assert told.value.exit_code == 4 and not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["tokenizer.json", "chat_template.jinja"])
def test_an_exported_tokenizer_that_is_wrong_on_disk_is_none(name: str, tmp_path: Path, monkeypatch) -> None:
    save = text.save

    def mutilated(chat: Any, out: Path) -> None:
        save(chat, out)
        (out / name).write_text((out / name).read_text("utf-8").replace("<|im_end|>", "<|the_end|>"), "utf-8")

    monkeypatch.setattr(exporting.text, "save", mutilated)
    with pytest.raises(GuardError, match="the exported tokenizer"):
        export(weights_of(TINY), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_exported_adapter_that_is_wrong_on_disk_is_none(tmp_path: Path, monkeypatch) -> None:
    weights, how = weights_of(TINY), backend(KINDS["lora"])
    model = how.load(weights, text.load(weights))
    train_a_little(model)
    made, save = saved(tmp_path / "made", model, how, weights), exporting.adapters.save

    def mutilated(model: Any, name: str, out: Path) -> None:
        save(model, name, out)
        _spoil(out / "adapter_model.safetensors", lambda t: [tensor.mul_(9) for tensor in t.values()])

    monkeypatch.setattr(exporting.adapters, "save", mutilated)
    with pytest.raises(GuardError, match=r"exported adapter, on its base, is .* it is another model"):
        export_adapter(made, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("stage", ["dpo", "reward"])
def test_an_adapter_alone_is_what_peft_loads(finished, tmp_path: Path, stage: str) -> None:
    recipe, _, made = finished
    weights = Weights.of(made[stage])
    if recipe.config.backend.kind == "full":
        with pytest.raises(ArtifactError, match="has no adapter: export it whole"):
            export_adapter(weights, tmp_path / "out")
        return
    found = export_adapter(weights, tmp_path / "out")["compared"]
    assert found["exported"]["largest"] < 1e-3
    if recipe.config.backend.kind == "qlora" or stage != "reward":
        return  # PEFT's own loader knows no 4-bit base without being told
    model = peft.AutoPeftModelForSequenceClassification.from_pretrained(
        tmp_path / "out", num_labels=1, dtype=torch.float32
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = torch.tensor([text.load(weights).encode(TALK).ids])
    assert tokenizer.pad_token is not None
    with torch.no_grad():
        score = float(model(ids).logits[0, 0])
    assert score - weights.score_shift == pytest.approx(RewardModel.load(weights).score([TALK])[0], abs=1e-4)


def test_adapters_that_add_up_are_exported_as_one(tmp_path: Path) -> None:
    from dataclasses import replace

    weights = weights_of(TINY)
    chat = text.load(weights)
    first = backend(KINDS["lora"]).load(weights, chat)
    train_a_little(first)
    parent = saved(tmp_path / "first", first, backend(KINDS["lora"]), weights)
    from rlhf import config as settings

    how = backend(settings.LoRA(r=2))
    second = how.load(parent, chat)
    train_a_little(second)
    child = replace(saved(tmp_path / "second", second, how, weights), called="second")
    found = export_adapter(child, tmp_path / "out")["compared"]
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["r"] == 6
    assert found["exported"]["largest"] < 1e-3


def test_the_card_tells_the_lineage(finished, tmp_path: Path) -> None:
    _, folder, made = finished
    export(Weights.of(made["ppo"]), tmp_path / "out", "fp32")
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    for stage in ("sft", "reward", "ppo"):
        assert made[stage].hash in card
    for name, digest in (("pairs.jsonl", "sha256"), ("prompts.jsonl", "sha256")):
        assert name in card and digest in card
    assert made["ppo"].data["file"]["sources"][0]["sha256"][:16] in card
    assert str(folder) not in card and str(tmp_path) not in card, "a card is for others' machines"


def test_texts_of_ones_own(finished, tmp_path: Path) -> None:
    _, _, made = finished
    weights = Weights.of(made["sft"])
    (tmp_path / "lines.txt").write_text("Only this line.\n\n")
    found = export(weights, tmp_path / "out", "fp32", tmp_path / "lines.txt")["compared"]
    assert found["text"] == "lines.txt" and found["texts"] == 1
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(ArtifactError, match="holds no text to compare on"):
        export(weights, tmp_path / "other", "fp32", tmp_path / "empty.txt")
    with pytest.raises(ArtifactError, match="is not empty"):
        export(weights, tmp_path / "out", "fp32")


class Hub:
    """Stands for the hub: remembers what it was told."""

    told: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    def create_repo(self, name: str, **more: Any) -> str:
        self.told.append((name, more))
        return f"https://huggingface.co/{name}"

    def upload_folder(self, **more: Any) -> None:
        self.told.append(("upload", more))


def test_pushed_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    Hub.told.clear()
    assert push(tmp_path, "me/mine", private=True) == "https://huggingface.co/me/mine"
    (name, created), (_, uploaded) = Hub.told
    assert name == "me/mine" and created == {"private": True, "exist_ok": True}
    assert uploaded["repo_id"] == "me/mine" and uploaded["folder_path"] == tmp_path


def test_a_push_that_fails_says_what_would_work(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"was not uploaded .*hf auth login.*still in"):
        push(tmp_path, "me/mine", private=False)  # offline here
    with pytest.raises(ArtifactError, match="was not uploaded"):
        push(tmp_path, "not a name", private=False)
