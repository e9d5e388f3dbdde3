"""The gold rule of the corner shop: how good is a reply to a customer's message?

``gold_score(messages, response)`` reads only the text of the last user message and the text of the reply.
It finds the customer's item and problem in the message, then adds and subtracts:

======================  =======  ==========================================================================
part                    points   when
======================  =======  ==========================================================================
item                    +1.0     names the customer's item after "your", "the", "a", ... and no foreign item
remedy                  +1.0     promises the remedy of this problem, and the remedy of no other problem
concrete                +1.0     a promise says when or at what cost ("today", "free of charge")
opening                 +1.0     a complaint gets an apology, a request gets thanks or gladness, at the start
closing                 +1.0     the last sentence is a warm close, and not the one that opened
form                    +0.5     8 to 40 words, 1 to 5 sentences, each starting with a capital and ended
blunt                   -1.0     a rude phrase (-1.5 for two or more); opening and closing then earn nothing
wrong remedy            -0.5     promises the remedy of another problem; "remedy" then earns nothing
foreign item            -0.5     for each item that is not in the message, at most -1.0
vague                   -0.5     "somehow", "maybe", "sooner or later", ...
repetition              -1.0     a sentence, five words in a row, or one long word said again and again
too long                -1.0     more than 45 words
unfinished              -1.0     the text does not end with ``.``, ``!`` or ``?``
word salad              -1.0     fewer than one word in four is a function word
======================  =======  ==========================================================================

The sum is kept within -2 (also the score of an empty reply) and 5.5 (a perfect reply).
The file needs nothing but the standard library and may be loaded from its path.
"""

import itertools
import re
from typing import NamedTuple

LOWEST, HIGHEST = -2.0, 5.5
MIN_WORDS, MAX_WORDS, TOO_MANY_WORDS = 8, 40, 45

# Items by kind. No name is contained in another one as whole words.
HARD = (
    "teapot", "soup bowl", "flower vase", "picture frame", "wall mirror", "candle holder", "flower pot", "bookshelf",
    "wooden stool", "cutting board", "glass jar", "plate rack", "bird house", "chess set", "toy train", "globe",
    "coat rack", "coffee table", "jewel box", "cake stand",
)  # fmt: skip
MACHINE = (
    "kettle", "toaster", "desk lamp", "alarm clock", "radio", "hair dryer", "hand mixer", "coffee grinder", "torch",
    "wall clock", "sewing machine", "music box", "bicycle pump", "kitchen scale", "fan heater", "record player",
    "camera", "lawn mower",
)  # fmt: skip
SOFT = (
    "scarf", "wool hat", "raincoat", "apron", "cardigan", "backpack", "blanket", "pillow", "tablecloth", "rug",
    "sweater", "handbag", "curtain", "hammock", "bath robe", "winter jacket",
)  # fmt: skip
ITEMS = HARD + MACHINE + SOFT
COLOURS = ("red", "blue", "green", "yellow", "black", "white", "brown", "grey", "pink", "orange", "purple", "silver")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_COLOUR = "(?:" + "|".join(COLOURS) + ")"


class Problem(NamedTuple):
    """One kind of customer message: how to see it, what remedy it needs, and which items can have it."""

    cue: str  # pattern in the customer's message, lower case
    remedy: str  # pattern in a sentence of the reply, lower case
    complaint: bool  # True: wants an apology; False: wants thanks or gladness
    items: tuple[str, ...]


