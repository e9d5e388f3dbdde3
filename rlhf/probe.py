"""What a model says of some text, to tell whether another is the same."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from rlhf.data.chat import ChatFormat
from rlhf.errors import ArtifactError
from rlhf.packing import Packed
from rlhf.resources import resource
from rlhf.roles import Role

Row = list[int]


def rows(chat: ChatFormat, scores: bool, most: int, texts: Path | None = None) -> list[Row]:
    """Real text as tokens, up to `most` of each; for a reward model (`scores`), as answers to one another. `texts`: a
    file of lines in place of the passages that ship with rlhf. Raises ArtifactError where it holds none."""
    path = texts or resource("data_samples/passages.txt")
    if path.exists() and not path.is_file():
        raise ArtifactError(f"{path}: is no file of text")
    try:
        lines = [line.strip() for line in path.read_text("utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: cannot be read as text: {error}") from None
    if scores:
        talks = zip(lines, [*lines[1:], lines[0]], strict=True)
        found = [
            chat.encode([{"role": "user", "content": q}, {"role": "assistant", "content": a}]).ids for q, a in talks
        ]
    else:
        found = [chat.text_ids(line) for line in lines]
    kept = [list(row[:most]) for row in found if len(row) > 1]
    if not kept:
        raise ArtifactError(f"{path}: holds no text to compare on")
    return kept


@torch.no_grad()
def said(role: Role, rows: Sequence[Row]) -> list[Tensor]:
    """Of each row, the log-probability of every token but the first, or the score (not centred) of the whole."""
    found = []
    for row in rows:
        batch = Packed.of([row], [len(row) if role.head else 1], role.device)
        with role.present():
            said = role.scores(batch) if role.head else role.logprobs(batch, 1.0)
        shift = 0.0 if role.head is None or role.head.bias is None else role.head.bias
        found.append((said - shift).cpu())
    return found
