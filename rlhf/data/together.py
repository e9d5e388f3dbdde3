"""Rows that are parts of one example: messages of a conversation or of a tree, answers to one prompt."""

import json
import math
import re
from datetime import UTC, datetime
from typing import Any

from rlhf.data.formats.asking import PROMPT, RESPONSE, SYSTEM, asked
from rlhf.data.formats.convert import RANKING
from rlhf.data.formats.ratings import SCORED
from rlhf.data.formats.reader import fits
from rlhf.data.formats.table import Row, named
from rlhf.data.formats.values import label_of, number, truth
from rlhf.data.lines import Rows
from rlhf.data.messages import ROLES, SPEAKER, SPOKEN, UnusableError
from rlhf.data.records import Kind
from rlhf.errors import DataError

# ------------------------------------------------------------------------------------------------ trees


def is_node(row: Row, kind: Kind | None) -> bool:
    """Whether a row is one message of a tree."""
    return row.keys() >= {"message_id", "parent_id", "role", "text"}


def trees(rows: Rows, kind: Kind | None) -> Rows:
    """OpenAssistant's messages, a row each, as the trees that they are."""
    nodes: dict[str, tuple[str, Row]] = {}
    for where, row in rows:
        if not isinstance(row, dict):
            yield where, row
        elif (name := str(row.get("message_id"))) in nodes:
            yield where, DataError(f"message_id: {name} is that of {nodes[name][0]} too; give each message its own")
        else:
            nodes[name] = where, row | {"rank": _whole(row.get("rank")), "replies": []}
    for where, row in nodes.values():
        above = row.get("parent_id")
        if above is not None and str(above) in nodes:
            nodes[str(above)][1]["replies"].append(row)
        elif above is not None:
            yield where, UnusableError("answers a message that is not in the file")
    below = [row for _, row in nodes.values() if row.get("parent_id") is None or str(row["parent_id"]) not in nodes]
    found = set[str]()
    while below:
        row = below.pop()
        found.add(str(row.get("message_id")))
        below += row["replies"]
    for name, (where, row) in nodes.items():
        if row.get("parent_id") is None:
            yield where, {"prompt": row}
        elif name not in found:
            yield where, DataError("parent_id: the messages above it go round in a circle; mend the file")


def _whole(rank: Any) -> Any:
    """A rank as a number without a fraction: tables that have none in places hold 0.0, 1.0 …, and cells hold text."""
    if isinstance(rank, str) and re.fullmatch(r"\d{1,9}(\.0)?", rank):
        rank = float(rank)
    return int(rank) if isinstance(rank, float) and math.isfinite(rank) else rank


# ------------------------------------------------------------------------------------------------ answers of one prompt


def is_scored_alone(row: Row, kind: Kind | None) -> bool:
    """Whether a row holds one answer and how good it is, where two are to be compared."""
    judged = _is_scored(row) or label_of(row) in _PICKED or str(row.get("label")).strip().lower() in _TAKEN
    rated = judged and SCORED["scored_answer"].fits(row)
    return kind == "preferences" and rated and not fits(row, kind)


def compared(rows: Rows, kind: Kind | None) -> Rows:
    """Rows that have a prompt in common, wherever in the file they stand, as one row of several answers: HelpSteer and
    its like. One that cannot be read becomes the reason."""
    found: dict[str, tuple[str, Row, list[Row]]] = {}
    for where, row in rows:
        if not isinstance(row, dict) or fits(row, kind):
            yield where, row
            continue
        try:
            prompt, judged = json.dumps([asked(row), _of(row)], default=str), _judged(row)
        except (DataError, UnusableError) as reason:
            yield where, reason
        else:
            found.setdefault(prompt, (where, row, []))[2].append(judged)
    for where, first, answers in found.values():
        moved = {named(first, RESPONSE), _label(first), *RANKING, "rank"}
        yield where, {name: value for name, value in first.items() if name not in moved} | {"completions": answers}


def _judged(row: Row) -> Row:
    """An answer with all that is said of it; whether it was picked is its score where it has no other."""
    answer, label = named(row, RESPONSE), None if _is_scored(row) else _label(row)
    score = {} if label is None else {"score": truth(row[label], label)}
    aside = (answer, label, named(row, PROMPT), *SYSTEM)
    return {"text": row.get(answer)} | {name: value for name, value in row.items() if name not in aside} | score


