"""Prompts without answers."""

from collections.abc import Iterator

from rlhf.data import messages as m
from rlhf.data.formats.asking import asked, instructed, replies_to
from rlhf.data.formats.demonstrations import TALK, roleless, talk
from rlhf.data.formats.table import TURNS, Format, Read, Row, named
from rlhf.data.formats.texts import PROMPT_TEXTS
from rlhf.data.messages import UnusableError, conversation
from rlhf.data.records import Message, Prompt


def prompt_messages(row: Row, where: str) -> Prompt | list[Prompt | UnusableError]:
    """{messages}, also called conversations and the like: answers at the end are taken off. Of several questions
    without answers (MT-Bench) the first can be asked; the others are told of."""
    name = named(row, TALK)
    found = m.prompt(talk(row), where, name)
    later = len(row[name]) - 1 if name == "turns" and roleless(row[name][0]) else 0
    return [found, *(UnusableError("follows an answer that is not there") for _ in range(later))] if later else found


def instruction(row: Row, where: str) -> Prompt:
    """{instruction, input?, system?}"""
    return m.prompt(instructed(row), where, "instruction")


def one_of(names: str) -> Read:
    """Reads a prompt under one of several names: a string or messages."""

    def read(row: Row, where: str) -> Prompt:
        name = named(row, names)
        return m.prompt(asked(row, name), where, name)

    return read


def prompt_tree(row: Row, where: str) -> list[Prompt]:
    """{prompt: {role, text, replies: […]}}: everything that a person says in an OpenAssistant tree."""
    return [m.prompt(talk, where) for talk in _said(row["prompt"])]


def _said(root: Row) -> Iterator[list[Message]]:
    """Depth first; by a list of what is left and no function in itself, for a chain may be of thousands."""
    left: list[tuple[Row, list[Message]]] = [(root, [])]
    while left:
        node, before = left.pop()
        talk = [*before, *conversation({"role": node.get("role"), "content": node.get("text")}, "prompt")]
        if talk[-1]["role"] == "user":
            yield talk
        left += [(reply, talk) for reply in reversed(replies_to(node))]


_QUESTION = "question|query|problem"
_INPUT = "input|inputs|context_messages|user_input|goal|task"

PROMPTS = {
    "messages": Format(prompt_messages, {"messages": list}),
    "prompt": Format(one_of("prompt"), {"prompt": TURNS}),
    "instruction": Format(instruction, {"instruction": str}, lambda row: "instances" not in row),
    "question": Format(one_of(_QUESTION), {_QUESTION: TURNS}),
    **PROMPT_TEXTS,
}
LATER = {
    "sharegpt": Format(prompt_messages, {"conversations": list}),
    "dialogue": Format(prompt_messages, {TALK: list}),
    "tree": Format(prompt_tree, {"prompt": dict}, lambda row: "replies" in row["prompt"], vague=True),
    "input": Format(one_of(_INPUT), {_INPUT: TURNS}),
}
"""Whose fields other formats have too, and so they are tried after them or in their place."""
