"""The report on a terminal: one screen, and as readable without colour."""

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rlhf.data.inspect.material import counted
from rlhf.data.inspect.report import (
    LEVELS,
    TITLES,
    Doubt,
    Example,
    Finding,
    Lengths,
    Piece,
    Report,
    Spread,
    edge,
    percent,
)
from rlhf.visible import visible

_LEVELS = {"error": "bold red", "warning": "bold yellow", "note": "cyan"}
_STATES = {"trained": "green", "stop": "bold magenta", "context": "", "cut": "strike dim", "text": ""}
_BARS = " ▁▂▃▄▅▆▇█"
_WIDTH = 110
"""Columns at most: longer lines are hard to read."""
_SHOWN = 220
"""Characters of a piece of the example."""


def show(report: Report, console: Console | None = None) -> None:
    """Errors and warnings in full, notes by their figures."""
    _Sheet(report, console or Console(highlight=False)).show()


class _Sheet:
    """A report being printed."""

    def __init__(self, report: Report, console: Console) -> None:
        self.report, self.console, self.width = report, console, min(console.width, _WIDTH)

    def show(self) -> None:
        report = self.report
        self.head()
        if report.lengths:
            self.console.print(_lengths(report.lengths), width=self.width)
            for line in _fitting(report.lengths):
                self.say(Text(line), 2)
            self.console.print()
        for finding in report.findings:
            if finding.level != "note":
                self.in_full(finding)
        self.notes([finding for finding in report.findings if finding.level == "note"])
        if report.clean:
            titles = ", ".join(TITLES[name] for name in report.clean)
            self.say(Text.assemble(("Looked for, not found: ", "green"), (f"{titles}.", "dim")))
            self.console.print()
        for doubt in report.doubts[:1]:
            self.doubt(doubt)
        for example in report.examples[:1]:
            self.example(example)

    def say(self, text: Text, indent: int = 0) -> None:
        self.console.print(Padding(text, (0, 0, 0, indent), expand=False), width=self.width)

    def head(self) -> None:
        report = self.report
        self.say(Text(visible(report.source), "bold"))
        for seen in report.formats:
            fields = f", known by {', '.join(seen.fields)}" if seen.fields else ""
            self.say(Text(visible(f"{report.kind} in the format {seen.name} ({seen.rows:,} rows{fields})")))
        if report.unread:
            self.say(Text(visible(f"fields that were not read: {', '.join(report.unread)}")))
        lost = ", ".join(f"{one.count:,} {one.reason}" for one in report.dropped)
        dropped = f"{sum(one.count for one in report.dropped):,} dropped{f' ({lost})' if lost else ''}"
        rows = f"{report.ledger['rows']:,} rows: {counted(report.usable, 'usable example')}"
        self.say(Text(visible(f"{rows}, {dropped}, {report.malformed:,} malformed")))
        for name, prompts in report.compared.items():
            self.say(Text(visible(f"compared with {prompts:,} prompts of {name}")))
        counts = [(level, report.count(level)) for level in LEVELS]
        told = (Text(f"{n} {level}{'s' * (n != 1)}", _LEVELS[level] if n else "dim") for level, n in counts)
        self.say(Text(" · ").join(told))
        self.console.print()

    def in_full(self, finding: Finding) -> None:
        figures = f"{finding.count:,} of {finding.of:,} {finding.unit} ({percent(finding.share)})"
        level = f"{finding.level:8}", _LEVELS[finding.level]
        self.say(Text.assemble(level, (f"{finding.title}: ", "bold"), figures))
        self.say(Text(visible(finding.says)), 8)
        if at := self.places(finding):
            self.say(Text(at, "dim"), 8)
        for quote in finding.quotes[:2]:
            self.say(Text(visible(f"“{quote}”"), "dim", overflow="ellipsis", no_wrap=True), 8)
        self.console.print()

    def notes(self, notes: list[Finding]) -> None:
        if not notes:
            return
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
        table.add_column(style=_LEVELS["note"], no_wrap=True, min_width=6)
        table.add_column(min_width=32)
        table.add_column(no_wrap=True)
        table.add_column(style="dim", overflow="ellipsis", no_wrap=True)
        for finding in notes:
            figures = f"{finding.count:,} of {finding.of:,} ({percent(finding.share)})"
            table.add_row("note", finding.title, figures, Text(self.places(finding)))
        self.console.print(table, width=self.width)
        self.console.print()

    def places(self, finding: Finding) -> str:
        at = [self.report.at(place) for place in finding.places]
        more = ", …" if finding.count > len(at) else ""
        return visible(f"at {', '.join(at)}{more}") if at else ""

    def doubt(self, doubt: Doubt) -> None:
        at = self.report.at(doubt.where)
        self.say(Text(f"The judge doubts the pair at {at}: rejected scores {doubt.margin:.1f} higher", "bold"))
        for name, text in (("prompt", doubt.prompt), ("chosen", doubt.chosen), ("rejected", doubt.rejected)):
            self.line(name, Text(visible(text)))
        self.console.print()

    def example(self, example: Example) -> None:
        """A gutter says what becomes of each piece, so that colour only helps."""
        rendered = any(piece.state != "text" for pieces in example.parts.values() for piece in pieces)
        told = " as a model is trained on it" if rendered else ""
        self.say(Text(f"Example at {self.report.at(example.where)}{told}", "bold"))
        for part, pieces in example.parts.items():
            if part != "prompt":
                self.say(Text(f"  {visible(part)}", "bold"))
            for piece in pieces:
                if piece.text.strip():
                    self.line(piece.role if piece.state == "text" else piece.state, _clipped(piece))

    def line(self, name: str, text: Text) -> None:
        grid = Table(box=None, padding=0, show_header=False)
        grid.add_column(width=12, no_wrap=True, style="dim")
        grid.add_column()
        grid.add_row(f"{name:>9} │", text)
        self.console.print(grid, width=self.width)


