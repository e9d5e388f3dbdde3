"""Pairs: two answers to a prompt, and which of them is better."""

from collections.abc import Mapping

from rlhf.data import messages as m
from rlhf.data.formats.asking import PROMPT, asked, exchange, instructed, said, unpacked
from rlhf.data.formats.table import TURNS, Format, Read, Row, named
from rlhf.data.formats.values import integer, number, shared
from rlhf.data.messages import UnusableError, conversation, text, transcript, turns
from rlhf.data.records import Message, Preference
from rlhf.errors import DataError

CHOSEN = (
    "chosen|chosen_response|response_chosen|preferred|preferred_response|accepted|better|better_response|"
    "positive|good|winner|win"
)
REJECTED = (
    "rejected|rejected_response|response_rejected|dispreferred|dispreferred_response|worse|worse_response|"
    "negative|bad|loser|lose"
)


def pair(row: Row, where: str) -> Preference:
    """{prompt, chosen, rejected}: strings or messages; answers that repeat the prompt, as UltraFeedback's, are fine.
    With `tie` neither is better."""
    better, worse = named(row, CHOSEN), named(row, REJECTED)
    sides = [turns(row, name, "assistant") for name in (better, worse)]
    before = [] if all(side[0]["role"] != "assistant" for side in sides) else asked(row)
    tie = row.get("tie") is not None and integer(row["tie"], "tie", (0, 1)) == 1
    return m.preference(before + sides[0], before + sides[1], where, _margin(row), better, tie)


def _margin(row: Row) -> float | None:
    """How much better the chosen answer is, where the row says so."""
    if row.get("margin") is not None:
        margin = number(row["margin"], "margin")
        if margin < 0:
            raise DataError(f"margin: is {margin:g}; how much better the chosen answer is, 0 or more, is needed")
        return margin
    for better, worse in _SCORES:
        if row.get(better) is not None and row.get(worse) is not None:
            scores = number(row[better], better), number(row[worse], worse)
            if scores[0] < scores[1]:
                raise DataError(f"{worse}: is {scores[1]:g}, above {better}'s {scores[0]:g}; swap the two answers")
            return scores[0] - scores[1]
    return None


_SCORES = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("rating_chosen", "rating_rejected"),
    ("chosen_rating", "rejected_rating"),
)


def implicit_prompt(row: Row, where: str) -> Preference:
    """{chosen, rejected}: two lists of messages with a common beginning."""
    better, worse = named(row, CHOSEN), named(row, REJECTED)
    sides = [conversation(row[name], name) for name in (better, worse)]
    return m.preference(sides[0], sides[1], where, _margin(row), better)


def hh(row: Row, where: str) -> Preference:
    """{chosen, rejected}: two transcripts `\\n\\nHuman: … \\n\\nAssistant: …` (Bai et al. 2022)."""
    sides = [transcript(text(row, name), name) for name in ("chosen", "rejected")]
    if any(side[-1]["role"] != "assistant" for side in sides):
        raise UnusableError("no answer at the end")
    return m.preference(sides[0], sides[1], where, _margin(row))


def common_beginning(row: Row, where: str) -> Preference:
    """{chosen, rejected}: two texts whose common beginning, up to a word's end, is the prompt."""
    better, worse = text(row, "chosen"), text(row, "rejected")
    if better.strip() == worse.strip():
        raise UnusableError("identical")
    start = shared(better, worse)
    while start and not better[start - 1].isspace():
        start -= 1
    if not better[:start].strip():
        raise DataError("chosen: has no beginning in common with rejected to be the prompt; add a field `prompt`")
    before = [said("user", better[:start].strip())]
    sides = [[*before, said("assistant", side[start:])] for side in (better, worse)]
    return m.preference(sides[0], sides[1], where, _margin(row))


def llamafactory(row: Row, where: str) -> Preference:
    """{conversations, chosen: {from, value}, rejected: {from, value}, system?}"""
    before = asked(row, "conversations")
    sides = [before + turns(row, name, "assistant") for name in ("chosen", "rejected")]
    return m.preference(sides[0], sides[1], where, _margin(row))


def stack_exchange(row: Row, where: str) -> Preference:
    """{question, response_j, response_k}: j was voted above k (Beeching et al. 2023)."""
    return _answers(row, "response_j", "response_k", where)


