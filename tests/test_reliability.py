"""Short versions of the suites in benchmarks/reliability that need processes of their own."""

import json
import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "words",
    [
        ["kills", "--stages", "sft", "--backends", "lora"],
        ["disk", "--stages", "ppo", "--backends", "lora", "--sizes", "3"],
        ["resumes", "--stages", "reward", "--backends", "qlora"],
        ["determinism", "--stages", "dpo", "--backends", "full", "--times", "3"],
    ],
    ids=lambda words: words[0],
)
def test_nothing_is_lost(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", f"benchmarks.reliability.{words[0]}", *words[1:]], capture_output=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["tried"] >= 3 and found["failed"] == []
