"""Row formats: one small function each, which turns a row into a record, and one line each in the table below it.

A function takes the row and its `file:line`, and raises DataError("field: what; what would work") for a row that
someone must mend or UnusableError(reason) for one that is to be dropped and counted. The table says which fields (and
types) a format needs: that is how rows are recognised and what the message about an unrecognised row lists.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rlhf.data import messages as m
from rlhf.data.messages import UnusableError, conversation, kind_of, text, transcript, turns
from rlhf.data.records import LABEL, Demonstration, Kind, Message, Preference, Prompt, Rated, Record, prompt_of
from rlhf.errors import DataError, did_you_mean

Row = dict[str, Any]
Types = type | tuple[type, ...]


@dataclass(frozen=True)
class Format:
    """How rows of a format are read and recognised."""

    read: Callable[[Row, str], Record]
    needs: Mapping[str, Types] = field(default_factory=dict)
    """Fields and their types; `output|response` is one or the other."""
    only_if: Callable[[Row], bool] = lambda row: True
    """What tells it from formats with the same fields."""

    def has_fields(self, row: Row) -> bool:
        return all(any(name in row for name in names.split("|")) for names in self.needs)

    def fits(self, row: Row) -> bool:
        """Whether a row has all fields, of the right types."""
        return all(
            any(isinstance(row.get(name), types) for name in names.split("|")) for names, types in self.needs.items()
        ) and self.only_if(row)


def _said(role: str, content: str) -> Message:
    return {"role": role, "content": content}


# ------------------------------------------------------------------------------------------------ demonstrations


def messages(row: Row, where: str) -> Demonstration:
    """{messages: [{role, content}]}"""
    _not_labelled_bad(row)
    return m.demonstration(conversation(row["messages"], "messages"), where)


def prompt_completion(row: Row, where: str) -> Demonstration:
    """{prompt, completion}: strings or messages."""
    _not_labelled_bad(row)
    return m.demonstration(turns(row, "prompt", "user") + turns(row, "completion", "assistant"), where, "completion")


def alpaca(row: Row, where: str) -> Demonstration:
    """{instruction, input?, output or response, system?, history?: [[question, answer]]}"""
    answer = "output" if "output" in row else "response"
    return m.demonstration([*_instruction(row), _said("assistant", text(row, answer))], where, answer)


def self_instruct(row: Row, where: str) -> Demonstration:
    """{instruction, instances: [{input, output}]}: the first instance."""
    instances = row["instances"]
    if not isinstance(instances, list) or not instances or not isinstance(instances[0], dict):
        raise DataError(f"instances: is {kind_of(instances)}; a list of {{input, output}} is needed")
    return alpaca({"instruction": row["instruction"], **instances[0]}, where)


def sharegpt(row: Row, where: str) -> Demonstration:
    """{conversations: [{from: human|gpt|system, value}], system?}"""
    _not_labelled_bad(row)
    return m.demonstration(_system(row) + conversation(row["conversations"], "conversations"), where, "conversations")


def question_answer(row: Row, where: str) -> Demonstration:
    """{question, answer}, as in GSM8K."""
    asked, answer = _said("user", text(row, "question")), _said("assistant", text(row, "answer"))
    return m.demonstration([asked, answer], where, "answer")


def plain_text(row: Row, where: str) -> Demonstration:
    """{text}, or a line of a .txt file: text without a prompt."""
    return m.demonstration([_said("assistant", text(row, "text"))], where, "text")


def _not_labelled_bad(row: Row) -> None:
    """KTO's files hold good and bad answers; the bad ones are not to be imitated."""
    if row.get("label") is False:
        raise UnusableError("labelled bad")


def _instruction(row: Row) -> list[Message]:
    given = text(row, "input") if row.get("input") is not None else ""
    asked = text(row, "instruction")
    before = [
        _said(role, said)
        for pair in row.get("history") or []
        for role, said in zip(("user", "assistant"), pair, strict=False)
    ]
    return [*_system(row), *before, _said("user", f"{asked}\n\n{given}" if given.strip() else asked)]


def _system(row: Row) -> list[Message]:
    return [_said("system", text(row, "system"))] if row.get("system") else []


# ------------------------------------------------------------------------------------------------ preferences


def pair(row: Row, where: str) -> Preference:
    """{prompt, chosen, rejected}: strings or messages; answers that repeat the prompt, as UltraFeedback's, are fine."""
    sides = [turns(row, name, "assistant") for name in ("chosen", "rejected")]
    asked = [] if all(side[0]["role"] != "assistant" for side in sides) else turns(row, "prompt", "user")
    return m.preference(asked + sides[0], asked + sides[1], where)