def _clipped(piece: Piece) -> Text:
    """The beginning and the end of a piece, on few lines."""
    text = visible(piece.text.strip("\n")).replace("\n", "⏎ ")
    if len(text) > _SHOWN:
        head, tail = text[: _SHOWN * 2 // 3].rstrip(), text[-_SHOWN // 3 :].lstrip()
        text = f"{head} […{len(text) - len(head) - len(tail):,} characters…] {tail}"
    return Text(text, _STATES[piece.state])


# ------------------------------------------------------------------------------------------------ lengths


def _lengths(lengths: Lengths) -> Table:
    part = f", a sample of {lengths.measured:,} of {lengths.of:,}" if lengths.measured < lengths.of else ""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(f"Lengths in {lengths.unit}{part}", min_width=24)
    for name in ("p50", "p95", "max"):
        table.add_column(name, justify="right")
    first, last = lengths.span
    table.add_column(f"{edge(first):,} to {edge(last):,}" if last else "")
    for name, column in lengths.columns.items():
        figures = (f"{figure:,}" for figure in (column.p50, column.p95, column.most))
        table.add_row(f"  {name}", *figures, _bars(column, first, last))
    return table


def _fitting(lengths: Lengths) -> list[str]:
    """What the limit does, and what is learnt of what it leaves."""
    share = f"{lengths.over:,} of {lengths.measured:,} ({lengths.over / lengths.measured:.1%})"
    over = f"{share if lengths.over else 'none'} with more than {lengths.limit:,} {lengths.unit}"
    if lengths.ledger is None:
        return [over]
    lost = ", ".join(f"{count:,} {reason}" for reason, count in lengths.ledger["dropped"].items()) or "none"
    used = f"used {lengths.ledger['used']:,}, of them cut {lengths.ledger['cut']:,}; dropped {lost}"
    return [f"{over}; {used}", "tokens: " + ", ".join(f"{n:,} {name}" for name, n in lengths.ledger["tokens"].items())]


def _bars(column: Spread, first: int, last: int) -> str:
    bins = column.between(first, last)
    return "".join(_BARS[-(-8 * count // max(bins))] for count in bins)