def comparison(row: Row, where: str) -> Preference:
    """{instruction, input?, output: [better, worse]}: Alpaca's comparisons (Peng et al. 2023)."""
    answers = row["output"]
    if len(answers) != 2 or not all(isinstance(answer, str) for answer in answers):
        raise DataError("output: two texts, the better one first, are needed")
    before = instructed(row)
    sides = [[*before, said("assistant", answer)] for answer in answers]
    return m.preference(sides[0], sides[1], where, field="output")


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
    if row.get(name) is None:
        raise UnusableError("no judgement")
    strength = number(row[name], name)
    sides = ("response_1", "response_2") if "response_1" in row else ("response1", "response2")
    return _decided(row, sides, None if strength == 0 else int(strength > 0), where, margin=abs(strength))


def tldr(row: Row, where: str) -> Preference:
    """{info: {post, title?, subreddit?}, summaries: [{text}, {text}], choice: 0 or 1} (Stiennon et al. 2020)."""
    info, summaries = row["info"], row["summaries"]
    if len(summaries) != 2 or not all(isinstance(summary, dict) for summary in summaries):
        raise DataError("summaries: two {text} are needed")
    body = named(info, "post|article")
    title = f"Title: {info['title']}\n\n" if isinstance(info.get("title"), str) else ""
    question = said("user", f"{title}{text(info, body, f'info.{body}')}\n\nTL;DR:")
    better = integer(row["choice"], "choice", (0, 1))
    sides = [[question, said("assistant", text(summaries[i], "text", f"summaries[{i}].text"))] for i in (0, 1)]
    return m.preference(sides[better], sides[1 - better], where, field="summaries")


# ------------------------------------------------------------------------------------------------ two sides, a verdict

_NO_VERDICT = ("", "none", "null", "nan")
_TIES = ("tie", "both", "equal", "same", "draw", "neither", "tie (bothbad)", "both_bad", "bothbad", "both_good")

SIDES = [
    *[
        (f"{name}{join}{a}", f"{name}{join}{b}")
        for name in ("response", "answer", "output", "completion", "text", "summary", "conversation")
        for join in ("_", "", " ", "-")
        for a, b in (("a", "b"), ("A", "B"), ("0", "1"), ("1", "2"))
    ],
    ("human_ref_A", "human_ref_B"),
    ("a", "b"),
    ("A", "B"),
]
"""Names that data sets give to two answers."""
VERDICTS = (
    "winner|preference|preferred|choice|better_response_id|better|best|verdict|label|labels|chosen|overall_preference|"
    "safer_response_id|annotator1"
)
"""Fields that say which of two answers is better."""


def sides_of(row: Row) -> tuple[str, str] | None:
    """The two fields of a row that hold answers to compare, if it has such."""
    return next((sides for sides in SIDES if sides[0] in row and sides[1] in row), None)


def verdict(row: Row, where: str) -> Preference:
    """{prompt, two answers such as response_a and response_b, and a field that names the better one: `a`, `model_a`,
    `response_a`, its number, or `tie`}: MT-Bench, the Chatbot Arena, PKU-SafeRLHF and their like."""
    sides = sides_of(row)
    assert sides is not None
    name = named(row, VERDICTS)
    value = str(row.get(name)).strip().lower()
    if row.get(name) is None or value in _NO_VERDICT:
        raise UnusableError("no judgement")
    if value in _TIES:
        return _decided(row, sides, None, where)
    for i, end in enumerate(_ends(sides)):
        end = end.lower()
        if value in (sides[i].lower(), end, f"{end}.0", f"model_{end}", f"assistant_{end}", ("first", "second")[i]):
            return _decided(row, sides, i, where)
    raise DataError(f"{name}: is {row[name]!r}; the better one's name, {sides[0]} or {sides[1]}, or tie is needed")