def implicit_prompt(row: Row, where: str) -> Preference:
    """{chosen, rejected}: two lists of messages with a common beginning."""
    return m.preference(conversation(row["chosen"], "chosen"), conversation(row["rejected"], "rejected"), where)


def hh(row: Row, where: str) -> Preference:
    """{chosen, rejected}: two transcripts `\\n\\nHuman: … \\n\\nAssistant: …` (Bai et al. 2022)."""
    sides = [transcript(text(row, name), name) for name in ("chosen", "rejected")]
    if any(side[-1]["role"] != "assistant" for side in sides):
        raise UnusableError("no answer at the end")
    return m.preference(sides[0], sides[1], where)


def llamafactory(row: Row, where: str) -> Preference:
    """{conversations, chosen: {from, value}, rejected: {from, value}, system?}"""
    asked = _system(row) + conversation(row["conversations"], "conversations")
    sides = [asked + turns(row, name, "assistant") for name in ("chosen", "rejected")]
    return m.preference(sides[0], sides[1], where)


def stack_exchange(row: Row, where: str) -> Preference:
    """{question, response_j, response_k}: j was voted above k (Beeching et al. 2023)."""
    asked = _said("user", text(row, "question"))
    sides = [[asked, _said("assistant", text(row, name))] for name in ("response_j", "response_k")]
    return m.preference(sides[0], sides[1], where, field="response_j")


def alpaca_eval(row: Row, where: str) -> Preference:
    """{instruction, output_1, output_2, preference}: below 1.5 the first is better, above it the second; 0 is a tie."""
    verdict = row["preference"]
    if verdict in (None, ""):
        raise UnusableError("no judgement")
    better = _number(verdict, "preference")
    if better != 0 and not 1 <= better <= 2:
        raise DataError(f"preference: is {verdict}; 1 (output_1 wins) to 2 (output_2 wins), 1.5 for a tie, is needed")
    sides = [[*_instruction(row), _said("assistant", text(row, name))] for name in ("output_1", "output_2")]
    chosen, rejected = sides if better < 1.5 else sides[::-1]
    return m.preference(chosen, rejected, where, field="instruction", tie=better in (0, 1.5))


def scored(row: Row, where: str) -> Preference:
    """{prompt, completions: [{text, score}]}: the best against the worst, with the difference as margin."""
    answers = row["completions"]
    if not isinstance(answers, list) or len(answers) < 2 or not all(isinstance(answer, dict) for answer in answers):
        raise DataError(f"completions: is {kind_of(answers)}; a list of two or more {{text, score}} is needed")
    scores = [_number(answer.get("score"), f"completions[{i}].score") for i, answer in enumerate(answers)]
    best, worst = scores.index(max(scores)), scores.index(min(scores))
    tie = best == worst
    if tie:  # all alike: two that differ in their words, if there are any
        words = [text(answer, "text") for answer in answers]
        worst = next((i for i, said in enumerate(words) if said != words[best]), 1)
    asked = turns(row, "prompt", "user")
    sides = [[*asked, _said("assistant", text(answers[i], "text"))] for i in (best, worst)]
    margin = scores[best] - scores[worst]
    return m.preference(sides[0], sides[1], where, margin=margin, field="completions", tie=tie)


def _number(value: Any, name: str) -> float:
    """A finite number; also as a string, which is all that CSV has."""
    try:
        number = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{name}: is {value!r}; a number is needed")
    return number


# ------------------------------------------------------------------------------------------------ rated answers


def labelled(row: Row, where: str) -> Rated:
    """{prompt, completion, label}: label true for a good answer, false for a bad one."""
    asked, answer = turns(row, "prompt", "user"), turns(row, "completion", "assistant")
    return m.rated(asked, [(answer, {LABEL: _truth(row)})], where, "completion")


def labelled_messages(row: Row, where: str) -> Rated:
    """{messages, label}: of the last answer, as LLaMA-Factory writes it."""
    talk = conversation(row["messages"], "messages")
    return m.rated(talk[:-1], [(talk[-1:], {LABEL: _truth(row)})], where, "messages")


def scored_answer(row: Row, where: str) -> Rated:
    """{prompt, response or completion, and numbers such as score or helpfulness}: every field that is a number."""
    name = "response" if "response" in row else "completion"
    asked, answer = turns(row, "prompt", "user"), turns(row, name, "assistant")
    return m.rated(asked, [(answer, _numbers(row))], where, name)


