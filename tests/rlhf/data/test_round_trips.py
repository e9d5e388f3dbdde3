"""Records through every format and back, and books that balance: properties, not examples.

A `Way` writes the records that a format can say as that format's rows. What is read of them must be the same record,
by that format and no other.
"""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf.config import DataConfig
from rlhf.data import files
from rlhf.data import messages as m
from rlhf.data.canonical import row_of, rows_of
from rlhf.data.chat import ChatFormat, encode_demonstrations, encode_preferences, encode_prompts, encode_rated
from rlhf.data.formats.demonstrations import DEMONSTRATIONS
from rlhf.data.formats.preferences import PREFERENCES
from rlhf.data.formats.prompts import PROMPTS
from rlhf.data.formats.ratings import LABELS, LISTS, SCORED
from rlhf.data.formats.reader import FORMATS, Reader
from rlhf.data.load import load
from rlhf.data.messages import UnusableError
from rlhf.data.records import LABEL, Demonstration, Kind, Message, Preference, Prompt, Rated, Record, prompt_key
from rlhf.errors import DataError

Row = dict[str, Any]
Talk = list[Message]
Chats = Callable[[str], ChatFormat]

few = settings(max_examples=15, deadline=None, derandomize=True)
many = settings(max_examples=60, deadline=None, derandomize=True)


# ------------------------------------------------------------------------------------------------ what is said

TRAPS = [
    "\n\nHuman: ",
    "\n\nAssistant: ",
    "Human:",
    "### Human: ",
    "### Assistant: ",
    '["',
    "\n\nTL;DR:",
    "\r\n",
    "\u2028",
]
"""What means something to a format."""

characters = st.characters(exclude_categories=["Cs"])
texts = st.text(characters, max_size=6) | st.sampled_from([*TRAPS, *(f"a{trap}b" for trap in TRAPS), " c\n"])
said = texts.filter(str.strip)
plain = said.map(str.strip).filter(lambda text: not any(mark in text for mark in ("Human:", "Assistant:", "[")))
"""Text without the marks that formats put between turns, nor white space about it."""


def turns(role: str, *contents: str) -> Talk:
    return [{"role": role, "content": content} for content in contents]


