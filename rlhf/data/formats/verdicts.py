"""Pairs as judges leave them: two answers side by side, and a verdict in the data set's own code."""

import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from rlhf.data import messages as m
from rlhf.data.formats.asking import PROMPT, asked, exchange, said, unpacked
from rlhf.data.formats.table import TURNS, Format, Read, Row, named
from rlhf.data.formats.values import integer, number, shared
from rlhf.data.messages import UnusableError, text, turns
from rlhf.data.records import Message, Preference
from rlhf.errors import DataError

SIDES = [
    *[
        (f"{name}{join}{a}", f"{name}{join}{b}")
        for name in (
            *("response", "answer", "output", "completion", "text", "summary", "conversation"),
            *("candidate", "messages", "generation", "reply"),
        )
        for join in ("_", "", " ", "-")
        for a, b in (("a", "b"), ("A", "B"), ("0", "1"), ("1", "2"))
    ],
    ("human_ref_A", "human_ref_B"),
    ("a", "b"),
    ("A", "B"),
]
"""Names that data sets give to two answers."""
VERDICT = (
    "winner|preference|preferred|choice|better_response_id|better|best|verdict|label|labels|chosen|overall_preference|"
    "safer_response_id|annotator1|chosen_model_name|comparison|selected|better_response|preferred_response|"
    "best_response|better_answer|preferred_answer|best_answer"
)
"""Fields that say which of two answers is better."""
_NO_VERDICT = ("", "none", "null", "nan")
_TIES = (
    "tie",
    "both",
    "equal",
    "same",
    "draw",
    "neither",
    "tie (bothbad)",
    "both_bad",
    "bothbad",
    "both_good",
    "a=b",
    "[[c]]",
)


def sides_of(row: Row) -> tuple[str, str] | None:
    """The two fields of a row that hold answers to compare, if it has such; not the options of a multiple choice."""
    return _sides_among(tuple(row))


def has_two_answers(row: Row) -> bool:
    """Whether two of a row's fields are texts, or conversations, to compare."""
    sides = sides_of(row)
    return sides is not None and all(isinstance(row[side], TURNS) for side in sides)


@lru_cache(256)
def _sides_among(names: tuple[str, ...]) -> tuple[str, str] | None:
    options = "c" in names or "C" in names
    return next((s for s in SIDES if s[0] in names and s[1] in names and not (options and len(s[0]) == 1)), None)


def verdict(row: Row, where: str) -> Preference:
    """{prompt, two answers such as response_a and response_b, and a field that names the better one: `a`, `model_a`,
    `response_a`, its number, `left`, its model, `A>B` or `tie`}: MT-Bench, the Chatbot Arena, PKU-SafeRLHF, JudgeBench
    and their like."""
    sides = sides_of(row)
    assert sides is not None
    name = named(row, VERDICT)
    value = str(row.get(name)).strip().lower()
    if row.get(name) is None or value in _NO_VERDICT:
        raise UnusableError("no judgement")
    if value in _TIES:
        return _decided(row, sides, None, where)
    if order := re.fullmatch(r"a(>>?|<<?)b|b(>>?|<<?)a", value.replace(" ", "")):
        first_wins = (order[1] or order[2])[0] == ">"
        return _decided(row, sides, int(first_wins == (value[0] == "b")), where)
    better = _side(value, sides)
    if better is None:
        models = [str(_model(row, end)).strip().lower() for end in _ends(sides)]
        better = models.index(value) if models.count(value) == 1 else None
    if better is not None:
        return _decided(row, sides, better, where)
    raise DataError(f"{name}: is {row[name]!r}; the better one's name, {sides[0]} or {sides[1]}, or tie is needed")


def _side(value: str, sides: tuple[str, str]) -> int | None:
    """Which of two sides a text names."""
    end = _NOUN.sub("", value.strip("[]")).removesuffix(".0")
    for i, known in enumerate(_ends(sides)):
        if value == sides[i].lower() or end in (
            known.strip("_ -").lower(),
            *(("first", "left"), ("second", "right"))[i],
        ):
            return i
    return None


