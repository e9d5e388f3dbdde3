"""Commands in children that are watched, and the small recipes that they are given."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

from benchmarks.common import ROOT
from benchmarks.reliability.trials import renew_threads
from rlhf import yamlfile
from rlhf.resources import resource

Found = Iterator[tuple[str, str]]
"""Cases by name, each with what is wrong: empty where it has survived."""
SHOP = resource("data_samples/corner_shop")
LIMIT_S = 120
"""Longest that a command may take: it hangs."""

HOOK = """
import os, sys

def _note(event, args, log=os.environ["CANARY_LOG"], write=os.write, flags=os.O_WRONLY | os.O_APPEND | os.O_CREAT):
    if event in ("socket.connect", "socket.sendto", "socket.bind") and isinstance(args[1], tuple):
        told = args[1][0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        told = args[0]
    else:
        return
    if str(told) not in ("127.0.0.1", "::1", "localhost"):
        file = os.open(log, flags)
        write(file, f"{event} {told}\\n".encode())
        os.close(file)

sys.addaudithook(_note)
"""
"""Notes every address but this machine's own that Python is asked for."""


class Told(NamedTuple):
    """What a command did."""

    code: int
    text: str
    """Standard output and error."""
    asked: list[str]
    """Addresses that were asked for."""

    @property
    def wrong(self) -> str:
        """What no command may do, whatever it is given."""
        if self.code < 0:
            return "it hangs" if self.code == -signal.SIGKILL else f"signal {-self.code}"
        if "Traceback (most recent call last)" in self.text:
            return f"a traceback: {self.text.strip().splitlines()[-1][:200]}"
        return f"it asks for {self.asked}" if self.asked else ""

    @property
    def refused(self) -> str:
        """What is wrong where words and exit code 2 are due."""
        return self.wrong or ("" if self.code == 2 and "error: " in self.text else f"exit code {self.code}")

    @property
    def done(self) -> str:
        """What is wrong where it should have worked."""
        return self.wrong or (f"exit code {self.code}: {self.text.strip()[-300:]}" if self.code else "")


def command(*words: str, cwd: Path | None = None, before: Callable[[], None] | None = None) -> Told:
    """A command in a forked child. `before` is done in it first."""
    with tempfile.TemporaryDirectory(prefix="rlhf-told-") as name:
        said, log = Path(name, "said"), Path(name, "asked")
        sys.stdout.flush()
        child = os.fork()
        if not child:
            _in_child(words, said, log, cwd, before)
        code = _waited(child)
        return Told(code, said.read_text("utf-8", "replace"), log.read_text().splitlines() if log.exists() else [])


def _in_child(words: tuple[str, ...], said: Path, log: Path, cwd: Path | None, before: Any) -> None:
    code = 1
    renew_threads()
    try:
        os.chdir(cwd or said.parent)
        os.environ["CANARY_LOG"] = str(log)
        exec(HOOK, {})
        file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        willing = os.memfd_create("yes")
        os.write(willing, b"y\n" * 9)  # to whatever is asked
        os.lseek(willing, 0, os.SEEK_SET)
        for stream, to in ((0, willing), (1, file), (2, file)):
            os.dup2(to, stream)
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(i, mode) for i, mode in ((0, "r"), (1, "w"), (2, "w")))
        if before is not None:
            before()
        from rlhf import cli

        sys.argv = ["rlhf", *words]
        cli.main()
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _waited(child: int) -> int:
    """Exit code of a child, or minus the signal that ended it: SIGKILL where it took too long."""
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def process(words: list[str], folder: Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Told:
    """Any command in a process of its own, which the hook watches, and no settings of whoever runs this but a few."""
    watch, log = folder / "watch", folder / "watch" / f"{token_hex(4)}.log"
    watch.mkdir(exist_ok=True)
    (watch / "sitecustomize.py").write_text(HOOK)
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    more = {"PYTHONPATH": f"{watch}:{ROOT}", "CANARY_LOG": str(log), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    more |= {"RLHF_CACHE": str(folder / "cache"), "PYTHONDONTWRITEBYTECODE": "1", **(env or {})}
    with (folder / "watch" / "said").open("w+b") as said:
        running = subprocess.Popen(
            words, cwd=cwd or folder, env=kept | more, stdin=subprocess.DEVNULL, stdout=said, stderr=said
        )
        try:
            code = running.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            running.kill()
            code = -signal.SIGKILL
        said.seek(0)
        text = said.read().decode("utf-8", "replace")
    return Told(code, text, log.read_text().splitlines() if log.exists() else [])


RLHF = [sys.executable, "-m", "rlhf"]


# ------------------------------------------------------------------------------------------------ what they are given


def small(folder: Path, **top: Any) -> dict[str, Any]:
    """SFT, reward and PPO on the tiny base, two steps each."""
    for source, rows in (("sft", 24), ("preferences", 24), ("prompts", 12)):
        with (SHOP / f"{source}.jsonl").open(encoding="utf-8") as file:
            (folder / f"{source}.jsonl").write_text("".join(islice(file, rows)), encoding="utf-8")
    train = {"batch_size": 4, "max_steps": 2, "log_every": 1}
    data = {"max_length": 128, "eval_fraction": 0.2}
    return {
        "name": "small",
        "model": "tiny",
        **top,
        "stages": {
            "sft": {"data": {"path": "sft.jsonl", **data}, "train": train},
            "reward": {"model": {"stage": "sft"}, "data": {"path": "preferences.jsonl", **data}, "train": train},
            "ppo": {
                "model": {"stage": "sft"},
                "reward_model": {"stage": "reward"},
                "gate": "off",
                "data": {"path": "prompts.jsonl", "max_length": 96, "eval_fraction": 0},
                "rollout": {"batch_size": 4, "max_new_tokens": 8},
                "rl": {"epochs": 1, "missing_stop_score": None},
                "train": {"episodes": 8, "log_every": 1},
            },
        },
    }


def written(raw: dict[str, Any], path: Path) -> str:
    """A recipe as a file."""
    yamlfile.write(raw, path)
    return str(path)


def one_stage(folder: Path, **top: Any) -> dict[str, Any]:
    """SFT alone, a step."""
    raw = small(folder, **top)
    raw["stages"] = {"sft": raw["stages"]["sft"]}
    return raw


def model_folder(folder: Path) -> Path:
    """The tiny base, to be spoiled."""
    shutil.copytree(resource("data_samples/tiny_base"), folder)
    return folder


def stop_after(step: int) -> None:
    """Have a stage be interrupted once it has logged a step."""
    from rlhf.tracking import Tracker

    log = Tracker.log

    def stopping(self: Tracker, metrics: Any, at: int, steps: int | None = None) -> None:
        log(self, metrics, at, steps)
        if at >= step:
            raise KeyboardInterrupt

    Tracker.log = stopping  # type: ignore[method-assign]
