"""The report on a terminal: one screen, and as readable without colour."""

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rlhf.data.inspect.report import TITLES, Column, Doubt, Example, Finding, Lengths, Piece, Report

_LEVELS = {"error": "bold red", "warning": "bold yellow", "note": "cyan"}
_STATES = {"trained": "green", "stop": "bold magenta", "context": "", "cut": "strike dim", "text": ""}
_BARS = " ▁▂▃▄▅▆▇█"
_WIDTH = 110
"""Columns at most: longer lines are hard to read."""
_SHOWN = 220
"""Characters of a piece of the example."""
_VISIBLE = {code: chr(0x2400 + code) for code in range(32) if chr(code) != "\n"} | {0x7F: "␡", 0x9B: "�"}
"""Control characters as pictures, so that no text can command the terminal."""
_VISIBLE |= dict.fromkeys((*range(0x80, 0x9B), *range(0x9C, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "�")


def show(report: Report, console: Console | None = None) -> None:
    """Errors and warnings in full, notes by their figures."""
    console = console or Console(highlight=False)
    width = min(console.width, _WIDTH)
    _head(report, console, width)
    if report.lengths:
        console.print(_lengths(report.lengths), width=width)
        _say(console, width, _fitting(report.lengths), 2)
        console.print()
    for finding in report.findings:
        if finding.level != "note":
            _in_full(finding, console, width)
    _notes([finding for finding in report.findings if finding.level == "note"], console, width)
    if report.clean:
        titles = ", ".join(TITLES[name] for name in report.clean)
        _say(console, width, Text.assemble(("Looked for, not found: ", "green"), (f"{titles}.", "dim")))
        console.print()
    for doubt in report.doubts[:1]:
        _doubt(doubt, console, width)
    for example in report.examples[:1]:
        _example(example, console, width)


def safe(text: str) -> str:
    """Text of others that a terminal only shows."""
    return text.translate(_VISIBLE)


def _say(console: Console, width: int, text: Text, indent: int = 0) -> None:
    console.print(Padding(text, (0, 0, 0, indent), expand=False), width=width)


def _head(report: Report, console: Console, width: int) -> None:
    ledger, told = report.ledger, len(report.findings)
    lost = sum(one.count for one in report.dropped)
    broken = next((finding.count for finding in report.findings if finding.name == "malformed_rows"), 0)
    _say(console, width, Text.assemble((safe(report.source), "bold")))
    for seen in report.formats:
        fields = f", known by {', '.join(seen.fields)}" if seen.fields else ""
        _say(console, width, Text(safe(f"{report.kind} in the format {seen.name} ({seen.rows:,} rows{fields})")))
    reasons = f" ({', '.join(f'{one.count:,} {one.reason}' for one in report.dropped)})" if report.dropped else ""
    counts = (
        f"{ledger['rows']:,} rows: {report.usable:,} usable examples, {lost:,} dropped{reasons}, {broken:,} malformed"
    )
    _say(console, width, Text(counts))
    for name, prompts in report.compared.items():
        _say(console, width, Text(safe(f"compared with {prompts:,} prompts of {name}")))
    levels = [
        Text(f"{count} {level}{'s' if count != 1 else ''}", _LEVELS[level] if count else "dim")
        for level, count in ((level, report.count(level)) for level in ("error", "warning", "note"))
    ]
    _say(console, width, Text(" · ").join(levels) if told else Text("nothing found", "green"))
    console.print()


# ------------------------------------------------------------------------------------------------ lengths


def _lengths(lengths: Lengths) -> Table:
    part = f", a sample of {lengths.measured:,} of {lengths.of:,}" if lengths.measured < lengths.of else ""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(f"Lengths in {lengths.unit}{part}", min_width=24)
    for name in ("p50", "p95", "max"):
        table.add_column(name, justify="right")
    first, last = _span(list(lengths.columns.values()))
    table.add_column(f"{_edge(first):,} to {_edge(last):,}" if last else "")
    for name, column in lengths.columns.items():
        figures = (f"{figure:,}" for figure in (column.p50, column.p95, column.most))
        table.add_row(f"  {name}", *figures, _bars(column, first, last))
    return table


def _fitting(lengths: Lengths) -> Text:
    """What the limit does."""
    share = f"{lengths.over:,} of {lengths.measured:,} ({lengths.over / lengths.measured:.1%})"
    over = f"{share if lengths.over else 'none'} with more than {lengths.limit:,} {lengths.unit}"
    if not lengths.ledger:
        return Text(over)
    lost = ", ".join(f"{count:,} {reason}" for reason, count in lengths.ledger["dropped"].items()) or "none"
    return Text(f"{over}; used {lengths.ledger['used']:,}, of them cut {lengths.ledger['cut']:,}; dropped {lost}")


def _span(columns: Sequence[Column]) -> tuple[int, int]:
    """The first and the last bin that is not empty."""
    filled = [i for column in columns for i, count in enumerate(column.bins) if count]
    return (min(filled), max(filled) + 1) if filled else (0, 0)


def _edge(i: int) -> int:
    """Where a bin begins: 0, 1, √2, 2, …"""
    return round(2 ** ((i - 1) / 2)) if i else 0


def _bars(column: Column, first: int, last: int) -> str:
    bins = [*column.bins, *[0] * (last - len(column.bins))][first:last]
    return "".join(_BARS[-(-8 * count // max(bins))] for count in bins)


# ------------------------------------------------------------------------------------------------ findings


def _in_full(finding: Finding, console: Console, width: int) -> None:
    title = (f"{finding.title}: ", "bold"), f"{finding.count:,} of {finding.of:,} {finding.unit} ({_percent(finding)})"
    _say(console, width, Text.assemble((f"{finding.level:8}", _LEVELS[finding.level]), *title))
    _say(console, width, Text(safe(finding.says)), 8)
    if at := _places(finding):
        _say(console, width, Text(at, "dim"), 8)
    for quote in finding.quotes[:2]:
        _say(console, width, Text(safe(f"“{quote}”"), "dim", overflow="ellipsis", no_wrap=True), 8)
    console.print()


def _notes(notes: list[Finding], console: Console, width: int) -> None:
    if not notes:
        return
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style=_LEVELS["note"], no_wrap=True, min_width=6)
    table.add_column(min_width=32)
    table.add_column(no_wrap=True)
    table.add_column(style="dim", overflow="ellipsis", no_wrap=True)
    for finding in notes:
        count = f"{finding.count:,} of {finding.of:,} ({_percent(finding)})"
        table.add_row("note", finding.title, count, _places(finding))
    console.print(table, width=width)
    console.print()


def _places(finding: Finding) -> str:
    """Lines of the file, whose name stands above."""
    lines = [place.rpartition(":")[2] for place in finding.places]
    more = ", …" if lines and finding.count > len(lines) else ""
    return f"at {', '.join(lines)}{more}" if lines else ""


def _percent(finding: Finding) -> str:
    return f"{finding.share:.2%}" if finding.share < 0.01 else f"{finding.share:.1%}"


def _doubt(doubt: Doubt, console: Console, width: int) -> None:
    at = doubt.where.rpartition(":")[2]
    _say(console, width, Text(f"The judge doubts the pair at {at}: rejected scores {doubt.margin:.1f} higher", "bold"))
    rows = (("prompt", doubt.prompt), ("chosen", doubt.chosen), ("rejected", doubt.rejected))
    for name, text in rows:
        _line(console, width, name, Text(safe(text)))
    console.print()


# ------------------------------------------------------------------------------------------------ an example


def _example(example: Example, console: Console, width: int) -> None:
    """A gutter says what becomes of each piece, so that colour only helps."""
    rendered = any(piece.state != "text" for pieces in example.parts.values() for piece in pieces)
    told = " as a model is trained on it" if rendered else ""
    _say(console, width, Text(f"Example at {example.where.rpartition(':')[2]}{told}", "bold"))
    for part, pieces in example.parts.items():
        if part != "prompt":
            _say(console, width, Text(f"  {safe(part)}", "bold"))
        for piece in pieces:
            if piece.text.strip():
                _line(console, width, piece.role if piece.state == "text" else piece.state, _clipped(piece))


def _line(console: Console, width: int, name: str, text: Text) -> None:
    grid = Table(box=None, padding=0, show_header=False)
    grid.add_column(width=12, no_wrap=True, style="dim")
    grid.add_column()
    grid.add_row(f"{name:>9} │", text)
    console.print(grid, width=width)


def _clipped(piece: Piece) -> Text:
    """A beginning and an end on few lines; the end of what is cut or read is nearest to what comes next."""
    text = safe(piece.text.strip("\n")).replace("\n", "⏎ ")
    if len(text) > _SHOWN:
        head, tail = text[: _SHOWN * 2 // 3].rstrip(), text[-_SHOWN // 3 :].lstrip()
        text = f"{head} […{len(text) - len(head) - len(tail):,} characters…] {tail}"
    return Text(text, _STATES[piece.state])
