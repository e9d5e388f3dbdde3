"""Conversations that are written as one text, and text without a prompt."""

import re
from collections.abc import Callable

from rlhf.data import messages as m
from rlhf.data.formats.asking import asked, opened, said
from rlhf.data.formats.table import TURNS, Format, Read, Row, named
from rlhf.data.formats.verdicts import has_two_answers
from rlhf.data.messages import ROLES, UnusableError, text
from rlhf.data.records import Demonstration, Message, Prompt
from rlhf.data.transcripts import is_transcript, joined, questions, transcript
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


def alpaca_text(value: str) -> Talk:
    """`Below is … ### Instruction: … ### Input: … ### Response: …`: what stands before is the system's."""
    before, *parts = _SECTION.split(value)
    turns = [("system", [before])] if before.strip() else []
    for section, content in zip(parts[::2], parts[1::2], strict=True):
        if section == "Input" and turns:
            turns[-1][1].append(content)
        else:
            turns.append(("assistant" if section == "Response" else "user", [_END.sub("", content)]))
    return [said(role, joined(contents)) for role, contents in turns]


_SECTION = re.compile(r"### (Instruction|Input|Response):")


def speakers(value: str) -> Talk:
    """`USER: … ASSISTANT: …` as Vicuna has it, with `FUNCTION RESPONSE:` as Glaive has it."""
    before, *parts = _NAME.split(value)
    talk: Talk = [said("system", before.strip())] if before.strip() else []
    roles = {"SYSTEM": "system", "USER": "user", "ASSISTANT": "assistant"}
    for name, content in zip(parts[::2], parts[1::2], strict=True):
        talk.append(said(roles.get(name, "tool"), _END.sub("", content).strip()))
    return talk


_NAME = re.compile(r"(?:\A|(?<=\s)|(?<=</s>))(SYSTEM|USER|ASSISTANT|FUNCTION RESPONSE):(?=\s)")


def _last(mark: str) -> re.Pattern[str]:
    """A mark that ends a text, with the white space about it, of which each piece is looked at once."""
    return re.compile(rf"(?<!\s)\s*+(?:{mark})\s*\Z")


_END = _last(r"</s>|<\|endoftext\|>|<\|end_of_text\|>")


_BEGINS = re.compile(r"<[^<>\s]*>")
"""Marks that templates begin with, such as `<bos>`."""


def marked(header: str, end: str) -> Callable[[str], Talk]:
    """Parses turns that open with a header, of which the pattern's group is the role, and stop at an end mark."""
    headers, ends = re.compile(header), re.compile(end)

    def parse(value: str) -> Talk:
        found = list(headers.finditer(value))
        talk: Talk = []
        if found and _BEGINS.sub("", value[: found[0].start()]).strip():
            raise DataError(f"text: has words before its first turn, {found[0][0].strip()}; turns alone are needed")
        for one, after in zip(found, [*found[1:], None], strict=False):  # none where a header is not whole
            role = one[1].strip().lower()
            if role not in ROLES:
                raise DataError(f"text: {one[0].strip()}; user, assistant, system or tool is needed")
            content = value[one.end() : after.start() if after else None]
            talk.append(said(ROLES[role], _until(ends, content)))
        return talk

    return parse


def _until(ends: re.Pattern[str], content: str) -> str:
    """What stands before the end of a turn. Raises DataError where words come after it, which nobody says."""
    before, *after = ends.split(content, maxsplit=1)
    if after and (rest := ends.sub("", _BEGINS.sub("", after[0])).strip()):
        raise DataError(f"text: has words after the end of a turn, {rest[:40]!r}; turns alone are needed")
    return before.strip()


def llama2(value: str) -> Talk:
    """`<s>[INST] <<SYS>> … <</SYS>> … [/INST] … </s><s>[INST] …`, as Llama 2's template writes it, or Mistral's with
    `[SYSTEM_PROMPT] … [/SYSTEM_PROMPT]`."""
    if tool := _MISTRAL_TOOLS.search(value):
        raise DataError(f"text: holds {tool[0]}; tool calls cannot be read: leave such rows out")
    before, *parts = value.split("[INST]")
    before = _BEGINS.sub("", before).strip()
    head = _MISTRAL_SYSTEM.fullmatch(before)
    if before and not head:
        raise DataError(f"text: has words before its first turn, {before[:40]!r}; turns alone are needed")
    talk: Talk = [said("system", head[1].strip())] if head else []
    for part in parts:
        question, _, answer = part.partition("[/INST]")
        if "<</SYS>>" in question:
            system, _, question = question.partition("<</SYS>>")
            talk.append(said("system", system.replace("<<SYS>>", "").strip()))
        talk.append(said("user", question.strip()))
        if answer := _MARK.sub("", answer).strip():
            talk.append(said("assistant", answer))
    return talk


