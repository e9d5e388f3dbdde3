"""Texts that are nearly the same.

Two texts are when at least four fifths of their shingles, all runs of three words, are in both (Jaccard ≥ 0.8), case,
punctuation and white space aside: a word in fifteen may differ. MinHash with locality-sensitive hashing (Broder 1997)
finds candidates, and each is then compared exactly, so that none is named wrongly; at the threshold one in twenty is
missed, above 0.85 fewer than one in a hundred. Texts under six words are not compared: `2 + 2` is no near-copy of
`2 * 2`.
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
    """The runs of three words, each once; of fewer words, one for all of them."""
    if len(words) < SHINGLE:
        return words[:1] * np.uint32(31) + words[1:] if len(words) == 2 else words
    return np.unique(words[:-2] * np.uint32(0x9E3779B1) + words[1:-1] * np.uint32(0x85EBCA77) + words[2:])


def jaccard(one: Shingles, other: Shingles) -> float:
    """Share of shingles in both; two empty sets are the same."""
    both = len(np.intersect1d(one, other, assume_unique=True))
    union = len(one) + len(other) - both
    return both / union if union else 1.0


class Index:
    """Finds texts nearly like a new one; a text may have several parts, each of which must be alike."""

    def __init__(self) -> None:
        from datasketch import MinHash, MinHashLSH

        self._blank = MinHash(num_perm=_BANDS * _ROWS, hashfunc=int)
        self._lsh: Any = MinHashLSH(num_perm=_BANDS * _ROWS, params=(_BANDS, _ROWS))
        self._parts: dict[int, Sequence[Shingles]] = {}

    def sketch(self, parts: Sequence[Shingles]) -> Any:
        """The MinHash of all parts together."""
        made = self._blank.copy()
        made.update_batch(np.concatenate(list(parts)).tolist())
        return made

    def add(self, key: int, parts: Sequence[Shingles], sketch: Any) -> None:
        self._parts[key] = parts
        self._lsh.insert(key, sketch, check_duplication=False)

    def like(self, parts: Sequence[Shingles], sketch: Any) -> int | None:
        """The first text that is nearly like this one."""
        for key in sorted(self._lsh.query(sketch))[:_MOST_CANDIDATES]:
            if all(jaccard(mine, its) >= THRESHOLD for mine, its in zip(parts, self._parts[key], strict=True)):
                return key
        return None
