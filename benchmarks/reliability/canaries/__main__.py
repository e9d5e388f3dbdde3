"""Canaries: secrets, strangers' code, ways out of the run folder and connections, each tried and then looked for.

python -m benchmarks.reliability.canaries                 # all of it, some minutes on a core
python -m benchmarks.reliability.canaries paths code      # groups of secrets, code, paths, network

A canary is a random word that must be nowhere, or code that writes a file where it runs. Commands run in children that
are forked after the libraries are imported; what the whole process decides (W&B, telemetry, the import path, a network
that is not there) is tried in processes of their own. An audit hook in each notes every address that is asked for.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.reliability.canaries.children import Found
from benchmarks.reliability.canaries.code import code
from benchmarks.reliability.canaries.network import network
from benchmarks.reliability.canaries.paths import paths
from benchmarks.reliability.canaries.secrets import secrets
from benchmarks.reliability.common import report

GROUPS: dict[str, Callable[[Path], Found]] = {"secrets": secrets, "code": code, "paths": paths, "network": network}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", help=", ".join(GROUPS))
    parser.add_argument("--all", action="store_true", help="tell those that survive too")
    options = parser.parse_args()
    from benchmarks.reliability.trials import prepare

    prepare()
    tried, failed = 0, []
    for group in options.groups or GROUPS:
        start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="rlhf-canaries-") as name:
            for case, wrong in GROUPS[group](Path(name).resolve()):
                tried += 1
                if wrong:
                    failed.append(f"{group}: {case}")
                    print(f"{group}: {case}: {wrong}", flush=True)
                elif options.all:
                    print(f"ok {group}: {case}", flush=True)
        print(f"{group}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    report(tried, failed)


if __name__ == "__main__":
    main()