def coded(sides: tuple[str, str], name: str, codes: Mapping[str, int | None]) -> Read:
    """Reads rows whose verdict is a code of its own; None is a tie."""

    def read(row: Row, where: str) -> Preference:
        value = row.get(name)
        if value in (None, ""):
            raise UnusableError("no judgement")
        code = str(value).strip().lower().removesuffix(".0")
        if code not in codes:
            raise DataError(f"{name}: is {value!r}; one of {', '.join(codes)} is needed")
        return _decided(row, sides, codes[code], where)

    return read


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
    """{prompt, two answers such as answer_0 and answer_1, and a score of each such as score_0 and score_1}: WebGPT
    (Nakano et al. 2021) and its like. The difference is the margin."""
    sides = sides_of(row)
    assert sides is not None
    scores = [number(row[name], name) for name in _scores_of(sides)]
    better = None if scores[0] == scores[1] else int(scores[1] > scores[0])
    return _decided(row, sides, better, where, margin=abs(scores[0] - scores[1]))


def _scores_of(sides: tuple[str, str]) -> list[str]:
    """`score_0` of `answer_0`, `score_b` of `response_b`."""
    return [f"score_{end}" for end in _ends(sides)]


def _ends(sides: tuple[str, str]) -> list[str]:
    """What tells one side's name from the other's."""
    start = shared(*sides)
    return [side[start:] for side in sides]


def _has_scores(row: Row) -> bool:
    sides = sides_of(row)
    return sides is not None and all(name in row for name in _scores_of(sides))


def _decided(
    row: Row, sides: tuple[str, str], better: int | None, where: str, margin: float | None = None
) -> Preference:
    """The pair of two fields; `better` says which is chosen, None that neither is."""
    first, second = sides if better in (0, None) else sides[::-1]
    return _answers(row, first, second, where, margin, tie=better is None)


def _answers(
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


def _lists_of_text(row: Row) -> bool:
    """Several answers on a side."""
    value = row[named(row, CHOSEN)]
    return isinstance(value, list) and bool(value) and isinstance(value[0], str)


_JUDGED = (int, float, str, type(None))

PREFERENCES = {
    "llamafactory": Format(llamafactory, {"conversations": list, "chosen": (dict, str), "rejected": (dict, str)}),
    "pair": Format(
        pair,
        {PROMPT: (*TURNS, dict), CHOSEN: (*TURNS, dict), REJECTED: (*TURNS, dict)},
        lambda row: not _lists_of_text(row),
    ),
    "implicit_prompt": Format(implicit_prompt, {CHOSEN: list, REJECTED: list}, lambda row: not _lists_of_text(row)),
    "hh": Format(hh, {"chosen": str, "rejected": str}, lambda row: "\n\nAssistant:" in row["chosen"]),
    "common_beginning": Format(
        common_beginning,
        {"chosen": str, "rejected": str},
        lambda row: not any(name in row for name in PROMPT.split("|")),  # a prompt that is null is not meant so
        vague=True,
    ),
    "stack_exchange": Format(stack_exchange, {"question": str, "response_j": str, "response_k": str}),
    "alpaca_eval": Format(
        alpaca_eval,
        {"instruction": str, "output_1": str, "output_2": str, "preference": _JUDGED},
    ),
    "comparison": Format(comparison, {"instruction": str, "output": list}, vague=True),
    "tldr": Format(tldr, {"info": dict, "summaries": list, "choice": (int, str)}),
    "one_hot": Format(
        one_hot, {"prompt": (str, list), "response_a": TURNS, "response_b": TURNS, "winner_model_a": (int, str)}
    ),
    "preference_strength": Format(
        preference_strength,
        {PROMPT: TURNS, "response_1|response1": TURNS, "response_2|response2": TURNS,
         "preference_strength|overall_preference": (int, float, type(None))},
    ),
    "shp": Format(
        coded(("human_ref_A", "human_ref_B"), "labels", {"1": 0, "0": 1}),
        {"history": str, "human_ref_A": str, "human_ref_B": str, "labels": (int, str)},
    ),
    "auto_j": Format(
        coded(("response 1", "response 2"), "label", {"0": 0, "1": 1, "2": None}),
        {"prompt": str, "response 1": str, "response 2": str, "label": (int, str)},
    ),
    "pandalm": Format(
        coded(("response1", "response2"), "annotator1", {"1": 0, "2": 1, "0": None, "tie": None}),
        {"instruction": str, "response1": str, "response2": str, "annotator1": (int, str)},
    ),
    "verdict": Format(verdict, {VERDICTS: _JUDGED}, lambda row: sides_of(row) is not None, vague=True),
    "scored_sides": Format(scored_sides, {"score_0|score_1|score_a|score_A": (int, float, str)}, _has_scores),
}  # fmt: skip
