"""Names, links and odd files: nothing is written outside of the run folder, and nothing waits for ever."""

import gzip
import os
import shutil
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.reliability.canaries.children import Found, Told, command, model_folder, one_stage, stop_after, written


def paths(folder: Path) -> Found:
    """Names, links and odd files: nothing is written outside of the run folder, and nothing waits for ever."""
    home, beyond = folder / "here", folder / "beyond"
    for one in (home, beyond):
        one.mkdir(parents=True)
    raw = one_stage(home)
    recipe = written(raw, home / "r.yaml")
    (beyond / "kept.txt").write_text("kept")
    before = listing(folder, home)

    def outcome(told: Told) -> str:
        now = listing(folder, home)
        return told.refused or ("" if now == before else f"wrote outside: {sorted(set(now) ^ set(before))[:3]}")

    for name in (
        "../beyond",
        "/tmp/x",
        "..",
        ".",
        "a/b",
        "a\nb",
        "x/../../beyond",
        "~",
        "-x",
        "",
        "a\0b",
        "C:\\x",
    ):
        if "\0" not in name:
            yield f"name={name!r}", outcome(command("run", recipe, f"name={name}", "--out", "runs", cwd=home))
        yaml = written({**raw, "name": name}, home / "n.yaml")
        yield f"name: {name!r}", outcome(command("run", yaml, "--out", "runs", cwd=home))
        stages = {name: {**raw["stages"]["sft"], "stage": "sft"}}
        yield (
            f"a stage called {name!r}",
            outcome(command("run", written({**raw, "stages": stages}, home / "n.yaml"), "--out", "runs", cwd=home)),
        )
    yield (
        "--name ../beyond",
        outcome(
            command("sft", "--model", "tiny", "--data", "sft.jsonl", "--name", "../beyond", "--out", "runs", cwd=home)
        ),
    )
    for name, spoil in LINKS.items():
        shutil.rmtree(home / "runs", ignore_errors=True)
        (home / "runs").mkdir()
        spoil(home / "runs" / "small", beyond)
        yield f"run folder: {name}", outcome(command("run", recipe, "--out", "runs", cwd=home))
    shutil.rmtree(home / "runs", ignore_errors=True)
    yield from _interrupted_links(folder, home, recipe, beyond, outcome)
    yield from odd_data(home)


def listing(folder: Path, but: Path) -> dict[str, Any]:
    """All files under a folder but those in one of its own, with what they hold."""
    files = (path for path in folder.rglob("*") if not path.is_relative_to(but))
    return {str(path): path.read_bytes() if path.is_file() else None for path in files}


def _link(*inner: str, to: str = "") -> Callable[[Path, Path], None]:
    def spoil(run: Path, beyond: Path) -> None:
        path = run.joinpath(*inner)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(beyond / to)

    return spoil


def _fifo(*inner: str) -> Callable[[Path, Path], None]:
    def spoil(run: Path, beyond: Path) -> None:
        path = run.joinpath(*inner)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(path)

    return spoil


LINKS: dict[str, Callable[[Path, Path], None]] = {
    "a link": _link(),
    "a link to nothing": _link(to="none"),
    "its stages a link": _link("stages"),
    "a stage that is a link": _link("stages", "sft"),
    "a stage that is a link to nothing": _link("stages", "sft", to="none"),
    "a stage at work that is a link": _link("stages", ".sft.partial"),
    "a stage at work that is a link to nothing": _link("stages", ".sft.partial", to="none"),
    "an old stage that is a link": _link("stages", ".sft.old"),
    "its lock a link": _link(".lock", to="kept.txt"),
    "its settings a link": _link("recipe.lock.yaml", to="kept.txt"),
    "its settings a link to nothing": _link("recipe.lock.yaml", to="none"),
    "its lock a pipe": _fifo(".lock"),
    "its settings a pipe": _fifo("recipe.lock.yaml"),
    "a stage that is a pipe": _fifo("stages", "sft"),
    "a stage at work that is a pipe": _fifo("stages", ".sft.partial"),
    "a file": lambda run, beyond: run.write_text("a file"),
    "its stages a file": lambda run, beyond: (run.mkdir(), (run / "stages").write_text("a file"))[0],
}


