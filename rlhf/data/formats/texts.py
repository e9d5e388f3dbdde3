"""Conversations that are written as one text, and text without a prompt."""

import re
from collections.abc import Callable

from rlhf.data import messages as m
from rlhf.data.formats.asking import is_transcript, said
from rlhf.data.formats.table import Format, Read, Row, named
from rlhf.data.messages import ROLES, UnusableError, text, transcript
from rlhf.data.records import Demonstration, Message, Prompt
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


def rendered_prompt(parse: Callable[[str], Talk]) -> Read:
    """Reads a text that holds turns as a prompt: answers at the end are taken off."""
    return lambda row, where: m.prompt(parse(row["text"]), where, "text")


def plain_text(row: Row, where: str) -> Demonstration:
    """{text}, or a line of a .txt file: text without a prompt."""
    name = named(row, _TEXT)
    return m.demonstration([said("assistant", text(row, name))], where, name)


def prompt_text(row: Row, where: str) -> Prompt:
    """{text}, or a line of a .txt file: a prompt."""
    return m.prompt([said("user", text(row, "text"))], where, "text")


_TEXT = "text|story|content|document"

_RENDERED: dict[str, tuple[Callable[[str], Talk], Callable[[str], bool]]] = {
    "guanaco": (guanaco, lambda value: "### Assistant:" in value),
    "chatml": (chatml, lambda value: "<|im_start|>assistant" in value),
    "llama2": (llama2, lambda value: "[/INST]" in value),
    "transcript": (lambda value: transcript(value, "text"), is_transcript),
}
"""How each is parsed, and how it is known."""


def _formats(read: Callable[[Callable[[str], Talk]], Read]) -> dict[str, Format]:
    return {
        name: Format(read(parse), {"text": str}, lambda row, known=known: known(row["text"]))
        for name, (parse, known) in _RENDERED.items()
    }


TEXTS = {**_formats(rendered), "text": Format(plain_text, {_TEXT: str})}
PROMPT_TEXTS = {**_formats(rendered_prompt), "text": Format(prompt_text, {"text": str})}