def _label(row: Row) -> str | None:
    """The field that says whether the answer was taken."""
    return label_of(row) or next((name for name in _PICKED if name in row), None)


def _is_scored(row: Row) -> bool:
    return any(name in row for name in (*RANKING, "rank"))


_PICKED = ("is_chosen", "is_accepted", "chosen", "accepted")
"""Labels by which an answer was taken from among others; by any other it is good or bad by itself."""
_TAKEN = ("chosen", "rejected", "preferred", "dispreferred")
"""What `label` says of such."""


# ------------------------------------------------------------------------------------------------ turns as rows


def is_turn(row: Row, kind: Kind | None) -> bool:
    """Whether a row is one message, and says of which conversation."""
    role = row.get(named(row, SPEAKER))
    spoken = isinstance(role, str) and role.lower() in ROLES and named(row, SPOKEN) in row
    return spoken and _of(row) is not None and "parent_id" not in row


def conversations(rows: Rows, kind: Kind | None) -> Rows:
    """Messages, a row each, as the conversations that they make, wherever in the file they stand: in the order that
    numbers or times of theirs say, else in that of the file."""
    found: dict[Any, list[tuple[str, Row]]] = {}
    for where, row in rows:
        if not isinstance(row, dict):
            yield where, row
        elif isinstance(called := _of(row), str | int | float):
            found.setdefault(called, []).append((where, row))
        else:
            yield where, DataError("conversation_id: is missing or null; the number of its conversation is needed")
    for called, alike in found.items():
        where = alike[0][0]
        try:
            yield where, _conversation([row for _, row in alike], called)
        except DataError as fault:
            yield where, fault


def _conversation(turns: list[Row], called: Any) -> Row:
    """The messages in their order, with the system's beside them where all have the same."""
    orders = {name: keys for name in _ORDER if (keys := _keys(name, [row.get(name) for row in turns]))}
    system = {name: turns[0].get(name) for name in SYSTEM}
    beside = {name: said for name, said in system.items() if said and all(row.get(name) == said for row in turns)}
    apart = {*orders, *beside, *_NUMBERS}
    messages = [{name: value for name, value in row.items() if name not in apart} for row in turns]
    return {**beside, "messages": _sorted(messages, orders, called)}


def _sorted(turns: list[Row], orders: dict[str, list[float]], called: Any) -> list[Row]:
    """By all that says when they come, the surest first. Where that is the same for some, a file that is in order says
    which of them comes first; any other raises DataError."""
    keys = list(zip(*orders.values(), strict=True))
    order = sorted(range(len(keys)), key=keys.__getitem__)
    if order == list(range(len(keys))):
        return turns
    if len(set(keys)) < len(keys):
        name = next(iter(orders))
        raise DataError(f"{name}: is the same for messages of conversation {called}; give each of them its own")
    return [turns[i] for i in order]


def _keys(name: str, values: list[Any]) -> list[float] | None:
    """Numbers or times to sort by; None where nothing says any, or all say the same. Raises DataError where some alone
    do."""
    for key in (_number, _time):
        keys = [key(value) for value in values]
        said = [one for one in keys if one is not None]
        if len(said) == len(values):
            return said if len(set(said)) > 1 else None
        if said:
            odd = values[keys.index(None)]
            raise DataError(f"{name}: is {odd!r} in a message of the conversation; all numbers or all times are needed")
    return None


def _number(value: Any) -> float | None:
    try:
        return number(value, "")
    except DataError:
        return None


def _time(value: Any) -> float | None:
    """Seconds; of a time without a zone, as if it were UTC's."""
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).removesuffix(" UTC"))
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _of(row: Row) -> Any:
    return next((row[name] for name in _NUMBERS if row.get(name) is not None), None)


_NUMBERS = [f"{what}_id" for what in ("conversation", "conv", "dialogue", "dialog", "session", "thread", "chat")]
_ORDER = [
    *("message_index", "message_idx", "message_number", "message_order", "turn_index", "turn_idx", "turn_number"),
    *("turn_id", "turn", "index", "idx", "position", "order", "sequence", "seq", "step"),
    *("timestamp", "created_at", "created", "create_time", "sent_at", "time", "datetime", "date", "ts"),
]
"""Fields that say when a message comes, the surest first."""
