"""All suites of reliability: in a version of some minutes, or whole.

python -m benchmarks.reliability [NAME …] [--full]

Each suite runs in a process of its own, two side by side. Short versions try the same sample each time. The last line
is JSON: of each suite, how much was tried and how much survived; exit code 1 where something did not.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple


class Suite(NamedTuple):
    """A module beside this one, with the words it is called with; its last line is JSON."""

    name: str
    short: str
    full: str = ""


SUITES = (
    Suite("canaries", "secrets paths"),
    Suite("kills", "--stages watched dpo sample --cells 3", "--full"),
    Suite("disk", "--stages reward ppo dpo --cells 3 --sizes 2"),
    Suite("long", "--stages sft ppo --cells 2 --steps 200 --rollouts 80", "--backends lora"),
    Suite("resumes", "--stages sample reward watched --cells 3"),
    Suite("determinism", "--stages dpo ppo --cells 2 --times 1", "--times 3"),
    Suite("models", "--every 8"),
    Suite("recipes", "--every 300"),
)
"""Those that take long begin first."""
_AT_ONCE = 2


def run(suite: Suite, full: bool) -> dict[str, Any]:
    """What a suite found. One that does not come to its end counts as one trial that failed."""
    words, start = (suite.full if full else suite.short).split(), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.reliability.{suite.name}", *words],
        stdout=subprocess.PIPE,
        text=True,
        env={"OMP_NUM_THREADS": "1", **os.environ},
    )
    *told, last = done.stdout.splitlines() or [""]
    try:
        found = json.loads(last)
    except ValueError:
        told, found = [*told, last], {"tried": 1, "survived": 0, "failed": [f"exit code {done.returncode}"]}
    told += [f"failed: {name}" for name in found["failed"] if not any(name in line for line in told)]
    title = f"{suite.name}, {'full' if full else 'short'}" + (f" ({' '.join(words)})" if words else "")
    lines = [f"{title}: {found['survived']} of {found['tried']} survived, {time.monotonic() - start:.0f} s"]
    print("\n".join([*lines, *(f"  {line}" for line in told)]), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=", ".join(suite.name for suite in SUITES))
    parser.add_argument("--full", action="store_true", help="every trial, which takes hours")
    given = parser.parse_args()
    chosen = [suite for suite in SUITES if suite.name in (given.names or [suite.name])]
    if unknown := set(given.names) - {suite.name for suite in chosen}:
        parser.error(f"no suite {', '.join(sorted(unknown))}")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = dict(zip((suite.name for suite in chosen), pool.map(lambda s: run(s, given.full), chosen), strict=True))
    summary = {name: {"tried": one["tried"], "survived": one["survived"]} for name, one in found.items()}
    print(json.dumps(summary))
    sys.exit(any(one["failed"] for one in found.values()))


if __name__ == "__main__":
    main()
