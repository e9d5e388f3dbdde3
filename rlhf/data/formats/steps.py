"""Solutions that are rated step by step: each step is an answer of its own, with the solution so far before it."""

import re

from rlhf.data import messages as m
from rlhf.data.formats.asking import PROMPT, asked, said
from rlhf.data.formats.table import TURNS, Answers, Format, Row, named
from rlhf.data.formats.values import listed, number, objects, truth
from rlhf.data.messages import UnusableError, text
from rlhf.data.records import LABEL, Message, Rated
from rlhf.errors import DataError


def steps(row: Row, where: str) -> list[Rated]:
    """{question: {problem}, label: {steps: [{completions: [{text, rating}], chosen_completion}]}}: PRM800K (Lightman et
    al. 2023). A record for each step, of the solution so far with every step that was tried next: 1 good, -1 bad."""
    asks, so_far, found = asked(row, "question"), [], list[Rated]()
    for i, step in enumerate(objects(row["label"].get("steps"), "label.steps", "{completions}")):
        place = f"label.steps[{i}].completions"
        tried = objects(step.get("completions"), place, "{text, rating}")
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
    """{prompt, completions or steps: [step], labels: [true, …]}, as TRL has stepwise supervision: the solution after
    each step is good or bad."""
    name = named(row, _STEPS)
    parts, labels = listed(row[name], name, "texts"), listed(row["labels"], "labels", "truths")
    if len(parts) != len(labels):
        raise DataError(f"labels: {len(labels)} for {len(parts)} {name}; one for each is needed")
    texts = [text({"": part}, "", f"{name}[{i}]") for i, part in enumerate(parts)]
    return _solution(asked(row), texts, [truth(one, f"labels[{i}]") for i, one in enumerate(labels)], where)


_STEPS = "completions|steps"


def math_shepherd(row: Row, where: str) -> Rated:
    """{input: "question Step 1: … ки Step 2: … ки", label: the same with + or - for each ки}: Math-Shepherd (Wang et
    al. 2024). As OpenRLHF has it, `label` or `value` is the list of the signs."""
    *parts, _ = row["input"].split(_STEP_ENDS)
    signs = row[named(row, _SIGNS)]
    if isinstance(signs, list) and len(signs) == len(parts):
        signs = "".join(f"{part}{sign}" for part, sign in zip(parts, signs, strict=True))
    rest, values = text({"label": signs}, "label"), list[float]()
    for i, part in enumerate(parts):
        sign = rest[len(part) : len(part) + 1]
        if not rest.startswith(part) or sign not in ("+", "-"):
            raise DataError(f"label: does not say + or - of step {i + 1}; input with + or - for each ки is needed")
        rest = rest[len(part) + 1 :]
        values.append(float(sign == "+"))
    question, first = _FIRST_STEP.split(parts[0], maxsplit=1) if _FIRST_STEP.search(parts[0]) else ("", parts[0])
    asks = [said("user", question.strip())]
    return _solution(asks, [one.strip() for one in (first, *parts[1:])], values, where)


_SIGNS = "label|value"
_STEP_ENDS = "ки"
"""The token that the data set ends each step with."""
_FIRST_STEP = re.compile(r"\s(?=Step 1:)")


def _solution(asks: list[Message], parts: list[str], values: list[float], where: str) -> Rated:
    """The solution after each step, good or bad."""
    both: Answers = [
        ([said("assistant", "\n".join(parts[: i + 1]))], {"score": value, LABEL: value})
        for i, value in enumerate(values)
    ]
    return m.rated(asks, both, where, "completions")


STEPS = {
    "step_labels": Format(step_labels, {PROMPT: TURNS, _STEPS: list, "labels": list}),
    "steps": Format(steps, {"question": dict, "label": dict}, vague=True),
    "math_shepherd": Format(
        math_shepherd, {"input": str, _SIGNS: TURNS}, lambda row: _STEP_ENDS in row["input"], vague=True
    ),
}
"""Lists whose best answer is part of a solution."""
