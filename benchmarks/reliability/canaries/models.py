"""Models that bring code along."""

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.reliability.canaries.children import command, model_folder, one_stage, written


class Sings:
    """Whose pickle runs a command."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


def python(mark: Path) -> str:
    """Python that sings when it is imported, whatever is wanted of it."""
    return f"open({str(mark)!r}, 'w').close()\n\ndef __getattr__(name):\n    return type(name, (), {{}})\n"


def torch_zip(mark: Path) -> bytes:
    """A file as torch.save writes it, with a pickle that sings."""
    import io

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("archive/data.pkl", pickle.dumps(Sings(mark), 2))
        packed.writestr("archive/version", "3\n")
        packed.writestr("archive/byteorder", "little")
    return file.getvalue()


def _edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**(json.loads(path.read_text()) if path.exists() else {}), **changes}))


def with_code(folder: Path, mark: Path, kind: str) -> None:
    for name in ("modeling_x", "configuration_x", "tokenization_x"):
        (folder / f"{name}.py").write_text(python(mark))
    models = dict.fromkeys(("AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification"), "modeling_x.M")
    _edit(folder / "config.json", model_type=kind, auto_map={"AutoConfig": "configuration_x.C", **models})
    tokenizers = {"AutoTokenizer": ["tokenization_x.T", "tokenization_x.T"], "AutoProcessor": "tokenization_x.P"}
    _edit(folder / "tokenizer_config.json", auto_map=tokenizers, tokenizer_class="T")
    _edit(folder / "generation_config.json", custom_generate=".")
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(python(mark))
    (folder / "requirements.txt").write_text("torch\n")


PICKLES = [
    "pytorch_model.bin",
    "model.bin",
    "adapter_model.bin",
    "adapter.pt",
    "training_args.bin",
    "optimizer.pt",
    "rng_state.pth",
    "state.pt",
    "weights.pkl",
    "tokenizer.pkl",
    "vocab.pkl",
    "tokenizer.model",
    "spiece.model",
    "consolidated.00.pth",
    "scheduler.pt",
    "tf_model.h5",
]


def _with_pickles(folder: Path, mark: Path) -> None:
    for i, name in enumerate(PICKLES):
        (folder / name).write_bytes(torch_zip(mark) if i % 2 else pickle.dumps(Sings(mark)))


def _pickled(folder: Path, mark: Path) -> None:
    """Weights as a pickle alone."""
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(torch_zip(mark))


def _index(folder: Path, mark: Path) -> None:
    """A list of parts that names a pickle, and one out of the folder."""
    (folder / "model.safetensors").unlink()
    for place in (folder / "a.bin", folder.parent / "b.bin"):
        place.write_bytes(torch_zip(mark))
    parts = {"model.embed_tokens.weight": "a.bin", "model.norm.weight": "../b.bin"}
    _edit(folder / "model.safetensors.index.json", metadata={}, weight_map=parts)


def _disguised(folder: Path, mark: Path) -> None:
    (folder / "model.safetensors").write_bytes(torch_zip(mark))


def _tokenizer(folder: Path, mark: Path) -> None:
    """A tokenizer that is a pickle."""
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer.model").write_bytes(pickle.dumps(Sings(mark)))
    _edit(folder / "tokenizer_config.json", tokenizer_class="LlamaTokenizer")


def _kernel(folder: Path, mark: Path) -> None:
    """Attention from the hub, named in the config."""
    _edit(folder / "config.json", attn_implementation="kernels-community/x", _attn_implementation="evil/x")


TEMPLATES = {
    "subclasses": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ cycler.__init__.__globals__.os.system('touch MARK') }}",
    "popen": "{{ lipsum.__globals__['os'].popen('touch MARK').read() }}",
    "attr": "{{ (messages|attr('__class__'))|attr('__base__')|attr('__subclasses__')() }}",
    "format": "{{ '{0.__class__.__init__.__globals__}'.format(raise_exception) }}",
    "function": "{{ raise_exception.__globals__['__builtins__']['open']('MARK', 'w') }}",
    "map": "{{ [raise_exception]|map(attribute='__globals__.os.system')|list }}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'os' as os %}{{ os.system('touch MARK') }}",
    "self": "{{ self.__init__.__globals__.__builtins__.__import__('os').system('touch MARK') }}",
}


def _template(text: str) -> Callable[[Path, Path], None]:
    def spoil(folder: Path, mark: Path) -> None:
        path = folder / "chat_template.jinja"
        path.write_text(text.replace("MARK", str(mark)) + path.read_text())

    return spoil


MODELS: dict[str, Callable[[Path, Path], None]] = {
    "auto_map of a known architecture": lambda folder, mark: with_code(folder, mark, "llama"),
    "auto_map of an unknown architecture": lambda folder, mark: with_code(folder, mark, "evil"),
    "pickles beside the weights": _with_pickles,
    "weights that are a pickle": _pickled,
    "an index of pickles": _index,
    "a pickle called model.safetensors": _disguised,
    "a tokenizer that is a pickle": _tokenizer,
    "attention from the hub": _kernel,
    **{f"template: {name}": _template(text) for name, text in TEMPLATES.items()},
}
"""Ways to bring code along with a model."""
WORK = ("pickles beside the weights",)
"""Those with a model that loads without it; the others are refused."""


def _as_judge(folder: Path) -> None:
    """The tiny base as a reward model."""
    import torch
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors["score.weight"] = torch.ones(1, 192, dtype=tensors["model.norm.weight"].dtype)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    _edit(folder / "config.json", architectures=["LlamaForSequenceClassification"], id2label={"0": "L0"})


def bad_model(name: str, folder: Path) -> str:
    """Every command with a model that brings code along; what is wrong with what they do."""
    home = folder / "".join(letter if letter.isalnum() else "-" for letter in name)
    mark = home / "sang"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    model, judge = model_folder(home / "model"), model_folder(home / "judge")
    _as_judge(judge)
    for one in (model, judge):
        MODELS[name](one, mark)
    recipe = written(one_stage(home, model="model"), home / "r.yaml")
    line = home / "line.jsonl"
    line.write_text('{"prompt": "Is it late?", "response": "It comes today."}\n')
    tries = [
        ("check", recipe),
        ("run", recipe, "--out", "runs"),
        ("chat", "model", "--prompt", "Is it late?", "--max-new-tokens", "4"),
        ("score", "judge", str(line)),
        ("export", "model", "--out", "exported"),
        ("data", "inspect", "sft.jsonl", "--model", "model"),
    ]
    faults = []
    for words in tries:
        told = command(*words, cwd=home)
        loads = words[0] not in ("check", "data")
        wrong = told.wrong if not loads else told.done if name in WORK else told.refused
        wrong = "the canary sang" if mark.exists() else wrong
        faults += [f"{words[0]}: {wrong}"] if wrong else []
        mark.unlink(missing_ok=True)
    return "; ".join(faults)
