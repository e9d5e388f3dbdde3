"""What rows say beside what their format reads, such as the subset that a pair is from."""

from collections.abc import Sequence

from rlhf.config.data import DataConfig
from rlhf.data import files


def columns(data: DataConfig, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """What held-out rows have under some names, in any letters, by where they stand (`file:line`)."""
    sources = [data.evaluating()] if data.eval_path is not None else data.sources.values()
    found: dict[str, dict[str, str]] = {}
    for source in sources:
        for where, row in files.read_source(source):
            own = {str(name).lower(): value for name, value in row.items()} if isinstance(row, dict) else {}
            found[where] = {name: str(own[name]) for name in names if own.get(name) not in (None, "")}
    return found