def names_a_side(row: Row, value: str) -> bool:
    """Whether a short text is no answer, and names one of two that the row has."""
    sides = sides_of(row) if len(value) < 30 else None
    return sides is not None and _side(value.strip().lower(), sides) is not None


def _model(row: Row, end: str) -> Any:
    """Who gave an answer, which a verdict may name in the answer's place."""
    end = end.strip("_ -")
    return row.get(named(row, f"model_{end}|model_{end}_name|model_name_{end}|generator_{end}"))


_NOUN = re.compile(r"^(?:model|assistant|response|answer|output|completion|option)[ _-]?")
"""What stands before the letter or number of a side."""


def alpaca_eval(row: Row, where: str) -> Preference:
    """{instruction, output_1, output_2, preference}: below 1.5 the first is better, above it the second; 0 is a tie."""
    verdict = row["preference"]
    if verdict in (None, ""):
        raise UnusableError("no judgement")
    better = number(verdict, "preference")
    if better != 0 and not 1 <= better <= 2:
        raise DataError(f"preference: is {verdict}; 1 (output_1 wins) to 2 (output_2 wins), 1.5 for a tie, is needed")
    return _decided(row, ("output_1", "output_2"), None if better in (0, 1.5) else int(better > 1.5), where)


def preference_strength(row: Row, where: str) -> Preference:
    """{prompt or context, response_1, response_2, preference_strength or overall_preference}: below 0 the first is
    better, and how much is the margin (HelpSteer2 and 3, Wang et al. 2024)."""
    name = named(row, "preference_strength|overall_preference")
    if row.get(name) in (None, ""):
        raise UnusableError("no judgement")
    strength = number(row[name], name)
    sides = ("response_1", "response_2") if "response_1" in row else ("response1", "response2")
    return _decided(row, sides, None if strength == 0 else int(strength > 0), where, margin=abs(strength))


def coded(sides: tuple[str, str], name: str, codes: Mapping[str, int | None]) -> Read:
    """Reads rows whose verdict is a code of its own; None is a tie."""
    return lambda row, where: _decided(row, sides, _decoded(row, name, codes), where)


def _decoded(row: Row, name: str, codes: Mapping[str, int | None]) -> int | None:
    value = row.get(name)
    if value in (None, ""):
        raise UnusableError("no judgement")
    code = str(value).strip().lower().removesuffix(".0")
    if code not in codes:
        raise DataError(f"{name}: is {value!r}; one of {', '.join(codes)} is needed")
    return codes[code]


def pandalm(row: Row, where: str) -> Preference:
    """{instruction, input?, response1, response2, annotator1, annotator2?, annotator3?}: 1, 2 or 0 for a tie; what most
    annotators say (Wang et al. 2023)."""
    codes = {"1": 0, "2": 1, "0": None, "tie": None}
    names = [f"annotator{i}" for i in (1, 2, 3) if f"annotator{i}" in row]
    (better, votes), *others = Counter(_decoded(row, name, codes) for name in names).most_common()
    if others and others[0][1] == votes:
        raise UnusableError("annotators disagree")
    return _decided(row, ("response1", "response2"), better, where)


def one_hot(row: Row, where: str) -> Preference:
    """{prompt, response_a, response_b, winner_model_a, winner_model_b, winner_tie}: texts, or lists of one a turn."""
    flags = [integer(row.get(name, 0), name, (0, 1)) for name in ("winner_model_a", "winner_model_b", "winner_tie")]
    if sum(flags) != 1:
        raise DataError("winner_model_a: exactly one of winner_model_a, winner_model_b and winner_tie must be 1")
    sides = []
    for name in ("response_a", "response_b"):
        if str(row["prompt"]).startswith("["):
            talk = exchange(unpacked(row["prompt"], "prompt"), unpacked(row[name], name), name)
        else:
            talk = [*asked(row), said("assistant", text(row, name))]
        sides.append(talk)
    better = flags.index(1) if flags.index(1) < 2 else 0
    return m.preference(sides[better], sides[1 - better], where, field="response_a", tie=flags[2] == 1)