_MARK = re.compile(r"</?s>")
_MISTRAL_SYSTEM = re.compile(r"\[SYSTEM_PROMPT\](.*)\[/SYSTEM_PROMPT\]", re.S)
_MISTRAL_TOOLS = re.compile(r"\[(?:AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]")


def nemo(value: str) -> Talk:
    """`<extra_id_0>System … <extra_id_1>User … <extra_id_1>Assistant …`; HelpSteer's leave out the first header."""
    before, *parts = _EXTRA.split(value)
    talk: Talk = [said("user", before.strip())] if before.strip() else []
    for role, content in zip(parts[::2], parts[1::2], strict=True):
        talk.append(said(role.lower(), _EMPTY_TURN.sub("", content).strip()))
    return talk


_EXTRA = re.compile(r"<extra_id_[01]>(System|User|Assistant)\n?")
_EMPTY_TURN = _last("<extra_id_1>")


def deepseek(value: str) -> Talk:
    """`<｜begin▁of▁sentence｜>… <｜User｜> … <｜Assistant｜> …`: what stands before is the system's."""
    before, *parts = re.split("<｜(User|Assistant)｜>", value.strip().removeprefix("<｜begin▁of▁sentence｜>"))
    talk: Talk = [said("system", before.strip())] if before.strip() else []
    for role, content in zip(parts[::2], parts[1::2], strict=True):
        talk.append(said(role.lower(), _until(_DEEPSEEK_END, content)))
    return talk


_DEEPSEEK_END = re.compile("<｜end▁of▁sentence｜>")


def rendered(parse: Callable[[str], Talk]) -> Read:
    """Reads a text that holds turns. What is said after the last answer waits for one, and is told of."""

    def read(row: Row, where: str) -> list[Demonstration | UnusableError]:
        talk = parsed(row, parse)
        last = max((i for i, message in enumerate(talk) if message["role"] == "assistant"), default=-1)
        if last < 0:
            raise UnusableError("no answer at the end")
        waiting = [UnusableError("turn without an answer")] if last < len(talk) - 1 else []
        return [m.demonstration(talk[: last + 1], where, "text"), *waiting]

    return read


def rendered_prompt(parse: Callable[[str], Talk]) -> Read:
    """Reads a text that holds turns as a prompt: answers at the end are taken off."""
    return lambda row, where: m.prompt(parsed(row, parse), where, "text")


def parsed(row: Row, parse: Callable[[str], Talk]) -> Talk:
    talk = parse(_held(row))
    return opened(row, talk) if talk else talk


def _held(row: Row) -> str:
    value = row.get("text")
    return value if isinstance(value, str) else row[named(row, _RENDERED_IN, str)]


def plain_text(row: Row, where: str) -> Demonstration:
    """{text}, or a line of a .txt file: text without a prompt."""
    name = named(row, _TEXT)
    return m.demonstration([said("assistant", text(row, name))], where, name)


def prompt_text(row: Row, where: str) -> Prompt:
    """{text}, or a line of a .txt file: a prompt."""
    return m.prompt([said("user", text(row, "text"))], where, "text")


_TEXT = "text|story|content|document"

