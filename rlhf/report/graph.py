"""The stages of a recipe and what each starts from: boxes in the order they run, arcs to what lies further back.

Drawn twice, across for a wide screen and down for a narrow one.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from markupsafe import Markup

from rlhf.report.run import Run, StageRun, pointer

_WIDE, _HIGH, _GAP = 150, 86, 46
_ARC, _MORE = 24, 24
"""Height of an arc over one box, and what each further box adds to it."""
_MOST_ACROSS = 6
"""Boxes side by side that can still be read."""


@dataclass(frozen=True)
class Box:
    """A stage, or the weights that the first one starts from."""

    name: str
    kind: str
    says: str = ""
    hash: str = ""
    source: str = ""
    """Of the hash."""
    link: str = ""
    state: str = "finished"


@dataclass
class Graph:
    """Boxes in their order, and by the places of two of them the settings that join them."""

    boxes: list[Box] = field(default_factory=list)
    edges: dict[tuple[int, int], list[str]] = field(default_factory=dict)

    def join(self, source: str, target: str, setting: str) -> None:
        names = [box.name for box in self.boxes]
        self.edges.setdefault((names.index(source), names.index(target)), []).append(setting)


def graph(run: Run) -> Graph:
    """Base models first, then stages as the recipe has them."""
    found = Graph()
    bases = {name: hash_of for stage in run.stages for name, hash_of in _bases(stage).items()}
    for name, (value, source) in bases.items():
        found.boxes.append(Box(name, "base model", hash=value[:12], source=source))
    for stage in run.stages:
        found.boxes.append(_box(stage))
    for stage in run.stages:
        for name in _bases(stage):
            found.join(name, stage.name, "model")
        for setting, source in run.sources_of(stage).items():
            found.join(source, stage.name, setting)
    return found


def _box(stage: StageRun) -> Box:
    backend = stage.settings.get("backend") or {}
    makes = stage.makes or "–"
    says = f"{makes} · {backend['kind']}" if "kind" in backend else makes
    source = f"{stage.where}/artifact.json#{pointer('hash')}" if stage.record else ""
    return Box(
        stage.name, stage.kind, says, stage.record.get("hash", "")[:12], source, f"#stage-{stage.name}", stage.state
    )


def _bases(stage: StageRun) -> dict[str, tuple[str, str]]:
    """Models from outside that a stage names, with the identity of their weights where it is known, and its source."""
    base = stage.record.get("base") or {}
    source = f"{stage.where}/artifact.json#{pointer('base', 'identity')}"
    names = set(_outside(stage.settings))
    return {name: (base["identity"], source) if base.get("name") == name else ("", "") for name in sorted(names)}


def _outside(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if "trust_remote_code" in value and value.get("name") and not value.get("stage"):
            yield str(value["name"])
        for item in value.values():
            yield from _outside(item)
    elif isinstance(value, list):
        for item in value:
            yield from _outside(item)


# ------------------------------------------------------------------------------------------------ drawing


def drawn(found: Graph) -> Markup:
    """Both drawings; the page's style shows one. Too many boxes are drawn down alone."""
    down = _svg(found, "down")
    if len(found.boxes) > _MOST_ACROSS:
        return Markup('<div class="graph always">{}</div>').format(down)
    return Markup('<div class="graph across">{}</div><div class="graph down">{}</div>').format(
        _svg(found, "across"), down
    )


def _svg(found: Graph, way: Literal["across", "down"]) -> Markup:
    across, n = way == "across", len(found.boxes)
    above, below = (_room(found, up) for up in (True, False))
    step = (_WIDE if across else _HIGH) + (_GAP if across else 30)
    length = n * step - (_GAP if across else 30)
    width, height = (length, _HIGH + above + below) if across else (_WIDE + 40 + above + below, length)
    parts = [_edge(found, i, j, labels, across, above, step) for (i, j), labels in found.edges.items()]
    for i, box in enumerate(found.boxes):
        x, y = (i * step, above) if across else (below, i * step)
        parts.append(_drawn_box(box, x, y, _WIDE if across else _WIDE + 40))
    title = "; ".join(
        f"{found.boxes[j].name} starts from {found.boxes[i].name} ({', '.join(labels)})"
        for (i, j), labels in found.edges.items()
    )
    return Markup('<svg viewBox="-2 -2 {} {}" style="max-width:{}px" role="group" aria-label="{}">{}</svg>').format(
        width + 4, height + 4, width + 4, title, Markup("").join(parts)
    )


