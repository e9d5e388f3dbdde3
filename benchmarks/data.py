"""Rows a second and memory of checking a file of pairs, beside `datasets` that reads it and checks nothing; seconds of
the doctor.

python -m benchmarks.data                          # 1,000,000 rows to check, 10,000 to look into; some minutes
python -m benchmarks.data --rows 100000 --runs 1

Each run is a command of its own, and they take turns. Memory is the most that the processes of a run held together.
`datasets` reads one file by one process, so we are run on one core too.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.common import ROOT, keep

WORDS = (ROOT / "data_samples" / "passages.txt").read_text().split()
PEER = "import datasets, sys\nfor row in datasets.load_dataset('json', data_files=sys.argv[1], split='train'): pass"


def pairs(rows: int, length: int, seed: int = 0) -> Iterator[str]:
    """Pairs of about `length` characters a row, no two alike."""
    draw = random.Random(seed)
    for i in range(rows):
        prompt, chosen, rejected = (" ".join(draw.choices(WORDS, k=max(3, length // 20))) for _ in range(3))
        yield json.dumps({"prompt": f"{i}: {prompt}?", "chosen": f"{chosen}.", "rejected": f"{rejected}!"}) + "\n"


def timed(words: list[str], cwd: Path) -> tuple[float, float, str]:
    """Seconds, the most megabytes that its processes held together (seen every 50 ms), and what was printed."""
    start, most = time.monotonic(), 0.0
    with (cwd / "said.txt").open("w+") as said, (cwd / "wrong.txt").open("w+") as wrong:
        child = subprocess.Popen(words, cwd=cwd, stdout=said, stderr=wrong)
        while child.poll() is None:
            most = max(most, sum(map(proportional, family(child.pid))))
            time.sleep(0.05)
        seconds = time.monotonic() - start
        said.seek(0)
        wrong.seek(0)
        if child.returncode:
            raise RuntimeError(f"{words}: {wrong.read()[-500:]}")
        return seconds, most, said.read()


def family(pid: int) -> Iterator[int]:
    """A process and those that it began."""
    yield pid
    try:
        children = [
            int(one) for task in Path(f"/proc/{pid}/task").iterdir() for one in (task / "children").read_text().split()
        ]
    except OSError:  # it has ended
        return
    for child in children:
        yield from family(child)


def proportional(pid: int) -> float:
    """Megabytes of a process, its part of what it shares with others included (PSS)."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


def check(rows: int, length: int, runs: int, folder: Path) -> dict[str, Any]:
    """`rlhf data check`, by all cores and by one, and `datasets` on one file, by turns; first runs are not counted."""
    path = folder / f"{length}.jsonl"
    with path.open("w") as file:
        file.writelines(pairs(rows, length))
    ours = [sys.executable, "-m", "rlhf", "data", "check", str(path), "--json"]
    commands = {
        "rlhf": ours,
        "rlhf_on_one_core": ["taskset", "-c", "0", *ours],
        "datasets": [sys.executable, "-c", PEER, str(path)],
    }
    found: dict[str, list[tuple[float, float, str]]] = {name: [] for name in commands}
    for i in range(runs + 1):
        for name, words in commands.items():
            made = timed(["env", f"HF_DATASETS_CACHE={folder / f'cache/{i}'}", *words], folder)
            found[name] += [made] * (i > 0)
    books = json.loads(found["rlhf"][-1][2].splitlines()[-1])["ledger"]
    seconds = {name: median(one[0] for one in made) for name, made in found.items()}
    return {
        "rows": rows,
        "bytes_a_row": round(path.stat().st_size / rows),
        "used_and_held_out": books["used"] + books["held_out"],
        "rows_a_second": {name: round(rows / one) for name, one in seconds.items()},
        "megabytes": {name: round(max(one[1] for one in made)) for name, made in found.items()},
        "times_as_fast_on_one_core": round(seconds["datasets"] / seconds["rlhf_on_one_core"], 2),
    }


def look(rows: int, length: int, runs: int, folder: Path) -> dict[str, Any]:
    """Seconds of `rlhf data inspect`, the start of Python and the libraries included."""
    path = folder / f"inspect-{length}.jsonl"
    with path.open("w") as file:
        file.writelines(pairs(rows, length, seed=1))
    words = [sys.executable, "-m", "rlhf", "data", "inspect", str(path), "--json"]
    found: dict[str, Any] = {"rows": rows, "bytes_a_row": round(path.stat().st_size / rows)}
    for name, more in {"seconds": [], "seconds_with_a_model": ["--model", "tiny"]}.items():
        found[name] = round(median(timed([*words, *more], folder)[0] for _ in range(runs)), 1)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--name", default="data")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        short = check(options.rows, 200, options.runs, folder)
        long = check(options.rows // 5, 1500, options.runs, folder)
        doctor = look(10_000, 1500, options.runs, folder)
    keep(options.name, {"check": [short, long], "inspect": doctor})


if __name__ == "__main__":
    main()