@st.composite
def asked(draw: st.DrawFn, words: st.SearchStrategy[str] = said, most: int = 2, heads: bool = True) -> Talk:
    """A conversation that waits for an answer: perhaps a system message, then the user's turns and answers between."""
    head = turns("system", draw(words)) if heads and draw(st.booleans()) else []
    told = draw(st.lists(words, min_size=1, max_size=2 * most - 1).filter(lambda told: len(told) % 2 == 1))
    return [*head, *({"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(told))]


@st.composite
def any_asked(draw: st.DrawFn) -> Talk:
    """Any order of roles that waits for an answer."""
    roles = draw(st.lists(st.sampled_from(["user", "assistant", "tool", "system"]), max_size=3))
    talk = [message for role in ["user", *roles] for message in turns(role, draw(said))]
    return [*talk, *turns(draw(st.sampled_from(["user", "tool"])), draw(said))]


one_question = asked(most=1, heads=False)
question = asked(most=1)
below_a_text = st.tuples(plain, said).map(lambda two: turns("user", "\n\n".join(two)))
no_transcript = question.filter(lambda talk: "\n\nAssistant:" not in talk[-1]["content"])
unsaid = st.none()
margins = unsaid | st.floats(0, 1e6)


@st.composite
def pairs(
    draw: st.DrawFn,
    prompts: st.SearchStrategy[Talk] = question,
    words: st.SearchStrategy[str] = said,
    margin: st.SearchStrategy[float | None] = unsaid,
    ties: bool = False,
    more: bool = False,
) -> Preference:
    """Two answers to a prompt; with `more`, each may go on for another turn."""
    prompt = draw(prompts)
    first, second = draw(st.lists(words, min_size=2, max_size=2, unique_by=str.strip))
    sides = [turns("assistant", text) for text in (first, second)]
    for side in sides if more else ():
        if draw(st.booleans()):
            side += [*turns("user", draw(words)), *turns("assistant", draw(words))]
    tie, by = ties and draw(st.booleans()), draw(margin)
    return m.preference(prompt + sides[0], prompt + sides[1], "", 0.0 if tie and by is not None else by, tie=tie)


@st.composite
def demonstrations(
    draw: st.DrawFn, prompts: st.SearchStrategy[Talk], words: st.SearchStrategy[str] = said
) -> Demonstration:
    return m.demonstration([*draw(prompts), *turns("assistant", draw(words))], "")


@st.composite
def prompts(draw: st.DrawFn, asks: st.SearchStrategy[Talk]) -> Prompt:
    return replace(m.prompt(draw(asks), ""), answer=draw(st.none() | st.text(characters, max_size=3)))


scores = st.floats(-1e6, 1e6).map(lambda x: x + 0.0)  # no -0.0
names = st.sampled_from(["score", "helpfulness", "wit", "Länge", "label"])


@st.composite
def rated(
    draw: st.DrawFn,
    numbers: st.SearchStrategy[dict[str, float]],
    asks: st.SearchStrategy[Talk] = question,
    least: int = 1,
    most: int = 3,
) -> Rated:
    answers = draw(st.lists(st.tuples(said, numbers), min_size=least, max_size=most))
    return m.rated(draw(asks), [(turns("assistant", text), values) for text, values in answers], "", "")


labels = st.sampled_from([{LABEL: 1.0}, {LABEL: 0.0}])
by_score = st.fixed_dictionaries({"score": scores})
by_names = st.dictionaries(names, scores, min_size=1)


# ------------------------------------------------------------------------------------------------ how formats say it


def content(talk: Talk) -> str:
    """The one turn that is said."""
    (message,) = talk
    return message["content"]


def head_and(talk: Talk) -> tuple[Row, Talk]:
    """The system message as a field of its own, and what is said after it."""
    return ({"system": talk[0]["content"]}, talk[1:]) if talk[0]["role"] == "system" else ({}, talk)


def human(talk: Talk) -> list[Row]:
    """As ShareGPT writes messages."""
    called = {"user": "human", "assistant": "gpt"}
    return [{"from": called.get(one["role"], one["role"]), "value": one["content"]} for one in talk]


def transcript(talk: Talk, mark: str = "\n\n") -> str:
    """As Anthropic's data sets have them, by another mark before each as others do."""
    called = {"user": "Human", "assistant": "Assistant"}
    return "".join(f"{mark}{called[one['role']]}: {one['content']}" for one in talk)


def field(name: str, talk: Talk) -> Row:
    """A prompt in one field, its system message in another."""
    head, rest = head_and(talk)
    return {**head, name: content(rest)}


def both(record: Preference, first: str, second: str) -> Row:
    return {first: content(record.chosen), second: content(record.rejected)}


def instructed(talk: Talk) -> Row:
    """Alpaca's: the last question, and those before it with their answers."""
    head, rest = head_and(talk)
    history = [[rest[i]["content"], rest[i + 1]["content"]] for i in range(0, len(rest) - 1, 2)]
    return {**head, "instruction": rest[-1]["content"]} | ({"history": history} if history else {})


def margin(record: Preference) -> Row:
    return {} if record.margin is None else {"margin": record.margin}


def hh(record: Preference) -> Row:
    return {name: transcript(record.prompt + getattr(record, name)) for name in ("chosen", "rejected")} | margin(record)


def implicit(record: Preference) -> Row:
    return {name: record.prompt + getattr(record, name) for name in ("chosen", "rejected")} | margin(record)


def llamafactory(record: Preference) -> Row:
    head, rest = head_and(record.prompt)
    sides = {"chosen": human(record.chosen)[0], "rejected": human(record.rejected)[0]}
    return {**head, "conversations": human(rest), **sides, **margin(record)}


def common_beginning(record: Preference) -> Row:
    return {name: f"{content(record.prompt)} {content(getattr(record, name))}" for name in ("chosen", "rejected")}


def parts_at_a_word(record: Preference) -> bool:
    """Whether two answers differ in their first word, and do not open with white space."""
    first, second = content(record.chosen), content(record.rejected)
    begin = next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
    return not any(letter.isspace() for letter in first[: max(begin, 1)] + second[: max(begin, 1)])


def one_hot(record: Preference) -> Row:
    first, second = ("response_b", "response_a") if not record.tie else ("response_a", "response_b")
    packed = {name: json.dumps([text]) for name, text in both(record, first, second).items()}
    flags = {"winner_model_a": 0, "winner_model_b": int(not record.tie), "winner_tie": int(record.tie)}
    return {"prompt": json.dumps([content(record.prompt)]), **packed, **flags}


def tldr(record: Preference) -> Row:
    post = content(record.prompt).removesuffix("\n\nTL;DR:")
    summaries = [{"text": content(side)} for side in (record.rejected, record.chosen)]
    return {"info": {"post": post}, "summaries": summaries, "choice": 1}


def verdict(record: Preference, first: str, second: str, said_of: str, *, chosen: Any, tie: Any) -> Row:
    return {**both(record, first, second), said_of: tie if record.tie else chosen}


def dolly(record: Demonstration) -> Row:
    """A question in two, as it was put together."""
    order, _, context = content(record.messages[:1]).partition("\n\n")
    return {"instruction": order, "context": context, "response": content(record.messages[1:])}


def node(role: str, text: str, **more: Any) -> Row:
    return {"role": {"user": "prompter"}.get(role, role), "text": text, "replies": [], **more}


def tree(talk: Talk, last: Sequence[Row]) -> Row:
    """A conversation as a trunk, with replies at its end."""
    root: Row | None = None
    replies = list(last)
    for message in reversed(talk):
        root = node(message["role"], message["content"]) | {"replies": replies}
        replies = [root]
    return {"message_tree_id": "1", "prompt": root}


def steps(record: Rated) -> Row:
    head, rest = head_and(record.prompt)
    tried = [{"text": content(answer), "rating": numbers["score"]} for answer, numbers in record.answers]
    return {**head, "question": {"problem": content(rest)}, "label": {"steps": [{"completions": tried}]}}


def scored(record: Rated, name: str = "completions") -> Row:
    head, rest = head_and(record.prompt)
    return {**head, "prompt": rest, name: [{"text": content(answer), **numbers} for answer, numbers in record.answers]}


def choices(record: Rated) -> Row:
    answers = [content(answer) for answer, _ in record.answers]
    return {"prompt": record.prompt, "targets": {"choices": answers, "labels": [n[LABEL] for _, n in record.answers]}}


def ranked(record: Rated) -> Row:
    answers = [content(answer) for answer, _ in record.answers]
    return {
        "prompt": record.prompt,
        "responses": answers,
        "scores": [numbers["score"] for _, numbers in record.answers],
    }


def as_rated(record: Preference) -> Rated:
    """A pair with the scores that make its margin."""
    by = record.margin or 0.0
    return Rated(record.prompt, [(record.chosen, {"score": by}), (record.rejected, {"score": 0.0})], "")


def tree_of(record: Rated) -> Row:
    return tree(record.prompt, [node("assistant", content(a), rank=int(-by["score"])) for a, by in record.answers])


def best_first(record: Rated) -> Row:
    return {"prompt": record.prompt, "responses": [content(answer) for answer, _ in record.answers], "ranked": True}


def rm_bench(record: Rated) -> Row:
    sides: dict[str, list[str]] = {"chosen": [], "rejected": []}
    for answer, numbers in record.answers:
        sides["chosen" if numbers[LABEL] else "rejected"].append(content(answer))
    return {"prompt": record.prompt, **sides}


def step_labels(record: Rated) -> Row:
    """Of answers that each go on from the one before."""
    so_far = [content(answer) for answer, _ in record.answers]
    parts = [so_far[0], *(text[len(before) + 1 :] for before, text in pairwise(so_far))]
    return {"prompt": record.prompt, "completions": parts, "labels": [by[LABEL] == 1 for _, by in record.answers]}


def math_shepherd(record: Rated) -> Row:
    """Of answers that each go on from the one before."""
    row = step_labels(record)
    head, asks = head_and(record.prompt)
    signs = ["+" if good else "-" for good in row["labels"]]
    begin, *rest = [f"{content(asks)} {row['completions'][0]} ", *(f"\n{step} " for step in row["completions"][1:])]
    marked = {
        name: "".join(map("".join, zip([begin, *rest], ends, strict=True)))
        for name, ends in (("input", ["ки"] * len(signs)), ("label", signs))
    }
    return {**head, **marked}


def next_step(record: Preference) -> Row:
    """Answers that go on from a beginning that they have in common."""
    so_far = content(record.chosen)[:2]
    sides = {name: content(getattr(record, name))[2:] for name in ("chosen", "rejected")}
    return {"prompt": record.prompt, "initial_reason_steps": so_far, **sides}


def begun(record: Preference) -> Preference:
    first, second = (turns("assistant", f"1.{content(side)}") for side in (record.chosen, record.rejected))
    return replace(record, chosen=first, rejected=second)


def chatml(talk: Talk) -> Row:
    return {"text": "".join(f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in talk)}


MARKS = {
    "llama3": ("<|start_header_id|>{}<|end_header_id|>\n\n", "<|eot_id|>"),
    "gemma": ("<start_of_turn>{}\n", "<end_of_turn>\n"),
    "zephyr": ("<|{}|>\n", "</s>\n"),
    "llama4": ("<|header_start|>{}<|header_end|>\n\n", "<|eot|>"),
    "granite": ("<|start_of_role|>{}<|end_of_role|>", "<|end_of_text|>\n"),
    "command_r": ("<|START_OF_TURN_TOKEN|><|{}_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
    "harmony": ("<|start|>{}<|message|>", "<|end|>"),
    "exaone": ("[|{}|]", "[|endofturn|]\n"),
    "kimi": ("<|im_{0}|>{0}<|im_middle|>", "<|im_end|>"),
}


def marked(talk: Talk, name: str) -> Row:
    opens, ends = MARKS[name]
    roles = {"gemma": {"assistant": "model"}, "command_r": {"assistant": "CHATBOT"}}.get(name, {})
    return {"text": "".join(opens.format(roles.get(m["role"], m["role"])) + m["content"] + ends for m in talk)}


def sections(talk: Talk) -> Row:
    """As Alpaca's prompt has them."""
    called = {"system": "", "user": "### Instruction:\n", "assistant": "### Response:\n"}
    return {"text": "\n\n".join(f"{called[one['role']]}{one['content']}" for one in talk)}


def speakers(talk: Talk) -> Row:
    """As Vicuna's prompt has them."""
    called = {"system": "", "user": "USER: ", "assistant": "ASSISTANT: "}
    return {"text": " ".join(f"{called[one['role']]}{one['content']}" for one in talk)}


def nemo(talk: Talk) -> Row:
    """As NeMo's prompt has them."""
    marks = {"system": "<extra_id_0>System", "user": "<extra_id_1>User", "assistant": "<extra_id_1>Assistant"}
    return {"text": "\n".join(f"{marks[one['role']]}\n{one['content']}" for one in talk)}


def deepseek(talk: Talk) -> Row:
    marks = {"system": "", "user": "<｜User｜>", "assistant": "<｜Assistant｜>"}
    return {"text": "<｜begin▁of▁sentence｜>" + "".join(f"{marks[one['role']]}{one['content']}" for one in talk)}


def llama2(talk: Talk) -> Row:
    head, rest = head_and(talk)
    system = f"<<SYS>>\n{head['system']}\n<</SYS>>\n\n" if head else ""
    said = [
        f"<s>[INST] {system if i == 0 else ''}{one['content']} [/INST]"
        if one["role"] == "user"
        else f" {one['content']} </s>"
        for i, one in enumerate(rest)
    ]
    return {"text": "".join(said)}


def summary(record: Rated) -> Row:
    ((answer, numbers),) = record.answers
    post = content(record.prompt).removesuffix("\n\nTL;DR:")
    return {"info": {"post": post}, "summary": {"text": content(answer), "axes": numbers}}


# ------------------------------------------------------------------------------------------------ the ways


@dataclass(frozen=True)
class Way:
    """A format, the records that it can say, and how."""

    kind: Kind
    name: str
    records: st.SearchStrategy[Any]
    write: Callable[[Any], Row]


measured = pairs(margin=st.floats(1e-3, 1e6), ties=True)
by_one = pairs(margin=st.just(1.0))
whole = pairs(margin=st.integers(1, 9).map(float), prompts=asked())
in_words = pairs(prompts=asked(plain, heads=False), words=plain, more=True, margin=margins)
binary = pairs(prompts=one_question, ties=True)


@st.composite
def going_on(draw: st.DrawFn) -> Rated:
    """A solution after each step."""
    parts = draw(st.lists(st.tuples(said, st.booleans()), min_size=1, max_size=3))
    so_far = ["\n".join(text for text, _ in parts[: i + 1]) for i in range(len(parts))]
    both = [
        (turns("assistant", s), {"score": float(good), LABEL: float(good)})
        for s, (_, good) in zip(so_far, parts, strict=True)
    ]
    return m.rated(draw(question), both, "", "")


@st.composite
def in_steps(draw: st.DrawFn) -> Rated:
    """A solution after each step; the steps are numbered, and trimmed."""
    made = draw(st.lists(st.tuples(plain, st.booleans()), min_size=1, max_size=3))
    parts = [(f"Step {i}: {text}", good) for i, (text, good) in enumerate(made, 1)]
    so_far = ["\n".join(text for text, _ in parts[: i + 1]) for i in range(len(parts))]
    goods = [{"score": float(good), LABEL: float(good)} for _, good in parts]
    both = [(turns("assistant", text), by) for text, by in zip(so_far, goods, strict=True)]
    return m.rated(draw(asked(plain, most=1, heads=False)), both, "", "")


@st.composite
def good_and_bad(draw: st.DrawFn) -> Rated:
    good, bad = draw(st.lists(said, min_size=1, max_size=2)), draw(st.lists(said, min_size=1, max_size=2))
    both = [(turns("assistant", s), {"score": by, LABEL: by}) for side, by in ((good, 1.0), (bad, 0.0)) for s in side]
    return m.rated(draw(question), both, "", "")


def in_order(record: Rated) -> Rated:
    """The best first, by a number that counts down."""
    return replace(record, answers=[(answer, {"score": float(-i)}) for i, (answer, _) in enumerate(record.answers)])


def whole_numbers(record: Rated) -> Rated:
    return replace(record, answers=[(answer, {"score": float(int(by["score"]))}) for answer, by in record.answers])


def with_labels(record: Rated) -> Rated:
    """Above 0 is good, below it bad, 0 neither."""
    said_of = [(a, {**by, LABEL: float(by["score"] > 0)} if by["score"] else by) for a, by in record.answers]
    return replace(record, answers=said_of)


def with_scores(record: Rated) -> Rated:
    return replace(record, answers=[(answer, {"score": by[LABEL], **by}) for answer, by in record.answers])


def stepped(record: Preference) -> Preference:
    """A good first step, and a bad one after it."""
    first, second = content(record.chosen), content(record.rejected)
    chosen = turns("assistant", f"Step 1: {first}")
    return replace(record, chosen=chosen, rejected=turns("assistant", f"{content(chosen)}\nStep 2: {second}"))


def to_summarise(asks: Talk) -> Talk:
    return turns("user", f"{content(asks)}\n\nTL;DR:")


def summarised(record: Preference) -> Preference:
    return replace(record, prompt=to_summarise(record.prompt))


def stepwise(record: Preference) -> Preference:
    """The chosen answer is a good step, the rejected one goes on from it with a bad one."""
    return replace(record, rejected=turns("assistant", f"{content(record.chosen)}\n{content(record.rejected)}"))


WAYS = [
    Way("preferences", "pair", pairs(any_asked(), margin=margins, ties=True, more=True), row_of),
    Way("preferences", "implicit_prompt", pairs(any_asked(), margin=margins, more=True), implicit),
    Way("preferences", "llamafactory", pairs(asked(), margin=margins), llamafactory),
    Way("preferences", "hh", in_words, hh),
    Way("preferences", "common_beginning",
        pairs(asked(plain, 1, False), plain).filter(parts_at_a_word), common_beginning),
    Way("preferences", "stack_exchange", pairs(no_transcript),
        lambda r: field("question", r.prompt) | both(r, "response_j", "response_k")),
    Way("preferences", "alpaca_eval", pairs(asked(), ties=True),
        lambda r: instructed(r.prompt) | verdict(r, "output_1", "output_2", "preference", chosen=1, tie=1.5)),
    Way("preferences", "comparison", pairs(asked()),
        lambda r: instructed(r.prompt) | {"output": [content(r.chosen), content(r.rejected)]}),
    Way("preferences", "tldr", pairs(one_question).map(summarised), tldr),
    Way("preferences", "one_hot", binary, one_hot),
    Way("preferences", "preference_strength", pairs(margin=st.floats(1e-3, 3), ties=True),
        lambda r: {"context": r.prompt, **both(r, "response1", "response2"), "overall_preference": -(r.margin or 0.0)}),
    Way("preferences", "shp", pairs(no_transcript),
        lambda r: field("history", r.prompt) | both(r, "human_ref_B", "human_ref_A") | {"labels": 0}),
    Way("preferences", "auto_j", pairs(no_transcript, ties=True),
        lambda r: field("prompt", r.prompt) | verdict(r, "response 1", "response 2", "label", chosen=0, tie=2)),
    Way("preferences", "pandalm", pairs(asked(), ties=True),
        lambda r: instructed(r.prompt) | verdict(r, "response1", "response2", "annotator1", chosen=1, tie="tie")),
    Way("preferences", "verdict", pairs(asked(), ties=True),
        lambda r: {"prompt": r.prompt} | verdict(r, "answer_a", "answer_b", "winner", chosen="model_a", tie="tie")),
    Way("preferences", "scored_sides", measured,
        lambda r: {"prompt": r.prompt, **both(r, "answer_1", "answer_0"), "score_1": r.margin, "score_0": 0}
        if not r.tie else {"prompt": r.prompt, **both(r, "answer_0", "answer_1"), "score_1": 0.5, "score_0": "0.5"}),
    Way("preferences", "beside", pairs(any_asked()),
        lambda r: {"messages": r.prompt + r.chosen, "rejected_response": content(r.rejected)}),
    Way("preferences", "rm_bench", by_one,
        lambda r: {"prompt": r.prompt, "chosen": [content(r.chosen)], "rejected": [content(r.rejected)]}),
    Way("preferences", "step_labels", by_one.map(stepwise),
        lambda r: step_labels(Rated(r.prompt, [(r.chosen, {LABEL: 1.0}), (r.rejected, {LABEL: 0.0})], ""))),
    Way("preferences", "scored", measured, lambda r: scored(as_rated(r))),
    Way("preferences", "ranked", measured, lambda r: ranked(as_rated(r))),
    Way("preferences", "judged_choices", by_one, lambda r: choices(
        Rated(r.prompt, [(r.chosen, {LABEL: 1.0}), (r.rejected, {LABEL: 0.0})], ""))),
    Way("preferences", "best_first", by_one, lambda r: best_first(as_rated(r))),
    Way("preferences", "tree", whole, lambda r: tree_of(as_rated(r))),
    Way("preferences", "steps", measured, lambda r: steps(as_rated(r))),
    Way("preferences", "next_step", pairs(any_asked()).map(begun), next_step),
    Way("preferences", "math_shepherd", pairs(asked(plain, 1, False), plain, margin=st.just(1.0)).map(stepped),
        lambda r: math_shepherd(Rated(r.prompt, [(r.chosen, {LABEL: 1.0}), (r.rejected, {LABEL: 0.0})], ""))),
    Way("demonstrations", "messages", demonstrations(any_asked() | st.just([])), row_of),
    Way("demonstrations", "sharegpt", demonstrations(any_asked()), lambda r: {"conversations": human(r.messages)}),
    Way("demonstrations", "prompt_completion", demonstrations(any_asked()),
        lambda r: {"prompt": r.messages[:-1], "completion": content(r.messages[-1:])}),
    Way("demonstrations", "alpaca", demonstrations(asked()),
        lambda r: instructed(r.messages[:-1]) | {"output": content(r.messages[-1:])}),
    Way("demonstrations", "dolly", demonstrations(below_a_text),
        dolly),
    Way("demonstrations", "self_instruct", demonstrations(one_question),
        lambda r: {"instruction": content(r.messages[:1]), "instances": [{"output": content(r.messages[1:])}]}),
    Way("demonstrations", "question_answer", demonstrations(question),
        lambda r: field("question", r.messages[:-1]) | {"answer": content(r.messages[-1:])}),
    Way("demonstrations", "tree_path", demonstrations(asked(heads=False)), lambda r: tree(r.messages, [])),
    Way("demonstrations", "prompt_response", demonstrations(any_asked()),
        lambda r: {"query": r.messages[:-1], "response": content(r.messages[-1:])}),
    Way("demonstrations", "dialogue", demonstrations(asked(heads=False)),
        lambda r: {"dialogue": [message["content"] for message in r.messages]}),
    Way("demonstrations", "guanaco", demonstrations(asked(plain, heads=False), plain),
        lambda r: {"text": transcript(r.messages, "### ")}),
    Way("demonstrations", "chatml", demonstrations(asked(plain), plain), lambda r: chatml(r.messages)),
    Way("demonstrations", "llama2", demonstrations(asked(plain), plain), lambda r: llama2(r.messages)),
    Way("demonstrations", "transcript", demonstrations(asked(plain, heads=False), plain),
        lambda r: {"text": transcript(r.messages)}),
    *(Way("demonstrations", name, demonstrations(asked(plain, heads=name != "gemma"), plain),
          lambda r, name=name: marked(r.messages, name)) for name in MARKS),
    Way("demonstrations", "alpaca_text", demonstrations(asked(plain), plain), lambda r: sections(r.messages)),
    *(Way("demonstrations", write.__name__, demonstrations(asked(plain), plain),
          lambda r, write=write: write(r.messages))
      for write in (speakers, nemo, deepseek)),
    Way("demonstrations", "dialogue_text", demonstrations(asked(plain, heads=False), plain),
        lambda r: {"text": transcript(r.messages, " ")}),
    Way("demonstrations", "prompted_text", demonstrations(any_asked()),
        lambda r: {"prompt": r.messages[:-1], "text": content(r.messages[-1:])}),
    Way("demonstrations", "squad", demonstrations(below_a_text),
        lambda r: {"context": dolly(r)["instruction"], "question": dolly(r)["context"],
                   "answers": {"text": [content(r.messages[1:])], "answer_start": [0]}}),
    Way("demonstrations", "text_response", demonstrations(one_question),
        lambda r: {"dialogue": content(r.messages[:1]), "summary": content(r.messages[1:])}),
    Way("demonstrations", "exchanged", demonstrations(one_question),
        lambda r: {"message_1": content(r.messages[:1]), "message_2": content(r.messages[1:])}),
    Way("demonstrations", "text", demonstrations(st.just([])).filter(lambda r: "###" not in content(r.messages)),
        lambda r: {"text": content(r.messages)}),
    Way("prompts", "messages", prompts(any_asked()), lambda r: {"messages": r.messages} | right(r)),
    Way("prompts", "prompt", prompts(any_asked()), row_of),
    Way("prompts", "instruction", prompts(asked()), lambda r: instructed(r.messages) | right(r)),
    Way("prompts", "question", prompts(no_transcript), lambda r: field("question", r.messages) | right(r)),
    Way("prompts", "text", prompts(one_question), lambda r: {"text": content(r.messages)} | right(r)),
    Way("prompts", "chatml", prompts(asked(plain)),
        lambda r: {"text": chatml(r.messages)["text"] + "<|im_start|>assistant\n"} | right(r)),
    *(Way("prompts", name, prompts(asked(plain, heads=name != "gemma")),
          lambda r, name=name: marked([*r.messages, *turns("assistant", "")], name) | right(r))
      for name in MARKS),
    Way("prompts", "alpaca_text", prompts(asked(plain)),
        lambda r: sections([*r.messages, *turns("assistant", "")]) | right(r)),
    *(Way("prompts", write.__name__, prompts(asked(plain)),
          lambda r, write=write: write([*r.messages, *turns("assistant", "")]) | right(r))
      for write in (speakers, nemo, deepseek)),
    Way("prompts", "dialogue_text", prompts(asked(plain, heads=False)),
        lambda r: {"text": transcript([*r.messages, *turns("assistant", "")], " ")} | right(r)),
    Way("prompts", "llama2", prompts(asked(plain)), lambda r: llama2(r.messages) | right(r)),
    Way("prompts", "guanaco", prompts(asked(plain, heads=False)),
        lambda r: {"text": transcript([*r.messages, *turns("assistant", "")], "### ")} | right(r)),
    Way("prompts", "transcript", prompts(asked(plain, heads=False)),
        lambda r: {"text": transcript([*r.messages, *turns("assistant", "")])} | right(r)),
    Way("labels", "labelled", rated(labels, any_asked(), most=1), lambda r: rows_of(r)[0]),
    Way("labels", "labelled_messages", rated(labels, any_asked(), most=1),
        lambda r: {"messages": r.prompt + r.answers[0][0], "label": r.answers[0][1][LABEL] == 1}),
    Way("scores", "scored", rated(by_names, any_asked()), lambda r: row_of(r)),
    Way("scores", "scored_answer", rated(by_names, any_asked(), most=1),
        lambda r: {"prompt": r.prompt, "response": content(r.answers[0][0]), **r.answers[0][1]}),
    Way("scores", "scored_messages", rated(by_score, any_asked(), most=1),
        lambda r: {"messages": r.prompt + r.answers[0][0], **r.answers[0][1]}),
    Way("scores", "scored_summary", rated(by_names, one_question.map(to_summarise), most=1), summary),
    Way("scores", "math_shepherd", in_steps(), math_shepherd),
    Way("scores", "ranked", rated(by_score), ranked),
    Way("scores", "best_first", rated(by_score).map(in_order), best_first),
    Way("scores", "judged_choices", rated(labels).map(with_scores), choices),
    Way("scores", "tree", rated(by_score, asked()).map(whole_numbers), tree_of),
    Way("scores", "steps", rated(by_score).map(with_labels), steps),
    Way("scores", "step_labels", going_on(), step_labels),
]  # fmt: skip


def right(record: Prompt) -> Row:
    return {} if record.answer is None else {"answer": record.answer}


def again(kind: Kind, row: Row) -> tuple[str, list[Any]]:
    """The format that recognises a row which was written and read as JSON, and the records in it."""
    reader = Reader(kind)
    made = reader.read(json.loads(json.dumps(row)), "")
    (name,) = reader.seen
    return name, made


@pytest.mark.parametrize("way", [pytest.param(way, id=f"{way.kind}: {way.name}") for way in WAYS])
def test_every_format_keeps_what_it_can_say(way: Way) -> None:
    @few
    @given(way.records)
    def check(record: Record) -> None:
        name, made = again(way.kind, way.write(record))
        assert made == [record]
        assert name == way.name

    check()


def test_every_format_has_a_way() -> None:
    ways: dict[Kind, set[str]] = {kind: {way.name for way in WAYS if way.kind == kind} for kind in FORMATS}
    assert ways["preferences"] == {*PREFERENCES, *LISTS}
    assert ways["demonstrations"] == set(DEMONSTRATIONS)
    assert ways["prompts"] == set(PROMPTS)
    assert ways["labels"] == set(LABELS)
    assert ways["scores"] == {*LISTS, *SCORED}


# ------------------------------------------------------------------------------------------------ the canonical way


def parted(record: Record) -> list[Record]:
    """As many records as rows are made of one."""
    if isinstance(record, Rated) and all(numbers in ({LABEL: 1}, {LABEL: 0}) for _, numbers in record.answers):
        return [replace(record, answers=[answer]) for answer in record.answers]
    return [record]


ANY: dict[Kind, st.SearchStrategy[Any]] = {
    "preferences": pairs(any_asked(), margin=margins, ties=True, more=True),
    "demonstrations": demonstrations(any_asked() | st.just([])),
    "prompts": prompts(any_asked()),
    "labels": rated(labels, any_asked()),
    "scores": rated(by_names, any_asked()),
}


def packed(rows: list[Row], ending: str) -> bytes:
    """A file of rows."""
    if ending == ".jsonl":
        return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()
    if ending == ".json":
        return json.dumps(rows, indent=1).encode()
    columns = dict.fromkeys(name for row in rows for name in row)
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({name: [row.get(name) for row in rows] for name in columns}), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", list(ANY))
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".parquet"])
def test_canonical_rows_survive_files(tmp_path_factory: pytest.TempPathFactory, kind: Kind, ending: str) -> None:
    """Also where a table gives every row the fields of all others, null where a row has none."""
    path = tmp_path_factory.mktemp("rows") / f"x{ending}"

    @few
    @given(st.lists(ANY[kind], min_size=1, max_size=4))
    def check(records: list[Record]) -> None:
        rows = [row for record in records for row in rows_of(record)]
        path.write_bytes(packed(rows, ending))
        reader = Reader(kind)
        made = [one for _, row in files.read(path) for one in reader.read(row, "")]
        assert made == [part for record in records for part in parted(record)]

    check()


EVERY = [one for formats in FORMATS.values() for one in formats.values()]
FIELDS = sorted({name for one in EVERY for names in one.needs for name in names.split("|")})
INSIDE = ["role", "content", "from", "value", "text", "score", "rank", "replies", "annotations", "steps", "rating"]
numbers = st.sampled_from([0, 1, -1, 2.5, float("nan"), 10**400])
strings = st.sampled_from(["a", "b", "b ", "1", "", "tie", "\ud800", '["a"]', "[", f"{TRAPS[0]}a{TRAPS[1]}b"])
message = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "system"]), "content": strings})
answer = st.fixed_dictionaries({"text": strings, "score": numbers}, optional={"rank": numbers})
values = st.recursive(
    st.none() | st.booleans() | numbers | strings | message,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(INSIDE), inner, max_size=3),
    max_leaves=6,
)
BY_TYPE: dict[type, st.SearchStrategy[Any]] = {
    str: strings,
    bool: st.booleans(),
    int: st.integers(-1, 2),
    float: st.floats(-2, 2),
    list: st.lists(message, min_size=1, max_size=3)
    | st.lists(answer, max_size=3)
    | st.lists(strings | numbers, max_size=2),
    dict: message | st.dictionaries(st.sampled_from(INSIDE), values, max_size=3),
    type(None): st.none(),
}


