"""The report as one HTML page: plotly once, styles and script inside, nothing from outside."""

import json
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rlhf.data.writing import written
from rlhf.privacy import without_folders
from rlhf.report import charts, tables
from rlhf.report.charts import Chart
from rlhf.report.findings import Finding, findings
from rlhf.report.graph import drawn, graph
from rlhf.report.number import Name
from rlhf.report.run import Run, read
from rlhf.report.samples import samples
from rlhf.report.verdict import comparisons, unjudged, verdict

FILE = "report.html"


def write(folder: Path, out: Path | None = None) -> tuple[Path, list[Finding]]:
    """Write the report of a run folder, and say where it is and what it warns of. Raises ArtifactError."""
    run = read(folder)
    found = findings(run)
    path = out or folder / FILE
    with written(path) as file:  # and not what a link of that name leads to
        file.write(html(run, found))
    return path, found


def html(run: Run, found: Iterable[Finding]) -> str:
    """The page."""
    evaluation = run.evaluation
    return render(
        "report.html.jinja",
        run=run,
        findings=list(found),
        verdict=verdict(evaluation) if evaluation else None,
        unjudged=unjudged(evaluation) if evaluation else False,
        comparisons=comparisons(evaluation) if evaluation else [],
        others=[
            (stage.name, told) for stage in run.evaluations if stage is not evaluation and (told := comparisons(stage))
        ],
        graph=drawn(graph(run)),
        stages=[(stage, list(charts.curves(stage))) for stage in run.stages],
        judges=tables.judges(run),
        judged_on_the_way=any(map(charts.has_judge, run.kinds("ppo"))),
        frontier=[chart for stage in run.kinds("ppo") for chart in charts.frontier_charts(stage)],
        lengths=charts.lengths(evaluation) if evaluation else None,
        answers=tables.answers(evaluation) if evaluation else None,
        measured=tables.measured(run),
        losses=tables.losses(run),
        benchmarks=tables.benchmarks(run),
        samples=samples(evaluation) if evaluation else None,
        ledger=list(tables.ledger(run)),
        spent=tables.spent(run),
    )


def render(template: str, **content: Any) -> str:
    """A template of this room, with what all pages hold. Whatever comes from a file is escaped."""
    here = Path(__file__).parent
    rooms = Environment(
        loader=FileSystemLoader(here),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    rooms.filters |= {
        "figure": _figure,
        "name": Name,
        "pretty": lambda value: json.dumps(without_folders(value), indent=1, ensure_ascii=False),
        "short": lambda name: name.removeprefix("the ").removeprefix("a "),
    }
    plotly = Markup(files("plotly").joinpath("package_data/plotly.min.js").read_text("utf-8"))
    inside = {name: Markup((here / f"page.{name}").read_text("utf-8")) for name in ("css", "js")}
    return rooms.get_template(template).render(plotly=plotly, **inside, **content)


def _figure(chart: Chart) -> Markup:
    """As JSON that no text in it can end."""
    text = json.dumps(chart.figure, separators=(",", ":"))
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(text)
