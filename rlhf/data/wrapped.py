"""The rows in a JSON file that is one object: a list of them under a name, or columns in place of rows."""

from collections.abc import Mapping
from typing import Any

from rlhf.errors import DataError

Placed = list[tuple[str, Any]]
"""Rows, and where each stands in the object."""

WRAPPERS = {
    *("data", "rows", "examples", "records", "items", "instances", "samples", "entries", "dataset"),
    *("train", "training", "validation", "valid", "dev", "eval", "test"),
}
"""Names that lists of rows go by."""
_TEXTS = ("prompts", "texts")
"""Names that lists of texts go by."""
_OF_MESSAGES = {"role", "from", "speaker", "author", "human"}
_TALKS = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns", "chat", "segments")
_ASKS = {"prompt", "instruction", "question", "query", "problem"}
"""Fields of a row, beside which a list is one of its fields."""


def unwrapped(value: Mapping[str, Any]) -> Placed | None:
    """The rows in an object; None for one that is a row itself. Raises DataError for one that holds no rows, or holds
    several lists of them."""
    _refuse_description(value)
    if (table := _table(value)) is not None:
        return table
    if any(isinstance(value.get(name), str) for name in _ASKS):
        return None
    lists = [name for name, one in value.items() if (name in WRAPPERS or len(value) == 1) and _is_rows(name, one)]
    if len(lists) > 1:
        found = ", ".join(lists)
        raise DataError(f"holds several lists of rows ({found}); write the one to learn from into a file of its own")
    for name in lists:
        return [(f"{name}[{i}]", _inner(one)) for i, one in enumerate(value[name])]
    return _columns(value) or _pandas(value) or _numbered(value)


def _inner(row: Any) -> Any:
    """A row of the hub's viewer is one level deeper; a row that it cut is a fault."""
    if not isinstance(row, dict) or not row.keys() >= {"row", "row_idx"}:
        return row
    if cut := row.get("truncated_cells"):
        return DataError(f"{', '.join(map(str, cut))}: was cut by the hub's viewer; load the data set itself")
    return row["row"]


def _is_rows(name: str, value: Any) -> bool:
    """Whether it is a list of objects that are no messages, or of texts by a name that says so."""
    if not isinstance(value, list) or not value or name in _TALKS:
        return False
    if name in _TEXTS:
        return all(isinstance(one, str | dict) for one in value)
    return all(isinstance(one, dict) for one in value) and not _OF_MESSAGES & value[0].keys()


def _table(value: Mapping[str, Any]) -> Placed | None:
    """{columns: [prompt, chosen], data: [[a, b]]}: pandas' split, and the tables of Weights & Biases."""
    names, rows = value.get("columns"), value.get("data")
    if not isinstance(names, list) or not isinstance(rows, list) or not all(isinstance(one, str) for one in names):
        return None
    if not all(isinstance(one, list) and len(one) == len(names) for one in rows):
        return None
    return [(f"data[{i}]", dict(zip(names, row, strict=True))) for i, row in enumerate(rows)]


def _columns(value: Mapping[str, Any]) -> Placed | None:
    """{prompt: [a, b], chosen: [c, d]}. A list of objects is a field of one row: messages, or answers."""
    columns = list(value.values())
    if len(columns) < 2 or not all(isinstance(one, list) for one in columns) or len(set(map(len, columns))) > 1:
        return None
    if any(isinstance(one, dict) for column in columns for one in column):
        return None
    return [(f"row {i}", dict(zip(value, row, strict=True))) for i, row in enumerate(zip(*columns, strict=True), 1)]


def _pandas(value: Mapping[str, Any]) -> Placed | None:
    """{prompt: {"0": a, "1": b}, chosen: {"0": c, "1": d}}, which pandas writes unless told otherwise."""
    columns = list(value.values())
    if not columns or _counts(value) or not all(isinstance(one, dict) and _counts(one) for one in columns):
        return None
    if any(one.keys() != columns[0].keys() for one in columns):
        return None
    return [(f"row {key}", {name: one[key] for name, one in value.items()}) for key in columns[0]]


def _numbered(value: Mapping[str, Any]) -> Placed | None:
    """{"0": {row}, "1": {row}}"""
    if not _counts(value) or not all(isinstance(one, dict) for one in value.values()):
        return None
    return [(f"row {key}", row) for key, row in value.items()]


def _counts(value: Mapping[str, Any]) -> bool:
    return bool(value) and all(name.isdigit() for name in value)


_SOURCES = {"file_name", "hf_hub_url", "ms_hub_url", "script_url", "cloud_file_name"}


def _refuse_description(value: Mapping[str, Any]) -> None:
    """Files that lie beside the data."""
    if "features" in value and value.keys() & {"citation", "splits", "builder_name"}:
        raise DataError("describes a data set and holds no rows; name the .arrow, .parquet or .jsonl file beside it")
    if "_data_files" in value:
        listed = value["_data_files"] if isinstance(value["_data_files"], list) else []
        files = ", ".join(str(one.get("filename")) for one in listed if isinstance(one, dict))
        raise DataError(f"names the files of a data set and holds no rows; name one of them: {files}")
    entries = [one for one in value.values() if isinstance(one, dict) and one.keys() & _SOURCES]
    if entries and len(entries) == len(value):
        files = ", ".join(dict.fromkeys(str(one["file_name"]) for one in entries if "file_name" in one))
        raise DataError(f"lists data sets for LLaMA-Factory and holds no rows; name a file of it: {files or 'none'}")
