"""Prompts as rows of many formats hold them: one field, or several that make up one."""

import json
from itertools import chain
from typing import Any

from rlhf.data.formats.table import Row, named, peek
from rlhf.data.formats.values import listed, objects
from rlhf.data.messages import UnusableError, conversation, kind_of, text, turns, whole
from rlhf.data.records import Message
from rlhf.data.transcripts import asking, dialogue, is_transcript, transcript
from rlhf.errors import DataError

PROMPT = (
    "prompt|instruction|question|query|conversations|conversation|messages|context_messages|trajectory|context|"
    "history|input|inputs|user_input|post|problem|user|usermsg|human|user_message|user_prompt|input_text"
)
"""Fields that data sets keep a prompt in, in the order in which they are looked for."""
RESPONSE = (
    "response|completion|output|solution|generated_solution|answer|target|targets|canonical_solution|generation|"
    "demonstration|code|reply|summary|highlights|target_output|RESPONSE|assistant|bot|assistant_message|"
    "assistant_response|model_response|model_output|output_text"
)
"""Fields that data sets keep an answer in; a whole solution goes before the bare result."""
_BEFORE = {
    **dict.fromkeys(("prompt", "question", "query"), "context|contexts|article|passage|document"),
    "inputs": "definition",
}
"""What is to be read before a question, beside it."""
_BELOW = {
    "prompt": ("input",),
    **dict.fromkeys(("instruction", "INSTRUCTION"), ("input", "context", "question", "query", "problem")),
}
"""What an order is about, beside it."""
_BESIDE = {*chain(*_BELOW.values()), *"|".join(_BEFORE.values()).split("|")}
SYSTEM = ("system", "system_prompt", "system_message")
_ROLES = ("user", "assistant")