def _interrupted_links(folder: Path, home: Path, recipe: str, beyond: Path, outcome: Callable[[Told], str]) -> Found:
    """Links in the folder of a stage that goes on where it was interrupted."""
    words = ("run", recipe, "--out", "runs", "sft.train.checkpoint_every=1")
    told = command(*words, cwd=home, before=lambda: stop_after(1))
    scratch = home / "runs" / "small" / "stages" / ".sft.partial"
    begun = (scratch / "checkpoint").is_dir()
    yield "a stage that is interrupted", "" if begun else f"left no checkpoint: {told.text[-200:]}"
    shutil.copytree(home / "runs", home / "kept", symlinks=True)
    for name in ("checkpoint", "metrics.jsonl", "model", "artifact.json", "artifact.json.partial", "wandb", "hash"):
        shutil.rmtree(home / "runs")
        shutil.copytree(home / "kept", home / "runs", symlinks=True)
        path = scratch / name
        shutil.rmtree(path, ignore_errors=True)
        path.unlink(missing_ok=True)
        path.symlink_to(beyond / ("kept.txt" if "." in name or name == "hash" else ""))
        yield f"interrupted, and {name} is a link", outcome(command(*words, cwd=home))
    shutil.rmtree(home / "runs")
    shutil.move(home / "kept", home / "runs")
    yield "interrupted, and nothing is a link", command(*words, cwd=home).done


def odd_data(home: Path) -> Found:
    """Data that is no plain file, or packed as nothing here reads: refused at once."""
    import tarfile

    os.mkfifo(home / "pipe.jsonl")
    (home / "to_pipe.jsonl").symlink_to(home / "pipe.jsonl")
    (home / "to_device.jsonl").symlink_to("/dev/zero")
    (home / "to_environment.txt").symlink_to("/proc/self/environ")
    (home / "to_itself.jsonl").symlink_to(home / "to_itself.jsonl")
    (home / "of_pipes").mkdir()
    os.mkfifo(home / "of_pipes" / "a.jsonl")
    (home / "loop").mkdir()
    (home / "loop" / "again").symlink_to(home / "loop")
    with zipfile.ZipFile(home / "packed.zip", "w") as packed:
        packed.writestr("../../beyond/out.jsonl", '{"text": "x"}\n')
    with tarfile.open(home / "packed.tar", "w") as tar:
        tar.add(home / "sft.jsonl", "../../beyond/out.jsonl")
    for name in ("zip", "tar"):
        shutil.copy(home / f"packed.{name}", home / f"{name}.jsonl")
        shutil.copy(home / f"packed.{name}", home / f"{name}.xlsx")
    with gzip.open(home / "tar.jsonl.gz", "wb") as file:
        file.write((home / "packed.tar").read_bytes())
    names = [
        "pipe.jsonl",
        "to_pipe.jsonl",
        "to_device.jsonl",
        "to_environment.txt",
        "to_itself.jsonl",
        "of_pipes",
        "of_pipes/*.jsonl",
        "loop",
        "packed.zip",
        "packed.tar",
        "zip.jsonl",
        "tar.jsonl",
        "zip.xlsx",
        "tar.xlsx",
        "tar.jsonl.gz",
        "/dev/zero",
        "/dev/stdin",
        "/dev/tty",
        "/proc/self/environ",
        "/proc/self/mem",
    ]
    for name in names:
        yield (
            f"data: {name}",
            _first(command(*words, name, cwd=home) for words in (("data", "check"), ("data", "inspect"))),
        )
        raw = one_stage(home)
        raw["stages"]["sft"]["data"]["path"] = name
        yield (
            f"a recipe's data: {name}",
            command("run", written(raw, home / "o.yaml"), "--out", "odd", cwd=home).refused,
        )
    tiny = "tiny"
    (home / "pipe.py").symlink_to(home / "pipe.jsonl")
    (home / "pipe.jinja").symlink_to(home / "pipe.jsonl")
    rows = {"rows": {"file": "pipe.py", "trust_code": True}}
    raw = one_stage(home)
    raw["stages"]["sft"]["data"] |= rows
    yield "a function in a pipe", command("check", written(raw, home / "o.yaml"), cwd=home).refused
    yield (
        "a template in a pipe",
        command("check", written(one_stage(home, template="pipe.jinja"), home / "o.yaml"), cwd=home).refused,
    )
    yield "a recipe in a pipe", command("check", "pipe.jsonl", cwd=home).refused
    yield "text in a pipe", command("export", tiny, "--out", "e", "--text", "pipe.jsonl", cwd=home).refused
    yield "scores of a pipe", command("score", tiny, "pipe.jsonl", cwd=home).refused
    yield "prompts of a pipe", command("data", "inspect", "sft.jsonl", "--against", "pipe.jsonl", cwd=home).refused
    for name in ("config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja", "tokenizer_config.json"):
        model = model_folder(home / f"with-{name}")
        (model / name).unlink()
        os.mkfifo(model / name)
        told = command("chat", str(model), "--prompt", "Late?", "--max-new-tokens", "4", cwd=home)
        yield f"a model whose {name} is a pipe", told.wrong  # it may do without


def _first(all_told: Iterable[Told]) -> str:
    return next((wrong for told in all_told if (wrong := told.refused)), "")
