"""The README of an exported model: what it is, where it came from, on what data, how it was measured."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlhf import artifact as artifacts
from rlhf.ancestry import ancestors
from rlhf.artifact import Artifact
from rlhf.privacy import masked
from rlhf.registry import hub_name
from rlhf.weights import Weights


def write(weights: Weights, compared: Mapping[str, Any], serve: Sequence[str], whole: bool) -> str:
    """A model card in Markdown with the hub's header; `whole`: of merged weights and not of an adapter."""
    made = None if weights.folder is None else artifacts.read(weights.folder)
    name = made.name if made else weights.called
    lines = [*_header(weights, made, whole), f"# {name}", "", _sentence(weights, made), ""]
    lines += ["```", *serve, "```", ""]
    lines += ["## Compared with the live model", "", _comparison(compared), ""]
    if made is not None:
        chain = [*ancestors(made), made]
        lines += ["## Lineage", "", *_lineage(weights, chain), "", "## Data", "", *_data(chain), ""]
        lines += ["## Measured", "", *_metrics(made), "", "## Settings", "", *_settings(made), ""]
    return "\n".join(lines)


def _header(weights: Weights, made: Artifact | None, whole: bool) -> list[str]:
    base = hub_name(weights.name.removesuffix(artifacts.TRAINED_WHOLE))
    tags = ["rlhf", *([made.stage] if made else []), *(["reward-model"] if weights.scores else [])]
    return [
        "---",
        f"library_name: {'transformers' if whole else 'peft'}",
        *([f"base_model: {base}"] if base else []),
        f"pipeline_tag: {'text-classification' if weights.scores else 'text-generation'}",
        f"tags: [{', '.join(tags)}]",
        "---",
        "",
    ]


def _sentence(weights: Weights, made: Artifact | None) -> str:
    what = "A reward model" if weights.scores else "A policy"
    how = f", made by the stage `{made.stage}` with the backend `{(made.backend or {}).get('kind')}`" if made else ""
    return f"{what} on `{weights.name}`{how}."


def _comparison(compared: Mapping[str, Any]) -> str:
    parts = [f"{compared['tokens']} tokens of {compared['texts']} texts ({compared['text']}), in {compared['unit']}:"]
    for name in ("merged", "exported"):
        if name in compared:
            gap = compared[name]
            parts.append(f"{name} differs by {gap['largest']:.2g} at most and {gap['mean']:.2g} on average;")
    return " ".join(parts).rstrip(";") + "."


def _lineage(weights: Weights, chain: Sequence[Artifact]) -> list[str]:
    lines = ["| stage | kind | backend | from | hash |", "|---|---|---|---|---|"]
    names = {made.hash: made.name for made in chain}
    for made in chain:
        parents = ", ".join(f"{where}: {names.get(key, key)}" for where, key in made.parents.items())
        kind = (made.backend or {}).get("kind", "")
        lines.append(f"| {made.name} | {made.stage} | {kind} | {parents} | `{made.hash}` |")
    base = f"Base: `{weights.name}`, weights `{weights.identity[:16]}`"
    quantised = f", as in 4 bit ({weights.quantisation}) while its adapter trained" if weights.quantisation else ""
    return [*lines, "", f"{base}{quantised}."]


def _data(chain: Sequence[Artifact]) -> list[str]:
    lines = ["| stage | source | sha256 | rows | used | held out | dropped or cut |", "|---|---|---|---|---|---|---|"]
    for made in chain:
        books = made.data.get("file")
        if not isinstance(books, dict):
            continue
        dropped = _dropped(made)
        for source in books.get("sources", []):
            mark = f"`{source['sha256'][:16]}`" if source.get("sha256") else ""
            numbers = f"{books['rows']} | {books['used']} | {books['held_out']} | {dropped}"
            lines.append(f"| {made.name} | {source['name']} | {mark} | {numbers} |")
    return lines


def _dropped(made: Artifact) -> str:
    """What was not used, by reason, and what was cut to fit: when the file was read, and when it became tokens."""
    counts: Counter[str] = Counter()
    for books in made.data.values():
        if isinstance(books, dict):
            counts.update(books.get("dropped", {}))
            counts["cut to fit"] += books.get("cut", 0)
    return ", ".join(f"{count} {reason}" for reason, count in counts.items() if count) or "none"


def _metrics(made: Artifact) -> list[str]:
    shown = {name: value for name, value in made.metrics.items() if isinstance(value, int | float)}
    return ["| | |", "|---|---|", *(f"| {name} | {value:.5g} |" for name, value in sorted(shown.items()))]


def _settings(made: Artifact) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in made.versions.items())
    config = {key: value for key, value in made.config.items() if value is not None}
    return [versions, "", "```json", json.dumps(masked(_without_folders(config)), indent=1), "```"]


def _without_folders(value: Any) -> Any:
    """Settings with the names of files in place of where they lay on the machine that trained."""
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
