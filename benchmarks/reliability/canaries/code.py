"""Code that comes along with models, stages, checkpoints, data or a working directory: none of it runs."""

import json
import pickle
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT
from benchmarks.reliability.canaries.children import (
    RLHF,
    SHOP,
    Found,
    command,
    model_folder,
    one_stage,
    process,
    small,
    stop_after,
    written,
)
from benchmarks.reliability.canaries.models import (
    MODELS,
    PICKLES,
    TEMPLATES,
    Sings,
    bad_model,
    python,
    torch_zip,
    with_code,
)


def code(folder: Path) -> Found:
    """Code that comes along with models, data and checkpoints never runs."""
    yield "canaries sing", heard(folder)
    for name in MODELS:
        yield f"model: {name}", bad_model(name, folder / "models")
    yield from _artifacts(folder / "stages")
    yield from _checkpoints(folder)
    yield from data_folders(folder / "data")
    yield from _working_directory(folder)
    yield from native(folder / "native")


def heard(folder: Path) -> str:
    """Canaries that would not be heard if they sang."""
    import jinja2

    found = []
    ways: dict[str, Callable[[Path], object]] = {
        "pickle": lambda mark: pickle.loads(pickle.dumps(Sings(mark))),
        "Python": lambda mark: exec(python(mark), {}),
        "template": lambda mark: jinja2.Template(TEMPLATES["globals"].replace("MARK", str(mark))).render(),
    }
    for name, run in ways.items():
        run(folder / name)
        found += [] if (folder / name).exists() else [name]
    return ", ".join(found)


def _sealed(record: dict[str, Any]) -> dict[str, Any]:
    """A record of a stage as whoever forges it would seal it."""
    from rlhf import artifact

    record.pop("seal", None)
    return {**record, "seal": artifact.digest(record)}


def _artifacts(folder: Path) -> Found:
    """A run's stage of others: forged, with pickles for adapters, with code that its record says is trusted."""
    from rlhf import artifact

    folder.mkdir(parents=True)
    recipe = written(one_stage(folder), folder / "r.yaml")
    yield "a run to be forged", command("run", recipe, "--out", "runs", cwd=folder).done
    home, mark = folder / "runs" / "small" / "stages" / "sft", folder / "sang"
    good = folder / "good"
    shutil.copytree(folder / "runs", good)

    def tried(name: str, *words: str) -> tuple[str, str]:
        told = command(*words, cwd=folder)
        wrong = "the canary sang" if mark.exists() else told.wrong
        mark.unlink(missing_ok=True)
        return f"forged stage: {name}: {words[0]}", wrong

    def forge(files: Mapping[str, bytes], **changes: Any) -> None:
        shutil.rmtree(folder / "runs")
        shutil.copytree(good, folder / "runs")
        for name, data in files.items():
            (home / "model" / name).write_bytes(data)
        record = json.loads((home / "artifact.json").read_text())
        files_now = [path for path in (home / "model").rglob("*") if path.is_file()]
        record["files"] = {str(path.relative_to(home)): path.stat().st_size for path in files_now}
        record["hashes"] = {str(path.relative_to(home)): artifact.sha256(path) for path in files_now}
        (home / "artifact.json").write_text(json.dumps(_sealed(record | changes)))

    chat = ("chat", str(home), "--prompt", "Late?", "--max-new-tokens", "4")
    export = ("export", str(home), "--out", "exported")
    forge({"adapter_model.safetensors": torch_zip(mark)})
    yield tried("adapter that is a pickle", *chat)
    yield tried("adapter that is a pickle", *export)
    forge({"adapter_model.bin": torch_zip(mark), "adapter.pt": pickle.dumps(Sings(mark))})
    yield tried("pickles beside the adapter", *chat)
    yield tried("pickles beside the adapter", "export", str(home), "--out", "adapter", "--adapter")
    base = model_folder(folder / "base")
    with_code(base, mark, "evil")
    from rlhf.weights import identity

    known = json.loads((home / "artifact.json").read_text())["base"]
    trusted = known | {"location": str(base), "identity": identity(base, trusted=True), "trust_remote_code": True}
    forge({}, base=trusted)
    yield tried("a base whose code its record trusts", *chat)
    yield tried("a base whose code its record trusts", *export)
    more = one_stage(folder)
    more["stages"]["dpo"] = {
        "model": {"stage": "sft"},
        "data": {"path": "preferences.jsonl", "max_length": 128},
        "train": {"max_steps": 1, "batch_size": 4},
    }
    yield tried(
        "a base whose code its record trusts, under a recipe", "run", written(more, folder / "m.yaml"), "--out", "runs"
    )


