"""Prompts as rows of many formats hold them: one field, or several that make up one."""

import json
from typing import Any

from rlhf.data.formats.table import Row, named
from rlhf.data.formats.values import listed
from rlhf.data.messages import conversation, kind_of, text, transcript, turns
from rlhf.data.records import Message
from rlhf.errors import DataError

PROMPT = "prompt|instruction|question|query|conversations|messages|context|history|input|post|problem|user"
"""Fields that data sets keep a prompt in, in the order in which they are looked for."""
SYSTEM = "system|system_prompt|system_message"
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
    if isinstance(value, str) and value.lstrip().startswith("Human:") and "\n\nAssistant:" in value:
        talk = transcript(value, name)
        return [*system(row), *(talk[:-1] if not talk[-1]["content"] else talk)]
    return [*system(row), *turns(row, name, "user")]


def instructed(row: Row, name: str = "instruction") -> list[Message]:
    """Alpaca's: an instruction, perhaps an input below it, perhaps earlier questions and answers."""
    given = text(row, "input") if row.get("input") is not None else ""
    order = text(row, name)
    before: list[Message] = []
    for i, pair in enumerate(listed(row.get("history") or [], "history", "[question, answer]", least=0)):
        if not isinstance(pair, list) or [type(one) for one in pair] != [str, str]:
            raise DataError(f"history[{i}]: is no [question, answer]; a list of two texts is needed")
        before += [said(role, one) for role, one in zip(_ROLES, pair, strict=True)]
    return [*system(row), *before, said("user", f"{order}\n\n{given}" if given.strip() else order)]


def system(row: Row) -> list[Message]:
    name = named(row, SYSTEM)
    return [said("system", text(row, name))] if row.get(name) else []


def unpacked(value: Any, field: str) -> Any:
    """What a table's cell holds as JSON text, as the arena's files do; the value itself where it is no text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise DataError(f"{field}: is {kind_of(value)} that is no JSON; a list of texts is needed") from None


def replies_of(node: Row) -> list[Row]:
    """What was replied in a node of an OpenAssistant tree."""
    replies = listed(node.get("replies") or [], "replies", "{role, text, rank}", least=0, of=dict)
    return [reply for reply in replies if not reply.get("deleted")]


def exchange(questions: Any, answers: Any, field: str) -> list[Message]:
    """Questions and answers in turn."""
    questions, answers = listed(questions, "prompt", "texts"), listed(answers, field, "texts")
    if len(questions) != len(answers):
        raise DataError(f"{field}: {len(answers)} answers to {len(questions)} prompts; one for each is needed")
    pairs = zip(questions, answers, strict=True)
    return conversation([said(role, one) for pair in pairs for role, one in zip(_ROLES, pair, strict=True)], field)
