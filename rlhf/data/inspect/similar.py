"""Texts that are nearly the same.

Two texts are when at least four fifths of their shingles, all runs of three words, are in both (Jaccard ≥ 0.8), case,
punctuation and white space aside: a word in fifteen may differ. MinHash with locality-sensitive hashing (Broder 1997;
of long texts by one order in many bins, Li et al. 2012) finds candidates, and each is then compared exactly, so that
none is named wrongly; at the threshold one in twenty is missed, above 0.85 fewer than one in a hundred. Texts under six
words are not compared: `2 + 2` is no near-copy of `2 * 2`.
"""

import re
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rlhf.data.inspect.material import UNSPACED

SHINGLE = 3
THRESHOLD = 0.8
LEAST_WORDS = 6
_BANDS, _ROWS = 16, 8
_LONG = 1024
"""Shingles of a text from which on one order of them does: about eight then fall in each bin. Texts that are alike are
at least four fifths as long as each other, and those about this long are looked for in both ways."""
_MOST_CANDIDATES = 50
"""Texts that one is compared with: templates make thousands alike, of which the first few will do."""
_WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
"""A run of letters and digits; a letter where a script puts no space between words."""

_SPACES = {code: " " for code in range(128) if not re.match(r"\w", chr(code))}

Shingles = np.ndarray[Any, np.dtype[np.uint32]]
_NOTHING = np.empty(0, dtype=np.uint32)


class _Hashes(dict[str, int]):
    """A number for each word."""

    def __missing__(self, word: str) -> int:
        self[word] = number = zlib.crc32(word.encode())
        return number


class Shingler:
    """Texts to sets of shingles, each a 32-bit number."""

    def __init__(self) -> None:
        self._hashes = _Hashes()
        self._known: dict[str, Shingles] = {}

    def words(self, texts: Iterable[str]) -> Shingles:
        """The words of some texts, one after the other, each as a number."""
        return np.concatenate([_NOTHING, *map(self._words, texts)])

    def _words(self, text: str) -> Shingles:
        if text not in self._known:
            found = text.lower().translate(_SPACES).split() if text.isascii() else _WORD.findall(text.lower())
            numbers = map(self._hashes.__getitem__, found)
            self._known[text] = np.fromiter(numbers, dtype=np.uint32, count=len(found))
        return self._known[text]


def shingles(words: Shingles) -> Shingles:
    """The runs of three words; of fewer words, one for all of them."""
    if len(words) < SHINGLE:
        return words[:1] * np.uint32(31) + words[1:] if len(words) == 2 else words
    return words[:-2] * np.uint32(0x9E3779B1) + words[1:-1] * np.uint32(0x85EBCA77) + words[2:]


def jaccard(one: Shingles, other: Shingles) -> float:
    """Share of different shingles in both; two empty sets are the same."""
    both = len(np.intersect1d(one, other))
    union = len(np.union1d(one, other))
    return both / union if union else 1.0


Band = tuple[str, int, bytes]
"""How texts are looked for, which part of a sketch it is, and what that holds."""
_BINS = np.arange(0, 2**32, 2**32 // (_BANDS * _ROWS), dtype=np.uint32)


def _bands(way: str, least: Shingles) -> list[Band]:
    return [(way, i, band.tobytes()) for i, band in enumerate(least.reshape(_BANDS, _ROWS))]


class Index:
    """Finds texts nearly like a new one; a text may have several parts, each of which must be alike."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._factors, self._terms = rng.integers(0, 2**32, (2, _BANDS * _ROWS), dtype=np.uint32) | np.uint32(1)
        self._bands: dict[Band, list[int]] = {}
        self._parts: dict[int, Sequence[Shingles]] = {}

    def sketch(self, parts: Sequence[Shingles]) -> list[Band]:
        """The MinHash of all parts together, in bands: the least shingle in each of many orders, or in each of as many
        bins of one order."""
        found = np.concatenate(parts)
        sketch: list[Band] = []
        if len(found) * THRESHOLD <= _LONG:
            sketch += _bands("short", (found[:, None] * self._factors + self._terms).min(axis=0))
        if len(found) >= _LONG * THRESHOLD:
            ordered = np.sort(found * self._factors[0] + self._terms[0])
            first = np.searchsorted(ordered, _BINS)  # an empty bin has what is next
            sketch += _bands("long", ordered[first % len(ordered)])
        return sketch

    def add(self, key: int, parts: Sequence[Shingles], sketch: Sequence[Band]) -> None:
        self._parts[key] = parts
        for band in sketch:
            self._bands.setdefault(band, []).append(key)

    def like(self, parts: Sequence[Shingles], sketch: Sequence[Band]) -> int | None:
        """The first text that is nearly like this one."""
        found = {key for band in sketch for key in self._bands.get(band, ())}
        for key in sorted(found)[:_MOST_CANDIDATES]:
            if all(jaccard(mine, its) >= THRESHOLD for mine, its in zip(parts, self._parts[key], strict=True)):
                return key
        return None
