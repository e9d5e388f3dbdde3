"""`python -m rlhf`."""

import sys
from pathlib import Path

_HOUSE = Path(__file__).resolve().parent.parent
if not sys.flags.safe_path and Path(sys.path[0]) == Path.cwd() != _HOUSE:
    del sys.path[0]  # `-m` has put the working directory first: a file there named as a library is would be run

from rlhf.cli import main  # noqa: E402

main()