def _drawn_box(box: Box, x: float, y: float, width: int) -> Markup:
    inner = Markup(
        '<rect class="box {}" x="{}" y="{}" width="{}" height="{}" rx="10"/>'
        '<text class="name named" x="{}" y="{}">{}</text><text class="says" x="{}" y="{}">{}</text>{}'
    ).format(
        "base" if box.kind == "base model" else box.state.replace(" ", "-"),
        *(x, y, width, _HIGH),
        *(x + 14, y + 26, _short(box.name, 17)),
        *(x + 14, y + 46, _short(box.says or box.kind, 22)),
        _hash(box, x + 14, y + 68),
    )
    return Markup('<a href="{}">{}</a>').format(box.link, inner) if box.link else inner


def _hash(box: Box, x: float, y: float) -> Markup:
    if not box.hash:
        return Markup('<text class="says" x="{}" y="{}">{}</text>').format(
            x, y, "" if box.state == "finished" else box.state
        )
    return Markup('<text class="hash" x="{}" y="{}" data-from="{}">{}</text>').format(x, y, box.source, box.hash)


def _edge(found: Graph, i: int, j: int, labels: list[str], across: bool, above: int, step: int) -> Markup:
    span, label = j - i, _short(", ".join(labels), 26)
    if span == 1:
        a, b = (i * step + _WIDE, j * step - 6) if across else (i * step + _HIGH, j * step - 6)
        middle = above + _HIGH / 2 if across else _room(found, False) + _WIDE / 2
        path = f"M{a} {middle}H{b}" if across else f"M{middle} {a}V{b}"
        return Markup('<path class="edge" d="{}"/><path class="tip" d="{}"/>').format(path, _tip(b, middle, across))
    up = _leads(labels)
    reach = _ARC + _MORE * (span - 2)
    if across:
        a, b = i * step + _WIDE / 2 + 12, j * step + _WIDE / 2 - 12 * (span - 1)
        edge = above if up else above + _HIGH
        far = edge - reach if up else edge + reach
        end = edge - 6 if up else edge + 6
        path = f"M{a} {edge}C{a} {far - (8 if up else -8)} {b} {far - (8 if up else -8)} {b} {end}"
        text = ((a + b) / 2, far + (2 if up else 6), "middle")
        tip = f"M{b - 4} {end}h8l-4 {6 if up else -6}z"
    else:
        a, b = i * step + _HIGH / 2 + 8, j * step + _HIGH / 2 - 8 * (span - 1)
        left = _room(found, False)
        edge = left + _WIDE + 40 if up else left
        far = edge + reach if up else edge - reach
        end = edge + 6 if up else edge - 6
        path = f"M{edge} {a}C{far + (8 if up else -8)} {a} {far + (8 if up else -8)} {b} {end} {b}"
        text = (far, (a + b) / 2, "middle")
        tip = f"M{end} {b - 4}v8l{-6 if up else 6} -4z"
    return Markup(
        '<path class="edge" d="{}"/><path class="tip" d="{}"/>'
        '<text class="on named" x="{}" y="{}" text-anchor="{}"{}>{}</text>'
    ).format(path, tip, *text, Markup(f' transform="rotate(90 {text[0]} {text[1]})"') if not across else "", label)


def _tip(b: float, middle: float, across: bool) -> str:
    return f"M{b} {middle - 4}v8l6 -4z" if across else f"M{middle - 4} {b}h8l-4 6z"


def _leads(labels: list[str]) -> bool:
    """Whether it hands on the policy, and not a judge of it or what it is compared with."""
    return bool({"model", "policy", "data"} & set(labels))


def _room(found: Graph, up: bool) -> int:
    """What the arcs on a side need."""
    spans = [j - i for (i, j), labels in found.edges.items() if j - i > 1 and _leads(labels) == up]
    return _ARC + _MORE * (max(spans) - 2) + 12 if spans else 0


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
