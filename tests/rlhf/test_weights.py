"""From references to files: identity by content, and what is refused."""

import dataclasses
import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification

from rlhf import artifact as artifacts
from rlhf import text
from rlhf.artifact import Artifact, Base, Text
from rlhf.config import ModelRef
from rlhf.errors import ArtifactError
from rlhf.resources import resource
from rlhf.weights import Weights, find, identity, is_whole

TINY = resource("data_samples/tiny_base")
BASE = Base(str(TINY), "tiny", identity(TINY))


def test_identity_follows_content_and_not_the_place(tmp_path: Path) -> None:
    copy = shutil.copytree(TINY, tmp_path / "copy")
    assert identity(copy) == identity(TINY)
    blob = bytearray((copy / "model.safetensors").read_bytes())
    blob[-1] ^= 1
    (copy / "model.safetensors").write_bytes(blob)
    assert identity(copy) != identity(TINY)


def test_code_counts_where_it_is_trusted(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(TINY, tmp_path / "tiny"))
    refs = [ModelRef(name=str(copy), trust_remote_code=trusted) for trusted in (True, False)]
    trusted, bare = (find(ref, {}) for ref in refs)
    (copy / "inner").mkdir()
    (copy / "inner" / "modeling_mine.py").write_text("layers = 4")
    trusted_now, bare_now = (find(ref, {}) for ref in refs)
    assert trusted_now.identity != trusted.identity and trusted_now.lineage != trusted.lineage
    assert (bare_now.identity, bare_now.lineage) == (bare.identity, bare.lineage)


def test_a_name_of_the_registry_is_found() -> None:
    weights = find(ModelRef(name="tiny"), {})
    assert weights.base == TINY and weights.adapter is None and weights.identity == identity(TINY)


@pytest.mark.parametrize(
    "name",
    [
        "chat_template.jinja",
        "additional_chat_templates/default.jinja",
        "chat_template.json",
        "tokenizer_config.json",
        "added_tokens.json",
        "generation_config.json",
        "preprocessor_config.json",
        "spiece.model",
        "vocab.txt",
        "qwen.tiktoken",
    ],
)
def test_changed_settings_make_other_children(name: str, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(TINY, tmp_path / "tiny"))
    before = find(ModelRef(name=str(copy)), {})
    assert before.lineage == find(ModelRef(name="tiny"), {}).lineage
    (copy / name).parent.mkdir(exist_ok=True)
    (copy / name).write_text("{}")
    after = find(ModelRef(name=str(copy)), {})
    assert after.identity == before.identity and after.lineage != before.lineage


def test_pickled_weights_are_never_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ArtifactError, match="pickled weights"):
        find(ModelRef(name=str(tmp_path)), {})


def test_a_pad_token_that_ends_answers_is_refused() -> None:
    """Padding is masked, and so would be the end of every answer."""
    weights = find(ModelRef(name="tiny"), {})
    template = text.load(weights).template_text
    sha = hashlib.sha256(template.encode()).hexdigest()
    locked = dataclasses.replace(weights, text=Text(sha, "<|im_end|>", ("<|endoftext|>",)))
    assert text.load(locked).pad_id not in text.load(locked).stop_ids
    spoiled = dataclasses.replace(weights, text=Text(sha, "<|im_end|>", ("<|endoftext|>", "<|im_end|>")))
    with pytest.raises(ArtifactError, match=r"pad token '<\|im_end\|>' also ends an answer"):
        text.load(spoiled)


def test_an_adapter_fits_no_other_base(tmp_path: Path) -> None:
    base = shutil.copytree(TINY, tmp_path / "base")
    made = Artifact(
        "sft", "sft", "policy", "h", base=Base("../base", "tiny", "f" * 64), adapter=True, folder=tmp_path / "sft"
    )
    with pytest.raises(ArtifactError, match="an adapter fits no other base"):
        Weights.of(made)
    shutil.rmtree(base)
    with pytest.raises(ArtifactError, match="no longer at"):
        Weights.of(made)


def test_whole_weights_that_are_not_what_their_stage_wrote_are_refused(tmp_path: Path) -> None:
    """Of the same size, and still readable: only their bytes tell."""
    model = Path(shutil.copytree(TINY, tmp_path / "model"))
    base = Base("model", "tiny (full)", identity(model))
    made = artifacts.write(Artifact("sft", "sft", "policy", "h", base=base), tmp_path)
    assert is_whole(made) and Weights.of(made).base == model
    blob = bytearray((model / "model.safetensors").read_bytes())
    blob[-1] ^= 1
    (model / "model.safetensors").write_bytes(blob)
    assert not is_whole(made)
    with pytest.raises(ArtifactError, match="its weights are not what the stage wrote; run the stage again"):
        Weights.of(made)


def test_an_adapter_beside_whole_weights_is_refused(tmp_path: Path) -> None:
    """transformers would apply it to them."""
    copy = Path(shutil.copytree(TINY, tmp_path / "tiny"))
    (copy / "adapter_config.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"adapter_config.json: an adapter among the files of a whole model"):
        find(ModelRef(name=str(copy)), {})


def test_an_evaluation_has_no_weights(tmp_path: Path) -> None:
    artifacts.write(Artifact("evaluate", "evaluate", "evaluation", "h"), tmp_path)
    with pytest.raises(ArtifactError, match="made no model"):
        find(ModelRef(name=str(tmp_path)), {})


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json", "tokenizer.json"])
def test_an_adapter_that_is_not_what_its_stage_wrote_is_refused(tmp_path: Path, name: str) -> None:
    """Of the same size, and still a readable file of tensors: only its bytes tell."""
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / name
    for other in ("adapter_model.safetensors", "adapter_config.json", "tokenizer.json"):
        save_file({"a": torch.zeros(64)}, tmp_path / "model" / other)
    made = artifacts.write(Artifact("sft", "sft", "policy", "h", base=BASE, adapter=True), tmp_path)
    assert Weights.of(made).adapter == tmp_path / "model"
    save_file({"a": torch.ones(64)}, path)
    assert artifacts.finished(tmp_path) is None
    with pytest.raises(ArtifactError, match="not what its stage wrote"):
        Weights.of(made)


def test_a_classifier_from_outside_is_a_reward_model_when_it_has_one_output(tmp_path: Path) -> None:
    for outputs in (1, 3):
        folder = tmp_path / str(outputs)
        AutoModelForSequenceClassification.from_pretrained(TINY, num_labels=outputs).save_pretrained(folder)
    assert find(ModelRef(name=str(tmp_path / "1")), {}).scores and not find(ModelRef(name="tiny"), {}).scores
    with pytest.raises(ArtifactError, match="a classifier of 3 outputs"):
        find(ModelRef(name=str(tmp_path / "3")), {})
