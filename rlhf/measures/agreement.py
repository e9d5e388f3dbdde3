"""How far annotators agree beyond chance, from what each said of the same questions."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple


class Agreement(NamedTuple):
    """Of two annotators, on the questions that both answered."""

    annotators: tuple[str, str]
    questions: int
    raw: float
    """Share of the questions that both answered alike."""
    kappa: float | None
    """Cohen's (1960): 1 for full agreement, 0 for what chance would give."""


def cohen_kappa(said: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """(p_o - p_e) / (1 - p_e) of two annotators' answers, p_e being how often two who answered at random, each with
    their own shares, would agree (Cohen 1960). None where both gave one and the same answer always, which says
    nothing."""
    n = len(said)
    observed = sum(one == other for one, other in said) / n
    first, second = (Counter(answers) for answers in zip(*said, strict=True))
    expected = sum(first[answer] * second[answer] for answer in first) / n**2
    return (observed - expected) / (1 - expected) if expected < 1 else None


def agreements(verdicts: Mapping[str, Mapping[str, Hashable]]) -> list[Agreement]:
    """Of every two annotators with questions in common; `verdicts` holds each annotator's answers by question."""
    found = []
    for one, other in combinations(verdicts, 2):
        both = verdicts[one].keys() & verdicts[other].keys()
        if said := [(verdicts[one][question], verdicts[other][question]) for question in both]:
            raw = sum(a == b for a, b in said) / len(said)
            found.append(Agreement((one, other), len(said), raw, cohen_kappa(said)))
    return found


def by_annotator(said: Sequence[tuple[str, str, Hashable]]) -> dict[str, dict[str, Hashable]]:
    """(annotator, question, answer) as `agreements` reads it; of a question answered twice the last answer."""
    found: dict[str, dict[str, Hashable]] = defaultdict(dict)
    for annotator, question, answer in said:
        found[annotator][question] = answer
    return dict(found)
