"""Bad models: each has to be refused by every command that takes it, in words, with exit code 2, and leave nothing.

python -m benchmarks.reliability.models [NAME …] [--every 6]

The embedded tiny base, or what a run made of it, is damaged in one way at a time and given to the commands as a user
would. A case survives when each says what is wrong, and a good model then runs in the same folder. The cases at the end
are odd and right: they have to work.
"""

import argparse
import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.common import ROOT
from benchmarks.reliability.common import internals, report
from rlhf import yamlfile
from rlhf.resources import resource

Kind = Literal["policy", "reward", "stage", "judge"]
"""What is damaged: a copy of the tiny base, a reward model of its own, a run's `sft` stage, a run's `reward` stage."""
SHOP = resource("data_samples/corner_shop")
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
STORIES = ROOT.parent / "shared" / "models" / "stories260K"
"""A small Llama from the hub (karpathy/tinyllamas)."""


@dataclass(frozen=True)
class Case:
    """One way in which a model is bad."""

    name: str
    kind: Kind
    damage: Callable[[Path], object]
    """Given the folder of a model that is right; of a stage, the stage's, whose base is `base` beside its run."""
    says: str
    """Words of which every command's message holds one, separated by |."""
    works: bool = False
    """It is odd, and right."""
    exports: bool = False
    """It is a good model in the wrong place."""
    needs: Path | None = None
    """A model of this machine, without which the case is skipped."""


# ------------------------------------------------------------------------------------------------ damage


def _edit(name: str, **changes: Any) -> Callable[[Path], None]:
    """Change keys of a JSON file; a key of value None goes."""

    def edit(folder: Path) -> None:
        path = folder / name
        record = {**json.loads(path.read_text("utf-8")), **changes}
        path.write_text(json.dumps({key: value for key, value in record.items() if value is not None}), "utf-8")

    return edit


