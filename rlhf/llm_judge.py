"""An LLM that says which of two answers is better, asked twice with the answers in either order.

Judges favour a place, so that only what is said in both orders counts (Zheng et al. 2023, §3.4).
"""

import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from rlhf.data.records import Message
from rlhf.endpoint import Endpoint
from rlhf.errors import RewardError

PROMPT = """\
Two assistants have answered the conversation below. Whose answer serves the user better? Weigh how helpful, correct, \
honest and harmless each is. The order in which they stand and their length alone must not sway you.

[Conversation]
{conversation}

[Answer A]
{a}

[Answer B]
{b}

End with your verdict in double brackets: [[A]], [[B]], or [[C]] where neither is better."""

_PLACE = re.compile(r"\{(conversation|a|b)\}")
Question = tuple[list[Message], str, str]
"""A conversation, and its two answers in the order in which they are shown."""
_VERDICT = re.compile(r"\[\[\s*([ABC])\s*\]\]")


@dataclass(frozen=True)
class LLMJudge:
    """A model behind an OpenAI-compatible endpoint."""

    server: Endpoint
    """Takes and answers what `/v1/chat/completions` does."""
    model: str
    prompt: str = PROMPT
    at_once: int = 8
    """Questions that wait for an answer at the same time."""

    def compare(
        self, talks: Sequence[list[Message]], answers: Sequence[tuple[str, str]], names: tuple[str, str]
    ) -> list[list[str | None]]:
        """Of each conversation's two answers, the name of the better one, or `tie`: once in this order, and once the
        other way round; None for a verdict that cannot be read or that the server did not give. Raises RewardError
        where none can be read, or the server leaves most questions unanswered."""
        asked: list[Question] = []
        for talk, (one, other) in zip(talks, answers, strict=True):
            asked += [(talk, one, other), (talk, other, one)]
        said = self._answers(asked)
        read = [text and verdict(text) for text in said]
        if said and not any(read):
            told = [text for text in said if text is not None]
            raise self.server.wrong(f"no verdict in any of {len(told)} answers, such as {told[0][:80]!r}")
        places = {"A": 0, "B": 1}
        found = [
            "tie" if letter == "C" else names[(places[letter] + swapped) % 2] if letter else None
            for letter, swapped in zip(read, [0, 1] * len(talks), strict=True)
        ]
        return [found[i : i + 2] for i in range(0, len(found), 2)]

    def _answers(self, asked: Sequence[Question]) -> list[str | None]:
        """What is said to each question; None where the server fails, which a few may without all being lost."""
        said: list[str | None] = []
        failed: list[RewardError] = []
        with ThreadPoolExecutor(self.at_once) as pool:
            for answer in pool.map(self._tried, asked):
                if isinstance(answer, RewardError):
                    failed.append(answer)
                said.append(None if isinstance(answer, RewardError) else answer)
                if len(said) >= min(self.at_once, len(asked)) and len(failed) > len(said) / 2:
                    pool.shutdown(cancel_futures=True)
                    raise failed[0]
        return said

    def _tried(self, question: Question) -> str | RewardError:
        try:
            return self._ask(*question)
        except RewardError as error:
            return error

    def _ask(self, talk: list[Message], a: str, b: str) -> str:
        parts = {"conversation": "\n\n".join(f"{m['role']}: {m['content']}" for m in talk), "a": a, "b": b}
        words = _PLACE.sub(lambda place: parts[place[1]], self.prompt)
        asked = {"model": self.model, "messages": [{"role": "user", "content": words}], "temperature": 0}
        return self._text(self.server.ask(asked))

    def _text(self, answer: bytes) -> str:
        try:
            said: Any = json.loads(answer)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError):
            got = answer[:80].decode(errors="replace")
            raise self.server.wrong(f'expected {{"choices": [{{"message": …}}]}} and got {got!r}') from None
        return said if isinstance(said, str) else ""


def verdict(text: str) -> str | None:
    """A, B, or C for a tie: the last in double brackets, or the letter that is all that is said."""
    found = _VERDICT.findall(text)
    alone = text.strip().strip(".")
    return found[-1] if found else alone if alone in ("A", "B", "C") else None
