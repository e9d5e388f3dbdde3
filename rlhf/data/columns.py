"""A user's own columns under the names that formats know: `prompt: question`, `chosen: answers[0].text`."""

import re
from collections.abc import Mapping
from typing import Any

from rlhf.errors import DataError, did_you_mean

_STEP = re.compile(r"([^.\[\]]+)|\[(-?\d+)\]")


def renamed(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """A row of the named columns alone. Raises DataError for one that it has not."""
    return {name: _pick(row, path, f"data.columns.{name}") for name, path in columns.items()}


def _pick(row: Mapping[str, Any], path: str, field: str) -> Any:
    if path in row:  # a column whose name has dots
        return row[path]
    value: Any = row
    for match in _STEP.finditer(path):
        name, index = match[1], match[2]
        if name is not None and isinstance(value, Mapping) and name in value:
            value = value[name]
        elif index is not None and isinstance(value, list) and -len(value) <= int(index) < len(value):
            value = value[int(index)]
        else:
            found = ", ".join(value) if isinstance(value, Mapping) else f"{type(value).__name__}"
            found = f"{len(value)} items" if isinstance(value, list) else found
            hint = did_you_mean(name, list(value)) if name is not None and isinstance(value, Mapping) else ""
            raise DataError(f"{field}: there is no {path} (found: {found}){hint}")
    return value
