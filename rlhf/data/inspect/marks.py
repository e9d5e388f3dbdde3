"""Text that is not what it seems: placeholders, special tokens, other speakers, control characters, damaged letters."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from rlhf.data.chat import ChatFormat
from rlhf.data.inspect.material import Material, answers_of, graded
from rlhf.data.inspect.report import Finding, Findings

MARKERS = (
    *("<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|endoftext|>", "<|endofprompt|>", "<|end_of_text|>"),
    *("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>", "<|python_tag|>"),
    *("<|header_start|>", "<|header_end|>", "<|eot|>", "<|end|>", "<|start|>", "<|message|>", "<|channel|>"),
    *("<|user|>", "<|assistant|>", "<|system|>", "<start_of_turn>", "<end_of_turn>", "<bos>", "<eos>", "[gMASK]"),
    *("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    *("<｜User｜>", "<｜Assistant｜>", "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>"),
)
"""What the chat templates of common families write around turns."""
_ENDS = re.compile(r"\A\s*(<s>)|(</s>)\s*(?:\Z|<s>)")
"""`<s>` and `</s>` where a template puts them; elsewhere they are HTML that strikes text through."""
_SPEAKER = re.compile(
    r"(?:\A\s*|\n\n)(?:\*\*)?(?:Human|Assistant|User|AI|Bot)(?:\*\*)?:(?=\s|\*\*)"
    r"|^### (?:Instruction|Response|Human|User|Assistant):",
    re.M,
)
_TRANSCRIPT = re.compile(r"\A\s*Human:\s.*\n\nAssistant:", re.S)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_INVISIBLE = re.compile(r"[\u200b\u2060\ufeff\u202a-\u202e\u2066-\u2069]")
_DAMAGE = re.compile(
    r"\ufffd|[\x80-\x9f]|Ã[\xa0-\xbf€‚ƒ„†‡ˆ‰Š‹ŒŽ•˜™š›œžŸ]|Â[\xa0-\xbf€™]|â[€‚„†œ].|ðŸ.|ï»¿|ï¿½|(?:[ÐÑ][\xa0-\xbf€‚„†‡ˆ‰‹…]){3}"
)
"""U+FFFD; Windows-1252 read as Latin-1; and UTF-8 read as Windows-1252, where no language writes such letters."""

_NOTHING = frozenset(("na", "n/a", "nan", "nil", "none", "null", "undefined", "#n/a", "[deleted]", "[removed]"))
"""What programs write where there is no text, in small letters."""

Find = Callable[[str], list[str]]


def check(material: Material, chat: ChatFormat | None) -> Findings:
    """`chat` brings its own special tokens."""
    learnt = _learnt(material)
    return {
        "placeholders": _found(
            material,
            "placeholders",
            material.passages,
            lambda text: [text.strip()] if len(text) < 20 and text.strip().lower() in _NOTHING else [],
            0.005,
            "The whole text is a word that programs write where there is none. Leave it empty where that is what it "
            "means: a row without a prompt or an answer is told of, and this is learnt.",
        ),
        "special_tokens": _tokens(material, chat),
        "speaker_marks": _found(
            material,
            "speaker_marks",
            learnt,
            _transcripts if material.kind == "prompts" else _speakers,
            0.005,
            "Somebody else seems to speak within one message, as where a transcript was not taken apart. Split it into "
            "turns: a model that learns from such answers goes on as the user.",
        ),
        "control_characters": _found(
            material,
            "control_characters",
            material.passages,
            lambda text: [_code(found) for found in _CONTROL.findall(text)],
            0.005,
            "No reader sees them, but they are tokens that a model learns to write. Remove them.",
        ),
        "damaged_text": _found(
            material,
            "damaged_text",
            material.passages,
            lambda text: [] if text.isascii() else [_visible(found) for found in _DAMAGE.findall(text)],
            0.005,
            "Letters were read in a wrong encoding (é as Ã©), or could not be read at all (U+FFFD). Make the file anew "
            "from its source, read and written as UTF-8.",
        ),
        "invisible_characters": _found(
            material,
            "invisible_characters",
            material.passages,
            lambda text: [] if text.isascii() else [_code(found) for found in _INVISIBLE.findall(text)],
            0.05,
            "Zero-width and direction-changing characters, mostly left over from web pages. Texts that look the same "
            "are not, with them: remove those that no language needs.",
        ),
    }


def _learnt(material: Material) -> Iterable[str]:
    """What a model is to imitate, or to answer."""
    if material.kind == "prompts":
        return material.passages
    found: dict[str, None] = {}
    for record in material.records:
        for side, messages in answers_of(record):
            if side != "rejected":
                found |= dict.fromkeys(message["content"] for message in messages if message["role"] == "assistant")
    return found


def _speakers(text: str) -> list[str]:
    return [match.strip() for match in _SPEAKER.findall(text)] if ":" in text else []


def _transcripts(text: str) -> list[str]:
    return ["Human: … Assistant:"] if "Assistant:" in text and _TRANSCRIPT.match(text) else []


def _tokens(material: Material, chat: ChatFormat | None) -> Finding | None:
    own = _special(chat.tokenizer) if chat is not None else frozenset[str]()
    known = dict.fromkeys((*MARKERS, *own))

    def find(text: str) -> list[str]:
        if not own and "<" not in text and "[" not in text:
            return []
        found = [marker for marker in known if marker in text]
        ends = [one for match in _ENDS.finditer(text) if (one := match[1] or match[2])] if "s>" in text else []
        return list(dict.fromkeys(found + ends))

    finding = _found(material, "special_tokens", material.passages, find, 0.005, _LEFT)
    if finding is None or own.isdisjoint(finding.numbers):
        return finding
    return replace(finding, level="warning", says=finding.says.replace(_LEFT, f"{_OWN} {_LEFT}"))


_LEFT = (
    "Chat templates put them in by themselves. Remove them, or read the file in the format that it was rendered from."
)
_OWN = "This tokenizer takes its own for real ones: a prompt may end early, and an answer teaches to write them."


def _special(tokenizer: Any) -> frozenset[str]:
    """Tokens that the tokenizer finds in any text and that mean something of their own."""
    added = tokenizer.added_tokens_decoder.values()
    special = {token.content for token in added if token.special} | set(tokenizer.all_special_tokens)
    return frozenset(token for token in special if token.strip())


# ------------------------------------------------------------------------------------------------ counting


def _found(
    material: Material, name: str, passages: Iterable[str], find: Find, warn_from: float, says: str
) -> Finding | None:
    hits = {passage: found for passage in passages if (found := find(passage))}
    if not hits:
        return None
    where = material.records_with(hits)
    texts = Counter(what for found in hits.values() for what in dict.fromkeys(found))
    shown = ", ".join(what for what, _ in texts.most_common(5)) + (f" and {len(texts) - 5} more" * (len(texts) > 5))
    count, of = material.rows(where), material.rows(range(len(material.records)))
    return Finding(
        name=name,
        level=graded(count / of, warn_from),
        count=count,
        of=of,
        unit="rows",
        says=f"Found: {shown}. {says}",
        places=material.places(where),
        numbers=dict(texts.most_common()),
    )


def _code(character: str) -> str:
    """`U+200B ZERO WIDTH SPACE`"""
    return f"U+{ord(character):04X} {unicodedata.name(character, '')}".strip()


def _visible(text: str) -> str:
    """Letters as they are, what cannot be seen by its number."""
    return " ".join(_code(c) for c in text) if text < "\xa0" or text == "\ufffd" else text
