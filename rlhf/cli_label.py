"""`rlhf label` and `rlhf failures`: people's judgements, and what is worth judging. Thin, as the other commands are."""

import json
import os
import sys
from collections import Counter
from contextlib import contextmanager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlhf.cli_shared import AsJson, ready

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rlhf.labels.book import Row
    from rlhf.labels.pairs import Pair
    from rlhf.labels.server import Server

app = typer.Typer(rich_markup_mode=None)


class Kind(StrEnum):
    """What failures are written as."""

    label = "label"
    sft = "sft"


@app.command()
def label(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE]...",
            help="Prompts with two or more answers: what `sample`, `evaluate` or `rlhf failures` wrote, or pairs.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="File of preference rows; an old one goes on.")] = Path(
        "labels.jsonl"
    ),
    annotator: Annotated[str, typer.Option(help="Who judges.")] = "me",
    policy: Annotated[str | None, typer.Option(help="Model that answers each of --prompts twice.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="File of prompts for --policy.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer of --policy.")] = 128,
    temperature: Annotated[float, typer.Option(min=0.01, help="Sampling temperature of --policy.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of --policy's answers.")] = 0,
    reward_model: Annotated[str | None, typer.Option(help="Asks first what this model is least sure of.")] = None,
    most: Annotated[int | None, typer.Option(min=1, help="Most pairs to judge.")] = None,
    guide: Annotated[Path | None, typer.Option(help="Text that says what counts, shown on the page.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 takes a free one.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address only.")] = False,
    agreement: Annotated[bool, typer.Option("--agreement", help="Tell how far the annotators of FILEs agree.")] = False,
    as_json: AsJson = False,
) -> None:
    """Judge pairs of answers in the browser.

    Keys: 1, 2, t (tie), s (skip), u (undo), q. What was judged is in --out, as rows that `reward` and `dpo` take.
    """
    from rlhf.errors import DataError
    from rlhf.labels import book
    from rlhf.labels.server import Server
    from rlhf.labels.session import Session

    if agreement:
        read = {path: book.read(path) for path in paths or [out]}
        _check_names(read)
        _tell([row for rows in read.values() for row in rows], as_json)
        return
    if not annotator.strip():
        raise DataError("--annotator: a name is needed")
    if bool(paths) == bool(policy and prompts) or bool(policy) != bool(prompts):
        raise DataError("give a file of prompts with answers, or --policy and --prompts")
    pairs = _pairs(paths or [], policy, prompts, (max_new_tokens, temperature), seed, reward_model)[:most]
    said = guide.read_text("utf-8") if guide else ""
    with book.Book(out) as kept:
        with Server(Session(pairs, kept, annotator), port, said) as server:
            print(f"{server.session.total - server.session.done} pairs to judge: {server.url}", flush=True)
            _serve(server, no_browser)
        if server.failure:
            raise server.failure
        _tell(kept.rows, as_json, out)


def _check_names(read: "Mapping[Path, list[Row]]") -> None:
    """Raise DataError where two files have one name judge the same pair: two people would count as one."""
    from rlhf.errors import DataError
    from rlhf.labels import book

    first: dict[tuple[str, str], Path] = {}
    for path, rows in read.items():
        for row in rows:
            name, key = book.annotator_of(row), book.key_of(row)
            if first.setdefault((name, key), path) != path:
                raise DataError(
                    f"{first[name, key]} and {path}: '{name}' judged the same pair in both; give each person a name, "
                    "by --annotator, or in `provenance.annotator` of rows that are there"
                )


def _pairs(
    paths: list[Path],
    policy: str | None,
    prompts: Path | None,
    sampling: tuple[int, float],
    seed: int,
    reward_model: str | None,
) -> "list[Pair]":
    """What is asked, in its order."""
    from rlhf.labels import pairs

    asked = [one for path in paths for one in pairs.read(path)]
    if policy is not None and prompts is not None:
        from rlhf.labels import models
        from rlhf.rollout import Sampling

        asked = models.drawn(ready(policy), prompts, Sampling(*sampling), seed)
    if reward_model is None:
        return [one.pairs()[0] for one in asked]
    from rlhf.labels import models
    from rlhf.reward_model import RewardModel

    return models.least_sure(asked, RewardModel.load(ready(reward_model)))


def _serve(server: "Server", no_browser: bool) -> None:
    """Until the annotator is done, or Ctrl-C."""
    if "SSH_CONNECTION" in os.environ:
        print(
            f"from where you sit: ssh -L {server.server_port}:127.0.0.1:{server.server_port} this-machine", flush=True
        )
        no_browser = True
    with nullcontext() if no_browser else _opened(server.url):
        try:
            server.serve_forever(poll_interval=0.05)
        except KeyboardInterrupt:  # what was said is on disk
            print(file=sys.stderr)


@contextmanager
def _opened(url: str) -> "Iterator[None]":
    """The address in a browser, by a file that leads there and that nobody else can read: every user of this machine
    sees the words of a command."""
    import tempfile
    import webbrowser

    with tempfile.NamedTemporaryFile("w", suffix=".html", encoding="utf-8") as file:  # made for its owner alone
        file.write(f'<!DOCTYPE html><meta http-equiv="refresh" content="0; url={url}"><title>rlhf label</title>')
        file.flush()
        webbrowser.open(Path(file.name).as_uri())
        yield


def _tell(rows: "list[Row]", as_json: bool, out: Path | None = None) -> None:
    """How much was judged by whom, and how far they agree."""
    from rlhf.labels import book
    from rlhf.measures.agreement import agreements, by_annotator
    from rlhf.visible import visible

    said = by_annotator([(book.annotator_of(row), book.key_of(row), book.meaning_of(row)) for row in rows])
    for name, verdicts in said.items():
        ties = sum(verdict is None for verdict in verdicts.values())
        print(visible(f"{name}: {len(verdicts)} pairs, {ties} of them ties"))
    found = agreements(said)
    for one in found:
        kappa = "not defined" if one.kappa is None else f"{one.kappa:.2f}"
        both = " and ".join(one.annotators)
        print(visible(f"{both}: agree on {one.raw:.1%} of {one.questions} pairs, Cohen's kappa {kappa}"))
    if out is not None:
        print(f"wrote {out}")
    elif not found:
        print("no pair was judged by two annotators, so that there is no agreement to tell")
    if as_json:
        counts = {name: len(verdicts) for name, verdicts in said.items()}
        agreed: list[dict[str, Any]] = [one._asdict() for one in found]
        print(json.dumps({"out": str(out) if out else None, "pairs": counts, "agreement": agreed}))


@app.command()
def failures(
    run: Annotated[Path, typer.Argument(help="A run's folder, or that of its `evaluate` stage.")],
    kind: Annotated[
        Kind, typer.Option(help="label: prompts with both answers, to judge; sft: with the better one, if it is known.")
    ] = Kind.label,
    out: Annotated[Path | None, typer.Option("--out", help="File to write (.jsonl).")] = None,
    show: Annotated[int, typer.Option(min=0, help="How many to print.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Prompts where the policy lost, or the reward model was wrong or unsure.

    The worst first. They are no longer held out once they are trained on: measure the gain on others.
    """
    from rlhf import failures as finding
    from rlhf.data.writing import written
    from rlhf.visible import visible

    made = finding.evaluation_of(run)
    found = finding.of_evaluation(made, lambda line: print(visible(line), file=sys.stderr))
    reasons = Counter(why for one in found for why in one.why)
    print(f"{len(found)} prompts of '{made.name}' to look at")
    for why, count in reasons.most_common():
        print(f"{count:>6} {why}")
    for one in found[:show]:
        asked = " ".join(one.prompt[-1]["content"].split())
        print(visible(f"{one.badness:>6.2f} {Path(one.where).name}: {asked[:60]}: {'; '.join(one.why)}"))
    if out is not None:
        with written(out) as file:
            file.writelines(json.dumps(one.row(kind.value), ensure_ascii=False) + "\n" for one in found)
        print(f"wrote {out}")
    if as_json:
        print(json.dumps({"failures": len(found), "reasons": reasons, "out": str(out) if out else None}))
