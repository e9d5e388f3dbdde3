"""A record as a model is given it: what is read, what is learnt, what is cut off."""

from collections.abc import Iterator, Sequence
from itertools import groupby, islice

from rlhf.data.chat import ChatFormat, fit
from rlhf.data.inspect.material import Material, answers_of, messages_of, sample
from rlhf.data.inspect.private import PERSONAL, SECRETS, masked, within
from rlhf.data.inspect.report import Example, Piece, State
from rlhf.data.records import Demonstration, Message, Rated, Record, prompt_of
from rlhf.errors import DataError

_LOOKED_AT = 200
"""Records among which a typical one is chosen."""
_TRIED = 20
"""Records that are rendered until one fits."""
_SHOWN = 3_000
"""Characters of a piece that are shown."""


def examples(material: Material, limit: int, chat: ChatFormat | None, long: Sequence[str] = ()) -> list[Example]:
    """One of the usual length, then one that is cut to `limit` tokens, if any at the places `long` can be."""
    usual = (_example(record, limit, chat) for record in _typical(material)[:_TRIED])
    found = list(islice(filter(None, usual), 1))
    if chat is not None and not any(map(_is_cut, found)):
        cut = (_example(record, limit, chat) for record in material.records if record.where in long)
        found += islice((one for one in cut if one and _is_cut(one)), 1)
    return found


def _typical(material: Material) -> list[Record]:
    """Those without private data first, and of them the nearest to the middle length."""
    sized = [(sum(len(m["content"]) for m in messages_of(record)), record) for record in material.records]
    middle = sorted(size for size, _ in sized)[len(sized) // 2] if sized else 0
    some = sorted(sample(sized, _LOOKED_AT), key=lambda one: abs(one[0] - middle))
    return sorted((record for _, record in some), key=_is_private)


def _is_private(record: Record) -> bool:
    return any(True for message in messages_of(record) for _ in within(message["content"], SECRETS | PERSONAL))


def _is_cut(example: Example) -> bool:
    return any(piece.state == "cut" for piece in example.parts["prompt"])


def _example(record: Record, limit: int, chat: ChatFormat | None) -> Example | None:
    """None where the template refuses it, or no prompt would be left."""
    if chat is None:
        parts = {name: [_piece(m["content"], "text", m["role"]) for m in said] for name, said in _sides(record)}
        prompt = [_piece(m["content"], "text", m["role"]) for m in prompt_of(record)]
        return Example(record.where, {"prompt": prompt, **parts})
    try:
        return _rendered(record, limit, chat)
    except DataError:
        return None


def _sides(record: Record) -> list[tuple[str, list[Message]]]:
    """The first two answers; of rated ones with what was said of them."""
    sides = answers_of(record)[:2]
    if not isinstance(record, Rated):
        return sides
    told = (", ".join(f"{name} {value:g}" for name, value in numbers.items()) for _, numbers in record.answers)
    return [
        (f"answer {n}: {numbers}", said) for n, ((_, said), numbers) in enumerate(zip(sides, told, strict=False), 1)
    ]


# ------------------------------------------------------------------------------------------------ with a tokenizer


def _rendered(record: Record, limit: int, chat: ChatFormat) -> Example | None:
    whole, sides = prompt_of(record), _sides(record)

    def length(prompt: list[Message]) -> int:
        if not sides:
            return len(chat.prompt_ids(prompt))
        return max(len(chat.encode([*prompt, *said]).ids) for _, said in sides)

    kept = whole if length(whole) <= limit else fit(chat, whole, limit, length)
    if kept is None:
        return None
    asked = len(chat.prompt_ids(kept)) if kept else 0
    context = list(_pieces(chat, chat.prompt_ids(kept), [0] * asked)) if kept else []
    parts: dict[str, list[Piece]] = {}
    for name, said in sides:
        ids, mask, _ = chat.encode([*kept, *said])
        if isinstance(record, Demonstration):  # earlier answers are learnt too
            asked = asked or mask.index(1)
            context = list(_pieces(chat, ids, mask, 0, asked))
        parts[name] = list(_pieces(chat, ids, mask, asked))
    return Example(record.where, {"prompt": [*_cut(whole, kept), *context], **parts})


def _cut(whole: list[Message], kept: list[Message]) -> Iterator[Piece]:
    """What is gone from the beginning of a prompt."""
    if whole == kept:
        return
    head = 1 if whole[0]["role"] == "system" and len(whole) > 1 else 0
    gone = len(whole) - len(kept)
    for message in whole[head : head + gone]:
        yield _piece(message["content"], "cut", message["role"])
    before, after = whole[head + gone], kept[head]
    if before != after:
        yield _piece(before["content"][: -len(after["content"])], "cut", before["role"])


def _pieces(
    chat: ChatFormat, ids: list[int], mask: list[int], start: int = 0, end: int | None = None
) -> Iterator[Piece]:
    """The text of tokens from `start` to `end`, by what is learnt of it; each token that ends an answer by itself."""
    at = start
    states: list[State] = [_state(chat, token, bit) for token, bit in zip(ids[start:end], mask[start:end], strict=True)]
    for state, group in groupby(states):
        size = len(list(group))
        yield _piece(_decode(chat, ids[: at + size])[len(_decode(chat, ids[:at])) :], state)
        at += size


def _state(chat: ChatFormat, token: int, learnt: int) -> State:
    if not learnt:
        return "context"
    return "stop" if token in chat.stop_ids else "trained"


def _decode(chat: ChatFormat, ids: list[int]) -> str:
    return str(chat.tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def _piece(text: str, state: State, role: str = "") -> Piece:
    """With private data masked, and the middle of a long text left out."""
    text = masked(text)
    if len(text) > _SHOWN:
        half = _SHOWN // 2
        text = f"{text[:half]} […{len(text) - 2 * half:,} characters…] {text[-half:]}"
    return Piece(text, state, role)
