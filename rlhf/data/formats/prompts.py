"""Prompts without answers."""

from rlhf.data import messages as m
from rlhf.data.formats.asking import asked, instructed, said
from rlhf.data.formats.table import TURNS, Format, Row, named
from rlhf.data.messages import conversation, text
from rlhf.data.records import Prompt


def prompt_messages(row: Row, where: str) -> Prompt:
    """{messages}: answers at the end are taken off."""
    return m.prompt(conversation(row["messages"], "messages"), where, "messages")


def prompt(row: Row, where: str) -> Prompt:
    """{prompt}: a string or messages."""
    return m.prompt(asked(row, "prompt"), where)


def instruction(row: Row, where: str) -> Prompt:
    """{instruction, input?, system?}"""
    return m.prompt(instructed(row), where, "instruction")


def question(row: Row, where: str) -> Prompt:
    """{question}, also called query, problem, goal or task."""
    name = named(row, _QUESTION)
    return m.prompt(asked(row, name), where, name)


def prompt_text(row: Row, where: str) -> Prompt:
    """{text}, or a line of a .txt file."""
    return m.prompt([said("user", text(row, "text"))], where, "text")


_QUESTION = "question|query|problem|goal|task"

PROMPTS = {
    "messages": Format(prompt_messages, {"messages": list}),
    "prompt": Format(prompt, {"prompt": TURNS}),
    "instruction": Format(instruction, {"instruction": str}, lambda row: "instances" not in row),
    "question": Format(question, {_QUESTION: TURNS}),
    "text": Format(prompt_text, {"text": str}),
}