@st.composite
def odd_rows(draw: st.DrawFn) -> tuple[Kind, Row]:
    """A row with the fields that some format needs, mostly of the right types, and others that hold anything."""
    kind = draw(st.sampled_from(list(FORMATS)))
    row = {}
    for names, types in draw(st.sampled_from(list(FORMATS[kind].values()))).needs.items():
        fitting = st.sampled_from(types if isinstance(types, tuple) else (types,)).flatmap(BY_TYPE.__getitem__)
        row[draw(st.sampled_from(names.split("|")))] = draw(fitting if draw(st.integers(0, 9)) else values)
    for name in draw(st.lists(st.sampled_from([*FIELDS, "margin", "history", "system", "tie"]), max_size=1)):
        row[name] = draw(values)
    return kind, row


@settings(max_examples=500, deadline=None, derandomize=True)
@given(odd_rows())
def test_any_row_is_read_refused_or_dropped(case: tuple[Kind, Row]) -> None:
    """Nothing else happens, and what is read of it is what its canonical row says."""
    kind, row = case
    try:
        made = Reader(kind).read(row, "")
    except (DataError, UnusableError):
        return
    for record in made:
        if not isinstance(record, UnusableError):
            found = [one for canonical in rows_of(record) for one in again(kind, canonical)[1]]
            assert found == parted(record)