# The order matters: the first cue found in the message decides.
PROBLEMS: dict[str, Problem] = {
    "cancel": Problem(
        r"\bcancel\b|\bcall off\b|\bstop (the|my) order\b|\bno longer (want|need)\b|\btake my order\b.*\boff\b",
        r"\bcancel(led)?\b|\bstop(ped)? the order\b",
        False,
        ITEMS,
    ),
    "address": Problem(
        r"\baddress\b|\bmoved\b|\bmoving\b|\bnew (house|flat)\b",
        r"\b(change[d]?|update[d]?|correct(ed)?|note[d]?|wrote down|write down) the (new |delivery )?address\b",
        False,
        ITEMS,
    ),
    "gift_wrap": Problem(
        r"\bwrap(ped|ping)?\b|\bgift paper\b|\bribbon\b", r"\bwrap(ped|ping)?\b|\bribbon\b", False, ITEMS
    ),
    "overcharged": Problem(
        r"\b(over)?charged\b|\bpaid twice\b|\btwice\b|\btoo much\b|\bbill\b",
        r"\b(extra|second|double) (payment|charge|money)\b",
        True,
        ITEMS,
    ),
    "hours": Problem(
        r"\bare you open\b|\bopening (hours|times)\b|\b(open|close|shut)\b|\bwhat time\b",
        r"\bopen (from|until|between)\b|\bdoors? (is|are|stays?) open\b",
        False,
        ITEMS,
    ),
    "stock": Problem(
        r"\bin stock\b|\bdo you (have|sell|keep)\b|\bavailable\b|\bhave you got\b|\b(any|one|many).* left\b"
        r"|\bsold out\b",
        r"\baside for you\b|\breserved?\b|\bin stock\b",
        False,
        ITEMS,
    ),
    "missing_part": Problem(
        r"\bmissing\b|\bcame without\b|\bthere (is|was) no (lid|screw|cable|handle|stand|cover|plug|hook)\b"
        r"|\blacks\b|\bforgot the\b|\bleft out\b|\bnot in the box\b",
        r"\bmissing (part|piece)\b",
        True,
        HARD + MACHINE,
    ),
    "how_to": Problem(
        r"\bhow (do|does|should|can|to)\b|\binstructions\b|\bguide\b|\bfigure out\b",
        r"\bguide\b|\binstructions\b",
        False,
        MACHINE,
    ),
    "not_working": Problem(
        r"\bstopped working\b|\bturn on\b|\bwill not start\b|\bnoise\b|\bwent dead\b|\bdoes not work\b|\bfaulty\b"
        r"|\bgave up\b|\bquit\b",
        r"\brepair(ed|s)?\b|\bmend(ed|s)?\b",
        True,
        MACHINE,
    ),
    "wrong_size": Problem(
        r"\btoo (small|big|large|tight|short|long)\b|\bfit(s)?\b|\bwrong size\b|\bsize\b",
        r"\b(right|correct|other|another|better) size\b|\bsize that fits\b|\bsize you need\b",
        True,
        SOFT,
    ),
    "wrong_colour": Problem(
        rf"\bwrong colour\b|\b{_COLOUR}\b.*\b{_COLOUR}\b",
        r"\b(right|correct|proper) colour\b|\bcolour you (chose|ordered|picked|asked for|wanted)\b",
        True,
        ITEMS,
    ),
    "wrong_item": Problem(
        r"\bwrong (item|thing|box|article)\b|\binstead of\b|\bbut (got|received|found|you sent)\b|\bsomething else\b",
        r"\b(wrong|right|correct) (one|item|thing|box)\b",
        True,
        ITEMS,
    ),
    "broken": Problem(
        r"\bbroken\b|\bcracked\b|\bsmashed\b|\bin pieces\b|\bdamaged\b|\bshattered\b|\b(dent|crack|hole)\b|\bbent\b",
        r"\breplacement\b|\b(will|can|shall|to|us) replace\b",
        True,
        HARD + MACHINE,
    ),
    "return": Problem(
        r"\breturn\b|\bsend(ing)? back\b|\bchanged my mind\b|\bmoney back\b|\bgive back\b|\bbring back\b|\btake back\b"
        r"|\bdo not (like|want)\b",
        r"\bfull refund\b|\breturn label\b|\brefund (you|the price)\b",
        False,
        ITEMS,
    ),
    "late": Problem(
        r"\bnot (arrived|come|been delivered|shown up)\b|\bwaiting\b|\bwhere is\b|\b(late|overdue)\b|\bno sign\b"
        r"|\bnever (came|arrived|brought)\b|\bdid not come\b",
        r"\b(track|trace) the (parcel|delivery)\b|\b(ask|call|ring|phone) the courier\b|\bnew delivery date\b",
        True,
        ITEMS,
    ),
}

