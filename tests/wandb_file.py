"""W&B's own file of an offline run, read back: what would be uploaded."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

_BLOCK = 32 * 1024
_HEADER = 7
"""Bytes before each piece: a checksum (4), its length (2), and which piece of a record it is (1)."""


def records(path: Path) -> Iterator[Record]:
    """Every record of a .wandb file, which is laid out as LevelDB's logs are: pieces in blocks of 32 KiB."""
    data, at, whole = path.read_bytes(), _HEADER, b""  # the file begins with as many bytes of its own
    while at + _HEADER <= len(data):
        if (left := _BLOCK - at % _BLOCK) < _HEADER:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        whole += data[at + _HEADER : at + _HEADER + length]
        at += _HEADER + length
        if kind in (1, 4):  # the only piece, or the last
            record = Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def told(folder: Path, kind: str) -> list[Any]:
    """All records of a kind in the offline runs under a folder, in their order."""
    files = sorted(folder.glob("**/*.wandb"))
    return [getattr(one, kind) for file in files for one in _all(file) if one.WhichOneof("record_type") == kind]


def table(folder: Path, name: str) -> dict[str, Any]:
    """The last table of a name in the offline runs under a folder."""
    paths = [
        (run, json.loads(item.value_json))
        for run in sorted(path for path in folder.glob("**/offline-run-*") if path.is_dir())
        for history in told(run, "history")
        for item in history.item
        if list(item.nested_key) == [name, "path"]
    ]
    run, path = paths[-1]
    return json.loads((run / "files" / path).read_text("utf-8"))


def _all(path: Path) -> list[Any]:
    """Every record, once the last is there: W&B's own process still writes when a run has been finished."""
    end = time.monotonic() + 30
    while not (found := list(records(path))) or found[-1].WhichOneof("record_type") != "exit":
        assert time.monotonic() < end, f"{path} has no end"
        time.sleep(0.01)
    return found
