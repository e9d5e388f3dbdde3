"""A reader that is gone stops nothing; a terminal that is closed stops a run as SIGTERM does."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlhf import stopping, yamlfile
from rlhf.checkpoint import newest
from rlhf.console import Screen
from rlhf.streams import Lasting
from tests.conftest import small_recipe


def test_what_is_said_to_nobody_goes_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w", buffering=1) as stream:
        monkeypatch.setattr(sys, "stdout", Lasting(stream))
        screen = Screen()
        screen.say("somebody hears this")
        assert os.read(read, 100) == b"somebody hears this\n"
        os.close(read)
        for _ in range(3):
            screen.say("nobody hears this")
        print("nor this", flush=True)


def steps_of(scratch: Path) -> int:
    try:
        *lines, _ = (scratch / "metrics.jsonl").read_text().split("\n")
    except OSError:
        return 0
    return json.loads(lines[-1])["step"] if lines else 0


def test_a_closed_pipe_stops_nothing_and_a_closed_terminal_leaves_a_checkpoint(tmp_path: Path) -> None:
    raw = small_recipe(tmp_path, "lora")
    raw["stages"] = {"sft": raw["stages"]["sft"]}
    raw["stages"]["sft"]["train"] |= {"max_steps": 5000, "epochs": 5000, "checkpoint_every": 0, "log_every": 1}
    yamlfile.write(raw, tmp_path / "recipe.yaml")
    words = [sys.executable, "-m", "rlhf", "run", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    try:
        while "1/5000" not in process.stdout.readline():
            assert process.poll() is None
        process.stdout.close()  # as `head` does
        scratch = tmp_path / "lora" / "stages" / ".sft.partial"
        while steps_of(scratch) < 30:  # a line every 25 steps is printed
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGHUP)  # from the terminal, and from the shell
        assert process.wait(60) == 3
    finally:
        process.kill()
    begun = newest(scratch, lambda _: None)
    assert begun is not None and begun.step >= 30


def test_a_closed_terminal_that_is_ignored_asks_nothing() -> None:
    """As under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping.patiently() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop()
    finally:
        signal.signal(signal.SIGHUP, before)