def _write(name: str, content: str | bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return write


def _remove(*names: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return remove


def _cut(name: str, share: float) -> Callable[[Path], None]:
    """Keep the first share of a file, as a download that stopped does."""

    def cut(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    return cut


def _tensors(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    """Change the weights themselves."""

    def rewrite(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        tensors = {name: tensor.clone() for name, tensor in load_file(folder / WEIGHTS).items()}
        change(tensors)
        save_file(tensors, folder / WEIGHTS, {"format": "pt"})

    return rewrite


def _spoil(value: float) -> Callable[[Path], None]:
    def spoil(tensors: dict[str, Any]) -> None:
        tensors["model.layers.2.mlp.up_proj.weight"][3, 5] = value

    return _tensors(spoil)


def _all(*steps: Callable[[Path], object]) -> Callable[[Path], None]:
    def all_of(folder: Path) -> None:
        for step in steps:
            step(folder)

    return all_of


def _shards(folder: Path) -> None:
    """The same weights in two files and their index."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / WEIGHTS)
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, held in parts.items():
        save_file({name: tensors[name].clone() for name in held}, folder / file, {"format": "pt"})
    where = {name: file for file, held in parts.items() for name in held}
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    (folder / WEIGHTS).unlink()


def _index_names_nothing(folder: Path) -> None:
    _shards(folder)
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["model.norm.weight"] = "model-00003-of-00003.safetensors"
    (folder / INDEX).write_text(json.dumps(index))


def _pickle_only(folder: Path) -> None:
    (folder / "pytorch_model.bin").write_bytes((folder / WEIGHTS).read_bytes())
    (folder / WEIGHTS).unlink()


def _other_tokenizer(folder: Path) -> None:
    """One that knows many more tokens than the model has rows."""
    record = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    vocab = record["model"]["vocab"]
    vocab |= {f"more{i}": len(vocab) + i for i in range(600)}
    (folder / "tokenizer.json").write_text(json.dumps(record), "utf-8")


def _no_stop(folder: Path) -> None:
    """Neither eos nor a special token in the template."""
    _edit("tokenizer_config.json", eos_token=None)(folder)
    (folder / "chat_template.jinja").write_text("{% for m in messages %}{{ m['content'] }}{% endfor %}")


def _template(text: str) -> Callable[[Path], None]:
    return _write("chat_template.jinja", text)


def _template_that_acts(folder: Path) -> None:
    mark = folder.parent / "executed"
    (folder / "chat_template.jinja").write_text(
        "{{ cycler.__init__.__globals__.os.system('touch " + str(mark) + "') }}{{ messages[0]['content'] }}<|im_end|>"
    )


def _code(folder: Path) -> None:
    """A model that brings Python along."""
    mark = folder.parent / "executed"
    (folder / "modeling_mine.py").write_text(f"open({str(mark)!r}, 'w')\nclass Mine: ...\nclass MineConfig: ...\n")
    auto = {"AutoConfig": "modeling_mine.MineConfig", "AutoModelForCausalLM": "modeling_mine.Mine"}
    _edit("config.json", auto_map=auto, model_type="mine", architectures=["Mine"])(folder)


def _is_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("no model")


def _is_empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _links_in_a_circle(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.symlink_to(folder)


def _weights_in_a_circle(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to(folder / WEIGHTS)


def _weights_are_a_folder(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).mkdir()


def _bare_adapter(folder: Path) -> None:
    """What PEFT writes, without the record of what it stands on."""
    (folder / "artifact.json").unlink()
    for path in (folder / "model").iterdir():
        shutil.move(path, folder)


def _seal_again(folder: Path, **changes: Any) -> None:
    """Change the record of a stage as one who knows how."""
    from rlhf.artifact import digest

    record = {**json.loads((folder / "artifact.json").read_text()), **changes}
    record.pop("seal")
    (folder / "artifact.json").write_text(json.dumps({**record, "seal": digest(record)}))


def _base_of(stage: Path) -> Path:
    return stage.parents[2] / "base"


def _base_gone(stage: Path) -> None:
    shutil.rmtree(_base_of(stage))


def _base_changed(stage: Path) -> None:
    _spoil(0.5)(_base_of(stage))


def _base_reconfigured(stage: Path) -> None:
    _edit("config.json", rms_norm_eps=1e-3)(_base_of(stage))


def _hash_of(name: str, stage: Path) -> str:
    from rlhf.artifact import sha256

    return sha256(stage / name)


def _adapter_of_other_shape(stage: Path) -> None:
    """Its record knows of it, and the adapter still does not fit."""
    name = "model/adapter_config.json"
    _edit(name, r=3)(stage)
    record = json.loads((stage / "artifact.json").read_text())
    _seal_again(stage, hashes={**record["hashes"], name: _hash_of(name, stage)})


def _adapter_without_settings(stage: Path) -> None:
    name = "model/adapter_config.json"
    _write(name, "{")(stage)
    record = json.loads((stage / "artifact.json").read_text())
    _seal_again(stage, hashes={**record["hashes"], name: _hash_of(name, stage)})


def _head(rows: int, columns: int) -> Callable[[Path], None]:
    def change(tensors: dict[str, Any]) -> None:
        import torch

        tensors["score.weight"] = torch.zeros(rows, columns, dtype=tensors["score.weight"].dtype)

    return _tensors(change)


def _labels(count: int) -> Callable[[Path], None]:
    return _edit("config.json", id2label={str(i): f"L{i}" for i in range(count)}, num_labels=None)


ADAPTER = "model/adapter_model.safetensors"
_TEMPLATE = "chat_template.jinja"
CASES = [
    # files of weights
    Case("weights cut in the middle", "policy", _cut(WEIGHTS, 0.5), "download"),
    Case("weights cut in the header", "policy", _cut(WEIGHTS, 0.0005), "download"),
    Case("weights empty", "policy", _write(WEIGHTS, b""), "download"),
    Case("weights with a header of no length", "policy", _write(WEIGHTS, b"\xff" * 64), "download"),
    Case("weights that are no safetensors", "policy", _write(WEIGHTS, b"<html>404: not found</html>" * 9), "download"),
    Case("weights that are an LFS pointer", "policy", _write(WEIGHTS, "version https://git-lfs.github.com/spec/v1\n"),
         "git lfs pull|download"),
    Case("a shard missing", "policy", _all(_shards, _remove("model-00002-of-00002.safetensors")), "00002-of-00002"),
    Case("a shard cut", "policy", _all(_shards, _cut("model-00002-of-00002.safetensors", 0.7)), "00002-of-00002"),
    Case("an index that names no file", "policy", _index_names_nothing, "00003-of-00003"),
    Case("an index that is broken", "policy", _all(_shards, _write(INDEX, "{")), "index.json"),
    Case("an index that is a list", "policy", _all(_shards, _write(INDEX, "[]")), "index.json"),
    Case("pickled weights only", "policy", _pickle_only, "pickled weights"),
    Case("no weights", "policy", _remove(WEIGHTS), "no *.safetensors"),
    Case("weights linked in a circle", "policy", _weights_in_a_circle, "model.safetensors"),
    Case("weights that are a folder", "policy", _weights_are_a_folder, "model.safetensors"),
    Case("an adapter among the weights", "policy", lambda folder: _adapter_beside(folder),
         "an adapter among the files"),
    Case("an adapter among the weights of a reward model", "reward", lambda folder: _adapter_beside(folder),
         "an adapter among the files"),
    Case("an adapter in the base of a stage", "stage", lambda stage: _adapter_beside(_base_of(stage)),
         "an adapter among the files"),
    # what the weights hold
    Case("nan in the weights", "policy", _spoil(float("nan")), "up_proj"),
    Case("infinity in the weights", "policy", _spoil(float("inf")), "up_proj"),
    Case("a tensor missing", "policy", _tensors(lambda t: t.pop("model.layers.1.mlp.up_proj.weight")), "up_proj"),
    Case("more layers in the config than in the weights", "policy", _edit("config.json", num_hidden_layers=6),
         "layers.4|layers.5"),
    Case("fewer layers in the config than in the weights", "policy", _edit("config.json", num_hidden_layers=2),
         "layers.2|layers.3"),
    Case("another width in the config", "policy", _edit("config.json", hidden_size=96, head_dim=16), "shape"),
    Case("another vocabulary in the config", "policy", _edit("config.json", vocab_size=900), "shape|knows 1024"),
    # settings
    Case("config broken", "policy", _write("config.json", "{"), "config.json"),
    Case("config empty", "policy", _write("config.json", ""), "config.json"),
    Case("config a list", "policy", _write("config.json", "[]"), "config.json"),
    Case("config not UTF-8", "policy", _write("config.json", b"\xff\xfe{}"), "config.json"),
    Case("config missing", "policy", _remove("config.json"), "config.json"),
    Case("config of an unknown architecture", "policy", _edit("config.json", model_type="nonesuch", architectures=None),
         "nonesuch"),
    Case("config without a type", "policy", _edit("config.json", model_type=None, architectures=None), "config.json"),
    Case("config of a model that writes no text", "policy", _edit("config.json", model_type="vit"), "config.json|vit"),
    Case("config with words for a number", "policy", _edit("config.json", num_hidden_layers="many"), "config.json"),
    Case("config with no layers", "policy", _edit("config.json", num_attention_heads=0), "config.json|does not load"),
    Case("generation_config broken", "policy", _write("generation_config.json", "{"), "generation_config.json"),
    Case("Python brought along", "policy", _code, "trust_remote_code"),
    # tokenizer and template
    Case("tokenizer missing", "policy", _remove("tokenizer.json", "tokenizer_config.json"), "tokenizer"),
    Case("tokenizer.json missing", "policy", _remove("tokenizer.json"), "tokenizer"),
    Case("tokenizer broken", "policy", _cut("tokenizer.json", 0.5), "tokenizer"),
    Case("tokenizer empty", "policy", _write("tokenizer.json", "{}"), "tokenizer"),
    Case("tokenizer_config broken", "policy", _write("tokenizer_config.json", "{"), "tokenizer"),
    Case("tokenizer larger than the embedding", "policy", _other_tokenizer, "1624"),
    Case("a stop token beyond the tokenizer", "policy", _edit("config.json", eos_token_id=1020000), "1020000"),
    Case("no token that ends an answer", "policy", _no_stop, "no special token"),
    Case("template with a syntax error", "policy", _template("{% for m in messages %}{{ m["), "template"),
    Case("template that escapes", "policy", _template("{{ ''.__class__.__mro__[1].__subclasses__() }}<|im_end|>"),
         "template"),
    Case("template that runs a command", "policy", _template_that_acts, "template"),
    Case("template that refuses everything", "policy", _template("{{ raise_exception('no') }}<|im_end|>"), "template"),
    Case("template that says nothing", "policy", _template("<|im_end|>"), "template"),
    Case("template without end", "policy", _template("{% for i in range(10**12) %}x{% endfor %}"), "template"),
    Case("template that is empty", "policy", _template("{# nothing #}"), "special token|template"),
    # folders
    Case("a folder that is a file", "policy", _is_file, "no such folder|is a file"),
    Case("an empty folder", "policy", _is_empty, "config.json"),
    Case("a link to itself", "policy", _links_in_a_circle, "no such folder"),
    # roles
    Case("a policy named as the reward model", "judge", lambda stage: _swap(stage, "sft"),
         "no score head|which is a policy", exports=True),
    Case("a reward model named as the policy", "stage", lambda stage: _swap(stage, "reward"),
         "is a reward model|which is a reward", exports=True),
    Case("a reward model from outside named as the policy", "policy", lambda folder: _as_reward(folder),
         "is a reward model", exports=True),
    Case("a policy from outside named as the reward model", "reward", lambda folder: _as_policy(folder),
         "no score head", exports=True),
    Case("a reward model without a head", "reward", _tensors(lambda t: t.pop("score.weight")), "score"),
    Case("a reward model with a head of another width", "reward", _head(1, 64), "score"),
    Case("a reward model with more rows than outputs", "reward", _head(3, 192), "score"),
    Case("a classifier of two outputs", "reward", _all(_labels(2), _head(2, 192)), "2 outputs"),
    Case("nan in the head", "reward", _tensors(lambda t: t["score.weight"].fill_(float("nan"))), "score"),
    # what a run made
    Case("adapter torn", "stage", _cut(ADAPTER, 0.6), "adapter_model.safetensors"),
    Case("adapter gone", "stage", _remove(ADAPTER), "adapter_model.safetensors"),
    Case("adapter_config broken", "stage", _write("model/adapter_config.json", "{"), "adapter_config.json"),
    Case("adapter_config gone", "stage", _remove("model/adapter_config.json"), "adapter_config.json"),
    Case("adapter of another shape", "stage", _adapter_of_other_shape, "adapter_config.json"),
    Case("adapter of broken settings", "stage", _adapter_without_settings, "adapter_config.json"),
    Case("adapter without its record", "stage", _bare_adapter, "bare adapter"),
    Case("record changed", "stage", _edit("artifact.json", makes="reward"), "changed after it was written"),
    Case("record cut", "stage", _cut("artifact.json", 0.5), "artifact.json"),
    Case("record a list", "stage", _write("artifact.json", "[]"), "artifact.json"),
    Case("record of another version", "stage", lambda stage: _seal_again(stage, format=1), "another version"),
    Case("record with an unknown key", "stage", lambda stage: _seal_again(stage, more=1), "artifact.json"),
    Case("tokenizer of a stage changed", "stage", _edit("model/tokenizer_config.json", eos_token="x"), "tokenizer_"),
    Case("template of a stage changed", "stage", _write("model/" + _TEMPLATE, "x"), _TEMPLATE),
    Case("base removed", "stage", _base_gone, "no longer at"),
    Case("base changed", "stage", _base_changed, "fits no other base"),
    Case("base with another config", "stage", _base_reconfigured, "fits no other base"),
    Case("head gone", "judge", _remove("model/head.safetensors"), "head.safetensors"),
    Case("head torn", "judge", _cut("model/head.safetensors", 0.5), "head.safetensors"),
    Case("base of a reward model changed", "judge", _base_changed, "fits no other base"),
    # odd, and right
    Case("nothing wrong", "policy", lambda folder: None, "", works=True),
    Case("in two shards", "policy", _shards, "", works=True),
    Case("pad is eos", "policy", _edit("tokenizer_config.json", pad_token="<|im_end|>"), "", works=True),
    Case("no pad", "policy", _edit("tokenizer_config.json", pad_token=None), "", works=True),
    Case("no chat template", "policy", _remove(_TEMPLATE), "", works=True),
    Case("no generation_config", "policy", _remove("generation_config.json"), "", works=True),
    Case("a reward model of its own", "reward", lambda folder: None, "", works=True),
    Case("a model of others", "policy", lambda folder: _stories(folder), "", works=True, needs=STORIES),
    Case("a model of others, cut", "policy", lambda folder: (_stories(folder), _cut(WEIGHTS, 0.9)(folder)), "download",
         needs=STORIES),
    Case("a stage", "stage", lambda stage: None, "", works=True),
    Case("a stage's judge", "judge", lambda stage: None, "", works=True),
]  # fmt: skip


def _swap(stage: Path, name: str) -> None:
    """The other stage of the run in this one's place."""
    shutil.rmtree(stage)
    shutil.copytree(stage.parent / name, stage)


def _as_reward(folder: Path) -> None:
    """The tiny base as a reward model of its own."""
    import torch

    def add(tensors: dict[str, Any]) -> None:
        tensors["score.weight"] = torch.ones(1, 192, dtype=tensors["model.norm.weight"].dtype) / 192

    _tensors(add)(folder)
    _edit("config.json", architectures=["LlamaForSequenceClassification"], id2label={"0": "L0"})(folder)


def _adapter_beside(folder: Path) -> None:
    """An adapter for these very weights, saved into their folder by mistake; none of its tensors is 0."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter)
    adapted.save_pretrained(folder)


def _stories(folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(STORIES, folder, copy_function=shutil.copyfile)
    folder.chmod(0o755)


def _as_policy(folder: Path) -> None:
    shutil.rmtree(folder)
    shutil.copytree(folder.parent / "base", folder)


# ------------------------------------------------------------------------------------------------ commands


@dataclass(frozen=True)
class Told:
    """What a command did, as its user sees it."""

    code: int
    out: str
    err: str


def inside(*words: str) -> Told:
    """A command in this process, up to its exit code."""
    from rlhf import cli

    out, err = io.StringIO(), io.StringIO()
    kept, before = sys.argv, signal.getsignal(signal.SIGTERM)
    sys.argv = ["rlhf", *words]
    code = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                cli.main()
            except SystemExit as leaving:
                code = int(leaving.code or 0)
            except BaseException:
                traceback.print_exc()
                code = 1
    finally:
        sys.argv = kept
        signal.signal(signal.SIGTERM, before)
    return Told(code, out.getvalue(), err.getvalue())


def outside(*words: str) -> Told:
    """A command in a process of its own."""
    done = subprocess.run([sys.executable, "-m", "rlhf", *words], capture_output=True, text=True, check=False)
    return Told(done.returncode, done.stdout, done.stderr)


def write_recipe(path: Path, kind: Kind, model: Path) -> Path:
    """A short run that starts from a model, or is judged by it."""
    lines = {"path": str(SHOP / "sft.jsonl"), "max_rows": 8, "max_length": 96, "eval_fraction": 0}
    train = {"max_steps": 1, "batch_size": 4}
    if kind in ("policy", "stage"):
        stages: dict[str, Any] = {"sft": {"model": str(model), "data": lines, "train": train}}
    else:
        prompts = {"path": str(SHOP / "prompts.jsonl"), "max_rows": 2, "max_length": 96, "eval_fraction": 0}
        rollout = {"batch_size": 4, "max_new_tokens": 4}
        stages = {"sample": {"model": "tiny", "reward_model": str(model), "data": prompts, "n": 2, "rollout": rollout,
                             "keep_unfinished": True}}  # fmt: skip
    yamlfile.write({"name": "run", "stages": stages}, path)
    return path


def commands(kind: Kind, model: Path, work: Path) -> Iterator[tuple[str, ...]]:
    """What a user would do with a model."""
    yield "run", str(write_recipe(work / "recipe.yaml", kind, model)), "--out", str(work / "runs")
    if kind in ("policy", "stage"):
        yield "chat", str(model), "--prompt", "Hello", "--max-new-tokens", "4"
    else:
        yield "score", str(model), "--prompt", "Hello", "--answer", "Good day"
    yield "export", str(model), "--out", str(work / "exported")


# ------------------------------------------------------------------------------------------------ trying


def good_models(folder: Path) -> Path:
    """The tiny base, a reward model, and a run on that base, for cases to copy."""
    skip = shutil.ignore_patterns("*.py", "__pycache__")
    shutil.copytree(resource("data_samples/tiny_base"), folder / "base", ignore=skip)
    shutil.copytree(folder / "base", folder / "reward")
    _as_reward(folder / "reward")
    data = {"path": str(SHOP / "preferences.jsonl"), "max_rows": 8, "max_length": 96, "eval_fraction": 0}
    stage = {"data": data, "train": {"max_steps": 1, "batch_size": 4}}
    tree = {
        "name": "made",
        "model": str(folder / "base"),
        "stages": {
            "sft": {**stage, "data": {**data, "path": str(SHOP / "sft.jsonl")}},
            "reward": {**stage, "model": {"stage": "sft"}},
        },
    }
    yamlfile.write(tree, folder / "made.yaml")
    told = inside("run", str(folder / "made.yaml"), "--out", str(folder))
    assert told.code == 0, told.err
    return folder


def attempt(case: Case, good: Path, work: Path, how: Callable[..., Told] = inside) -> list[str]:
    """What is wrong with how the commands take a bad model; empty where nothing is."""
    shutil.copytree(good / "base", work / "base")
    if case.kind in ("policy", "reward"):
        model = work / ("base" if case.kind == "policy" else "reward")
        if case.kind == "reward":
            shutil.copytree(good / "reward", model)
    else:
        shutil.copytree(good / "made", work / "made")
        for stage in ("sft", "reward"):
            record = json.loads((good / "made" / "stages" / stage / "artifact.json").read_text())
            _seal_again(work / "made" / "stages" / stage, base={**record["base"], "location": str(work / "base")})
        model = work / "made" / "stages" / ("sft" if case.kind == "stage" else "reward")
    case.damage(model)
    problems = []
    for words in commands(case.kind, model, work):
        told = how(*words)
        fine = case.works or (case.exports and words[0] == "export")
        if problem := _works(told) if fine else _refused(told, case):
            problems.append(f"rlhf {words[0]}: {problem}")
        if not case.works and words[0] == "run":
            problems += _left_behind(work / "runs")
    if not (case.works or case.exports) and (work / "exported").exists():
        problems.append("rlhf export: left a folder behind")
    if (work / "executed").exists():
        problems.append("code of the model ran")
    told = how("check", str(work / "recipe.yaml"))
    if told.code not in (0, 2) or "Traceback" in told.err or (told.code and case.works):
        problems.append(f"rlhf check: exit code {told.code}: {told.err[-300:]}")
    return problems


def _works(told: Told) -> str:
    return f"exit code {told.code}: {told.err[-400:]}" if told.code else ""


def _refused(told: Told, case: Case) -> str:
    if told.code == 0:
        return "was accepted"
    if told.code != 2 or "Traceback" in told.err:
        return f"exit code {told.code}: {told.err[-700:]}"
    if not told.err.startswith("error: ") and "\nerror: " not in told.err:
        return f"no error is told: {told.err[-300:]}"
    message = told.err[told.err.index("error: ") :]
    if not any(words in message for words in case.says.split("|")):
        return f"does not say {case.says}: {message[:400]}"
    if word := internals(message.replace("adapter_config.json", "").replace("trust_remote_code", "")):
        return f"speaks of '{word}': {message[:400]}"
    return f"is {len(message)} characters long: {message[:300]}" if len(message) > 1500 else ""


def _left_behind(runs: Path) -> list[str]:
    """Stages' folders of a run that did not take place."""
    found = sorted(str(path.relative_to(runs)) for path in runs.glob("run/stages/*"))
    return [f"rlhf run: left {found}"] if found else []


def recovers(work: Path, kind: Kind) -> list[str]:
    """After a refusal, a good model runs in the same folder."""
    good = "tiny" if kind in ("policy", "stage") else work / "made-good"
    if isinstance(good, Path):
        return []
    told = inside("run", str(work / "recipe.yaml"), f"sft.model={good}", "--out", str(work / "runs"))
    return [] if told.code == 0 else [f"a good run after it: {told.err[-300:]}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="of cases; all when left out")
    parser.add_argument("--every", type=int, default=1, help="try one in so many")
    parser.add_argument("--processes", action="store_true", help="each command in a process of its own")
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    failed: list[str] = []
    tried = 0
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["RLHF_CACHE"] = f"{scratch}/cache"
        (Path(scratch) / "good").mkdir()
        good = good_models(Path(scratch) / "good")
        for case in CASES[:: options.every]:
            if options.names and case.name not in options.names:
                continue
            if case.needs and not case.needs.exists():
                print(f"{case.name}: skipped, no {case.needs}", file=sys.stderr)
                continue
            work = Path(tempfile.mkdtemp(dir=scratch))
            tried += 1
            problems = attempt(case, good, work, outside if options.processes else inside)
            if not case.works:
                problems += recovers(work, case.kind)
            if problems:
                failed.append(case.name)
                for problem in problems:
                    print(f"{case.name}: {problem}".replace(str(work), ""), flush=True)
            shutil.rmtree(work, ignore_errors=True)
    report(tried, failed)


if __name__ == "__main__":
    main()
