"""Messages to tokens, for every stage, in this one place.

A conversation is rendered by the chat template, cut into pieces where the assistant's turns begin and end, and each
piece is tokenised by itself. So a prompt has the same ids whether an answer follows it or a policy is about to write
one, and an answer has the ids that a policy would have to produce, the stop token last.
"""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from jinja2 import TemplateError

from rlhf.data.lines import first_line
from rlhf.data.records import Demonstration, Message, Preference, Prompt, Rated
from rlhf.errors import DataError

_MARK = "\ufdd0"
"""A noncharacter, which Unicode leaves to programs: no chat template has it, and hardly a text."""


def _unused(messages: Sequence[Message]) -> str:
    """The first noncharacter that the messages do not hold; where they hold every one, the first, which is lost."""
    marks = map(chr, range(ord(_MARK), 0xFDF0))
    return next((mark for mark in marks if all(mark not in m["content"] for m in messages)), _MARK)


class Encoded(NamedTuple):
    """A conversation as tokens."""

    ids: list[int]
    assistant_mask: list[int]
    """1 on every token the assistant writes, its stop tokens included; as long as `ids`."""
    where: str = ""
    """`file:line`, for messages."""

    @property
    def last_answer(self) -> list[int]:
        """What the assistant writes at the end."""
        start = next((i for i in range(len(self.ids), 0, -1) if not self.assistant_mask[i - 1]), 0)
        return self.ids[start:]


