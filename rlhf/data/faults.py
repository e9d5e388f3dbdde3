"""Rows that are not used: those that someone must mend told in a few words, and all of them listed in files."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple, Self

from rlhf.data.writing import begun, end, writing

TOLD = 20
"""Different faults told in an error; the rest are counted."""
_KEPT = 1000


class Lists(NamedTuple):
    """Files of rows that are not used, one JSON object each; not written where there is none."""

    bad: Path | None = None
    """Those that someone must mend."""
    dropped: Path | None = None
    """Those that teach nothing."""

    @classmethod
    def under(cls, folder: Path, name: str) -> Self:
        """In a folder, of the rows that `name` stands for: a kind, or the file that the others are written to."""
        return cls(folder / f"bad_rows.{name}.jsonl", folder / f"dropped_rows.{name}.jsonl")


NOWHERE = Lists()


def place(where: str) -> dict[str, str]:
    """`file:line` apart."""
    file, _, line = where.rpartition(":")
    return {"file": file, "line": line}


@dataclass
class Listing:
    """A file of one JSON object a line, there once it is closed. Raises DataError where it cannot be written."""

    path: Path | None
    count: int = 0
    _file: IO[str] | None = None

    def add(self, item: dict[str, str]) -> None:
        self.count += 1
        if self.path is not None:
            with writing(self.path):
                self._opened(self.path).write(json.dumps(item, ensure_ascii=False) + "\n")

    def add_all(self, part: "Listing") -> None:
        """What a part lists, which is closed and comes after all that was added."""
        self.count += part.count
        if part.count and self.path is not None and part.path is not None:
            with writing(self.path), part.path.open(encoding="utf-8") as more:
                shutil.copyfileobj(more, self._opened(self.path))

    def _opened(self, path: Path) -> IO[str]:
        self._file = self._file or begun(path)
        return self._file

    def close(self) -> None:
        """Put the file in its place; where nothing is listed, what an earlier reading left there goes."""
        if self.path is None:
            return
        with writing(self.path):
            if self._file is not None:
                file, self._file = self._file, None  # which goes to another process, that the file does not
                end(self.path, file)
            elif not self.count and (self.path.is_file() or self.path.is_symlink()):
                self.path.unlink()


class Fault(NamedTuple):
    """What is wrong with a row."""

    where: str
    """`file:line`."""
    said: str
    """`field: what is wrong; what would work`."""

    def as_json(self) -> dict[str, str]:
        name, _, reason = self.said.partition(": ")
        return {**place(self.where), "field": name, "reason": reason}


@dataclass
class Faults:
    """Every fault of a source, in bounded memory."""

    listing: Listing
    """All of them."""
    first: list[Fault] = field(default_factory=list)
    """The first thousand."""
    _alike: dict[str, list] = field(default_factory=dict)
    """Of each thing that was said, where first, and how often."""

    @property
    def count(self) -> int:
        return self.listing.count

    def add(self, where: str, said: str) -> None:
        if len(said) > 1000:  # it quotes a value that would fill the screen
            said = f"{said[:500]} … {said[-500:]}"
        fault = Fault(where, said)
        if len(self.first) < _KEPT:
            self.first.append(fault)
        if said in self._alike:
            self._alike[said][1] += 1
        elif len(self._alike) < _KEPT:
            self._alike[said] = [where, 1]
        self.listing.add(fault.as_json())

    def add_all(self, part: "Faults") -> None:
        """The faults of a part, which comes after all that were added."""
        for said, (where, times) in part._alike.items():
            if said in self._alike or len(self._alike) < _KEPT:
                self._alike.setdefault(said, [where, 0])[1] += times
        self.first = (self.first + part.first)[:_KEPT]
        self.listing.add_all(part.listing)

    def told(self) -> str:
        """The first different faults, a line each, and where the others are."""
        lines = [
            f"{where}: {said}" + f" (and {times - 1} more rows)" * (times > 1)
            for said, (where, times) in list(self._alike.items())[:TOLD]
        ]
        if (more := len(self._alike) - TOLD) > 0:
            lines.append(f"… and {more if more + TOLD < _KEPT else f'more than {more}'} more")
        if self.listing.path is not None:
            lines.append(f"all of them: {self.listing.path}")
        return "\n".join(lines)
