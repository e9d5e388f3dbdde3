"""Follow every number of a page to where it says that it is from; nothing here is shared with what wrote the page."""

import html.parser
import json
import math
import re
from collections.abc import Iterator, Set
from functools import cache
from pathlib import Path
from typing import Any

import ruamel.yaml

CONSTANT = re.compile(r"intervals? of 95 %")
"""The one number that stands in our own words."""
FREE = {"named", "text"}
"""Classes of what others wrote, which stands in their files: names, reasons, prompts and answers."""
RAW = {"recipe.lock.yaml", "samples.jsonl"}
"""Files that numbers may be from beside metrics.jsonl: what was asked for, and single answers."""
_VOID = {"meta", "input", "link", "br", "img", "hr"}
_UNITS = {"%": 0.01, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "min": 60, "h": 3600, "s": 1}
CALCS = {
    "": lambda value: value,
    "difference": lambda a, b: a - b,
    "sum": lambda *values: sum(values),
    "mean": lambda *values: sum(values) / len(values),
    "cost": lambda *values: sum(values[:-1]) / 3600 * values[-1],
}


class Page(html.parser.HTMLParser):
    """Texts with the elements around them, and the figures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, list[tuple[str, dict[str, str]]]]] = []
        self.figures: list[dict[str, Any]] = []
        self.outside: list[str] = []
        self.scripts = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        self.outside += [said[name] for name in ("src", "href", "data", "action", "srcset") if name in said]
        self.scripts += tag == "script"
        if tag not in _VOID:
            self.open.append((tag, said))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag, f"{tag} ends where it was not begun"

    def handle_data(self, data: str) -> None:
        tag, said = self.open[-1] if self.open else ("", {})
        if tag == "script" and said.get("type") == "application/json":
            self.figures.append(json.loads(data))
        elif tag not in ("script", "style", "title") and data.strip():
            self.texts.append((data.strip(), list(self.open)))


@cache
def _content(path: Path) -> Any:
    text = path.read_text("utf-8")
    if path.suffix == ".yaml":
        return ruamel.yaml.YAML(typ="safe").load(text)
    return (
        [json.loads(line) if line.endswith("}") else None for line in text.split("\n")]
        if path.suffix == ".jsonl"
        else json.loads(text)
    )


def look_up(run: Path, source: str) -> Any:
    """What stands at a source."""
    file, _, pointer = source.partition("#")
    value = _content(run / file)
    for part in pointer.split("/")[1:]:
        part = part.replace("%20", " ").replace("~1", "/").replace("~0", "~")
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def _written(value: Any, path: str = "") -> Iterator[str]:
    """Every text of a value, of a file's path its name too; every name, its parts, and the whole way to it."""
    if isinstance(value, dict):
        for name, item in value.items():
            way = f"{path}.{name}"
            yield from (way[match.end() :] for match in re.finditer("[./]", way))
            yield from name.split("/")
            yield from _written(item, way)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            yield from _written(item, f"{path}.{i}")
    elif value is not None:
        yield from (str(value), Path(str(value)).name)


def _spaced(text: str) -> str:
    return " ".join(text.split())


@cache
def known(run: Path) -> frozenset[str]:
    """All that stands in the files of a run, and where it lies."""
    files = [run / "recipe.lock.yaml", *run.glob("stages/*/artifact.json"), *run.glob("stages/*/*.jsonl")]
    return frozenset(_spaced(text) for file in files for text in (*_written(_content(file)), str(run)))


def check_names(page: Page, runs: list[Path], ours: Set[str] = frozenset()) -> int:
    """What is taken for other people's words, in which numbers are their own, stands in their files."""
    others = frozenset(ours).union(*map(known, runs))
    checked = 0
    for text, around in page.texts:
        if any(tag == "pre" for tag, _ in around):
            texts = [_spaced(one) for one in _written(json.loads(text))]
        elif any(FREE & set(said.get("class", "").split()) for _, said in around):
            texts = [_spaced(text)]
        else:
            continue
        for one in texts:
            assert one in others or (one.endswith("…") and any(other.startswith(one[:-1]) for other in others)), one
        checked += len(texts)
    return checked


