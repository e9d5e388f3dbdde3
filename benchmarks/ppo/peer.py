"""Runs a peer's script with another lambda than TRL's trainer has by default, so that both sides may be tuned alike.

python peer.py LAMBDA SCRIPT [its options]      in the peer's environment; run by compare.py
"""

import runpy
import sys
from functools import partial
from pathlib import Path


def main() -> None:
    import trl.experimental.ppo as module  # type: ignore[import-not-found]

    lam, script = float(sys.argv[1]), sys.argv[2]
    module.PPOConfig = partial(module.PPOConfig, lam=lam)
    sys.argv = sys.argv[2:]
    sys.path[0] = str(Path(script).parent)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
