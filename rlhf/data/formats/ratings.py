"""Answers with what was said of each: numbers, ranks, labels. Several answers to a prompt make pairs."""

from collections.abc import Iterator
from typing import Any

from rlhf.data import messages as m
from rlhf.data.formats.asking import PROMPT, asked, replies_of, said
from rlhf.data.formats.table import TURNS, Format, Row, named
from rlhf.data.formats.values import listed, number, numbers, truth
from rlhf.data.messages import UnusableError, conversation, text, turns
from rlhf.data.records import LABEL, Message, Rated
from rlhf.errors import DataError

ANSWERS = "completions|responses|answers|generations|outputs|candidates|replies"
TEXT = "text|response|content|answer|completion|output|body"
SCORES = "scores|ratings|rewards|rating|score|reward|ranks|ranking|rank"
RESPONSE = "response|completion|answer|output"

Answers = list[tuple[list[Message], dict[str, float]]]


def scored(row: Row, where: str) -> Rated:
    """{prompt, completions: [{text, score, …}]}: every answer with every number it has. UltraFeedback's annotations
    (Cui et al. 2023), Nectar's ranks, Stack Exchange's votes and their like; a `rank` of 1 is the best."""
    name = named(row, ANSWERS)
    answers = listed(row[name], name, "{text, score}", of=dict)
    return m.rated(asked(row), [_scored(answer, f"{name}[{i}]") for i, answer in enumerate(answers)], where, name)


def _scored(answer: Row, where: str) -> tuple[list[Message], dict[str, float]]:
    name = named(answer, TEXT)
    known = _numbers(answer)
    annotations = answer.get("annotations")
    for aspect, judged in annotations.items() if isinstance(annotations, dict) else ():
        if isinstance(judged, dict) and "Rating" in judged:  # UltraFeedback; N/A where there is none
            known |= numbers({aspect: judged["Rating"]})
    if not known:
        raise DataError(f"{where}.score: is {answer.get('score')}; a number is needed")
    return [said("assistant", text(answer, name, f"{where}.{name}"))], known


def _numbers(row: Row) -> dict[str, float]:
    """Every number a row has; a rank of 1 is the best."""
    known = numbers(row, apart_from=("prompt", *TEXT.split("|")))
    return {**known, "score": known.get("score", -known["rank"])} if "rank" in known else known


def ranked(row: Row, where: str) -> Rated:
    """{prompt, responses: [text], scores or ratings: [number]}, or `ranks`, of which 1 is the best; as distilabel and
    Argilla write them."""
    name, by = named(row, ANSWERS), named(row, SCORES)
    answers, said_of = listed(row[name], name, "texts"), listed(row[by], by, "numbers, one for each answer")
    if len(answers) != len(said_of):
        raise DataError(f"{by}: {len(said_of)} numbers for {len(answers)} answers; one for each is needed")
    sign = -1.0 if by.startswith("rank") else 1.0
    values = [sign * number(value, f"{by}[{i}]") for i, value in enumerate(said_of)]
    both: Answers = [(_answer(one, f"{name}[{i}]"), {"score": values[i]}) for i, one in enumerate(answers)]
    return m.rated(asked(row), both, where, name)


def best_first(row: Row, where: str) -> Rated:
    """{prompt, responses: [text]} with a field `ranked` or `best_first` that is true: the best answer first."""
    name = named(row, ANSWERS)
    answers = listed(row[name], name, "texts")
    both: Answers = [(_answer(one, f"{name}[{i}]"), {"score": float(-i)}) for i, one in enumerate(answers)]
    return m.rated(asked(row), both, where, name)


def rm_bench(row: Row, where: str) -> Rated:
    """{prompt, chosen: [text], rejected: [text]}: any of the chosen is better than any of the rejected (Liu et al.
    2024)."""
    both: Answers = []
    for name, value in (("chosen", 1.0), ("rejected", 0.0)):
        for i, one in enumerate(listed(row[name], name, "texts")):
            both.append((_answer(one, f"{name}[{i}]"), {"score": value, LABEL: value}))
    return m.rated(asked(row), both, where, "chosen")


def _answer(value: Any, field: str) -> list[Message]:
    return turns({field: value}, field, "assistant")


def tree(row: Row, where: str) -> list[Rated]:
    """{prompt: {role, text, replies: [{role, text, rank, replies}]}}: OpenAssistant's trees (Köpf et al. 2023). A
    record for every prompt in the tree that has ranked answers; rank 0 is the best."""
    found = list(_branches(row["prompt"], [], where))
    if not found:
        raise UnusableError("no ranked answers")
    return found


def _branches(node: Row, before: list[Message], where: str) -> Iterator[Rated]:
    talk = [*before, *conversation({"role": node.get("role"), "content": node.get("text")}, "prompt")]
    replies = replies_of(node)
    if talk[-1]["role"] == "user":
        ranks = [(reply, reply["rank"]) for reply in replies if isinstance(reply.get("rank"), int)]
        both: Answers = [([said("assistant", text(r, "text", "replies.text"))], {"score": -float(n)}) for r, n in ranks]
        if both:
            yield m.rated(talk, both, where, "replies")
    for reply in replies:
        yield from _branches(reply, talk, where)