_RENDERED_IN = "text|chat|transcript|conversation"
_CHAT: dict[str, tuple[Callable[[str], Talk], str]] = {
    "chatml": (marked(r"<\|im_start\|>([^\n]*)\n?", r"<\|im_end\|>"), "<|im_start|>assistant"),
    "llama3": (
        marked(r"<\|start_header_id\|>(\w+)<\|end_header_id\|>", r"<\|eot_id\|>|<\|eom_id\|>|<\|end_of_text\|>"),
        "<|start_header_id|>assistant",
    ),
    "gemma": (marked(r"<start_of_turn>(\w+)", r"<end_of_turn>"), "<start_of_turn>model"),
    "zephyr": (
        marked(r"<\|(system|user|assistant|tool|observation)\|>", r"</s>|<\|end\|>|<\|endoftext\|>|<\|im_end\|>"),
        "<|assistant|>",
    ),
    "llama4": (marked(r"<\|header_start\|>(\w+)<\|header_end\|>", r"<\|eot\|>"), "<|header_start|>assistant"),
    "granite": (
        marked(r"<\|start_of_role\|>(\w+)<\|end_of_role\|>", r"<\|end_of_text\|>"),
        "<|start_of_role|>assistant",
    ),
    "command_r": (
        marked(r"<\|START_OF_TURN_TOKEN\|><\|(\w+)_TOKEN\|>", r"<\|END_OF_TURN_TOKEN\|>"),
        "<|CHATBOT_TOKEN|>",
    ),
    "harmony": (
        marked(r"<\|start\|>(\w+)(?:<\|channel\|>final)?<\|message\|>", r"<\|end\|>|<\|return\|>"),
        "<|message|>",
    ),
    "exaone": (marked(r"\[\|(system|user|assistant)\|\]", r"\[\|endofturn\|\]"), "[|assistant|]"),
    "kimi": (marked(r"<\|im_\w+\|>(\w+)<\|im_middle\|>", r"<\|im_end\|>"), "<|im_middle|>"),
    "llama2": (llama2, "[/INST]"),
}
"""Templates with marks of their own: how each is parsed, and what it is known by. Phi's is Zephyr's with other ends."""

_WRITTEN: dict[str, tuple[Callable[[str], Talk], Callable[[str], bool]]] = {
    **{
        name: (parse, lambda value, mark=mark: value.lstrip()[:1] in ("<", "[") and mark in value)
        for name, (parse, mark) in _CHAT.items()
    },
    "nemo": (nemo, lambda value: "<extra_id_1>Assistant" in value),
    "deepseek": (deepseek, lambda value: "<｜User｜>" in value and "<｜Assistant｜>" in value),
}
"""Those whose turns are told apart in any field."""

_RENDERED: dict[str, tuple[Callable[[str], Talk], Callable[[str], bool]]] = {
    "guanaco": (guanaco, lambda value: "### Assistant:" in value),
    "alpaca_text": (alpaca_text, lambda value: "### Instruction:" in value and "### Response:" in value),
    **_WRITTEN,
    "transcript": (lambda value: transcript(value, "text"), is_transcript),
    "speakers": (speakers, lambda value: "ASSISTANT:" in value and "USER: " in value),
    "dialogue_text": (lambda value: questions(value) or [], lambda value: questions(value) is not None),
}
"""How each is parsed, and how it is known."""


def _formats(read: Callable[[Callable[[str], Talk]], Read]) -> dict[str, Format]:
    return {
        name: Format(read(parse), {_RENDERED_IN: str}, lambda row, known=known: known(_held(row)))
        for name, (parse, known) in _RENDERED.items()
    }


def is_rendered(value: str) -> bool:
    """Whether a text holds turns."""
    return any(known(value) for _, known in _RENDERED.values())


def templated(value: str) -> Talk | None:
    """The turns of a text that a chat template made, without the opening of an answer at its end; None for another."""
    talk = next((parse(value) for parse, knows in _WRITTEN.values() if knows(value)), None)
    return (talk[:-1] if talk and not talk[-1]["content"] else talk) or None


def without_end(value: str) -> str:
    """An answer without the mark that a template ends it with; `</s>` after `<s>` is HTML."""
    if not value[-20:].rstrip().endswith(">") or (value.rstrip().endswith("</s>") and "<s>" in value):
        return value
    return _MARKS.sub("", value)


_MARKS = _last(r"<\|im_end\|>|<\|eot_id\|>|<end_of_turn>|</s>|<\|end\|>|<\|endoftext\|>|<\|end_of_text\|>")


def prompted_text(row: Row, where: str) -> Demonstration:
    """{prompt or question, text or content}: what was written when asked so (Cosmopedia)."""
    name = named(row, "text|content", str)
    return m.demonstration([*asked(row, _ASKED), said("assistant", text(row, name))], where, name)


_ASKED = "prompt|instruction|question|query|problem|input"

TEXTS = {
    **_formats(rendered),
    "prompted_text": Format(prompted_text, {_ASKED: TURNS, "text|content": str}),
    "text": Format(plain_text, {_TEXT: str}, lambda row: not has_two_answers(row)),
}
PROMPT_TEXTS = {**_formats(rendered_prompt), "text": Format(prompt_text, {"text": str})}
