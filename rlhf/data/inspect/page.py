"""The report as one HTML page that needs nothing else: no script, no font, no network."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rlhf.data.inspect.report import LEVELS, TITLES, Lengths, Report, Spread, edge, percent


def html(report: Report) -> str:
    """Everything in the report. Whatever comes out of the file is escaped."""
    here = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    here.filters |= {"number": lambda value: f"{value:,}", "percent": percent, "line": report.at}
    lost = sum(one.count for one in report.dropped)
    return here.get_template("page.html.jinja").render(
        report=report,
        name=Path(report.source).name,
        counts=[
            ("rows", report.ledger["rows"]),
            ("usable examples", report.usable),
            ("dropped", lost),
            ("malformed", report.malformed),
        ],
        levels=[(level, report.count(level)) for level in LEVELS],
        clean=[TITLES[name] for name in report.clean],
        charts=_charts(report.lengths) if report.lengths else [],
        books=_books(report.lengths) if report.lengths else [],
        rendered=any(p.state != "text" for one in report.examples for part in one.parts.values() for p in part),
    )


def _charts(lengths: Lengths) -> list[dict[str, Any]]:
    """Bars of each column on one logarithmic axis, in percent of the highest; and where the limit is."""
    first, last = lengths.span
    return [
        {"name": name, "column": column, "bars": _bars(column, first, last, lengths.limit)}
        for name, column in lengths.columns.items()
    ]


def _bars(column: Spread, first: int, last: int, limit: int) -> list[dict[str, Any]]:
    bins = column.between(first, last)
    return [
        {
            "height": round(100 * count / max(bins), 1),
            "over": count > 0 and edge(first + n) >= limit,
            "says": f"{edge(first + n):,} to {edge(first + n + 1) - 1:,}: {count:,}",
        }
        for n, count in enumerate(bins)
    ]


def _books(lengths: Lengths) -> list[tuple[str, int, float]]:
    """What becomes of the measured examples, with shares in percent."""
    if lengths.ledger is None:
        return []
    dropped = [(f"dropped: {reason}", count) for reason, count in lengths.ledger["dropped"].items()]
    whole = lengths.ledger["used"] - lengths.ledger["cut"]
    parts = [("used whole", whole), ("used, prompt cut", lengths.ledger["cut"]), *dropped]
    return [(name, count, 100 * count / max(lengths.ledger["rows"], 1)) for name, count in parts if count]