CONCRETE = re.compile(
    r"\b(today|tomorrow|tonight|right away|straight away|at once|every day|before noon|first thing|weekdays)\b"
    r"|\bthis (morning|afternoon|evening|week)\b|\b(on|by|before|to) (mon|tues|wednes|thurs|fri|satur|sun)day\b"
    r"|\bwithin (an|one|two|three) (hours?|days?)\b|\bfree of charge\b|\bat no (extra )?cost\b|\bfor free\b"
    r"|\bat our cost\b|\bwithout extra cost\b"
)
APOLOGY = re.compile(r"\bsorry\b|\bapologi[sz]e\b|\bapologies\b|\bapology\b")
GLADNESS = re.compile(r"\bthanks?\b|\bglad\b|\bhappy\b|\bpleasure\b|\bgladly\b|\bkind of you\b")
CLOSE = re.compile(
    r"\bthank you\b|\bthanks\b|\bhave a (nice|lovely|good|pleasant)\b|\bwe (hope|wish)\b|\bwrite to us\b"
    r"|\blet us know\b|\bkind (regards|wishes)\b|\bwarm (regards|wishes)\b|\bbest wishes\b|\blook forward\b|\bwelcome\b"
    r"|\bsee you\b"
)
BLUNT = re.compile(
    r"\bnot our (problem|fault|job)\b|\byour own fault\b|\bstop (asking|writing|complaining)\b|\bdeal with it\b"
    r"|\bwhatever\b|\btoo bad\b|\b(do not|don't|could not) care\b|\bnothing we can do\b|\byou should have\b|\bno idea\b"
    r"|\bdo not bother\b|\bcalm down\b|\bso what\b|\bthat is life\b|\bhurry up\b|\bsilly\b|\bstupid\b|\bbusy\b"
    r"|\bgo away\b|\bread the box\b|\bwhat do you (want|expect)\b|\bshut up\b|\bwaste of\b"
)
VAGUE = re.compile(
    r"\bsomehow\b|\bat some point\b|\bone way or another\b|\bmaybe\b|\bmight\b|\bperhaps\b|\bwe will see\b"
    r"|\bsooner or later\b|\bsomething or other\b|\bsome day\b|\bhave a think\b|\bmore or less\b"
)
NEGATION = re.compile(r"\b(not|never|no longer|cannot|nobody|refuse|without a|neither|nor)\b|n't\b")
PROMISE = re.compile(r"\b(will|can|have|has|are|is|let us|bring|use|give)\b")
_FUNCTION_TEXT = (
    "a an the this that these those your our my his her its their you we i it he she they us me them him one and "
    "or but if so as than then when while because of to in on at by for from with about into out up off over back "
    "is are was were be been am has have had do does did will would shall should can could may not no there here "
    "any all some very just please"
)
FUNCTION_WORDS = frozenset(_FUNCTION_TEXT.split())

_ITEM = re.compile(r"\b(" + "|".join(re.escape(name) for name in sorted(ITEMS, key=len, reverse=True)) + r")s?\b")
_NAMED = r"\b(?:your|the|this|that|a|an|another|our|new|lovely|{colour})\s+(?:[a-z]+\s+)?{item}s?\b"
_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
_SENTENCE = re.compile(r"[^.!?]+[.!?]*")


def last_user_message(messages: list[dict[str, str]]) -> str:
    """Return the content of the last message of the user, or an empty text."""
    for message in reversed(messages):
        if message.get("role") == "user":
            return message.get("content", "")
    return ""


def find_items(text: str) -> list[str]:
    """Return the shop's items named in the text, in order, each once."""
    return list(dict.fromkeys(match.group(1) for match in _ITEM.finditer(text.lower())))


def find_problem(text: str) -> str | None:
    """Return the kind of problem that the customer's message is about, or None."""
    lowered = text.lower()
    for name, problem in PROBLEMS.items():
        if re.search(problem.cue, lowered):
            return name
        if name == "wrong_colour" and len(find_items(text)) > 1:  # two items: one was ordered, another one came
            return "wrong_item"
    return None


def split_sentences(text: str) -> list[str]:
    """Split a text into its sentences, with their end marks."""
    return [part.strip() for part in _SENTENCE.findall(text) if part.strip(" \n\t.!?")]