def _seal(folder: Path) -> None:
    """Have a checkpoint say that what is in it is what was written."""
    from rlhf import checkpoint

    manifest = folder / checkpoint.MANIFEST
    files = {path.name: checkpoint.fingerprint(path) for path in folder.iterdir() if path != manifest}
    stage = json.loads(manifest.read_text("utf-8"))["stage"] if manifest.is_file() else ""
    manifest.write_text(json.dumps({"stage": stage, "files": files}))


def _checkpoints(folder: Path) -> Found:
    """Checkpoints of others: whatever in them is a pickle is refused, or passed over."""
    from benchmarks.reliability.trials import bench

    for stage in ("sft", "ppo"):
        with bench(stage, "lora") as trial, trial.copy() as runs:
            mark = folder / f"sang-{stage}"
            trial.run(runs, lambda: stop_after(2))
            home = trial.scratch(runs) / "checkpoint"
            names = sorted({path.name for path in home.rglob("*") if path.suffix in (".pt", ".pth", ".bin", ".json")})
            names = [name for name in names if not name.endswith(".json")]
            yield f"checkpoint of {stage}", "" if names else f"{home} holds no file that torch reads"
            kept = folder / f"kept-{stage}"
            shutil.copytree(runs, kept)
            for name in [*names, "beside"]:
                for kind, data in (("pickle", pickle.dumps(Sings(mark))), ("torch", torch_zip(mark))):
                    shutil.rmtree(runs / "trial")
                    shutil.copytree(kept / "trial", runs / "trial")
                    for inner in [path for path in home.iterdir() if path.is_dir()] or [home]:
                        for planted in PICKLES if name == "beside" else [name]:
                            if name == "beside" and (inner / planted).exists():
                                continue
                            (inner / planted).write_bytes(data)
                        _seal(inner)
                    code = trial.run(runs)
                    wrong = "the canary sang" if mark.exists() else "" if code in (0, 2) else f"exit code {code}"
                    mark.unlink(missing_ok=True)
                    yield (
                        f"checkpoint of {stage}: {name} is a {kind}"
                        if name != "beside"
                        else (f"checkpoint of {stage}: more {kind} files beside"),
                        wrong,
                    )


def data_folders(folder: Path) -> Found:
    """Data that brings code along."""
    import numpy
    import pyarrow
    import pyarrow.parquet

    mark = folder / "sang"
    shutil.rmtree(folder, ignore_errors=True)
    inner = folder / "set"
    inner.mkdir(parents=True)
    small(inner)
    for name in ("sitecustomize", "usercustomize", "conftest", "set", "dataset", "setup", "__init__", "json", "torch"):
        (inner / f"{name}.py").write_text(python(mark))
    for name in ("x.pkl", "x.pt", "x.bin"):
        (inner / name).write_bytes(pickle.dumps(Sings(mark)))
    numpy.save(inner / "x.npy", numpy.array([Sings(mark)], dtype=object), allow_pickle=True)
    names = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Sings(mark)),
    }
    rows = ["Late?"]
    fields = [pyarrow.field("prompt", pyarrow.string(), metadata=names), pyarrow.field("response", pyarrow.string())]
    table = pyarrow.table([rows, rows], schema=pyarrow.schema(fields))
    pyarrow.parquet.write_table(table, inner / "typed.parquet")
    with pyarrow.ipc.new_file(inner / "typed.arrow", table.schema) as sink:
        sink.write_table(table)
    (inner / "pickle.jsonl").write_bytes(pickle.dumps(Sings(mark)))
    (inner / "pickle.parquet").write_bytes(pickle.dumps(Sings(mark)))
    (inner / "yaml.jsonl").write_text(f"!!python/object/apply:os.system ['touch {mark}']\n")
    (inner / "r.yaml").write_text(f"name: !!python/object/apply:os.system ['touch {mark}']\nstages: {{sft: {{}}}}\n")
    org = folder / "org" / "set"
    org.mkdir(parents=True)
    (org / "set.py").write_text(python(mark))
    tries = {
        "a folder": ("data", "inspect", "set"),
        "its rows": ("data", "check", "set/sft.jsonl"),
        "a script as the hub's": ("data", "check", "hub=org/set"),
        "the folder as the hub's": ("data", "check", "hub=set"),
        "pickles by the reader of pandas": ("data", "check", "hub=pandas", "subset=set"),
        "numpy": ("data", "check", "set/x.npy"),
        "pickle": ("data", "check", "set/x.pkl"),
        "a pickle called jsonl": ("data", "check", "set/pickle.jsonl"),
        "a pickle called parquet": ("data", "check", "set/pickle.parquet"),
        "a parquet file's own type": ("data", "check", "set/typed.parquet"),
        "an arrow file's own type": ("data", "check", "set/typed.arrow"),
        "YAML's own objects in rows": ("data", "check", "set/yaml.jsonl"),
        "YAML's own objects in a recipe": ("check", "set/r.yaml"),
        "YAML's own objects in an override": ("check", "quickstart", f"name=!!python/name:os.system touch {mark}"),
        "a function that is not trusted": ("data", "check", "set/sft.jsonl", 'rows={"file": "set/set.py"}'),
    }
    for name, words in tries.items():
        told = command(*words, cwd=folder)
        yield f"data: {name}", "the canary sang" if mark.exists() else told.wrong
        mark.unlink(missing_ok=True)


