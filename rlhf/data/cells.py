"""Rows of tables that are cells and nothing else: .csv, .tsv and .xlsx. Every cell is text, as in .csv."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from rlhf.data.lines import Rows, first_line, lines, not_utf8, seekable, short
from rlhf.errors import DataError

_FAILED = frozenset(
    ("#REF!", "#N/A", "#VALUE!", "#DIV/0!", "#NAME?", "#NULL!", "#NUM!", "#SPILL!", "#CALC!", "#ERROR!")
)
"""What spreadsheets show where a formula failed."""
_MISSING = frozenset(("NULL", "nan", "NaN", "<NA>"))
"""What databases and pandas write where there is nothing."""
_NO_TEXT = _FAILED | _MISSING


def _row(names: Sequence[str], cells: Sequence[str | None]) -> Any:
    """Cells by their columns' names; what is missing is null, and a formula that failed is a fault."""
    row = {name: cell for name, cell in zip(names, cells, strict=False) if name}
    if not _NO_TEXT.isdisjoint(cells):
        for name, cell in row.items():
            if cell in _FAILED:
                return DataError(f"{name}: is {cell}, a formula that failed; mend it, or take the column out")
            if cell in _MISSING:
                row[name] = None
    return row


def _names(path: Path, place: str, cells: Sequence[str | None]) -> list[str]:
    """The names of a table's columns; those without a name may be several."""
    names = [(cell or "").strip() for cell in cells]
    for name, count in Counter(name for name in names if name).items():
        if count > 1:
            raise DataError(f"{short(path)}:{place}: {count} columns are called '{name}'; rename all but one")
    return names


# ------------------------------------------------------------------------------------------------ .csv and .tsv


def csv_file(path: Path) -> Rows:
    """Comma-separated; by semicolons or tabs where the columns' names are, as Excel saves it in many countries, or by
    what a first line `sep=;` says."""
    _, header = next(lines(path), (0, ""))
    split = re.fullmatch(r'"?sep=([,;\t|])"?', header) or re.fullmatch(r"""[\w "'.-]+([;\t])[\w "'.;\t-]+""", header)
    return _table(path, delimiter=split[1] if split else ",", quoting=csv.QUOTE_MINIMAL)


def tsv_file(path: Path) -> Rows:
    """Tab-separated as IANA has it: no quoting, so a quotation mark is a character."""
    return _table(path, delimiter="\t", quoting=csv.QUOTE_NONE)


def _table(path: Path, delimiter: str, quoting: Any) -> Rows:
    csv.field_size_limit(2**31 - 1)  # a cell may be longer than the 128 KB that csv allows unasked
    bad: list[tuple[int, DataError]] = []
    reader = csv.reader(_lines(path, bad), delimiter=delimiter, quoting=quoting, strict=True)
    header: list[str] | None = None
    nameless: list[int] = []
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield str(start), DataError(f"row: {error}; quote a cell that holds quotation marks or line ends")
            return
        if cells is None:
            return
        if bad:
            number, fault = bad[0]
            bad.clear()
            if header is None:
                raise DataError(f"{short(path)}:{number}: {fault}")
            yield str(number), fault
        elif not any(cells) or (header is None and cells[0] in ("sep=", f"sep={delimiter}")):
            continue
        elif header is None:
            header = _names(path, str(start), cells)
            nameless = [i for i, name in enumerate(header) if i and not name]  # what stands first is an index
            other = next((one for one in ",;\t|" if len(cells) == 1 and one in cells[0]), None)
            if other:
                told = f"one column, '{cells[0]}'; separate columns by {delimiter!r}, not {other!r}"
                raise DataError(f"{short(path)}:{start}: {told}")
        elif len(cells) != len(header):
            told = f"row: {len(cells)} cells under {len(header)} column names; the first line must name all columns"
            yield str(start), DataError(told)
        else:
            yield str(start), _lost(nameless, cells) or _row(header, cells)


def _lost(nameless: list[int], cells: list[str]) -> DataError | None:
    """What is wrong with a row that has something in a column without a name."""
    for i in nameless:
        if cells[i]:
            return DataError(f"column {i + 1}: holds {cells[i][:40]!r} and has no name; name it, or take it out")
    return None


def _lines(path: Path, bad: list[tuple[int, DataError]]) -> Iterator[str]:
    """Lines of which those that are not UTF-8 are told in `bad`: a row may be several lines."""
    for number, line in lines(path, keep_blank=True):
        if fault := not_utf8(path, line):
            bad.append((number, fault))
        yield f"{line}\n"


# ------------------------------------------------------------------------------------------------ .xlsx


@dataclass
class _Sheet:
    """A sheet that holds rows."""

    title: str
    first: int
    """The row that names the columns."""
    header: list[str | None]
    rows: Iterator[tuple[int, list[str | None]]]


def workbook(path: Path) -> Rows:
    """All sheets that hold rows, each below the names of its columns. Raises DataError where those are not the same."""
    import openpyxl

    with seekable(path) as file:
        try:
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
            all_sheets = [_sheet(path, one) for one in book.worksheets]
            sheets = [sheet for sheet in all_sheets if sheet]
            _check_alike(path, sheets)
            for sheet in sheets:
                before = "" if sheets == all_sheets[:1] else f"{sheet.title}!"
                names = _names(path, f"{before}{sheet.first}", sheet.header)
                for number, cells in sheet.rows:
                    yield f"{before}{number}", _row(names, cells)
        except (KeyError, ValueError, TypeError, IndexError, NotImplementedError, ParseError) as error:
            reason = first_line(error)
            raise DataError(f"{short(path)}: is no workbook ({reason}); save it as .xlsx or .csv") from None


def _sheet(path: Path, sheet: Any) -> _Sheet | None:
    numbered = enumerate(sheet.iter_rows(values_only=True), 1)
    rows = ((n, [_shown(cell) for cell in cells]) for n, cells in numbered if any(one is not None for one in cells))
    header, first = next(rows, None), next(rows, None)
    if not header or not first:
        return None
    named, filled = (sum(cell is not None for cell in cells) for _, cells in (header, first))
    if named == 1 and filled > 1:
        title = next(filter(None, header[1]))
        told = f"'{title}' names one column of {filled}; put the names of all columns in the first row"
        raise DataError(f"{short(path)}:{sheet.title}!{header[0]}: {told}")
    return _Sheet(sheet.title, *header, chain([first], rows))


def _check_alike(path: Path, sheets: list[_Sheet]) -> None:
    if len({frozenset(filter(None, sheet.header)) for sheet in sheets}) > 1:
        titles = ", ".join(sheet.title for sheet in sheets)
        told = f"its sheets ({titles}) have different columns; save the one that is meant as a file of its own"
        raise DataError(f"{short(path)}: {told}")


def _shown(cell: Any) -> str | None:
    """A cell as .csv has it: 42 and not 42.0, true, a date in full."""
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return str(cell).lower()
    return f"{cell:.15g}" if isinstance(cell, float) else str(cell)
