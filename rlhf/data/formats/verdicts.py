"""Pairs as judges leave them: two answers side by side, and a verdict in the data set's own code."""

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from rlhf.data import messages as m
from rlhf.data.formats.asking import PROMPT, asked, exchange, said, unpacked
from rlhf.data.formats.codes import STRENGTHS, Verdict, code, ends_of, meaning
from rlhf.data.formats.table import TURNS, Column, Format, Read, Row, Sides, named
from rlhf.data.formats.values import integer, margin_of, number, says_tie, shared
from rlhf.data.messages import UnusableError, text, turns
from rlhf.data.records import Message, Preference
from rlhf.errors import DataError

_PLACES = (("left", "right"), ("first", "second"))
SIDES = [
    *[
        (f"{name}{join}{a}", f"{name}{join}{b}")
        for name in (
            *("response", "answer", "output", "completion", "text", "summary", "conversation"),
            *("candidate", "messages", "generation", "reply"),
        )
        for join in ("_", "", " ", "-")
        for a, b in (("a", "b"), ("A", "B"), ("0", "1"), ("1", "2"), *_PLACES)
    ],
    ("human_ref_A", "human_ref_B"),
    *((f"{a}_{name}", f"{b}_{name}") for name in ("response", "answer", "output") for a, b in _PLACES),
    *_PLACES,
    ("a", "b"),
    ("A", "B"),
]
"""Names that data sets give to two answers."""
VERDICT = (
    "winner|preference|preferred|choice|better_response_id|better|best|verdict|label|labels|chosen|overall_preference|"
    "safer_response_id|annotator1|chosen_model_name|comparison|selected|better_response|preferred_response|"
    "best_response|better_answer|preferred_answer|best_answer|overall_response|overall_pref|pref|vote"
)
"""Fields that say which of two answers is better."""
_NO_VERDICT = ("", "none", "null", "nan")


def sides_of(row: Row) -> Sides | None:
    """The two fields of a row that hold answers to compare, if it has such; not the options of a multiple choice."""
    return _sides_among(tuple(row))


def has_two_answers(row: Row) -> bool:
    """Whether two of a row's fields are texts, or conversations, to compare."""
    sides = sides_of(row)
    return sides is not None and all(isinstance(row[side], TURNS) for side in sides)


@lru_cache(256)
def _sides_among(names: tuple[str, ...]) -> Sides | None:
    options = "c" in names or "C" in names
    return next((s for s in SIDES if s[0] in names and s[1] in names and not (options and len(s[0]) == 1)), None)


def verdict(row: Row, where: str) -> Preference:
    """{prompt, two answers such as response_a and response_b, and a field that names the better one: `a`, `model_a`,
    `response_a`, its number, `left`, its model, `A>B` or `tie`}: MT-Bench, the Chatbot Arena, PKU-SafeRLHF, JudgeBench
    and their like."""
    sides = sides_of(row)
    assert sides is not None
    name = named(row, VERDICT)
    value = _in_small(row.get(name))
    if row.get(name) is None or value in _NO_VERDICT:
        raise UnusableError("no judgement")
    if said := _meaning(value, sides) or _named_model(row, sides, value):
        return _decided(row, sides, said, where, margin_of(row) or _by_scores(row, sides, said, name))
    raise DataError(f"{name}: is {row[name]!r}; the better one's name, {sides[0]} or {sides[1]}, or tie is needed")


def _in_small(value: Any) -> str:
    return str(value).strip().lower()


def _meaning(value: str, sides: Sides) -> Verdict | None:
    return meaning(value, sides) if len(value) < 60 else None


def verdict_code(row: Row) -> tuple[Column, int] | None:
    """The number that a row's verdict is."""
    sides, name = sides_of(row), named(row, VERDICT)
    assert sides is not None
    number = code(_in_small(row.get(name)), sides)
    return None if number is None else (Column(name, sides), number)


def in_words(row: Row, meanings: Mapping[str, Verdict]) -> Row:
    """A row with its verdict in words, as `data.verdicts` says."""
    name = named(row, VERDICT)
    if name not in row:
        raise DataError("data.verdicts: the row has no field that says which of two answers is better; leave it out")
    value = _in_small(row[name]).removesuffix(".0")
    if row[name] is None or value in _NO_VERDICT:
        return row
    if value not in meanings:
        raise DataError(f"{name}: is {row[name]!r}, of which data.verdicts says nothing; say there what it means")
    return {**row, name: meanings[value]}