def native(folder: Path) -> Found:
    """The package `kernels`, by which libraries fetch native code from the hub: installed, and never asked."""
    mark, site = folder / "sang", folder / "site"
    about = site / "kernels-0.18.2.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: kernels\nVersion: 0.18.2\n")
    (site / "kernels.py").write_text(python(mark))
    recipe = written(one_stage(folder, backend={"kind": "qlora"}), folder / "r.yaml")
    path = {"PYTHONPATH": f"{site}:{folder / 'watch'}:{ROOT}"}
    asked = "from transformers.integrations import hub_kernels"
    process([sys.executable, "-c", asked], folder, env=path)
    yield "kernels: the canary sings", "" if mark.exists() else "nothing asks for it, even where nothing is blocked"
    mark.unlink(missing_ok=True)
    stage = str(folder / "runs" / "small" / "stages" / "sft")
    tests = "import tests.conftest, transformers, peft, bitsandbytes; from transformers.integrations import hub_kernels"
    tries = {
        "run": [*RLHF, "run", recipe, "--out", "runs"],
        "chat": [*RLHF, "chat", stage, "--prompt", "Late?", "--max-new-tokens", "4"],
        "export": [*RLHF, "export", stage, "--out", "exported"],
        "tests": [sys.executable, "-c", tests],
        "trials": [sys.executable, "-c", "from benchmarks.reliability.trials import prepare; prepare()"],
    }
    for name, words in tries.items():
        told = process(words, folder, env=path)
        yield f"kernels: {name}", "the canary sang" if mark.exists() else told.done
        mark.unlink(missing_ok=True)


def _working_directory(folder: Path) -> Found:
    """A working directory with files that are called as libraries are."""
    cwd, mark = folder / "cwd", folder / "cwd" / "sang"
    cwd.mkdir()
    (cwd / "sft.jsonl").write_text((SHOP / "sft.jsonl").read_text("utf-8"), encoding="utf-8")
    libraries = "sitecustomize usercustomize conftest torch numpy json datasets wandb stages rlhf typer pydantic yaml"
    for name in libraries.split():
        (cwd / f"{name}.py").write_text(python(mark))
    script = [str(Path(sys.executable).with_name("rlhf"))]
    for how, start in (("rlhf", script), ("python -m rlhf", RLHF)):
        if how != "rlhf":  # Python itself looks for these two there
            for name in ("rlhf", "stages"):
                (cwd / f"{name}.py").unlink()
        for words in (["data", "inspect", "sft.jsonl"], ["chat", "tiny", "--prompt", "Late?", "--max-new-tokens", "4"]):
            told = process([*start, *words], folder, cwd=cwd)
            wrong = "the canary sang" if mark.exists() else told.done
            mark.unlink(missing_ok=True)
            yield f"working directory: {how} {' '.join(words[:2])}", wrong