def scored_sides(row: Row, where: str) -> Preference:
    """{prompt, two answers such as answer_0 and answer_1, and a score or rating of each, such as score_0 and score_1
    or answer_0_score and answer_1_score}: WebGPT (Nakano et al. 2021) and its like. The difference is the margin."""
    sides = sides_of(row)
    names = sides and _scores_of(row, sides)
    assert sides and names
    scores = [number(row[name], name) for name in names]
    better = None if scores[0] == scores[1] else int(scores[1] > scores[0])
    return _decided(row, sides, better, where, margin=abs(scores[0] - scores[1]))


def _scores_of(row: Row, sides: tuple[str, str]) -> list[str] | None:
    """`score_0` of `answer_0`, `response_b_rating` of `response_b`: the two names, where the row has them."""
    ends = _ends(sides)
    named_so = ([name.format(side, end) for side, end in zip(sides, ends, strict=True)] for name in _SCORE_NAMES)
    return next((names for names in named_so if all(name in row for name in names)), None)


_SCORE_NAMES = [
    name.replace("score", by) for by in ("score", "rating", "reward") for name in ("score_{1}", "{0}_score")
]
_FIRST_SCORES = "|".join(
    name.format(first, first[shared(first, second) :]) for name in _SCORE_NAMES for first, second in SIDES
)


def _ends(sides: tuple[str, str]) -> list[str]:
    """What tells one side's name from the other's."""
    start = shared(*sides)
    return [side[start:] for side in sides]


def _has_scores(row: Row) -> bool:
    sides = sides_of(row)
    return sides is not None and _scores_of(row, sides) is not None


def _decided(
    row: Row, sides: tuple[str, str], better: int | None, where: str, margin: float | None = None
) -> Preference:
    """The pair of two fields; `better` says which is chosen, None that neither is."""
    first, second = sides if better in (0, None) else sides[::-1]
    return answers(row, first, second, where, margin, tie=better is None)


def answers(
    row: Row, chosen: str, rejected: str, where: str, margin: float | None = None, tie: bool = False
) -> Preference:
    """The pair of two fields that hold answers, or whole conversations."""
    both = [turns(row, name, "assistant") for name in (chosen, rejected)]
    if row.get("turn") in (1, "1") and all(side[0]["role"] == "user" for side in both):
        both = [_first_exchange(side) for side in both]  # MT-Bench judges the first of two turns alone
    before: list[Message] = [] if all(side[0]["role"] != "assistant" for side in both) else asked(row)
    return m.preference(before + both[0], before + both[1], where, margin, chosen, tie)


def _first_exchange(talk: list[Message]) -> list[Message]:
    end = next((i for i, message in enumerate(talk) if message["role"] == "assistant"), len(talk) - 1)
    return talk[: end + 1]


_JUDGED = (int, float, str, type(None))

VERDICTS = {
    "alpaca_eval": Format(
        alpaca_eval,
        {"instruction": str, "output_1": str, "output_2": str, "preference": _JUDGED},
    ),
    "one_hot": Format(
        one_hot, {"prompt": (str, list), "response_a": TURNS, "response_b": TURNS, "winner_model_a": (int, str)}
    ),
    "preference_strength": Format(
        preference_strength,
        {PROMPT: TURNS, "response_1|response1": TURNS, "response_2|response2": TURNS,
         "preference_strength|overall_preference": _JUDGED},
    ),
    "shp": Format(
        coded(("human_ref_A", "human_ref_B"), "labels", {"1": 0, "0": 1}),
        {"history": str, "human_ref_A": str, "human_ref_B": str, "labels": (int, str)},
    ),
    "auto_j": Format(
        coded(("response 1", "response 2"), "label", {"0": 0, "1": 1, "2": None}),
        {"prompt": str, "response 1": str, "response 2": str, "label": (int, str)},
    ),
    "pandalm": Format(pandalm, {"instruction": str, "response1": str, "response2": str, "annotator1": (int, str)}),
    "verdict": Format(verdict, {VERDICT: _JUDGED}, lambda row: sides_of(row) is not None, vague=True),
    "scored_sides": Format(scored_sides, {_FIRST_SCORES: (int, float, str)}, _has_scores),
}  # fmt: skip
