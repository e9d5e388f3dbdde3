"""Formats that are known, and cannot be read: rows of them are told what would do instead."""

from rlhf.data.formats.table import Format, Read, Row, named
from rlhf.data.messages import ROLES, SPEAKER, SPOKEN
from rlhf.data.records import Record
from rlhf.errors import DataError


def refused(message: str) -> Read:
    def read(row: Row, where: str) -> Record:
        raise DataError(message)

    return read


REFUSED = {
    "tokens": Format(
        refused("input_ids: are tokens of one tokenizer; text is needed, as messages or prompt and completion"),
        {"input_ids": list},
        vague=True,
    ),
    "turn": Format(
        refused(
            "role: the row is one message; put a conversation's into one list `messages`, or number their conversation "
            "in a field `conversation_id`"
        ),
        {SPEAKER: str, SPOKEN: str},
        lambda row: str(row[named(row, SPEAKER)]).lower() in ROLES,
        vague=True,
    ),
    "segments": Format(
        refused("segments: are pieces of rendered text without roles; messages {role, content} are needed"),
        {"segments": list},
        vague=True,
    ),
    "images": Format(
        refused("images: hold pictures; only text can be read: leave such rows out"),
        {"images|image": (list, dict)},
        lambda row: any(bool(row.get(name)) for name in ("images", "image")),
        vague=True,
    ),
    "triplet": Format(
        refused(
            "anchor: such rows teach an embedding model what is alike; if they are answers, say so: "
            "data.columns.prompt=anchor data.columns.chosen=positive data.columns.rejected=negative"
        ),
        {"anchor": str, "positive": str, "negative": str},
        vague=True,
    ),
    "passages": Format(
        refused(
            "pos: such rows teach an embedding model what is relevant; if they are answers, say so: "
            "data.columns.prompt=query data.columns.chosen=pos data.columns.rejected=neg"
        ),
        {"query": str, "pos": list, "neg": list},
        lambda row: all(isinstance(one, str) for one in (*row["pos"], *row["neg"])),
        vague=True,
    ),
}
