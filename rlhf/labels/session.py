"""One annotator at work on a list of pairs: what is asked next, and what has been said."""

import random
import time
from collections import deque
from collections.abc import Callable, Sequence

from rlhf.labels.book import Book, Verdict, annotator_of, key_of, row_of
from rlhf.labels.pairs import Answer, Pair


class Session:
    """Asks in the order of `pairs`, each pair once; goes on where the annotator stopped."""

    def __init__(
        self, pairs: Sequence[Pair], book: Book, annotator: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.annotator, self.book, self._clock = annotator, book, clock
        known = {pair.key: pair for pair in pairs}
        said = [key_of(row) for row in book.rows if annotator_of(row) == annotator]
        self.total = len(known)
        self._waiting = deque(pair for name, pair in known.items() if name not in said)
        self._past: list[tuple[Pair, bool]] = []
        """What was done, the last at the end: with a pair, and whether it was judged or put off."""
        for row in reversed(book.rows):  # only the end of the file can be taken back
            if annotator_of(row) != annotator or key_of(row) not in known:
                break
            self._past.insert(0, (known[key_of(row)], True))
        self._since: float | None = None
        """When the pair in question was first shown."""

    @property
    def done(self) -> int:
        return self.total - len(self._waiting)

    @property
    def can_undo(self) -> bool:
        return bool(self._past)

    @property
    def pair(self) -> Pair | None:
        """The one in question; None when all have been judged."""
        return self._waiting[0] if self._waiting else None

    def shown(self) -> list[Answer]:
        """The answers in question in an order that is drawn at random, for each annotator the same at every look."""
        assert self.pair is not None
        self._since = self._clock() if self._since is None else self._since
        answers = sorted(self.pair.answers)
        random.Random(f"{self.annotator}/{self.pair.key}").shuffle(answers)
        return answers

    def judge(self, verdict: Verdict) -> None:
        """Write down what the annotator says of the pair in question."""
        assert self.pair is not None
        shown = self.shown()
        assert self._since is not None
        self.book.add(row_of(self.pair, shown, verdict, self.annotator, self._clock() - self._since))
        self._past.append((self._waiting.popleft(), True))
        self._since = None

    def skip(self) -> None:
        """Put the pair in question off to the end; nothing is written."""
        assert self.pair is not None
        self._past.append((self.pair, False))
        self._waiting.rotate(-1)
        self._since = None

    def undo(self) -> None:
        """Ask again what was asked last, and take back what was said of it."""
        if not self._past:
            return
        pair, judged = self._past.pop()
        if judged:
            self.book.undo()
        else:
            self._waiting.remove(pair)
        self._waiting.appendleft(pair)
        self._since = None