def promised_remedies(sentences: list[str]) -> dict[str, str]:
    """Return the remedies promised by the sentences (problem name -> sentence).

    A negated sentence, one without a verb of promise and one of fewer than four words promise nothing.
    """
    found: dict[str, str] = {}
    for sentence in (s.lower() for s in sentences):
        if NEGATION.search(sentence) or not PROMISE.search(sentence) or len(sentence.split()) < 4:
            continue
        for name, problem in PROBLEMS.items():
            if re.search(problem.remedy, sentence):
                found.setdefault(name, sentence)
    return found


def is_repetitive(sentences: list[str], words: list[str]) -> bool:
    """True if a sentence or five words in a row come twice, a long word four times, or any word twice in a row."""
    plain = [" ".join(_WORD.findall(sentence.lower())) for sentence in sentences]
    grams = list(zip(words, words[1:], words[2:], words[3:], words[4:], strict=False))
    long_words = [word for word in words if len(word) >= 4 and word not in FUNCTION_WORDS]
    return (
        len(set(plain)) < len(plain)
        or len(set(grams)) < len(grams)
        or any(long_words.count(word) >= 4 for word in set(long_words))
        or any(a == b for a, b in itertools.pairwise(words))
    )


def score_parts(messages: list[dict[str, str]], response: str) -> dict[str, float]:
    """Return the points of every part of the rule, as named in the table above (only those that are not zero)."""
    prompt, text = last_user_message(messages), response.strip()
    sentences, words = split_sentences(text), _WORD.findall(text.lower())
    if not words:
        return {"empty": LOWEST}
    lowered = text.lower()
    asked, named = find_items(prompt), find_items(text)
    foreign = [item for item in named if item not in asked]
    problem = find_problem(prompt)
    remedies = promised_remedies(sentences)
    wrong = [name for name in remedies if name != problem] if problem else []
    blunt = len(BLUNT.findall(lowered))
    ended = text[-1] in ".!?"
    parts: dict[str, float] = {}

    if asked and not foreign:
        pattern = _NAMED.format(colour=_COLOUR, item=re.escape(asked[0]))
        parts["item"] = 1.0 if re.search(pattern, lowered) else 0.0
    if problem in remedies and not wrong:
        parts["remedy"] = 1.0
    parts["concrete"] = 1.0 if any(CONCRETE.search(sentence) for sentence in remedies.values()) else 0.0
    if not blunt and sentences:
        wanted = APOLOGY if problem and PROBLEMS[problem].complaint else GLADNESS
        opener = next((i for i, s in enumerate(sentences[:2]) if wanted.search(s.lower())), None)
        parts["opening"] = 1.0 if opener is not None else 0.0
        last = len(sentences) - 1
        closes = last > 0 and last != opener and CLOSE.search(sentences[last].lower()) and ended
        parts["closing"] = 1.0 if closes else 0.0
    tidy = ended and len(sentences) <= 5 and all(s[0].isupper() for s in sentences)
    parts["form"] = 0.5 if tidy and MIN_WORDS <= len(words) <= MAX_WORDS else 0.0

    parts["blunt"] = -1.0 if blunt == 1 else -1.5 if blunt else 0.0
    parts["wrong remedy"] = -0.5 if wrong else 0.0
    parts["foreign item"] = max(-1.0, -0.5 * len(foreign))
    parts["vague"] = -0.5 if VAGUE.search(lowered) else 0.0
    parts["repetition"] = -1.0 if is_repetitive(sentences, words) else 0.0
    parts["too long"] = -1.0 if len(words) > TOO_MANY_WORDS else 0.0
    parts["unfinished"] = 0.0 if ended else -1.0
    parts["word salad"] = -1.0 if 4 * sum(word in FUNCTION_WORDS for word in words) < len(words) else 0.0
    return {name: points for name, points in parts.items() if points}


def gold_score(messages: list[dict[str, str]], response: str) -> float:
    """Score a reply to the last user message: a multiple of 0.5 from -2 (worst) to 5.5 (perfect)."""
    return min(HIGHEST, max(LOWEST, sum(score_parts(messages, response).values())))
