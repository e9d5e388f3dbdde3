"""Rows that someone must mend: told in a few words, and all of them listed in a file."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

TOLD = 20
"""Different faults told in an error; the rest are counted."""
_KEPT = 1000


class Fault(NamedTuple):
    """What is wrong with a row."""

    where: str
    """`file:line`."""
    said: str
    """`field: what is wrong; what would work`."""

    def as_json(self) -> dict[str, str]:
        file, _, line = self.where.rpartition(":")
        name, _, reason = self.said.partition(": ")
        return {"file": file, "line": line, "field": name, "reason": reason}


@dataclass
class Faults:
    """Every fault of a source, in bounded memory."""

    listed_in: Path | None = None
    """A file of one JSON object a fault; not written where there is none."""
    count: int = 0
    first: list[Fault] = field(default_factory=list)
    """The first thousand."""
    _alike: dict[str, list] = field(default_factory=dict)
    """Of each thing that was said, where first, and how often."""
    _pending: list[str] = field(default_factory=list)

    def add(self, where: str, said: str) -> None:
        self.count += 1
        if len(said) > 1000:  # it quotes a value that would fill the screen
            said = f"{said[:500]} … {said[-500:]}"
        fault = Fault(where, said)
        if len(self.first) < _KEPT:
            self.first.append(fault)
        if said in self._alike:
            self._alike[said][1] += 1
        elif len(self._alike) < _KEPT:
            self._alike[said] = [where, 1]
        if self.listed_in is not None:
            self._pending.append(json.dumps(fault.as_json(), ensure_ascii=False) + "\n")
            if len(self._pending) == _KEPT:
                self.list_all()

    def beside(self, i: int) -> Path | None:
        """Where the faults of a part are listed until they are added."""
        return self.listed_in.with_suffix(f".{i}.jsonl") if self.listed_in else None

    def add_all(self, part: "Faults") -> None:
        """The faults of a part, which comes after all that were added."""
        for said, (where, times) in part._alike.items():
            if said in self._alike or len(self._alike) < _KEPT:
                self._alike.setdefault(said, [where, 0])[1] += times
        self.first = (self.first + part.first)[:_KEPT]
        if part.count and self.listed_in is not None and part.listed_in is not None:
            part.list_all()
            with self.listed_in.open("ab" if self.count else "wb") as file, part.listed_in.open("rb") as more:
                shutil.copyfileobj(more, file)
            part.listed_in.unlink()
        self.count += part.count

    def list_all(self) -> None:
        """Write what is not in the file yet."""
        if self.listed_in is not None and self._pending:
            begun = self.count > len(self._pending)
            with self.listed_in.open("a" if begun else "w", encoding="utf-8", errors="backslashreplace") as file:
                file.writelines(self._pending)
            self._pending.clear()

    def told(self) -> str:
        """The first different faults, a line each, and where the others are."""
        lines = [
            f"{where}: {said}" + f" (and {times - 1} more rows)" * (times > 1)
            for said, (where, times) in list(self._alike.items())[:TOLD]
        ]
        if (more := len(self._alike) - TOLD) > 0:
            lines.append(f"… and {more if more + TOLD < _KEPT else f'more than {more}'} more")
        if self.listed_in is not None:
            lines.append(f"all of them: {self.listed_in}")
        return "\n".join(lines)