@dataclass(frozen=True, eq=False)
class ChatFormat:
    """A tokenizer with the template, stop tokens and pad token that a model was trained with."""

    tokenizer: Any
    template_text: str
    stop_ids: tuple[int, ...]
    pad_id: int
    new_ids: tuple[int, ...] = ()
    """Tokens that this stage adds to its parent's vocabulary."""

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Tokens that a policy is given: the messages, then the opening of the assistant's turn."""
        return [i for ids, _ in self._pieces(messages, generation=True) for i in ids]

    def encode(self, messages: Sequence[Message]) -> Encoded:
        """A whole conversation that ends with the assistant's turn; its last token is a stop token."""
        assert messages[-1]["role"] == "assistant", "a conversation to encode ends with the assistant's turn"
        *earlier, (answer, answered) = self._pieces(messages, generation=False)
        ids: list[int] = []
        mask: list[int] = []
        for piece, said in earlier:
            ids += piece
            mask += [1] * said + [0] * (len(piece) - said)
        answer = answer[:answered]
        if not answer or answer[-1] not in self.stop_ids:
            answer = [*answer, self.stop_ids[0]]
        return Encoded(ids + answer, mask + [1] * len(answer))

    def pair(self, preference: Preference) -> tuple[list[int], list[int], list[int]]:
        """`(prompt_ids, chosen_ids, rejected_ids)`: the prompt's ids and a side's make up the whole conversation's."""
        prompt, chosen = self.answered(preference.prompt, preference.chosen)
        return prompt, chosen, self.answered(preference.prompt, preference.rejected)[1]

    def answered(self, prompt: Sequence[Message], answer: Sequence[Message]) -> tuple[list[int], list[int]]:
        """`(prompt_ids, answer_ids)`, which make up the whole conversation's. Raises DataError where they do not."""
        asked, whole = self.prompt_ids(prompt), self.encode([*prompt, *answer]).ids
        if whole[: len(asked)] != asked:
            raise DataError("the chat template renders a prompt otherwise once it is answered; choose another")
        return asked, whole[len(asked) :]

    def says_nothing(self, answer: Sequence[int]) -> bool:
        """Whether an answer is stop tokens alone."""
        return all(token in self.stop_ids for token in answer)

    def render(self, messages: Sequence[Message], generation: bool) -> str:
        """The conversation as text; with `generation`, the opening of the assistant's turn at the end.

        Raises DataError when the template refuses the order of the roles, or fails on them.
        """
        try:
            return self.tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=generation, chat_template=self.template_text
            )
        except TemplateError as error:
            raise DataError(f"the chat template refuses the messages ({_roles(messages)}): {error}") from None
        except Exception as error:  # a template adds, indexes and calls as any program does
            what = f"{type(error).__name__}: {first_line(error)}"
            raise DataError(f"the chat template fails on the messages ({_roles(messages)}): {what}") from None

    # -------------------------------------------------------------------------------------------- pieces

    def _pieces(self, messages: Sequence[Message], generation: bool) -> Iterator[tuple[list[int], int]]:
        """`(ids, answered)` of each piece; its first `answered` tokens are the assistant's."""
        first = True
        mark = _unused(messages)
        messages = [self._unforged(message, mark) for message in messages]
        for text, answer in self._cut(messages, self.render(messages, generation)):
            ids: list[int] = []
            for part in text.split(mark):
                ids += self.text_ids(part) if first else self._ids_within(part)
                first = first and not part
            if ids or answer:
                yield ids, self._answered(ids) if answer else 0

    def _unforged(self, message: Message, mark: str) -> Message:
        """A message whose text cannot end its turn and open another: `mark` splits the names of the template's tokens.

        An answer keeps stop tokens at its very end, and names that are part of no turn's frame, such as [THINK].
        """
        said, end = message["content"], ""
        names = self._names_in_template
        if message["role"] == "assistant":
            names, at = self._names_in_frame, self._stops.search(said) if self._stops else None
            said, end = (said[: at.start()], at[0]) if at else (said, "")
        return {**message, "content": names.sub(mark, said) + end} if names else message

    @cached_property
    def _names_in_template(self) -> re.Pattern[str] | None:
        """Inside the names of special tokens that stand in the template or end a text."""
        return self._inside_names(self.template_text)

    @cached_property
    def _names_in_frame(self) -> re.Pattern[str] | None:
        """Inside the names of special tokens that stand about a turn or end a text."""
        return self._inside_names(self.render([{"role": "user", "content": "a"}], generation=True))

    def _inside_names(self, text: str) -> re.Pattern[str] | None:
        """After the first character of the name of any special token that stands in a text, or ends one."""
        special = {i: str(token) for i, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        ends = {*self.stop_ids, self.pad_id, self.tokenizer.bos_token_id, self.tokenizer.eos_token_id}
        names = [name for i, name in special.items() if len(name) > 1 and (i in ends or name in text)]
        return re.compile("|".join(f"(?<={re.escape(n[0])})(?={re.escape(n[1:])})" for n in names)) if names else None

    @cached_property
    def _stops(self) -> re.Pattern[str] | None:
        """Names of stop tokens at the end of a text, looked for only where such names and white space begin."""
        names = [re.escape(name) for name in self.tokenizer.convert_ids_to_tokens(list(self.stop_ids))]
        begins = "".join(rf"(?<!{name})" for name in (r"\s", *names))
        return re.compile(rf"{begins}(?:\s*+(?:{'|'.join(names)}))+\s*\Z") if names else None

    def _cut(self, messages: Sequence[Message], whole: str) -> Iterator[tuple[str, bool]]:
        """The rendered text in pieces, each with whether the assistant wrote it."""
        at = 0
        for i, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            start = self._start(messages[:i], whole)
            end = self._end(messages[: i + 1], whole, start, last=i + 1 == len(messages))
            assert at <= start <= end
            yield whole[at:start], False
            yield whole[start:end], True
            at = end
        yield whole[at:], False

    def _start(self, before: Sequence[Message], whole: str) -> int:
        """Where the answer to `before` starts: where a policy would begin to write."""
        if before:
            head = self.render(before, generation=True)
        else:
            head = self.render([{"role": "assistant", "content": _MARK}], generation=False).partition(_MARK)[0]
        if not whole.startswith(head):
            raise DataError(
                "the chat template opens an answer otherwise in a finished conversation than for generation; "
                "training and generation would differ: choose another with `template`"
            )
        return len(head)

    def _end(self, until: Sequence[Message], whole: str, start: int, last: bool) -> int:
        """Where the answer that ends `until` ends. Templates that render a last turn otherwise: at its stop token."""
        if last:
            return len(whole)
        text = self.render(until, generation=False)
        if len(text) >= start and whole.startswith(text):
            return len(text)
        stops = self.tokenizer.convert_ids_to_tokens(list(self.stop_ids))
        ends = [found + len(stop) for stop in stops if (found := whole.find(stop, start)) >= 0]
        if not ends:
            raise DataError("the chat template does not show where an earlier answer ends; choose another")
        return min(ends)

    def _answered(self, ids: list[int]) -> int:
        """Tokens of an assistant's piece up to its last stop token; all where the template writes none."""
        return next((i for i in range(len(ids), 0, -1) if ids[i - 1] in self.stop_ids), len(ids))

    # -------------------------------------------------------------------------------------------- tokens

    def text_ids(self, text: str) -> list[int]:
        """Tokens of text by itself, no template around it."""
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _ids_within(self, text: str) -> list[int]:
        """Tokens of text that is not the first: without the space that SentencePiece puts before a text."""
        if self._anchor:
            ids = self.text_ids("\n" + text)
            if ids[: len(self._anchor)] == self._anchor:
                return ids[len(self._anchor) :]
        return self.text_ids(text)

    @cached_property
    def _anchor(self) -> list[int]:
        """Tokens of a line end, for tokenizers that put a space before every text; none for the others."""
        spaced = "".join(self.tokenizer.convert_ids_to_tokens(self.text_ids("a"))).startswith("▁")
        return self.text_ids("\n") if spaced else []


def _roles(messages: Sequence[Message]) -> str:
    return ", ".join(message["role"] for message in messages)


# ------------------------------------------------------------------------------------------------ examples that fit


Ledger = dict[str, Any]


def encode_demonstrations(
    records: Sequence[Demonstration], chat: ChatFormat, max_length: int
) -> tuple[list[Encoded], Ledger]:
    """Conversations of at most `max_length` tokens, and the books: rows = used + dropped; `cut` of the used are cut.
    Of the tokens of all that is used, `trained` are the assistant's, `context` are read only, `cut` are gone."""
    books = _Books()
    rows = []
    for record in records:
        with books.row(record.where):
            prompt, answer, cut = record.messages[:-1], record.messages[-1:], 0
            encoded = chat.encode(record.messages)
            if len(encoded.ids) > max_length:
                prompt = fit(chat, prompt, max_length, lambda p, a=answer: len(chat.encode([*p, *a]).ids))
                if prompt is None:
                    raise _DropError("too long")
                whole, encoded = encoded, chat.encode([*prompt, *answer])
                cut = len(whole.ids) - len(encoded.ids)
            if chat.says_nothing(encoded.last_answer):
                raise _DropError("empty answer")
            rows.append(encoded._replace(where=record.where))
            trained = sum(encoded.assistant_mask)
            books.use(trained, len(encoded.ids) - trained, cut)
    return rows, books.ledger(len(rows))


def encode_preferences(
    records: Sequence[Preference], chat: ChatFormat, max_length: int, one_answer: bool = False, ties: bool = False
) -> tuple[list[dict[str, Any]], Ledger]:
    """{prompt_ids, chosen_ids, rejected_ids, margin, tie, where}: the prompt and either answer take at most
    `max_length` tokens; `margin` is 0 where the row has none.

    With `one_answer`, pairs that part before the last turn are dropped: the user's later turns would be among the
    tokens that a policy learns from. A reward model may read them. Without `ties`, pairs of which neither is better
    are dropped.
    """
    books = _Books()
    rows = []
    for record in records:
        with books.row(record.where):
            if record.tie and not ties:
                raise _DropError("tie")
            if one_answer and max(len(record.chosen), len(record.rejected)) > 1:
                raise _DropError("parts before the last turn")
            prompt, chosen, rejected = chat.pair(record)
            whole = len(prompt)
            if len(prompt) + max(len(chosen), len(rejected)) > max_length:
                kept = fit(chat, record.prompt, max_length, lambda p, r=record: _length(chat, replace(r, prompt=p)))
                if kept is None:
                    raise _DropError("too long")
                prompt, chosen, rejected = chat.pair(replace(record, prompt=kept))
            if chat.says_nothing(chosen) or chat.says_nothing(rejected):
                raise _DropError("empty answer")
            if chosen == rejected:
                raise _DropError("identical")
            ids = {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected}
            rows.append({**ids, "margin": record.margin or 0.0, "tie": record.tie, "where": record.where})
            books.use(len(chosen) + len(rejected), len(prompt), whole - len(prompt))
    return rows, books.ledger(len(rows))


def encode_rated(
    records: Sequence[Rated], chat: ChatFormat, max_length: int, needs: Sequence[str] = ()
) -> tuple[list[dict[str, Any]], Ledger]:
    """{prompt_ids, completion_ids, numbers, where}, a row for each answer: together at most `max_length` tokens. The
    ledger counts answers; those that have none of the numbers `needs` are dropped, and those of several turns, of which
    some would be the user's."""
    books = _Books()
    rows = []
    for record in records:
        for answer, numbers in record.answers:
            with books.row(record.where):
                if needs and not any(name in numbers for name in needs):
                    raise _DropError(f"no number called {' or '.join(needs)}")
                if len(answer) > 1:
                    raise _DropError("parts before the last turn")
                asked, ids = chat.answered(record.prompt, answer)
                whole = len(asked)
                if len(asked) + len(ids) > max_length:
                    kept = fit(chat, record.prompt, max_length, lambda p, a=answer: len(chat.encode([*p, *a]).ids))
                    if kept is None:
                        raise _DropError("too long")
                    asked, ids = chat.answered(kept, answer)
                if chat.says_nothing(ids):
                    raise _DropError("empty answer")
                books.use(len(ids), len(asked), whole - len(asked))
                said = {"prompt_ids": asked, "completion_ids": ids, "numbers": numbers}
                rows.append({**said, "where": record.where})
    return rows, books.ledger(len(rows))


def encode_prompts(
    records: Sequence[Prompt], chat: ChatFormat, max_prompt_length: int
) -> tuple[list[Prompt], list[list[int]], Ledger]:
    """Prompts of at most `max_prompt_length` tokens: records, cut as their tokens are, the tokens, and the books."""
    books = _Books()
    prompts, rows = [], []
    for record in records:
        with books.row(record.where):
            ids = chat.prompt_ids(record.messages)
            whole = len(ids)
            if len(ids) > max_prompt_length:
                kept = fit(chat, record.messages, max_prompt_length, lambda p: len(chat.prompt_ids(p)))
                if kept is None:
                    raise _DropError("too long")
                record, ids = replace(record, messages=kept), chat.prompt_ids(kept)
            books.use(0, len(ids), whole - len(ids))
            prompts.append(record)
            rows.append(ids)
    return prompts, rows, books.ledger(len(rows))


# ------------------------------------------------------------------------------------------------ cutting


def fit(
    chat: ChatFormat, prompt: list[Message], limit: int, length: Callable[[list[Message]], int]
) -> list[Message] | None:
    """The prompt, cut from the left until `length(prompt) <= limit`; None where that would leave nothing of it.

    Whole earlier turns go first, up to a turn of the user's; then the beginning of the first turn left. A system
    message stays, and so does the template around what is left. Answers are never cut.
    """
    head = [m for m in prompt[:1] if m["role"] == "system"]
    starts = [i for i, m in enumerate(prompt) if m["role"] == "user" and i > len(head)]
    shorter = [[*head, *prompt[i:]] for i in starts]
    longest = bisect_left(range(len(shorter)), True, key=lambda i: length(shorter[i]) <= limit)
    if longest < len(shorter):
        return shorter[longest]
    shortest = shorter[-1] if shorter else prompt
    if len(shortest) == len(head) or shortest[len(head)]["role"] == "assistant":
        return None
    return _fit_turn(chat, shortest, len(head), limit, length)


def _fit_turn(
    chat: ChatFormat, prompt: list[Message], turn: int, limit: int, length: Callable[[list[Message]], int]
) -> list[Message] | None:
    """Cut tokens off the beginning of one turn's content."""
    ids = chat.text_ids(prompt[turn]["content"])
    kept = len(ids) - (length(prompt) - limit)
    while kept > 0:
        # a cut inside a character of several byte tokens leaves U+FFFD, which the text did not hold
        content = str(chat.tokenizer.decode(ids[-kept:], clean_up_tokenization_spaces=False)).lstrip("\ufffd")
        if not content.strip():
            return None
        candidate = [*prompt[:turn], {**prompt[turn], "content": content}, *prompt[turn + 1 :]]
        surplus = length(candidate) - limit
        if surplus <= 0:
            return candidate
        kept -= surplus
    return None


def _length(chat: ChatFormat, preference: Preference) -> int:
    prompt, chosen, rejected = chat.pair(preference)
    return len(prompt) + max(len(chosen), len(rejected))


class _DropError(Exception):
    """The record cannot be kept; the message is the reason."""


@dataclass
class _Books:
    """Counts what becomes of each record."""

    rows: int = 0
    cut: int = 0
    tokens: Counter[str] = field(default_factory=lambda: Counter(trained=0, context=0, cut=0))
    dropped: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def row(self, where: str) -> Iterator[None]:
        """One record: a drop inside is counted, an error gets its place."""
        self.rows += 1
        try:
            yield
        except _DropError as reason:
            self.dropped[str(reason)] += 1
        except DataError as error:
            raise DataError(f"{where}: {error}") from None

    def use(self, trained: int, context: int, cut: int) -> None:
        """Tokens of a record that is kept, and those that were cut off."""
        self.cut += cut > 0
        self.tokens.update(trained=trained, context=context, cut=cut)

    def ledger(self, used: int) -> Ledger:
        assert self.rows == used + self.dropped.total(), "every record must be accounted for"
        books = {"rows": self.rows, "used": used, "cut": self.cut, "dropped": dict(self.dropped)}
        return {**books, "tokens": dict(self.tokens)}