def names_a_side(row: Row, value: str) -> bool:
    """Whether a short text is no answer, and names one of two that the row has."""
    sides = sides_of(row) if len(value) < 30 else None
    return sides is not None and meaning(_in_small(value), sides) in ("first", "second")


def _named_model(row: Row, sides: Sides, value: str) -> Verdict | None:
    """The side whose answer is of the model that a verdict names."""
    models = [_in_small(_model(row, end)) for end in ends_of(sides)]
    return ("first", "second")[models.index(value)] if models.count(value) == 1 else None


def _model(row: Row, end: str) -> Any:
    """Who gave an answer, which a verdict may name in the answer's place."""
    end = end.strip("_ -")
    return row.get(named(row, f"model_{end}|model_{end}_name|model_name_{end}|generator_{end}"))


def alpaca_eval(row: Row, where: str) -> Preference:
    """{instruction, output_1, output_2, preference}: below 1.5 the first is better, above it the second; 0 is a tie."""
    verdict = row["preference"]
    if verdict in (None, ""):
        raise UnusableError("no judgement")
    if isinstance(verdict, str) and (said := _meaning(_in_small(verdict), _OUTPUTS)):
        return _decided(row, _OUTPUTS, said, where)
    better = number(verdict, "preference")
    if better != 0 and not 1 <= better <= 2:
        raise DataError(f"preference: is {verdict}; 1 (output_1 wins) to 2 (output_2 wins), 1.5 for a tie, is needed")
    return _decided(row, _OUTPUTS, "tie" if better in (0, 1.5) else "second" if better > 1.5 else "first", where)


_OUTPUTS: Sides = ("output_1", "output_2")


def alpaca_eval_code(row: Row) -> tuple[Column, int] | None:
    """As verdict_code; what is between 1 and 2 is on their scale, as a 2 is."""
    try:
        better = number(row["preference"], "preference")
    except DataError:
        return None
    return None if better > 2 else (Column("preference", _OUTPUTS), 2 if better > 1 else int(better))


def preference_strength(row: Row, where: str) -> Preference:
    """{prompt or context, response_1, response_2, preference_strength or overall_preference}: from -3, where the first
    is much better, to 3, and how much is the margin (HelpSteer2 and 3, Wang et al. 2024)."""
    name = named(row, _STRENGTH)
    if row.get(name) in (None, ""):
        raise UnusableError("no judgement")
    strength = number(row[name], name)
    sides = _compared(row)
    if abs(strength) > 3:
        told = f"-3 ({sides[0]} is much better) to 3 ({sides[1]} is) is needed"
        raise DataError(f"{name}: is {row[name]}; {told}")
    said = "first" if strength < 0 else "second" if strength > 0 else "tie"
    return _decided(row, sides, said, where, margin=abs(strength))


_STRENGTH = "|".join(STRENGTHS)


def _compared(row: Row) -> Sides:
    return ("response_1", "response_2") if "response_1" in row else ("response1", "response2")


def strength_code(row: Row) -> tuple[Column, int] | None:
    """The strength that a row's verdict is, where it may as well be the number of an answer."""
    name = named(row, _STRENGTH)
    try:
        strength = number(row.get(name), name)
    except DataError:
        return None
    return Column(name, _compared(row)), min(int(strength), 3)


def _is_strength(row: Row) -> bool:
    """Whether it is no word that says which is better."""
    value = row.get(named(row, _STRENGTH))
    return not (isinstance(value, str) and value.strip()[:1].isalpha())


def coded(sides: Sides, name: str, codes: Mapping[str, Verdict]) -> Read:
    """Reads rows whose verdict is a code of its own."""
    return lambda row, where: _decided(row, sides, _verdict_of(row, name, codes), where)


def _verdict_of(row: Row, name: str, codes: Mapping[str, Verdict]) -> Verdict:
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
    codes: Mapping[str, Verdict] = {"1": "first", "2": "second", "0": "tie", "tie": "tie"}
    names = [f"annotator{i}" for i in (1, 2, 3) if f"annotator{i}" in row]
    said: Counter[Verdict] = Counter(_verdict_of(row, name, codes) for name in names)
    (better, votes), *others = said.most_common()
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
    lead = _lead(row, names)
    said: Verdict = "tie" if lead == 0 else "first" if lead > 0 else "second"
    return _decided(row, sides, said, where, margin=abs(lead))


