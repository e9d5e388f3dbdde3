"""Texts made to be slow: what goes through one again from each of its pieces takes minutes here, not milliseconds."""

from collections.abc import Callable
from typing import Any

import pytest

from rlhf.data import arrange, transcripts
from rlhf.data.chat import ChatFormat
from rlhf.data.formats import texts
from rlhf.data.inspect import marks, preferences, private
from rlhf.errors import DataError

PIECES = [
    *(" ", "\n", ". ", "1 ", "1-", "1.", "+1 ", "4539 ", "a.", "a@", "a@a.", "1", "a", "AB12 ", "sk-a", "xoxb-"),
    *("\n\nHuman: a", "\n\nHuman:", "Human: a ", "USER: a ", "### Input: a", "### Response: ", "### Human: "),
    *("</s>", "</s> ", "<", "[", "{ ", "<extra_id_1>User", "<extra_id_1> ", "<|im_start|>user\n", "<|im_end|> "),
    *("[INST]", "[/INST]", "<｜User｜>", "<|end|>", "-----BEGIN ", "\u200b", "â€"),
]
HOSTILE = [f"{piece * (250_000 // len(piece))}@ !" for piece in PIECES]


def parse(text: str) -> None:
    for parse, _ in texts._RENDERED.values():
        try:
            parse(text)
        except DataError:
            continue


LOOKS: dict[str, Callable[[str], Any]] = {
    "private data": lambda text: list(private.within(text, private.SECRETS | private.PERSONAL)),
    "turns": lambda text: parse(f"<extra_id_1>User\n### Response: USER: q ASSISTANT: {text}"),
    "turns, if any": lambda text: (texts.is_rendered(text), parse(text)),
    "mark at the end": texts.without_end,
    "transcript": lambda text: transcripts.transcript(f"Human: {text}", "text"),
    "printed messages": arrange._PRINTED.match,
    "marks": lambda text: [one.search(text) for one in (marks._SPEAKER, marks._TRANSCRIPT, marks._ENDS, marks._DAMAGE)],
    "answers of nothing": preferences._NOTHING.fullmatch,
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_text_is_gone_through_once(look: Callable[[str], Any]) -> None:
    for text in HOSTILE:
        look(text)


def test_an_answer_is_gone_through_once(chats: Callable[[str], ChatFormat]) -> None:
    """For the stop tokens at its end."""
    stops = chats("chatml")._stops
    assert stops is not None
    for text in HOSTILE:
        stops.search(text.replace("</s>", "<|im_end|>"))