def scored_answers(row: Row, where: str) -> Rated:
    """{prompt, completions: [{text, score, …}]}: every answer with every number it has."""
    answers = row["completions"]
    if not isinstance(answers, list) or not answers or not all(isinstance(answer, dict) for answer in answers):
        raise DataError(f"completions: is {kind_of(answers)}; a list of {{text, score}} is needed")
    said = [([_said("assistant", text(answer, "text"))], _numbers(answer)) for answer in answers]
    return m.rated(turns(row, "prompt", "user"), said, where, "completions")


def _numbers(row: Row) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in row.items():
        if name not in ("prompt", "response", "completion", "text") and not isinstance(value, bool | list | dict):
            try:
                number = float(value)
            except (TypeError, ValueError):
                continue  # an id, a source, a comment
            if math.isfinite(number):
                found[name] = number
    if not found:
        raise DataError("score: is missing; a field that holds a number, such as score, is needed")
    return found


_TRUTHS = {"true": 1.0, "1": 1.0, "1.0": 1.0, "false": 0.0, "0": 0.0, "0.0": 0.0, "-1": 0.0}


def _truth(row: Row) -> float:
    said = str(row["label"]).strip().lower()
    if said not in _TRUTHS:
        raise DataError(f"label: is {row['label']!r}; true (good) or false (bad) is needed")
    return _TRUTHS[said]


def _both_sides(read: Callable[[Row, str], Record]) -> Callable[[Row, str], Rated]:
    """A pair as a good and a bad answer."""

    def sides(row: Row, where: str) -> Rated:
        record = read(row, where)
        assert isinstance(record, Preference)
        if record.tie:
            raise UnusableError("tie")
        answers = [(record.chosen, {LABEL: 1.0}), (record.rejected, {LABEL: 0.0})]
        return Rated(record.prompt, answers, where)

    return sides


# ------------------------------------------------------------------------------------------------ prompts


def prompt_messages(row: Row, where: str) -> Prompt:
    """{messages}: answers at the end are taken off."""
    return m.prompt(conversation(row["messages"], "messages"), where, "messages")


def prompt(row: Row, where: str) -> Prompt:
    """{prompt}: a string or messages."""
    return m.prompt(turns(row, "prompt", "user"), where)


def instruction(row: Row, where: str) -> Prompt:
    """{instruction, input?, system?}"""
    return m.prompt(_instruction(row), where, "instruction")


def question(row: Row, where: str) -> Prompt:
    """{question}"""
    return m.prompt([_said("user", text(row, "question"))], where, "question")


def prompt_text(row: Row, where: str) -> Prompt:
    """{text}, or a line of a .txt file."""
    return m.prompt([_said("user", text(row, "text"))], where, "text")


def _as_prompt(read: Callable[[Row, str], Record]) -> Callable[[Row, str], Record]:
    """The prompt part of another kind of row."""
    return lambda row, where: m.prompt(prompt_of(read(row, where)), where)


def _as_demonstration(read: Callable[[Row, str], Record]) -> Callable[[Row, str], Demonstration]:
    """The preferred side of a pair, as an answer to imitate."""

    def chosen(row: Row, where: str) -> Demonstration:
        record = read(row, where)
        assert isinstance(record, Preference)
        if record.tie:
            raise UnusableError("tie")
        return m.demonstration([*record.prompt, *record.chosen], where, "chosen")

    return chosen


# ------------------------------------------------------------------------------------------------ the table

_TURNS = (str, list)

_DEMONSTRATIONS = {
    "messages": Format(messages, {"messages": list}),
    "sharegpt": Format(sharegpt, {"conversations": list}),
    "prompt_completion": Format(prompt_completion, {"prompt": _TURNS, "completion": _TURNS}),
    "alpaca": Format(alpaca, {"instruction": str, "output|response": str}),
    "self_instruct": Format(self_instruct, {"instruction": str, "instances": list}),
    "question_answer": Format(question_answer, {"question": str, "answer": str}),
    "text": Format(plain_text, {"text": str}),
}