# ------------------------------------------------------------------------------------------------ the books

word = st.sampled_from(["a", "b", "c", "d", " a", "b\n", "", "a b c"])
pair_rows = st.fixed_dictionaries({"prompt": word, "chosen": word, "rejected": word})
list_rows = st.fixed_dictionaries(
    {
        "prompt": word,
        "responses": st.just(["a", "b", "a "]),
        "scores": st.lists(st.integers(0, 2), min_size=3, max_size=3),
    }
)
verdicts = st.fixed_dictionaries(
    {"prompt": word, "response_a": word, "response_b": word, "winner": st.sampled_from(["a", "b", "tie", None])}
)
rows_by_kind: dict[Kind, st.SearchStrategy[Row]] = {
    "preferences": pair_rows | list_rows | verdicts,
    "demonstrations": st.fixed_dictionaries({"prompt": word, "completion": word}, optional={"label": st.booleans()}),
    "prompts": st.fixed_dictionaries({"prompt": word}),
    "labels": st.fixed_dictionaries({"prompt": word, "completion": word, "label": st.booleans()}) | pair_rows,
    "scores": st.fixed_dictionaries({"prompt": word, "response": word, "score": st.integers(0, 3)}) | list_rows,
}


@pytest.mark.parametrize("kind", list(rows_by_kind))
def test_books_balance(tmp_path_factory: pytest.TempPathFactory, chats: Chats, kind: Kind) -> None:
    """Of good and useless rows and blank lines, whatever is held out, cut or skipped."""
    folder, chat = tmp_path_factory.mktemp("books"), chats("chatml")
    rows_or_blanks = st.lists(rows_by_kind[kind] | st.none(), min_size=1, max_size=12)

    @many
    @given(
        rows_or_blanks,
        st.none() | rows_or_blanks,
        st.sampled_from([0.0, 0.3, 1.0]),
        st.none() | st.integers(1, 6),
        st.booleans(),
        st.integers(8, 60),
    )
    def check(rows: list[Row | None], apart: Any, fraction: float, most: int | None, every: bool, length: int) -> None:
        block: dict[str, Any] = {"eval_fraction": fraction, "max_rows": most, "max_length": length}
        block["pairs"] = "all" if every and any(row and "responses" in row for row in rows[:most]) else "best_worst"
        for name, told in (("path", rows), ("eval_path", apart)):
            if told is not None:
                block[name] = written(folder / f"{name}.jsonl", told)
        data = DataConfig.model_validate(block)
        try:
            split = load(data, kind)
        except DataError as error:
            assert any(
                says in str(error) for says in ("no usable row", "holds no row", "does nothing", "every prompt")
            ), error
            return
        books, sides = split.ledger, (split.train, split.held_out)
        assert books["examples"] == books["used"] + books["held_out"] + sum(books["dropped"].values())
        assert (books["used"], books["held_out"]) == tuple(map(len, sides))
        assert (
            books["rows"] == sum(books["formats"].values()) <= sum(row is not None for row in [*rows, *(apart or [])])
        )
        assert not {prompt_key(one) for one in split.train} & {prompt_key(one) for one in split.held_out}
        for records in sides:
            check_encoded(kind, chat, records, length)

    check()


def written(path: Path, rows: Sequence[Row | None]) -> Path:
    path.write_text("".join(f"{'' if row is None else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def check_encoded(kind: Kind, chat: ChatFormat, records: list[Any], length: int) -> None:
    """Every record is encoded within the length, or dropped and counted."""
    expected = len(records)
    if kind == "preferences":
        rows, books = encode_preferences(records, chat, length)
        lengths = [len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in rows]
    elif kind == "demonstrations":
        encoded, books = encode_demonstrations(records, chat, length)
        lengths = [len(row.ids) for row in encoded]
    elif kind == "prompts":
        kept, ids, books = encode_prompts(records, chat, length)
        assert len(kept) == len(ids)
        lengths = [len(row) for row in ids]
    else:
        rows, books = encode_rated(records, chat, length, [LABEL, "score"])
        lengths = [len(row["prompt_ids"]) + len(row["completion_ids"]) for row in rows]
        expected = sum(len(record.answers) for record in records)
    assert books["rows"] == expected == books["used"] + sum(books["dropped"].values())
    assert books["used"] == len(lengths) >= books["cut"] and all(taken <= length for taken in lengths)
