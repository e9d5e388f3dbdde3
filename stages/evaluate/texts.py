"""What models make of examples and of text: rows of losses, as `measures.losses` reads them."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from pydantic import ValidationError

from rlhf import evaluate, text
from rlhf.artifact import Artifact
from rlhf.config import DataConfig
from rlhf.data.chat import ChatFormat, Encoded, Ledger, encode_demonstrations
from rlhf.data.load import Split, kind_of_source, load
from rlhf.data.records import Demonstration
from rlhf.errors import RLHFError
from rlhf.measures.losses import DEMONSTRATIONS, GENERAL_TEXT
from rlhf.weights import Weights
from stages.evaluate.config import EvaluateConfig
from stages.evaluate.sides import Lineage, Side

Row = dict[str, Any]


class Studied(NamedTuple):
    """The examples of one stage, and what was held out of them."""

    stage: str
    data: DataConfig
    split: Split[Demonstration]


def studied(stages: Mapping[str, Artifact], say: Callable[[str], None]) -> list[Studied]:
    """What stages were trained on that holds answers: demonstrations, and the chosen side of pairs. Data that several
    were trained on is the first one's."""
    found: list[Studied] = []
    for name, made in stages.items():
        try:
            data = DataConfig.model_validate(made.config["data"])
            known = any(_source(one.data) == _source(data) for one in found)
            if not known and kind_of_source(data) in ("demonstrations", "preferences"):
                found.append(Studied(name, data, load(data, "demonstrations")))
        except (RLHFError, ValidationError) as error:
            say(f"  note: what stage '{name}' was trained on cannot be read any more: {error}")
    return found


def _source(data: DataConfig) -> dict[str, Any]:
    return data.model_dump(exclude={"max_length"})


def answers_of(seen: Sequence[Studied]) -> list[str]:
    """Everything that was to be imitated."""
    records = [record for one in seen for record in one.split.train]
    return [m["content"] for record in records for m in record.messages if m["role"] == "assistant"]


def demonstrated(
    config: EvaluateConfig, data: DataConfig, split: Split[Demonstration], sides: Mapping[str, Side]
) -> tuple[list[Row], Ledger]:
    """Losses of sides on held-out demonstrations and on some that are not held out, and the books of the former."""
    rows: list[Row] = []
    books: Ledger = {}
    for name, side in sides.items():
        parts = _encoded(config, data, split, side)
        books = parts["held_out"][1]
        rows += _on_parts(config, DEMONSTRATIONS, name, side, parts)
    return rows, books


def remembered(
    config: EvaluateConfig,
    lineage: Lineage,
    seen: Sequence[Studied],
    sides: Mapping[str, Side],
    general: tuple[DataConfig, Sequence[Demonstration]] | None,
    say: Callable[[str], None],
) -> Iterator[Row]:
    """Losses of each model that led to the policy on general text and on the examples of every stage."""
    for name, side in _models(config, lineage, sides, say):
        if general is not None:
            rows = _plain(general[1][: config.max_rows], side.chat, _room(general[0], side))
            yield from _rows(GENERAL_TEXT, "held_out", name, side, rows, config.batch_size)
        for one in seen if config.forgetting else ():
            yield from _on_parts(config, one.stage, name, side, _encoded(config, one.data, one.split, side))


def _models(
    config: EvaluateConfig, lineage: Lineage, sides: Mapping[str, Side], say: Callable[[str], None]
) -> Iterator[tuple[str, Side]]:
    """Models in the order in which they were trained, loaded one at a time; of a policy from outside, what it is
    compared with and itself."""
    if not (lineage.stages and config.forgetting):
        yield from ((name, sides[name]) for name in ("baseline", "policy") if name in sides)
        return
    found = {"base": lineage.base, **{name: partial(Weights.of, made) for name, made in lineage.stages.items()}}
    for name, find in found.items():
        try:
            weights = find()
        except RLHFError as error:
            since = "what is forgotten of general text counts from a later model" if name == "base" else ""
            since = since or f"what is forgotten of '{name}' is not measured"
            say(f"  note: '{name}', which the policy was trained from, is left out, and {since}: {error}")
            continue
        loaded = next((side for side in sides.values() if side.weights.lineage == weights.lineage), None)
        yield name, loaded or Side.load(config, weights, lineage.template)


Parts = Mapping[str, tuple[list[Encoded], Ledger]]


def _encoded(config: EvaluateConfig, data: DataConfig, split: Split[Demonstration], side: Side) -> Parts:
    """As many examples as are wanted of those held out and of those that are not, as tokens, with the books."""
    some = random.Random(config.seed).sample(split.train, min(len(split.train), config.max_rows))
    parts = {"held_out": split.held_out[: config.max_rows], "train": some}
    return {part: encode_demonstrations(rows, side.chat, _room(data, side)) for part, rows in parts.items()}


def _on_parts(config: EvaluateConfig, data: str, model: str, side: Side, parts: Parts) -> Iterator[Row]:
    for part, (rows, _) in parts.items():
        yield from _rows(data, part, model, side, rows, config.batch_size)


def _room(data: DataConfig, side: Side) -> int:
    return min(data.max_length, text.positions(side.weights) or data.max_length)


def _plain(records: Sequence[Demonstration], chat: ChatFormat, most: int) -> list[Encoded]:
    """Text as it stands, without a template around it, cut to fit. Its first token is given."""
    bos = [chat.tokenizer.bos_token_id] if chat.tokenizer.bos_token_id is not None else []
    rows = []
    for record in records:
        ids = [*bos, *chat.text_ids("\n\n".join(m["content"] for m in record.messages))][:most]
        if len(ids) > 1:
            rows.append(Encoded(ids, [0] + [1] * (len(ids) - 1), record.where))
    return rows


def _rows(data: str, split: str, model: str, side: Side, rows: Sequence[Encoded], size: int) -> Iterator[Row]:
    for found in evaluate.losses(side.role, rows, size):
        yield {"data": data, "split": split, "model": model, **found}
