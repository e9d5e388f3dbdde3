"""What answers are like as text: how they differ from each other, and what of them was copied."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

_WORD = re.compile(r"\w+|[^\w\s]")


def words(text: str) -> list[str]:
    """Words and marks, in small letters."""
    return _WORD.findall(text.lower())


def _runs(said: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """Every n words in a row."""
    return [tuple(said[i : i + n]) for i in range(len(said) - n + 1)]


def distinct_n(texts: Iterable[str], n: int) -> float:
    """Different runs of n words over all of them (Li et al. 2016); it falls with length, so compare like with like."""
    counts = Counter(run for text in texts for run in _runs(words(text), n))
    return len(counts) / max(counts.total(), 1)


def self_bleu(texts: Sequence[str], order: int = 4) -> float:
    """Mean BLEU of each text against all others (Zhu et al. 2018): 1 where all are the same, low where they differ.

    BLEU is Papineni et al.'s (2002): of the closest reference's length, 0 without a word in common; longer runs, if
    none matches, count as a tenth of one (Chen & Cherry 2014, method 1). Of a text of fewer words than `order`, runs
    are as long as it is.
    """
    if len(texts) < 2:
        return 0.0
    said = [words(text) for text in texts]
    lengths = [len(one) for one in said]
    logs = [0.0] * len(said)  # of the geometric mean of the precisions
    for n in range(1, order + 1):
        counts = [Counter(_runs(one, n)) for one in said]
        most = _two_most(counts)
        for i, own in enumerate(counts):
            matched = sum(min(count, most[run][most[run][0][1] == i][0]) for run, count in own.items())
            found = matched or (0.1 if n > 1 else 0)
            if own:
                logs[i] += math.log(found / own.total()) / min(order, lengths[i]) if found else -math.inf
    return sum(math.exp(logs[i]) * _brevity(i, lengths) for i in range(len(said)) if lengths[i]) / len(said)


def _two_most(counts: Sequence[Counter[tuple[str, ...]]]) -> dict[tuple[str, ...], list[tuple[int, int]]]:
    """Of each run, how often the two texts have it that have it most, each with that text's place."""
    most: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(lambda: [(0, -1), (0, -1)])
    for i, own in enumerate(counts):
        for run, count in own.items():
            most[run] = sorted([*most[run], (count, i)], reverse=True)[:2]
    return most


def _brevity(i: int, lengths: Sequence[int]) -> float:
    """BLEU's penalty for a text that is shorter than the other one nearest in length; of two as near, the shorter."""
    others = (length for j, length in enumerate(lengths) if j != i)
    nearest = min(others, key=lambda length: (abs(length - lengths[i]), length))
    return min(1.0, math.exp(1 - nearest / lengths[i]))


def copied(answers: Sequence[str], training: Iterable[str], shortest: int) -> list[int]:
    """Words of each answer's longest verbatim copy: a run of which every `shortest` words in a row stand in one text
    of the training data, or a whole answer that is such a text. 0 for no copy."""
    said = [words(answer) for answer in answers]
    places: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    whole: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, one in enumerate(said):
        whole[tuple(one)].append(i)
        for at, run in enumerate(_runs(one, shortest)):
            places[run].append((i, at))
    longest = [0] * len(said)
    for text in training:
        one = words(text)
        for i in whole.get(tuple(one), ()):
            longest[i] = len(one)
        hits: dict[int, set[int]] = defaultdict(set)
        for run in _runs(one, shortest):
            for i, at in places.get(run, ()):
                hits[i].add(at)
        for i, starts in hits.items():
            longest[i] = max(longest[i], _in_a_row(starts) + shortest - 1)
    return longest


def _in_a_row(numbers: set[int]) -> int:
    """The most numbers that follow each other."""
    best = now = 1
    for one, other in pairwise(sorted(numbers)):
        now = now + 1 if other == one + 1 else 1
        best = max(best, now)
    return best
