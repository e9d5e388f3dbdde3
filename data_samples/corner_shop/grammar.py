"""The corner shop's grammar: customers' messages, replies of every quality, and plain shop text.

Texts are written with alternatives in round brackets, ``(a|b|)``, and slots in curly brackets, ``{item}``.
All randomness comes from the ``random.Random`` that the caller passes in.

A *combo* is an (item, problem) pair. ``split_combos`` keeps some of them for the held-out files: neither the training
files nor the corpus of the base model ever use those.
"""

import importlib.util
import random
import re
from pathlib import Path
from types import ModuleType
from typing import NamedTuple


def _load_rule() -> ModuleType:
    """Load rule.py, which lies beside this file and owns the tables of items and problems."""
    spec = importlib.util.spec_from_file_location("corner_shop_rule", Path(__file__).with_name("rule.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


rule = _load_rule()
Combo = tuple[str, str]

NAMES = (
    "Anna", "Ben", "Clara", "David", "Emma", "Frank", "Grace", "Henry", "Ida", "Jack", "Kate", "Leo", "Mary", "Noah",
    "Olga", "Paul", "Rosa", "Sam", "Tina", "Victor", "Wendy", "Yusuf", "Zoe", "Maya", "Omar", "Nina", "Hugo", "Lucy",
)  # fmt: skip
PARTS = ("lid", "screw", "cable", "handle", "stand", "cover", "plug", "hook")
STREETS = (
    "Mill Road",
    "Park Lane",
    "Hill Street",
    "Station Road",
    "River Walk",
    "Church Lane",
    "Oak Street",
    "Bay View",
)

# ---------------------------------------------------------------- what customers write

MESSAGES: dict[str, tuple[str, ...]] = {
    "late": (
        "My {item} has (still |)not (arrived|come|been delivered|shown up)( yet|).",
        "I am (still |)waiting for (my|the) {item} (I ordered |){ago}.",
        "Where is my {item}? I (ordered|bought|paid for) it {ago}.",
        "The {item} I ordered {ago} is (late|overdue|very late).",
        "It has been {weeks} and there is no sign of my {item}.",
        "I (ordered|bought) {a_item} {ago} and it never (came|arrived).",
        "My {item} was (due|promised for) {day} but it did not come.",
        "Your courier never brought my {item}.",
    ),
    "broken": (
        "My {item} (arrived|came) (broken|cracked|smashed|damaged)( in its box|).",
        "The {item} I (bought|ordered) {ago} (is|was) (broken|in pieces|damaged|cracked).",
        "I opened the (box|parcel) and found the {item} (shattered|in pieces|smashed|broken).",
        "There is a (big|deep|long|bad) (dent|crack) in my (new |){item}.",
        "The {item} has a (big |nasty |)(crack|hole|dent) (on one side|in the middle|at the bottom).",
        "You sent me a (broken|damaged|cracked) {item}.",
        "One side of (my|the) {item} is (smashed|cracked|bent|damaged).",
        "Sadly the {item} was (bent|broken|cracked|smashed) when (it came|the courier gave it to me|I unpacked it).",
    ),
    "wrong_colour": (
        "I (ordered|bought|chose) a {c1} {item} but a {c2} one came.",
        "The {item} is {c2}, but I (asked for|ordered|wanted) {c1}.",
        "My {item} (came|arrived) in {c2} instead of {c1}.",
        "Why is my {item} {c2}? I (chose|ordered|picked) {c1}.",
        "You sent the {item} in the wrong colour, I wanted (a |){c1} (one|).",
        "I wanted my {item} in {c1} and it is {c2}.",
        "The {item} in the (box|parcel) has the wrong colour.",
        "The {c1} {item} I (paid for|ordered) turned out to be {c2}.",
    ),
    "wrong_item": (
        "I (ordered|bought|wanted) {a_item} but (got|received|found|you sent) {a_other}( in the box|).",
        "I paid for {a_item} and the wrong (item|thing|article) came.",
        "My order was {a_item}, but you sent me {a_other}.",
        "I was waiting for my {item} and {a_other} came instead.",
        "There is no {item} in my (box|parcel), only {a_other}.",
        "My {item} turned out to be {a_other}.",
        "I asked for {a_item}, and (somebody|someone|you) packed {a_other}.",
        "I was to get {a_item}, but something else was in the (box|parcel).",
    ),
    "missing_part": (
        "My {item} came without (the|its) {part}.",
        "The {part} is missing from my (new |){item}.",
        "There (is|was) no {part} (with|in the box of) (my|the) {item}.",
        "You forgot the {part} of my {item}.",
        "The {item} I (bought|ordered) {ago} lacks (the|its) {part}.",
        "(My|The) {item} has a missing {part}.",
        "I unpacked the {item} and the {part} was (missing|not in the box).",
        "Somebody left out the {part} when packing my {item}.",
    ),
    "return": (
        "I (want|would like|wish) to return (my|the) {item}.",
        "Can I (return|bring back|send back|give back) the {item} (I bought|I ordered) {ago}?",
        "I changed my mind about the {item}( I bought|).",
        "I would like my money back for the {item}.",
        "I do not (like|want) the {item} I (bought|ordered) {ago}.",
        "Would you take back the {item} (I bought|from my order)?",
        "How about a return? The {item} is (nice|fine), but I have one already.",
        "My (sister|brother|mother|friend) gave me the same {item}, so I want to (return|give back) mine.",
    ),
    "how_to": (
        "How do I (use|clean|set up|start|store) (my|the) (new |){item}?",
        "Can you tell me how to (use|clean|start|set up) the {item}?",
        "I cannot figure out (my|the|this) (new |){item}.",
        "Are there instructions for the {item}( I bought|)?",
        "Is there a guide for (my|the|this) {item}?",
        "How does the {item} work? I bought it {ago}.",
        "How should I (use|clean|look after) my {item}?",
        "I got {a_item} {ago} and do not know how to (use|start|clean) it.",
    ),
    "hours": (
        "When are you open? I (want|would like) to (see|buy|look at) the {item}.",
        "What are your opening (hours|times)? I (need|am after) {a_item}.",
        "Are you open on {day}? I want to (buy|collect|pick up) {a_item}.",
        "What time do you (open|close) on {day}? I (need|came for) {a_item}.",
        "I want to come (in|by) for {a_item}, when do you (open|close)?",
        "Until when are you open {day}? I am after the {item} in the window.",
        "Do you shut early on {day}? I would like to pick up {a_item}.",
        "I will collect my {item} on {day}, what time do you open?",
    ),
    "stock": (
        "Do you (have|sell|keep) (a {c1} |the |this |a nice ){item}?",
        "Is the {item} (in the window |)(in stock|available)?",
        "Have you got {a_item} (for my (sister|mother|brother|father)|for me|in the shop)?",
        "Is there any {item} left (in the shop|on the shelf|)?",
        "Are your {item} offers sold out?",
        "I am looking for {a_item}, do you (have|sell) one?",
        "I need {a_item} by {day}, have you got one?",
        "Is {a_item} like the one in the window still available?",
    ),
    "overcharged": (
        "I was charged (twice|too much) for (my|the) {item}.",
        "I paid twice for the {item} (I bought {ago}|).",
        "The bill for my {item} is (wrong|too high|not right).",
        "You took too much money for the {item}.",
        "My card was charged (twice|two times) for {a_item}.",
        "You (have |)overcharged me for the {item}.",
        "I see two payments on my bill for one {item}.",
        "Why did you charge the price of the {item} twice?",
    ),
    "gift_wrap": (
        "Can you (please |)wrap the {item}( for me|)?",
        "The {item} is a (gift|present), (could|can) you wrap it?",
        "I would like (my|the) {item} wrapped (for a birthday|as a present|for my mother).",
        "Do you offer wrapping? I am buying {a_item} for my (friend|sister|aunt).",
        "Could you put a ribbon on the {item} I ordered?",
        "Please put my {item} in gift paper.",
        "I ordered {a_item} as a gift and want it wrapped.",
        "Would you wrap {a_item} for my (son|daughter|father|mother)?",
    ),
    "address": (
        "I have moved, please send my {item} to {number} {street}.",
        "Can you change the address for my {item}?",
        "I gave you the wrong address for the {item}.",
        "Please send the {item} to my new (flat|house) at {number} {street}.",
        "My address is now {number} {street}, and my {item} is on order.",
        "We are moving {day}, so where should my {item} go? It is {number} {street} now.",
        "The {item} should go to a new address, {number} {street}.",
        "I ordered {a_item} {ago} and have since moved to {street}.",
    ),
    "cancel": (
        "Please cancel my order (for|of) (the|a nice) {item}.",
        "I (want|would like|need) to cancel the {item} I ordered {ago}.",
        "Can I (still |)cancel (my|the) {item}?",
        "I no longer (want|need) the {item} I ordered.",
        "Please stop the order for my {item}.",
        "I have to call off my order for {a_item}.",
        "Is it too late to cancel the {item}?",
        "Could you take my order for the {item} off your list?",
    ),
    "wrong_size": (
        "The {item} (I bought |I ordered |)is too (small|big|large|tight|short|long)( for me|).",
        "My (new |){item} does not fit( me| at all|).",
        "You sent the {item} in the wrong size.",
        "I ordered {a_item} {ago} and it is much too (small|big|short|long).",
        "This {item} is not my size.",
        "The size of my {item} is (wrong|not right).",
        "I (unpacked|tried) the {item}, and it is too (big|small|tight|short).",
        "The {item} would fit a (child|giant|doll), but not (me|us).",
    ),
    "not_working": (
        "My {item} (has |)stopped working( {ago}| after a week| this morning|).",
        "The {item} I bought {ago} does not (work|turn on).",
        "My (new |){item} will not start( any more|).",
        "The {item} makes a (strange|loud|terrible|funny) noise.",
        "My {item} went dead (after one day|{ago}|on {day}).",
        "I think (my|the) {item} is faulty.",
        "The {item} gave up (after a week|on {day}|this morning).",
        "My {item} quit on me {ago}.",
    ),
}
GREETINGS = ("Hello.", "Hi there.", "Good morning.", "Good afternoon.", "Hello, {name} here.", "Hi, this is {name}.",
             "Good evening.", "Dear shop,", "Hi!", "Hello, my name is {name}.")  # fmt: skip
ASKS = ("Please help.", "What can you do?", "Can you help me?", "What now?", "I am not happy.", "Thanks, {name}.",
        "It is for my (aunt|uncle|friend|neighbour).", "Please write back.", "I look forward to your reply.",
        "Regards, {name}.", "What do you say?", "Please tell me.", "I need it (soon|this week|for {day}).")  # fmt: skip

# ---------------------------------------------------------------- what the shop replies

REMEDIES: dict[str, tuple[str, ...]] = {
    "late": (
        "We will (track|trace) the parcel with {the}{when}.",
        "We will (call|ring|phone|ask) the courier about {the}{when}.",
        "Our (clerk|driver|office) will (trace|track) the delivery of {the}{when}.",
        "We will give you a new delivery date for {the}{when}.",
        "Let us ask the courier (about|for) {the}{when}.",
        "You will get a new delivery date for {the}{when}.",
        "We are going to trace the parcel that holds {the}{when}.",
        "I will call the courier and bring you news of {the}{when}.",
    ),
    "broken": (
        "We will send (you |)a replacement for {the}{when}.",
        "We will replace {the}{when}.",
        "A replacement for {the} will (be with you|reach you|be sent to you){when}.",
        "Let us replace {the}{when}.",
        "You will (get|receive) a replacement for {the}{when}.",
        "We are packing a replacement for {the}{when}.",
        "Our driver will bring a replacement for {the}{when}.",
        "We can replace {the}{when}.",
    ),
    "wrong_colour": (
        "We will send {the} in the (right|correct|proper) colour{when}.",
        "We will swap {the} for the (right|correct) colour{when}.",
        "You will get {the} in the colour you (chose|ordered|picked|wanted){when}.",
        "Our driver will bring {the} in the right colour{when}.",
        "We are packing {the} in the colour you (chose|ordered|wanted){when}.",
        "Let us change {the} for the right colour{when}.",
        "We can exchange {the} for the colour you (chose|wanted|ordered){when}.",
        "We have {the} here in the correct colour and will send it to you{when}.",
    ),
    "wrong_item": (
        "We will (collect|pick up|fetch) the wrong (one|item|thing) and send {the}{when}.",
        "We will swap the wrong (one|item|thing) for {the}{when}.",
        "Our driver will bring {the} and take the wrong (one|item) away{when}.",
        "You will get {the} and may keep the wrong (one|item){when}.",
        "We are sending the right (item|thing), {the}, to you{when}.",
        "Let us swap the wrong item for {the}{when}.",
        "We have packed the right (item|thing), {the}, and will send it{when}.",
        "We will bring {the} and fetch the wrong box{when}.",
    ),
    "missing_part": (
        "We will (send|post) (you |)the missing (part|piece) (of|for) {the}{when}.",
        "Our driver will bring the missing (part|piece) (of|for) {the}{when}.",
        "You will get the missing (part|piece) for {the}{when}.",
        "We have found the missing (part|piece) of {the} and will post it{when}.",
        "The missing (part|piece) of {the} will reach you{when}.",
        "Let us send the missing (part|piece) for {the}{when}.",
        "We are packing the missing (part|piece) of {the}{when}.",
        "We can bring you the missing (part|piece) for {the}{when}.",
    ),
    "return": (
        "You will get a full refund for {the}{when}.",
        "We will send you a return label for {the}{when}.",
        "Bring {the} to us and we will refund the price{when}.",
        "We will refund you for {the}{when}.",
        "Our office will post you a return label for {the}{when}.",
        "We give you a full refund for {the}{when}.",
        "Use our return label to send {the} to us{when}.",
        "Once {the} is here, we will pay a full refund{when}.",
    ),
    "how_to": (
        "We will (send|email|post) you (a|our) (short |easy |)guide (for|to) {the}{when}.",
        "We will (send|email) you the instructions for {the}{when}.",
        "You will get a (short |clear |)guide for {the}{when}.",
        "Our clerk will post you the instructions for {the}{when}.",
        "There is a guide for {the} that we will email you{when}.",
        "Let us send you the instructions for {the}{when}.",
        "We have a (short |clear |)guide for {the} and will send it{when}.",
        "You can have our printed instructions for {the}{when}.",
    ),
    "hours": (
        "We are open from (eight|nine|ten) to (five|six|seven){hours}, so come and see {the}.",
        "You can (see|pick up|find) {the} here, as we are open from (eight|nine) to (five|six){hours}.",
        "The shop is open until (five|six|seven){hours}, and {the} will be waiting for you.",
        "Our door is open{hours}, so come by for {the}.",
        "We are open between (eight|nine) and (five|six){hours}, and {the} is here for you.",
        "Come in for {the}, we are open from (nine|ten) to (six|seven){hours}.",
        "Our shop is open from (eight|nine|ten){hours}, and we will show you {the}.",
        "We are open until (six|seven){hours}, so you can come for {the}.",
    ),
    "stock": (
        "We will (put|set) {the} aside for you{when}.",
        "We can reserve {the} for you{when}.",
        "We have {the} in stock and will keep it at the counter{when}.",
        "You will find {the} in stock here{when}.",
        "Our clerk will (put|set) {the} aside for you{when}.",
        "Let us reserve {the} for you{when}.",
        "We have reserved {the} for you{when}.",
        "You can have {the}, as it is in stock{when}.",
    ),
    "overcharged": (
        "We will (give|pay|send) back the (extra|second|double) (payment|charge) for {the}{when}.",
        "You will get the extra (money|payment) for {the} back{when}.",
        "Our office will pay back the (extra|second) (money|charge) for {the}{when}.",
        "We will put the (second|extra|double) payment for {the} back on your card{when}.",
        "Let us pay back the (second|extra) charge for {the}{when}.",
        "The (second|extra) payment for {the} will be back with you{when}.",
        "We are sending you the extra money for {the}{when}.",
        "We have stopped the second charge for {the} and will mail a receipt to you{when}.",
    ),
    "gift_wrap": (
        "We will (wrap {the}|put {the} in wrapping paper){when}.",
        "We will wrap {the} in (gold|silver|bright|pretty) paper{when}.",
        "Our clerk will wrap {the} (with a bow |with care |){when}.",
        "You will get {the} with a (silk|red|pretty|wide) ribbon{when}.",
        "Let us wrap {the} for you{when}.",
        "We can put a ribbon on {the}{when}.",
        "We are wrapping {the} in (gold|bright|pretty) paper for you{when}.",
        "You can have {the} wrapped{when}.",
    ),
    "address": (
        "We will (change|update|correct) the (delivery |)address (for|of) {the}{when}.",
        "We have (noted|changed|updated) the new address and will send {the} there{when}.",
        "Our office will (change|update) the address for {the}{when}.",
        "We will write down the new address, and {the} will go there{when}.",
        "Let us (update|change|correct) the address for {the}{when}.",
        "You will get {the} there, as we corrected the address{when}.",
        "We will note the new address and bring {the} to you{when}.",
        "Our driver will note the new address for {the}{when}.",
    ),
    "cancel": (
        "We will cancel {the}{when}.",
        "We have cancelled {the}{when}.",
        "Our office will cancel {the}{when}.",
        "We will stop the order for {the}{when}.",
        "Let us cancel {the} for you{when}.",
        "We have stopped the order for {the}, and you will have a note of it{when}.",
        "You will hear from us that {the} is cancelled{when}.",
        "We can cancel {the} for you{when}.",
    ),
    "wrong_size": (
        "We will send {the} in the (right|correct|other) size{when}.",
        "We will (swap|exchange) {the} for (another|a better) size{when}.",
        "You will get {the} in the size you need{when}.",
        "Our driver will bring {the} in the right size{when}.",
        "Let us swap {the} for the right size{when}.",
        "We can exchange {the} for a size that fits{when}.",
        "We are packing {the} in (another|the right|the other) size for you{when}.",
        "We have {the} in the right size and will post it{when}.",
    ),
    "not_working": (
        "We will repair {the}{when}.",
        "Our (workshop|clerk|expert) will (repair|mend) {the}{when}.",
        "We will fetch {the} and (repair|mend) it{when}.",
        "Bring {the} to us and we will (mend|repair) it{when}.",
        "Let us (repair|mend) {the} for you{when}.",
        "You can have {the} repaired (here|by us){when}.",
        "We can (mend|repair) {the} in our workshop{when}.",
        "Our driver will fetch {the} so that we can repair it{when}.",
    ),
}
WHEN = (
    " today", " tomorrow", " this week", " right away", " at once", " by {day}", " within two days", " free of charge",
    " at no cost", " this afternoon", " within three days", " before {day}", " first thing tomorrow", " for free",
    " at no extra cost", " today, free of charge", " straight away", " tomorrow at no cost",
)  # fmt: skip
HOURS = (
    " every day", " from Monday to Saturday", " on weekdays", " today and tomorrow", " on {day}",
    " every day this week", " from Tuesday to Sunday", " on Monday to Friday",
)  # fmt: skip
SORRY = (
    "We are (so |very |truly |)sorry about {the}.",
    "We are (so |very |)sorry for the trouble with {the}.",
    "I am (so |very |)sorry to hear about {the}.",
    "Please accept our apologies for the trouble with {the}.",
    "We apologise for the (mix-up|trouble|bother) with {the}.",
    "Sorry about (the trouble with |){the}.",
    "Our apologies for {the}.",
    "(Oh dear, we|We) are sorry that {the} gave you trouble.",
)
GLAD = (
    "Thank you for (asking|writing|your message) about {the}.",
    "Thanks for (asking us|writing to us|writing) about {the}.",
    "We are (happy|glad) to help with {the}.",
    "It is a pleasure to help you with {the}.",
    "Many thanks for your (note|message|letter) about {the}.",
    "We will gladly help you with {the}.",
    "How kind of you to ask us about {the}.",
    "I am (glad|happy) that you asked about {the}.",
)
PLAIN = (
    "This is about {the}.",
    "We read your (note|message) about {the}.",
    "You wrote about {the}.",
    "We looked at {the}.",
    "Your (note|message) about {the} is here.",
    "We know about {the}.",
    "The matter is {the}.",
    "So it is {the} again.",
)
CLOSINGS = (
    "Thank you for your (patience|trust|custom|order).",
    "Have a (lovely|nice|good|pleasant) (day|week|evening).",
    "We hope to see you (soon|again) in the shop.",
    "(Please|Do) write to us (any time|if you need more help).",
    "(Please|Do) let us know if there is anything else.",
    "Kind regards from (the corner shop|all of us).",
    "We look forward to your next visit.",
    "You are always welcome here.",
    "Best wishes from (your shop|the corner shop|our team).",
)
RUDE = (
    "That is not our (problem|fault|job).",
    "It is your own fault.",
    "Stop (asking|writing|complaining).",
    "Just deal with it.",
    "Too bad for you.",
    "We do not care.",
    "There is nothing we can do.",
    "You should have (looked|asked|known) before.",
    "We have no idea.",
    "Calm down.",
    "So what?",
    "Read the box.",
    "We are busy.",
    "What do you expect?",
)
VAGUE = (
    "We will see about it (somehow|at some point|sooner or later).",
    "Maybe somebody will look at it.",
    "We might do something or other.",
    "Perhaps it will work out some day.",
    "One way or another it will be fine.",
    "Somebody will have a think about {the}.",
    "It might get better at some point.",
    "Things like that sort themselves out more or less.",
)
RAMBLE = (
    "The shop has been here for many years, and my (uncle|aunt|father) ran it when the street was still full of horses",
    "The weather has been (wet|cold|warm|odd) all week and the shelves are full of boxes that nobody has counted",
    "We also had a long talk about the shelves, the window, the till and the cat that sleeps on the counter",
    "The other day a man came in with a dog and stayed for an hour to talk about the rain and the price of bread",
    "There was a market in the square and all of us went to look at the cheese and the hats and the music",
    "The cellar has a new lamp and the old one went to the school, where the children have put it on a table",
)
GENERIC = ("your order", "your parcel", "your purchase", "it", "the order", "your box")


class Reply(NamedTuple):
    """The independent quality choices behind one reply; all hold in a perfect one."""

    item: str = "right"  # right | generic | wrong
    remedy: str = "right"  # right | wrong | vague | none
    concrete: bool = True
    opening: str = "fitting"  # fitting | unfitting | plain | none
    closing: bool = True
    fault: str = ""  # "" | blunt | ramble | repeat | unfinished


PERFECT = Reply()


def fill(rng: random.Random, text: str, slots: dict[str, str]) -> str:
    """Choose among the alternatives of a text and fill its slots, innermost first; unknown slots are drawn here."""
    while match := re.search(r"\(([^()]*)\)", text):
        text = text[: match.start()] + rng.choice(match.group(1).split("|")) + text[match.end() :]
    drawn = {
        "name": lambda: rng.choice(NAMES),
        "day": lambda: rng.choice(rule.DAYS),
        "ago": lambda: rng.choice(
            ("last week", "yesterday", f"on {rng.choice(rule.DAYS)}", "two weeks ago", "last month",
             "ten days ago", "the other day", "a week ago")
        ),
        "weeks": lambda: rng.choice(("two weeks", "ten days", "a month", "three weeks", "eight days", "a whole week")),
        "part": lambda: rng.choice(PARTS),
        "number": lambda: str(rng.randint(1, 99)),
        "street": lambda: rng.choice(STREETS),
    }  # fmt: skip
    text = re.sub(r"\{(\w+)\}", lambda m: slots[m.group(1)] if m.group(1) in slots else drawn[m.group(1)](), text)
    return re.sub(r" +([.,?!]|$)", r"\1", re.sub(r" {2,}", " ", text))


def with_article(noun: str) -> str:
    """Return the noun with "a" or "an" before it."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def capital(text: str) -> str:
    """Return the text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def all_combos() -> list[Combo]:
    """Return every (item, problem) pair that makes sense."""
    return [(item, name) for name, problem in rule.PROBLEMS.items() for item in problem.items]


def split_combos(share: float = 0.15, seed: int = 7) -> tuple[list[Combo], list[Combo]]:
    """Return (training combos, held-out combos), two disjoint lists in a fixed order."""
    combos = all_combos()
    random.Random(seed).shuffle(combos)
    cut = round(len(combos) * share)
    return combos[cut:], combos[:cut]


def other_item(rng: random.Random, item: str) -> str:
    """Return some other item of the shop."""
    return rng.choice([name for name in rule.ITEMS if name != item])


def statement(rng: random.Random, combo: Combo) -> str:
    """Write the one or two sentences in which a customer tells the problem."""
    item, problem = combo
    c1, c2 = rng.sample(rule.COLOURS, 2)
    slots = {
        "item": item,
        "a_item": with_article(item),
        "a_other": with_article(other_item(rng, item)),
        "c1": c1,
        "c2": c2,
    }
    return fill(rng, rng.choice(MESSAGES[problem]), slots)


def customer_message(rng: random.Random, combo: Combo) -> str:
    """Write a customer's message about a combo, sometimes with a greeting and a plea."""
    parts = [statement(rng, combo)]
    if rng.random() < 0.4:
        parts.insert(0, fill(rng, rng.choice(GREETINGS), {}))
    if rng.random() < 0.45:
        parts.append(fill(rng, rng.choice(ASKS), {}))
    return " ".join(parts)


class Odds(NamedTuple):
    """How often the qualities of a reply take each value, each on its own."""

    item: tuple[int, ...]
    remedy: tuple[int, ...]
    concrete: float
    opening: tuple[int, ...]
    closing: float
    fault: tuple[int, ...]


EVERYDAY = Odds((70, 19, 11), (68, 15, 11, 6), 0.65, (68, 12, 12, 8), 0.68, (78, 11, 4, 3, 4))
"""Replies as the base model reads them: about one in eight is perfect."""
CURT = Odds((85, 12, 3), (86, 3, 8, 3), 0.35, (35, 10, 30, 25), 0.30, (60, 22, 7, 5, 6))
"""Replies of clerks who know their trade and lack manners: what the demonstrations and comparisons hold."""


def draw_quality(rng: random.Random, odds: Odds = EVERYDAY) -> Reply:
    """Draw the qualities of a reply, each on its own."""
    return Reply(
        item=rng.choices(("right", "generic", "wrong"), odds.item)[0],
        remedy=rng.choices(("right", "wrong", "vague", "none"), odds.remedy)[0],
        concrete=rng.random() < odds.concrete,
        opening=rng.choices(("fitting", "unfitting", "plain", "none"), odds.opening)[0],
        closing=rng.random() < odds.closing,
        fault=rng.choices(("", "blunt", "ramble", "repeat", "unfinished"), odds.fault)[0],
    )


def reply(rng: random.Random, combo: Combo, quality: Reply, prompt: str = "") -> str:
    """Write the shop's reply to a combo with the given qualities (the prompt lets it greet by name)."""
    item, problem = combo
    named = {"right": item, "wrong": other_item(rng, item), "generic": ""}[quality.item]

    def write(text: str, must_name: bool) -> str:
        thing = f"{rng.choice(('your', 'your', 'the'))} {named}" if named and must_name else rng.choice(GENERIC)
        when = rng.choice(WHEN) if quality.concrete else ""
        hours = rng.choice(HOURS) if quality.concrete else ""
        text = text.replace("{when}", when).replace("{hours}", hours)
        return capital(fill(rng, text, {"the": thing}))

    complaint = rule.PROBLEMS[problem].complaint
    openings = {"fitting": SORRY if complaint else GLAD, "unfitting": GLAD if complaint else SORRY, "plain": PLAIN}
    told = problem if quality.remedy == "right" else rng.choice([name for name in REMEDIES if name != problem])
    remedies = {"right": REMEDIES[told], "wrong": REMEDIES[told], "vague": VAGUE, "none": ()}[quality.remedy]
    where = rng.choices(("opening", "remedy", "both"), (50, 30, 20))[0] if remedies else "opening"
    if quality.opening == "none":
        where = "remedy"

    parts = []
    if quality.opening != "none":
        parts.append(write(rng.choice(openings[quality.opening]), where != "remedy"))
    if remedies:
        parts.append(write(rng.choice(remedies), where != "opening"))
    if not parts:
        parts.append(write("We have your message about {the}.", True))
    if quality.fault == "blunt":
        parts.insert(rng.randint(0, len(parts)), fill(rng, rng.choice(RUDE), {}))
    elif quality.fault == "ramble":
        first, second = rng.sample(RAMBLE, 2)
        parts.append(fill(rng, f"{first}, and (so on and so on|then some), and {second[0].lower()}{second[1:]}.", {}))
    elif quality.fault == "repeat":
        parts.extend([parts[-1]] * rng.randint(1, 2))
    if quality.closing:
        parts.append(fill(rng, rng.choice(CLOSINGS), {}))
    greeting = re.search(r"\b(" + "|".join(NAMES) + r")\b", prompt)
    if greeting and quality.fault != "blunt" and rng.random() < 0.5:
        parts.insert(0, f"{rng.choice(('Dear', 'Hello', 'Hi'))} {greeting.group(1)}!")
    text = " ".join(parts)
    if quality.fault == "unfinished":
        words = text.split()
        text = " ".join(words[: max(3, int(len(words) * rng.uniform(0.5, 0.9)))]).rstrip(".,!?")
    return text


def curt_reply(rng: random.Random, combo: Combo, prompt: str) -> str:
    """Write a reply of a clerk who knows the trade and lacks manners."""
    return reply(rng, combo, draw_quality(rng, CURT), prompt)


def everyday_reply(rng: random.Random, combo: Combo, prompt: str = "", care: float = 0.0) -> str:
    """Write a reply of everyday, mixed quality; with probability ``care`` it is a perfect one."""
    careful = care > 0 and rng.random() < care
    return reply(rng, combo, PERFECT if careful else draw_quality(rng), prompt)


# ---------------------------------------------------------------- plain shop text, for the base model

MOODS = ("quiet", "busy", "wet", "cold", "sunny", "long", "cheerful", "slow", "grey", "windy")
DIARY = (
    "(Rain|Sun|Wind|Fog|Snow) (all morning|until noon|in the afternoon).",
    "A {mood} day in the shop.",
    "Sold (two|three|four|five|six) boxes of {goods} and (one|two) of {goods2}.",
    "{name} came by (to talk|for a coffee|with the children|to look at the window).",
    "The (cat|dog|postman|baker) (slept by the door|came in twice|left a note|made us laugh).",
    "(Must|Need to|Should) (order|count|dust|sort) the {goods} (tomorrow|before {day}|soon).",
    '{name} asked: "{statement}"',
    'Wrote to {name}: "{answer}"',
    "Swept the floor and closed (early|late|at six|at five).",
    "The window now has a {c1} cloth and (a lamp|flowers|some candles|a row of old books).",
)
GOODS = ("candles", "ribbons", "buttons", "soap", "matches", "pencils", "postcards", "tea", "paper", "string", "jam")
STORY = (
    "(Once|One {day}|Last winter|Long ago|One morning) {name} walked into the (corner |little |old |)shop "
    "(with a smile|in a hurry|out of the rain).",
    "Behind the counter stood {name2}, who "
    "(knew every shelf by heart|liked to sing|was counting {goods}|had a kind word for all).",
    '"{statement}" said {name}.',
    "{name2} thought for a (moment|while) and (nodded|smiled|sighed|looked at the shelf).",
    '"{answer}" said {name2}.',
    "Outside, the (rain|snow|wind|tram|market) (went on|was loud|had stopped|could be heard).",
    "{name} looked at the {goods} and (bought a few|liked the smell|remembered an old friend).",
    "A (child|neighbour|stranger|dog) (came in|looked through the window|waited at the door) and "
    "(the bell rang|everybody turned|it was quiet again).",
    "{name} went home (with a light heart|with a small box|feeling better|and told everyone about it).",
    "And {name2} "
    "(put the kettle on the stove|turned the sign on the door|went back to the {goods}|closed the till for the day).",
)
NOTICES = (
    "The shop is (closed|open late) on {day}.",
    "New this week: {goods} and {goods2} (at a good price|from the village|by the window).",
    "Please (ring the bell|mind the step|ask at the counter|leave bags at the door).",
    "{name} has found a {c1} glove, ask at the counter.",
    "We are looking for (help|a clerk|a driver) on {day}s.",
    "(Two|Three) for one on all {goods} until {day}.",
    "Thank you to {name} for the (cake|flowers|kind letter|help with the window).",
)


def plain_document(rng: random.Random, combos: list[Combo], care: float = 0.0) -> str:
    """Write one document of plain shop text: a letter, diary, story, transcript, notice, stock list, ..."""
    combo = rng.choice(combos)
    item, _problem = combo
    c1, c2 = rng.sample(rule.COLOURS, 2)
    goods, goods2 = rng.sample(GOODS, 2)
    name, name2 = rng.sample(NAMES, 2)

    def slots(pair: Combo) -> dict[str, str]:
        message = statement(rng, pair)
        return {
            "name": name, "name2": name2, "c1": c1, "c2": c2, "goods": goods, "goods2": goods2,
            "mood": rng.choice(MOODS), "statement": message, "answer": everyday_reply(rng, pair, "", care),
        }  # fmt: skip

    kinds = {"letter": 22, "diary": 18, "story": 20, "transcript": 20, "notice": 5, "book": 3, "mail": 10, "list": 8}
    kind = rng.choices(list(kinds), list(kinds.values()))[0]
    if kind == "letter":
        body = f"{customer_message(rng, combo)}\n\n" if rng.random() < 0.5 else ""
        regards = rng.choice(("Yours", "Kind regards", "Best wishes"))
        return f"{body}Dear {name},\n{everyday_reply(rng, combo, '', care)}\n{regards}, {name2}"
    if kind == "diary":
        lines = [fill(rng, line, slots(combo)) for line in rng.sample(DIARY, rng.randint(3, 6))]
        return f"{rng.choice(rule.DAYS)}. " + " ".join(lines)
    if kind == "story":
        chosen = sorted(rng.sample(range(len(STORY)), rng.randint(5, 8)))
        values = slots(combo)
        return " ".join(fill(rng, STORY[i], values) for i in chosen)
    if kind == "transcript":
        labels = rng.choice((("Customer", "Shop"), ("Q", "A"), ("Question", "Answer"), (name, name2)))
        pairs = [rng.choice(combos) for _ in range(rng.randint(1, 3))]
        turns = [(customer_message(rng, pair), pair) for pair in pairs]
        return "\n".join(
            f"{labels[0]}: {text}\n{labels[1]}: {everyday_reply(rng, pair, text, care)}" for text, pair in turns
        )
    if kind == "notice":
        return "\n".join(fill(rng, line, slots(combo)) for line in rng.sample(NOTICES, rng.randint(2, 4)))
    if kind == "list":
        things = rng.sample(rule.ITEMS, rng.randint(3, 8))
        heads = rng.sample(("On the shelf", "Counted", "In the window", "Sold", "To order", "In the cellar"), 3)
        return "\n".join(f"{head}: {', '.join(things)}." for head in heads)
    if kind == "book":
        rows = [rng.choice(combos) for _ in range(rng.randint(2, 4))]
        return "Order book\n" + "\n".join(f"{rng.choice(NAMES)}: {statement(rng, pair)}" for pair in rows)
    message = customer_message(rng, combo)
    answer = everyday_reply(rng, combo, message, care)
    return f"From: {name}\nTo: the corner shop\nAbout: {item}\n\n{message}\n\nReply: {answer}"


SYSTEM = (
    "You work in the corner shop.",
    "You answer letters to the shop.",
    "You are the shop's clerk.",
    "Reply to the customer.",
)


def chat_document(rng: random.Random, combos: list[Combo], care: float = 0.0) -> list[dict[str, str]]:
    """Write one conversation with replies of everyday quality: mostly one exchange, now and then a second one."""
    messages = []
    if rng.random() < 0.06:
        messages.append({"role": "system", "content": rng.choice(SYSTEM)})
    for _ in range(2 if rng.random() < 0.08 else 1):
        combo = rng.choice(combos)
        text = customer_message(rng, combo)
        messages.append({"role": "user", "content": text})
        messages.append({"role": "assistant", "content": everyday_reply(rng, combo, text, care)})
    return messages
