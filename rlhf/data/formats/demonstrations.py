"""Answers to imitate. Conversations that are written as one text are in texts.py."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from rlhf.data import messages as m
from rlhf.data.formats.asking import PROMPT, RESPONSE, asked, instructed, opened, replies_to, said
from rlhf.data.formats.ratings import ANSWERS
from rlhf.data.formats.table import TURNS, Format, Row, named
from rlhf.data.formats.texts import TEXTS
from rlhf.data.formats.values import is_bad, listed
from rlhf.data.messages import UnusableError, conversation, text, turns
from rlhf.data.records import Demonstration, Message
from rlhf.errors import DataError

TALK = "messages|conversations|conversation|dialogue|dialog|chat|turns|data|items"
_PROMPT = f"{PROMPT}|article|document|INSTRUCTION"
_EXPECTED = (
    "expected_output|expectedOutput|expected|ideal|corrected_response|corrected_output|corrected_answer|correction|"
    "revised_response|revised_output|revised_answer|edited_response|edited_output|edited_answer"
)
_ANSWER = f"{_EXPECTED}|{RESPONSE}"
"""A file of evaluations has what should have been answered beside what was (OpenAI's evals, Langfuse, Braintrust); one
of corrections, what was made of it."""


Reads = Callable[[Row, str], Demonstration]


def unless_bad(read: Reads) -> Reads:
    """KTO's files, BeaverTails and others hold good and bad answers; the bad ones are not to be imitated."""

    @wraps(read)
    def reading(row: Row, where: str) -> Demonstration:
        if is_bad(row):
            raise UnusableError("labelled bad")
        return read(row, where)

    return reading


def talk(row: Row) -> list[Message]:
    """{messages: [{role, content}]}, also called `conversations` with {from, value} (ShareGPT), `dialogue` or `data`;
    a list of texts is the user's and the assistant's in turn (UltraChat, LIMA). `turns` without roles are questions
    (MT-Bench, Arena-Hard), of which those after the first wait for an answer."""
    name = named(row, TALK)
    value = row[name]
    if name == "turns" and isinstance(value, list) and value and roleless(value[0]):
        first = value[0]["content"] if isinstance(value[0], dict) else value[0]
        value = [said("user", text({"turns[0]": first}, "turns[0]"))]
    elif isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        value = [said(("user", "assistant")[i % 2], one) for i, one in enumerate(value)]
    return opened(row, conversation(value, name))


def roleless(turn: Any) -> bool:
    """Whether a turn does not say whose it is."""
    return isinstance(turn, str) or (isinstance(turn, dict) and turn.keys() == {"content"})


@unless_bad
def messages(row: Row, where: str) -> Demonstration:
    """A conversation that ends with an answer, or has it in a field of its own."""
    turned = talk(row)
    if turned[-1]["role"] != "assistant" and row.get(answer := named(row, "response|completion|output", TURNS)):
        turned = turned + turns(row, answer, "assistant")
    if turned[-1]["role"] != "assistant" and isinstance(row.get(several := named(row, ANSWERS)), list):
        raise DataError(f"{several}: nothing says which answer is best; leave that one, in a field `response`")
    return m.demonstration(turned, where, named(row, TALK))


@unless_bad
def prompt_completion(row: Row, where: str) -> Demonstration:
    """{prompt, completion}: strings or messages."""
    return m.demonstration(asked(row, "prompt") + turns(row, "completion", "assistant"), where, "completion")


@unless_bad
def alpaca(row: Row, where: str) -> Demonstration:
    """{instruction, output or response, input?, system?, history?: [[question, answer]]}. Dolly's `context` is an input
    too (Conover et al. 2023)."""
    answer = named(row, "output|response")
    return m.demonstration([*instructed(row), said("assistant", text(row, answer))], where, answer)


def self_instruct(row: Row, where: str) -> list[Demonstration]:
    """{instruction, instances: [{input, output}]}: an example an instance (Wang et al. 2023)."""
    instances = listed(row["instances"], "instances", "{input, output}", of=dict)
    given = [{name: one[name] for name in ("input", "output") if name in one} for one in instances]
    return [alpaca({"instruction": row["instruction"], **one}, where) for one in given]


def squad(row: Row, where: str) -> Demonstration:
    """{context, question, answers: {text: [text, …]}}: the first answer (Rajpurkar et al. 2016)."""
    known = listed(row["answers"].get("text"), "answers.text", "texts", 0)
    if not known:
        raise UnusableError("no answers")
    answer = text({"": known[0]}, "", "answers.text")
    return m.demonstration([*asked(row, "question"), said("assistant", answer)], where, "answers")


def answered(prompts: str, answers: str) -> Reads:
    """Reads rows of a prompt and an answer under one of several names each."""

    @unless_bad
    def read(row: Row, where: str) -> Demonstration:
        name = named(row, answers, TURNS)
        return m.demonstration(asked(row, prompts) + turns(row, name, "assistant"), where, name)

    return read


def exchanged(row: Row, where: str) -> Demonstration:
    """{message_1, message_2}: Camel-AI's."""
    return m.demonstration([said("user", row["message_1"]), said("assistant", row["message_2"])], where, "message_2")


def tree_path(row: Row, where: str) -> Demonstration:
    """{prompt: {role, text, replies: [{role, text, rank, replies}]}}: of an OpenAssistant tree, the best answer each
    time, as far as there is one."""
    talk: list[Message] = []
    node = row["prompt"]
    while node is not None:
        talk += conversation({"role": node.get("role"), "content": node.get("text")}, "prompt")
        replies = replies_to(node)
        node = min(replies, key=lambda r: r["rank"] if isinstance(r.get("rank"), int) else len(replies), default=None)
    while talk and talk[-1]["role"] != "assistant":
        talk.pop()
    if not talk:
        raise UnusableError("no answer at the end")
    return m.demonstration(talk, where, "prompt")


_GIVEN, _MADE_OF_IT = "text|dialogue", "summary|highlights|code"

DEMONSTRATIONS = {
    "messages": Format(messages, {"messages": list}),
    "sharegpt": Format(messages, {"conversations": list}),
    "prompt_completion": Format(prompt_completion, {"prompt": TURNS, "completion": TURNS}),
    "dolly": Format(alpaca, {"instruction": str, "context": str, "response": str}),
    "alpaca": Format(
        alpaca,
        {"instruction": str, "output|response": str},
        lambda row: not any(isinstance(row.get(name), str) for name in _EXPECTED.split("|")),
    ),
    "self_instruct": Format(self_instruct, {"instruction": str, "instances": list}),
    "question_answer": Format(
        answered("question", "answer"),
        {"question": str, "answer": str},
        lambda row: not row.keys() & {"solution", "instruction"},
    ),
    "squad": Format(squad, {"question": str, "answers": dict}),
    "tree_path": Format(tree_path, {"prompt": dict}, lambda row: "replies" in row["prompt"], vague=True),
    "prompt_response": Format(answered(_PROMPT, _ANSWER), {_PROMPT: TURNS, _ANSWER: TURNS}),
    "text_response": Format(answered(_GIVEN, _MADE_OF_IT), {_GIVEN: str, _MADE_OF_IT: str}),
    "exchanged": Format(exchanged, {"message_1": str, "message_2": str}),
    "dialogue": Format(messages, {TALK: list}),
    **TEXTS,
}
