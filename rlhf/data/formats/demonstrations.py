"""Answers to imitate."""

import re

from rlhf.data import messages as m
from rlhf.data.formats.asking import PROMPT, asked, instructed, replies_of, said, system
from rlhf.data.formats.table import TURNS, Format, Row, named
from rlhf.data.messages import UnusableError, conversation, kind_of, text, turns
from rlhf.data.records import Demonstration, Message
from rlhf.errors import DataError

TALK = "messages|conversations|conversation|dialogue|dialog|chat|turns|data"
_PROMPT = f"{PROMPT}|article|document|INSTRUCTION"
RESPONSE = "response|completion|answer|output|target|reply|summary|RESPONSE"


def messages(row: Row, where: str) -> Demonstration:
    """{messages: [{role, content}]}, also called `conversations` with {from, value} (ShareGPT), `dialogue` or `data`;
    a list of texts is the user's and the assistant's in turn (UltraChat)."""
    _not_labelled_bad(row)
    name = named(row, TALK)
    value = row[name]
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        value = [said(("user", "assistant")[i % 2], one) for i, one in enumerate(value)]
    return m.demonstration(system(row) + conversation(value, name), where, name)


def prompt_completion(row: Row, where: str) -> Demonstration:
    """{prompt, completion}: strings or messages."""
    _not_labelled_bad(row)
    return m.demonstration(turns(row, "prompt", "user") + turns(row, "completion", "assistant"), where, "completion")


def alpaca(row: Row, where: str) -> Demonstration:
    """{instruction, output or response, input?, system?, history?: [[question, answer]]}"""
    answer = named(row, "output|response")
    return m.demonstration([*instructed(row), said("assistant", text(row, answer))], where, answer)


def dolly(row: Row, where: str) -> Demonstration:
    """{instruction, context, response}: Alpaca's, with what to read first (Conover et al. 2023)."""
    return alpaca({**row, "input": row["context"]}, where)


def self_instruct(row: Row, where: str) -> Demonstration:
    """{instruction, instances: [{input, output}]}: the first instance."""
    instances = row["instances"]
    if not isinstance(instances, list) or not instances or not isinstance(instances[0], dict):
        raise DataError(f"instances: is {kind_of(instances)}; a list of {{input, output}} is needed")
    return alpaca({"instruction": row["instruction"], **instances[0]}, where)


def question_answer(row: Row, where: str) -> Demonstration:
    """{question, answer}, as in GSM8K."""
    talk = [*system(row), said("user", text(row, "question")), said("assistant", text(row, "answer"))]
    return m.demonstration(talk, where, "answer")


def prompt_response(row: Row, where: str) -> Demonstration:
    """{a prompt, an answer} under other names of the kind: query and response, post and summary, input and target."""
    _not_labelled_bad(row)
    name = named(row, RESPONSE)
    return m.demonstration(asked(row, _PROMPT) + turns(row, name, "assistant"), where, name)


_SPEAKER = re.compile(r"### (Human|User|Instruction|Assistant|Response):")


def guanaco(row: Row, where: str) -> Demonstration:
    """{text: "### Human: … ### Assistant: …"} (Dettmers et al. 2023)."""
    before, *parts = _SPEAKER.split(row["text"])
    if before.strip():
        raise DataError("text: does not open with '### Human:'")
    talk: list[Message] = []
    for speaker, content in zip(parts[::2], parts[1::2], strict=True):
        talk.append(said("assistant" if speaker in ("Assistant", "Response") else "user", content.strip()))
    return m.demonstration(talk, where, "text")


def tree_path(row: Row, where: str) -> Demonstration:
    """{prompt: {role, text, replies: [{role, text, rank, replies}]}}: of an OpenAssistant tree, the best answer each
    time, as far as there is one."""
    talk: list[Message] = []
    node = row["prompt"]
    while node is not None:
        talk += conversation({"role": node.get("role"), "content": node.get("text")}, "prompt")
        replies = replies_of(node)
        node = min(replies, key=lambda r: r["rank"] if isinstance(r.get("rank"), int) else len(replies), default=None)
    while talk and talk[-1]["role"] != "assistant":
        talk.pop()
    if not talk:
        raise UnusableError("no answer at the end")
    return m.demonstration(talk, where, "prompt")


def plain_text(row: Row, where: str) -> Demonstration:
    """{text}, or a line of a .txt file: text without a prompt."""
    name = named(row, "text|story|content|document")
    return m.demonstration([said("assistant", text(row, name))], where, name)


def _not_labelled_bad(row: Row) -> None:
    """KTO's files hold good and bad answers; the bad ones are not to be imitated."""
    if str(row.get("label")).strip().lower() == "false":  # as text, which is all that CSV has
        raise UnusableError("labelled bad")


DEMONSTRATIONS = {
    "messages": Format(messages, {"messages": list}),
    "sharegpt": Format(messages, {"conversations": list}),
    "prompt_completion": Format(prompt_completion, {"prompt": TURNS, "completion": TURNS}),
    "dolly": Format(dolly, {"instruction": str, "context": str, "response": str}),
    "alpaca": Format(alpaca, {"instruction": str, "output|response": str}),
    "self_instruct": Format(self_instruct, {"instruction": str, "instances": list}),
    "question_answer": Format(question_answer, {"question": str, "answer": str}),
    "tree_path": Format(tree_path, {"prompt": dict}, lambda row: "replies" in row["prompt"], vague=True),
    "prompt_response": Format(prompt_response, {_PROMPT: TURNS, RESPONSE: TURNS}),
    "dialogue": Format(messages, {TALK: list}),
    "guanaco": Format(guanaco, {"text": str}, lambda row: "### Assistant:" in row["text"]),
    "text": Format(plain_text, {"text|story|content|document": str}),
}
