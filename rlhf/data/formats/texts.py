"""Conversations that are written as one text, and text without a prompt."""

import re
from collections.abc import Callable

from rlhf.data import messages as m
from rlhf.data.formats.asking import is_transcript, said
from rlhf.data.formats.table import Format, Read, Row, named
from rlhf.data.messages import ROLES, UnusableError, text, transcript
from rlhf.data.records import Demonstration, Message
from rlhf.errors import DataError

Talk = list[Message]


def guanaco(value: str) -> Talk:
    """`### Human: … ### Assistant: …` (Dettmers et al. 2023)."""
    before, *parts = _SPEAKER.split(value)
    if before.strip():
        raise DataError("text: does not open with '### Human:'")
    return [
        said("assistant" if speaker in ("Assistant", "Response") else "user", content.strip())
        for speaker, content in zip(parts[::2], parts[1::2], strict=True)
    ]


_SPEAKER = re.compile(r"### (Human|User|Instruction|Assistant|Response):")


def chatml(value: str) -> Talk:
    """`<|im_start|>user … <|im_end|> <|im_start|>assistant … <|im_end|>`, as in OpenAssistant's best answers."""
    parts = [part.partition("\n") for part in value.split("<|im_start|>")[1:]]
    unknown = next((role for role, _, _ in parts if role.strip() not in ROLES), None)
    if unknown is not None:
        raise DataError(f"text: <|im_start|>{unknown}; user, assistant, system or tool is needed")
    return [said(ROLES[role.strip()], content.partition("<|im_end|>")[0].strip()) for role, _, content in parts]


def llama2(value: str) -> Talk:
    """`<s>[INST] <<SYS>> … <</SYS>> … [/INST] … </s><s>[INST] …`, as Llama 2's template writes it."""
    talk: Talk = []
    for part in value.split("[INST]")[1:]:
        question, _, answer = part.partition("[/INST]")
        if "<</SYS>>" in question:
            system, _, question = question.partition("<</SYS>>")
            talk.append(said("system", system.replace("<<SYS>>", "").strip()))
        talk.append(said("user", question.strip()))
        if answer := _MARK.sub("", answer).strip():
            talk.append(said("assistant", answer))
    return talk


_MARK = re.compile(r"</?s>")


def rendered(parse: Callable[[str], Talk]) -> Read:
    """Reads a text that holds turns. What follows the last answer is left out."""

    def read(row: Row, where: str) -> Demonstration:
        talk = parse(row["text"])
        while talk and talk[-1]["role"] != "assistant":
            talk.pop()
        if not talk:
            raise UnusableError("no answer at the end")
        return m.demonstration(talk, where, "text")

    return read


def plain_text(row: Row, where: str) -> Demonstration:
    """{text}, or a line of a .txt file: text without a prompt."""
    name = named(row, _TEXT)
    return m.demonstration([said("assistant", text(row, name))], where, name)


_TEXT = "text|story|content|document"

TEXTS = {
    "guanaco": Format(rendered(guanaco), {"text": str}, lambda row: "### Assistant:" in row["text"]),
    "chatml": Format(rendered(chatml), {"text": str}, lambda row: "<|im_start|>assistant" in row["text"]),
    "llama2": Format(rendered(llama2), {"text": str}, lambda row: "[/INST]" in row["text"]),
    "transcript": Format(
        rendered(lambda value: transcript(value, "text")), {"text": str}, lambda row: is_transcript(row["text"])
    ),
    "text": Format(plain_text, {_TEXT: str}),
}


def is_rendered(row: Row) -> bool:
    """Whether a row's text holds turns."""
    return any(one.fits(row) for name, one in TEXTS.items() if name != "text")