def check_numbers(page: Page, runs: list[Path]) -> int:
    """Every number in the page's text: it has a source, its value is what stands there, and its text is that value."""
    checked = 0
    for text, around in page.texts:
        shown = CONSTANT.sub("", text)
        if not re.search(r"\d", shown):
            continue
        free = any(tag in ("pre",) or FREE & set(said.get("class", "").split()) for tag, said in around)
        sourced = next((said for _, said in reversed(around) if "data-from" in said), None)
        if sourced is None:
            assert free, f"{text!r} does not say where it is from"
            continue
        run = next((int(said["data-run"]) for _, said in around if "data-run" in said), 0)
        found = [look_up(runs[run], source) for source in sourced["data-from"].split(" ")]
        if "data-value" not in sourced:
            assert found[0].startswith(text), f"{text!r} is not {found[0]!r}"
            continue
        for source in sourced["data-from"].split(" "):
            file = source.partition("#")[0]
            assert file.endswith("metrics.jsonl") or Path(file).name in RAW, f"{text!r} is not from metrics.jsonl"
        value = CALCS[sourced.get("data-calc", "")](*found)
        assert math.isclose(float(sourced["data-value"]), value, rel_tol=1e-12, abs_tol=1e-12), sourced
        check_text(text, value)
        checked += 1
    return checked


def check_text(text: str, value: float) -> None:
    """A number as it is written is the value, but for rounding in its last place."""
    match = re.fullmatch(r"([+−-]?)([\d,]*\.?\d+(?:e-\d+)?)\s?(\S*)", text.replace("e−", "e-"))
    assert match, f"{text!r} is no number"
    sign, digits, unit = match.groups()
    scale = _UNITS.get(unit, 1)
    written = float(digits.replace(",", "")) * scale * (-1 if sign in ("−", "-") and sign else 1)
    mantissa, _, exponent = digits.partition("e")
    places = len(mantissa.partition(".")[2]) - int(exponent or 0)
    assert abs(written - value) <= 0.5001 * scale * 10**-places, f"{text!r} is not {value!r}"


def check_figures(page: Page, runs: list[Path]) -> int:
    """Every trace of every figure: its numbers are what stands in the file that it names."""
    checked = 0
    for figure in page.figures:
        for note in figure["layout"].get("annotations", []):
            assert not re.search(r"\d", note["text"])
        for trace in figure["data"]:
            meta = trace["meta"]
            run = runs[meta.get("run", 0)]
            if "constant" in meta:
                assert trace["hoverinfo"] == "skip"
            elif "measure" in meta:
                _check_reliability(trace, [row for row in _content(run / meta["file"]) if row])
            elif "keys" in meta:
                (line,) = meta["lines"]
                assert trace["y"] == [_content(run / meta["file"])[line][key] for key in meta["keys"]]
            else:
                axes = {axis: trace[axis] for axis in ("x", "y") if axis in meta}
                axes |= {"error": trace["error_y"]["array"]} if "error" in meta else {}
                for axis, values in axes.items():
                    sources = [f"{meta['file']}#/{line}{meta[axis]}" for line in meta["lines"]]
                    assert values == [look_up(run, source) for source in sources], (figure, axis)
                assert axes and {"x", "y"} & trace.keys() <= meta.keys()
            checked += 1
    return checked


def _check_reliability(trace: dict[str, Any], rows: list[Any]) -> None:
    """By hand: pairs by the probability of the one with the higher score, from a half on in twentieths."""
    own = [row for row in rows if row["judge"] == trace["meta"]["judge"]]
    sure = [(1 / (1 + math.exp(-abs(row["chosen_score"] - row["rejected_score"]))), row) for row in own]
    lows = [0.5 + i / 20 for i in range(10)]
    bins = [[one for one in sure if low <= one[0] < low + 0.05 or (low == lows[-1] and one[0] == 1)] for low in lows]
    assert trace["customdata"] == [len(some) for some in bins if some] and sum(map(len, bins)) == len(own)
    points = zip(trace["x"], trace["y"], trace["error_y"]["array"], filter(None, bins), strict=True)
    for x, y, error, some in points:
        ahead = [row["chosen_score"] - row["rejected_score"] for _, row in some]
        right = sum(1 if a > 0 else 0.5 if a == 0 else 0 for a in ahead) / len(ahead)
        expected = (sum(p for p, _ in some) / len(some), right, math.sqrt(right * (1 - right) / len(some)))
        assert all(math.isclose(a, b, abs_tol=1e-9) for a, b in zip((x, y, error), expected, strict=True)), trace


def resources(page: Page) -> Iterator[str]:
    """What a browser would fetch to show the page."""
    yield from (link for link in page.outside if not link.startswith("#"))