_PREFERENCES = {
    "llamafactory": Format(llamafactory, {"conversations": list, "chosen": (dict, str), "rejected": (dict, str)}),
    "pair": Format(pair, {"prompt": _TURNS, "chosen": _TURNS, "rejected": _TURNS}),
    "implicit_prompt": Format(implicit_prompt, {"chosen": list, "rejected": list}),
    "hh": Format(hh, {"chosen": str, "rejected": str}, lambda row: "\n\nAssistant:" in row["chosen"]),
    "stack_exchange": Format(stack_exchange, {"question": str, "response_j": str, "response_k": str}),
    "alpaca_eval": Format(
        alpaca_eval,
        {"instruction": str, "output_1": str, "output_2": str, "preference": (int, float, str, type(None))},
        lambda row: "preference" in row,
    ),
    "scored": Format(scored, {"prompt": _TURNS, "completions": list}),
}

_PROMPTS = {
    "messages": Format(prompt_messages, {"messages": list}),
    "prompt": Format(prompt, {"prompt": _TURNS}),
    "instruction": Format(instruction, {"instruction": str}, lambda row: "instances" not in row),
    "question": Format(question, {"question": str}),
    "text": Format(prompt_text, {"text": str}),
}

_LABEL = (bool, int, float, str)

_LABELS = {
    "labelled": Format(labelled, {"prompt": _TURNS, "completion": _TURNS, "label": _LABEL}),
    "labelled_messages": Format(labelled_messages, {"messages": list, "label": _LABEL}),
}

_SCORES = {
    "scored": Format(scored_answers, {"prompt": _TURNS, "completions": list}),
    "scored_answer": Format(scored_answer, {"prompt": _TURNS, "response|completion": _TURNS}),
}

_BORROWED = {
    name: Format(_as_prompt(other.read), other.needs, other.only_if)
    for name, other in (_PREFERENCES | _DEMONSTRATIONS).items()
}

_CHOSEN = {name: Format(_as_demonstration(f.read), f.needs, f.only_if) for name, f in _PREFERENCES.items()}

FORMATS: dict[Kind, dict[str, Format]] = {
    "demonstrations": _CHOSEN | _DEMONSTRATIONS,
    "preferences": _PREFERENCES,
    "prompts": _PROMPTS | {name: other for name, other in _BORROWED.items() if name not in _PROMPTS},
    "labels": _LABELS | {name: Format(_both_sides(f.read), f.needs, f.only_if) for name, f in _PREFERENCES.items()},
    "scores": _SCORES,
}
"""Every format of every kind, in the order in which they are tried.

Pairs may serve as demonstrations (the preferred side) and as labelled answers (one good, one bad), and any file of
answers as prompts.
"""


def named(kind: Kind, name: str) -> Format:
    """The format that `data.format` names. Raises DataError for an unknown name."""
    if name in FORMATS[kind]:
        return FORMATS[kind][name]
    makes = [other for other, formats in FORMATS.items() if name in formats and other != "prompts"]
    hint = f"; '{name}' makes {makes[0]}" if makes else did_you_mean(name, FORMATS[kind])
    raise DataError(f"data.format: no format '{name}' makes {kind}{hint}")


def recognise(row: Row, kind: Kind) -> str:
    """Name of the first format that fits a row; failing that, one whose fields are all there, to say what is wrong.

    Raises DataError with the row's fields and what the nearest formats lack.
    """
    formats = FORMATS[kind]
    for name, candidate in formats.items():
        if candidate.fits(row):
            return name
    for name, candidate in formats.items():
        if candidate.has_fields(row):
            return name
    found = ", ".join(f"{name} ({kind_of(value)})" for name, value in row.items()) or "none"
    nearest = sorted(formats.items(), key=lambda item: _missing_share(item[1], row))[:3]
    wanted = "; ".join(f"'{name}' needs {' and '.join(f.needs).replace('|', ' or ')}" for name, f in nearest)
    raise DataError(f"fields: found {found}, which no format of {kind} reads; {wanted}")


def read(using: Format, row: Row, where: str) -> Record:
    """A row by a format. Fields that the format needs and the row lacks are named."""
    for names in using.needs:
        if not any(name in row for name in names.split("|")):
            wanted, found = names.replace("|", " or "), ", ".join(row) or "none"
            raise DataError(f"{wanted}: is missing (fields found: {found}); add it, or use another format")
    record = using.read(row, where)
    if isinstance(record, Prompt) and isinstance(row.get("answer"), str | int | float):
        return replace(record, answer=str(row["answer"]))
    return record


def _missing_share(candidate: Format, row: Row) -> float:
    missing = [names for names in candidate.needs if not any(name in row for name in names.split("|"))]
    return len(missing) / len(candidate.needs)
