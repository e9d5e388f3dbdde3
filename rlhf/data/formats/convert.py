"""A record of one kind as records of another: pairs out of ranked answers, prompts out of anything."""

from itertools import combinations
from typing import Literal

from rlhf.data import messages as m
from rlhf.data.messages import UnusableError
from rlhf.data.records import LABEL, Kind, Preference, Prompt, Rated, Record, prompt_of
from rlhf.errors import DataError

Pairs = Literal["best_worst", "all"]

RANKING = ("score", "fine-grained_score", "overall_score", "rating", "reward", "pm_score", "helpfulness", "quality")
"""Numbers that say which answer is better, in the order in which they are looked for."""


def as_kind(record: Record, kind: Kind, pairs: Pairs, rank_by: str | None) -> list[Record | UnusableError]:
    """What a record says, as another kind; an example that teaches nothing in its place. Raises DataError and
    UnusableError as formats do."""
    found = _as_kind(record, kind, pairs, rank_by)
    if isinstance(record, Rated) and kind not in ("demonstrations", "prompts"):
        found += map(UnusableError, record.lost)
    return found


def _as_kind(record: Record, kind: Kind, pairs: Pairs, rank_by: str | None) -> list[Record | UnusableError]:
    match kind, record:
        case "preferences", Rated():
            return _pairs(record, pairs, rank_by)
        case "demonstrations", Preference():
            if record.tie:
                raise UnusableError("tie")
            return [m.demonstration([*record.prompt, *record.chosen], record.where, "chosen")]
        case "demonstrations", Rated():
            return [m.demonstration([*record.prompt, *_best(record, rank_by)], record.where)]
        case "labels", Preference():
            if record.tie:
                raise UnusableError("tie")
            sides = [(record.chosen, {LABEL: 1.0}), (record.rejected, {LABEL: 0.0})]
            return [Rated(record.prompt, sides, record.where)]
        case "labels", Rated():
            answers = [(answer, numbers) for answer, numbers in record.answers if LABEL in numbers]
            if answers:
                return [Rated(record.prompt, answers, record.where)]
            (pair,) = _pairs(record, "best_worst", rank_by)  # nobody said which are good: the best is, the worst is not
            return _as_kind(pair, kind, pairs, rank_by) if isinstance(pair, Preference) else [pair]
        case "prompts", Prompt():
            return [record]
        case "prompts", _:
            return [m.prompt(prompt_of(record), record.where)]
        case _:
            return [record]


def _pairs(rated: Rated, pairs: Pairs, rank_by: str | None) -> list[Record | UnusableError]:
    """The best answer against the worst, or every two of which one is better; the difference is the margin."""
    scores = [rank(numbers, rank_by) for _, numbers in rated.answers]
    if len(scores) < 2:
        raise UnusableError(rated.lost[0] if rated.lost else "fewer than two answers")
    if rank_by is None and all("rank" in numbers for _, numbers in rated.answers):
        _check_ranks(scores, [numbers["rank"] for _, numbers in rated.answers])
    best, worst = scores.index(max(scores)), scores.index(min(scores))
    words = [[message["content"].strip() for message in answer] for answer, _ in rated.answers]
    if words[best] == words[worst]:  # all alike, or judged twice: the worst of those in other words, if there are any
        others = [i for i, said in enumerate(words) if said != words[best]]
        worst = min(others, key=scores.__getitem__, default=1 - min(best, 1))
    if pairs == "best_worst" or scores[best] == scores[worst]:
        return [_pair(rated, best, worst, scores)]
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    found: list[Record | UnusableError] = []
    for i, j in combinations(order, 2):
        if scores[i] > scores[j]:
            try:
                found.append(_pair(rated, i, j, scores))
            except UnusableError as reason:
                found.append(reason)
    return found


def _check_ranks(scores: list[float], ranks: list[float]) -> None:
    """Raises DataError where an answer has both the better rank and the worse score."""
    for i, j in combinations(range(len(scores)), 2):
        if (scores[i] - scores[j]) * (ranks[i] - ranks[j]) > 0:
            told = f"is {ranks[i]:g} and {ranks[j]:g} where the scores are {scores[i]:g} and {scores[j]:g}"
            raise DataError(f"rank: {told}; say which is meant: data.rank_by=rank, or the name of the score")


def _pair(rated: Rated, better: int, worse: int, scores: list[float]) -> Preference:
    sides = [[*rated.prompt, *rated.answers[i][0]] for i in (better, worse)]
    margin = scores[better] - scores[worse]
    return m.preference(sides[0], sides[1], rated.where, margin, tie=margin == 0)


def _best(rated: Rated, rank_by: str | None) -> list[m.Message]:
    """The answer to imitate: the best, if it is not said to be bad."""
    if all(LABEL in numbers for _, numbers in rated.answers):
        good = [answer for answer, numbers in rated.answers if numbers[LABEL] == 1]
        if not good:
            raise UnusableError("labelled bad")
        return good[0]
    scores = [rank(numbers, rank_by) for _, numbers in rated.answers]
    return rated.answers[scores.index(max(scores))][0]


def rank(numbers: dict[str, float], rank_by: str | None = None) -> float:
    """The number that says how good an answer is; a rank counts from the best. Raises DataError where that is not
    clear."""
    if rank_by is not None:
        if (name := rank_by.removeprefix("-")) not in numbers:
            raise DataError(f"data.rank_by: no number '{name}' (numbers found: {', '.join(numbers)})")
        return -numbers[name] if rank_by.startswith("-") != (name == "rank") else numbers[name]
    name = next((name for name in RANKING if name in numbers), None)
    if name is None:
        found = " or ".join(numbers)
        told = f"name it: data.rank_by={next(iter(numbers))}, or =-{next(iter(numbers))} where less is better"
        raise DataError(f"score: is it {found} that says how good an answer is? {told}")
    return numbers[name]