def _lead(row: Row, names: list[str]) -> float:
    """By how much the first answer is better, by the score of each, or by its rank."""
    scores = [number(row[name], name) for name in names]
    return scores[1] - scores[0] if "rank" in names[0] else scores[0] - scores[1]


def _by_scores(row: Row, sides: Sides, said: Verdict, verdict: str) -> float | None:
    """By how much the better answer is better, where the row has a score of each beside its verdict. Raises DataError
    where they disagree."""
    names = _scores_of(row, sides)
    if said == "tie" or not names or any(row[name] in (None, "") for name in names):
        return None
    lead = _lead(row, names) if said == "first" else -_lead(row, names)
    if lead < 0:
        scores = " and ".join(f"{name} {row[name]}" for name in names)
        raise DataError(f"{verdict}: is {row[verdict]!r}, and {scores} say the other; mend the row, or leave one out")
    return lead


def _scores_of(row: Row, sides: Sides) -> list[str] | None:
    """`score_0` of `answer_0`, `response_b_rating` of `response_b`: the two names, where the row has them."""
    ends = ends_of(sides)
    named_so = ([name.format(side, end) for side, end in zip(sides, ends, strict=True)] for name in _SCORE_NAMES)
    return next((names for names in named_so if all(name in row for name in names)), None)


_SCORE_NAMES = [
    name.replace("score", by)
    for by in ("score", "rating", "reward", "votes", "upvotes", "rank")
    for name in ("score_{1}", "{0}_score")
]
_FIRST_SCORES = "|".join(
    name.format(first, first[shared(first, second) :]) for name in _SCORE_NAMES for first, second in SIDES
)


def _has_scores(row: Row) -> bool:
    sides = sides_of(row)
    return sides is not None and _scores_of(row, sides) is not None


def _decided(row: Row, sides: Sides, better: Verdict, where: str, margin: float | None = None) -> Preference:
    """The pair of two fields, of which one is better or none."""
    first, second = sides[::-1] if better == "second" else sides
    return answers(row, first, second, where, margin, tie=better == "tie")


def answers(
    row: Row, chosen: str, rejected: str, where: str, margin: float | None = None, tie: bool = False
) -> Preference:
    """The pair of two fields that hold answers, or whole conversations."""
    both = [turns(row, name, "assistant") for name in (chosen, rejected)]
    if row.get("turn") in (1, "1") and all(side[0]["role"] == "user" for side in both):
        both = [_first_exchange(side) for side in both]  # MT-Bench judges the first of two turns alone
    before: list[Message] = [] if all(side[0]["role"] != "assistant" for side in both) else asked(row)
    return m.preference(before + both[0], before + both[1], where, margin, chosen, tie or says_tie(row))


def _first_exchange(talk: list[Message]) -> list[Message]:
    end = next((i for i, message in enumerate(talk) if message["role"] == "assistant"), len(talk) - 1)
    return talk[: end + 1]


_JUDGED = (int, float, str, type(None))

VERDICTS = {
    "alpaca_eval": Format(
        alpaca_eval,
        {"instruction": str, "output_1": str, "output_2": str, "preference": _JUDGED},
        code=alpaca_eval_code,
    ),
    "one_hot": Format(
        one_hot, {"prompt": (str, list), "response_a": TURNS, "response_b": TURNS, "winner_model_a": (int, str)}
    ),
    "preference_strength": Format(
        preference_strength,
        {PROMPT: TURNS, "response_1|response1": TURNS, "response_2|response2": TURNS,
         _STRENGTH: _JUDGED},
        _is_strength,
        code=strength_code,
    ),
    "shp": Format(
        coded(("human_ref_A", "human_ref_B"), "labels", {"1": "first", "0": "second"}),
        {"history": str, "human_ref_A": str, "human_ref_B": str, "labels": (int, str)},
    ),
    "auto_j": Format(
        coded(("response 1", "response 2"), "label", {"0": "first", "1": "second", "2": "tie"}),
        {"prompt": str, "response 1": str, "response 2": str, "label": (int, str)},
    ),
    "pandalm": Format(pandalm, {"instruction": str, "response1": str, "response2": str, "annotator1": (int, str)}),
    "verdict": Format(
        verdict, {VERDICT: _JUDGED}, lambda row: sides_of(row) is not None, vague=True, code=verdict_code
    ),
    "scored_sides": Format(scored_sides, {_FIRST_SCORES: (int, float, str)}, _has_scores),
}  # fmt: skip