def steps(row: Row, where: str) -> list[Rated]:
    """{question: {problem}, label: {steps: [{completions: [{text, rating}], chosen_completion}]}}: PRM800K (Lightman et
    al. 2023). A record for each step, of the solution so far with every step that was tried next: 1 good, -1 bad."""
    asks, so_far, found = asked(row, "question"), [], list[Rated]()
    for i, step in enumerate(listed(row["label"].get("steps"), "label.steps", "{completions}", of=dict)):
        place = f"label.steps[{i}].completions"
        tried = listed(step.get("completions") or [], place, "{text, rating}", least=0, of=dict)
        both: Answers = []
        for j, one in enumerate(tried):
            if one.get("rating") is not None:
                rating = number(one["rating"], f"{place}[{j}].rating")
                label = {LABEL: float(rating > 0)} if rating else {}
                whole = "\n".join([*so_far, text(one, "text", f"{place}[{j}].text")])
                both.append(([said("assistant", whole)], {"score": rating, **label}))
        if both:
            found.append(m.rated(asks, both, where, place))
        human, taken = step.get("human_completion"), step.get("chosen_completion")
        if isinstance(human, dict) and isinstance(human.get("text"), str):
            so_far.append(human["text"])
        elif isinstance(taken, int) and 0 <= taken < len(tried):
            so_far.append(text(tried[taken], "text", f"{place}[{taken}].text"))
        else:
            break  # nothing was built on any of them
    if not found:
        raise UnusableError("no rated step")
    return found


def step_labels(row: Row, where: str) -> Rated:
    """{prompt, completions: [step], labels: [true, …]}, as TRL has stepwise supervision: the solution after each step
    is good or bad."""
    parts, labels = listed(row["completions"], "completions", "texts"), listed(row["labels"], "labels", "truths")
    if len(parts) != len(labels):
        raise DataError(f"labels: {len(labels)} for {len(parts)} completions; one for each is needed")
    both: Answers = []
    for i, label in enumerate(labels):
        whole = "\n".join(text({"": part}, "", f"completions[{j}]") for j, part in enumerate(parts[: i + 1]))
        value = truth(label, f"labels[{i}]")
        both.append(([said("assistant", whole)], {"score": value, LABEL: value}))
    return m.rated(asked(row), both, where, "completions")


def scored_answer(row: Row, where: str) -> Rated:
    """{prompt, response or completion, and numbers such as score or helpfulness}: every field that is a number, and a
    label that is true or false."""
    name = named(row, RESPONSE)
    known = _numbers(row) | ({LABEL: float(row[LABEL])} if isinstance(row.get(LABEL), bool) else {})
    if not known:
        found = "missing" if row.get("score") is None else repr(row["score"])
        raise DataError(f"score: is {found}; a field that holds a number, such as score, is needed")
    return m.rated(asked(row), [(turns(row, name, "assistant"), known)], where, name)


def labelled(row: Row, where: str) -> Rated:
    """{prompt, completion, label}: label true for a good answer, false for a bad one."""
    name = named(row, RESPONSE)
    return m.rated(asked(row), [(turns(row, name, "assistant"), {LABEL: truth(row["label"], "label")})], where, name)


def labelled_messages(row: Row, where: str) -> Rated:
    """{messages, label}: of the last answer, as LLaMA-Factory writes it."""
    name = named(row, "messages|conversations")
    talk = conversation(row[name], name)
    return m.rated(talk[:-1], [(talk[-1:], {LABEL: truth(row["label"], "label")})], where, name)


def _texts(names: str, row: Row) -> bool:
    values = row[named(row, names)]
    return isinstance(values, list) and bool(values) and not any(isinstance(one, dict) for one in values)


_LABEL = (bool, int, float, str)

LISTS = {
    "rm_bench": Format(
        rm_bench,
        {PROMPT: TURNS, "chosen": list, "rejected": list},
        lambda row: bool(row["chosen"]) and isinstance(row["chosen"][0], str),
    ),
    "step_labels": Format(step_labels, {"prompt": TURNS, "completions": list, "labels": list}),
    "scored": Format(scored, {PROMPT: (*TURNS, dict), ANSWERS: list}, lambda row: not _texts(ANSWERS, row)),
    "ranked": Format(ranked, {PROMPT: TURNS, ANSWERS: list, SCORES: list}, lambda row: _texts(ANSWERS, row)),
    "best_first": Format(
        best_first, {PROMPT: TURNS, ANSWERS: list, "ranked|best_first": bool}, lambda row: _texts(ANSWERS, row)
    ),
    "tree": Format(tree, {"prompt": dict}, lambda row: "replies" in row["prompt"], vague=True),
    "steps": Format(steps, {"question": dict, "label": dict}),
}
"""Several answers to a prompt."""

LABELS = {
    "labelled": Format(labelled, {PROMPT: TURNS, RESPONSE: TURNS, "label": _LABEL}),
    "labelled_messages": Format(labelled_messages, {"messages|conversations": list, "label": _LABEL}),
}

SCORED = {"scored_answer": Format(scored_answer, {PROMPT: TURNS, RESPONSE: TURNS})}