def said(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def asked(row: Row, names: str = PROMPT) -> list[Message]:
    """The prompt of a row: its system message, earlier turns, and the field of `names` that it has."""
    name = named(row, names)
    if name in ("instruction", "INSTRUCTION"):
        return instructed(row, name)
    value = row.get(name)
    if isinstance(value, dict):  # WebGPT and PRM800K keep more about a question beside its text
        inner = named(value, "full_text|text|problem|content")
        return [*system(row), said("user", text(value, inner, f"{name}.{inner}"))]
    if not isinstance(value, str):
        return opened(row, turns(row, name, "user"))
    if name not in _HISTORY and (before := _earlier(row)):
        return [*system(row), *before, said("user", value)]
    if is_transcript(value):
        talk = transcript(value, name)
        return [*system(row), *(talk[:-1] if not talk[-1]["content"] else talk)]
    if name not in _ASKED_ABOUT and (talk := asking(value)):
        return opened(row, talk)
    if _BESIDE.isdisjoint(row):
        return [*system(row), said("user", value)]
    above = named(row, _BEFORE[name]) if name in _BEFORE else ""
    before = row[above] if isinstance(peek(row, above), str | list) else None
    if isinstance(before, list):
        if not all(isinstance(one, str) for one in before):
            raise DataError(f"{above}: is a list of other than texts; a text, or a list of texts, is needed")
        before = "\n\n".join(before)
    if isinstance(before, str) and before and not _is_whole(name, value, before):
        value = f"{before}\n\n{value}"
    return [*system(row), said("user", _with_input(row, name, value))]


_ASKED_ABOUT = ("dialogue", "text", "article", "document")
"""Fields whose turns are no turns to be answered, such as a conversation that is to be summed up."""


def right_answer(row: Row) -> str | None:
    """What the row says is right, for rules to compare with: verl's, OpenRLHF's and others' names for it. A `label`
    beside a prompt alone is one, as slime writes it; beside an answer it says how good that is."""
    judge = row.get("reward_model")
    places = (row, judge) if isinstance(judge, dict) else (row,)
    said = ((name, place.get(name)) for place in places for name in RIGHT if place.keys() & RIGHT.keys())
    found = (whole(str(value), name) for name, value in said if isinstance(value, str | int | float))
    if (first := next(found, None)) is not None:
        return first if first.strip() else next((one for one in found if one.strip()), first)
    label = peek(row, "label")
    alone = isinstance(label, str | int | float) and "prompt" in row and named(row, RESPONSE) not in row
    return whole(str(row["label"]), "label") if alone and str(label).lower() not in ("true", "false") else None


RIGHT = dict.fromkeys(
    [
        "answer",
        "ground_truth",
        "expected_answer",
        "final_answer",
        "solution",
        "gt_answer",
        "ground_truth_answer",
        "reference_answer",
        "correct_answer",
        "ideal",
        "expected",
        "expected_output",
        "expectedOutput",
    ]
)


def instructed(row: Row, name: str = "instruction") -> list[Message]:
    """Alpaca's: an instruction, perhaps an input below it, perhaps earlier questions and answers."""
    return [*system(row), *_earlier(row), said("user", _with_input(row, name, text(row, name)))]


def _with_input(row: Row, name: str, order: str) -> str:
    """An order with what it is about below it, where that is not in it."""
    beside = next((beside for beside in _BELOW.get(name, ()) if row.get(beside)), None)
    given = text(row, beside) if beside else ""
    if given.strip().lower() in _NO_INPUT or _is_whole(name, order, given):
        return order
    return f"{order}\n\n{given}" if order else given


_NO_INPUT = ("", "<noinput>", "nan")
"""What stands for no input: Self-Instruct's word (Wang et al. 2023), and pandas' for an empty cell."""


def _is_whole(name: str, value: str, beside: str) -> bool:
    """Whether a `prompt` was put together of the fields beside it."""
    return name == "prompt" and beside.strip() in value


def _earlier(row: Row) -> list[Message]:
    """What was asked and answered before, as LLaMA-Factory and ms-swift have it; messages are fine."""
    name = next((name for name in _HISTORY if peek(row, name)), None)
    if name is None:
        return []
    history = row[name]
    if isinstance(history, str):
        if not history.strip():
            return []
        if talk := dialogue(history):
            return talk
        try:
            history = json.loads(history)
        except (ValueError, RecursionError):
            raise DataError(f"{name}: is text; a list of messages, or of [question, answer], is needed") from None
    if listed(history, name, "[question, answer]", least=0) and isinstance(history[0], dict):
        return conversation(history, name)
    before: list[Message] = []
    for i, pair in enumerate(history):
        if not isinstance(pair, list) or [type(one) for one in pair] != [str, str]:
            raise DataError(f"{name}[{i}]: is no [question, answer]; a list of two texts is needed")
        before += [said(role, one) for role, one in zip(_ROLES, pair, strict=True)]
    return before


_HISTORY = ("history", "chat_history", "conversation_history", "previous_messages", "dialogue_history")
"""Fields with what was said before."""


def system(row: Row) -> list[Message]:
    for name in SYSTEM:
        if row.get(name):
            content = text(row, name).removeprefix("SYSTEM: ")  # as Glaive has it
            return [said("system", content)] if content.strip() else []
    return []


def opened(row: Row, talk: list[Message]) -> list[Message]:
    """A conversation with the row's system message, where it has none of its own."""
    return talk if talk[0]["role"] == "system" else [*system(row), *talk]


def replies_to(node: Row) -> list[Row]:
    """What was said after a message of a tree, and not taken back."""
    return [one for one in objects(node.get("replies"), "replies", "{role, text, replies}") if not one.get("deleted")]


def unpacked(value: Any, field: str) -> Any:
    """What a table's cell holds as JSON text, as the arena's files do; the value itself where it is no text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise DataError(f"{field}: is {kind_of(value)} that is no JSON; a list of texts is needed") from None


def exchange(questions: Any, answers: Any, field: str) -> list[Message]:
    """Questions and answers in turn."""
    questions, answers = listed(questions, "prompt", "texts"), listed(answers, field, "texts")
    if len(questions) != len(answers):
        raise DataError(f"{field}: {len(answers)} answers to {len(questions)} prompts; one for each is needed")
    if None in answers:
        raise UnusableError("empty answer")
    pairs = zip(questions, answers, strict=True)
    return conversation([said(role, one) for pair in pairs for role, one in zip(_ROLES, pair, strict=True)], field)
