"""Pairs: two answers to a prompt, the better one named so. Verdicts of a judge on two are in verdicts.py."""

from rlhf.data import messages as m
from rlhf.data.formats.asking import PROMPT, RESPONSE, asked, instructed, opened, said
from rlhf.data.formats.table import TURNS, Answers, Format, Row, named
from rlhf.data.formats.values import integer, listed, margin_of, number, says_tie, shared
from rlhf.data.formats.verdicts import VERDICTS, answers, names_a_side
from rlhf.data.messages import UnusableError, conversation, text, turns
from rlhf.data.records import LABEL, Message, Preference, Rated
from rlhf.data.transcripts import is_transcript, questions, transcript
from rlhf.errors import DataError

_NOUNS = ["response", "answer", "output", "completion", "text", "messages", "conversation", "conversations"]


def _names(alone: str, adjectives: str) -> str:
    """Names that data sets give to an answer by itself, and those of an adjective and a noun."""
    return "|".join([*alone.split(), *(f"{adjective}_{noun}" for adjective in adjectives.split() for noun in _NOUNS)])


CHOSEN = _names(
    "chosen preferred accept accepted better positive good winner win winning pos y_w response_w response_chosen "
    "answer_winning pos_resp correct",
    "chosen preferred accepted better best good winning positive correct safe good_edited edited",
)
REJECTED = _names(
    "rejected reject dispreferred declined worse negative bad loser lose losing neg y_l response_l response_rejected "
    "answer_losing neg_resp incorrect",
    "rejected dispreferred non_preferred declined worse worst bad losing negative incorrect unsafe bad_edited original",
)
_BESIDE = _names("rejected", "rejected")


def pair(row: Row, where: str) -> Preference:
    """{prompt, chosen, rejected}: strings or messages; answers that repeat the prompt, as UltraFeedback's, are fine.
    With `tie`, or argilla's `status: tie`, neither is better."""
    better, worse = named(row, CHOSEN), named(row, REJECTED)
    before = asked(row)
    chosen, rejected = _alone(row, [_side(row, name, before) for name in (better, worse)])
    if before[-1]["role"] == "assistant" and "assistant" in (chosen[0]["role"], rejected[0]["role"]):
        asks = named(row, PROMPT)
        raise DataError(f"{asks}: ends with an answer beside {better}; end it with the user's turn")
    both = [
        before + side if side[0]["role"] == "assistant" else _after(before, opened(row, side))
        for side in (chosen, rejected)
    ]
    return _said(both[0], both[1], row, where, better)


def _said(chosen: list[Message], rejected: list[Message], row: Row, where: str, field: str = "chosen") -> Preference:
    """The pair of two conversations, with how much better the row says that the chosen one is."""
    scores = _scores(row)
    margin = margin_of(row) if scores is None else scores[0] - scores[1]
    tie = says_tie(row) or (scores is not None and margin == 0)
    return m.preference(chosen, rejected, where, margin, field, tie)


def _side(row: Row, name: str, before: list[Message]) -> list[Message]:
    """An answer, or a whole conversation; a text of turns is one where it repeats what was asked before."""
    value = row[name]
    if not isinstance(value, str):
        return turns(row, name, "assistant")
    if is_transcript(value):
        return transcript(value, name)
    talk = questions(value)
    return talk if talk and len(talk) > 1 and m.alike(talk[-2], before[-1]) else [said("assistant", value)]


def _alone(row: Row, sides: list[list[Message]]) -> list[list[Message]]:
    """Answers without the prompt that both texts begin with, where it is long enough to be no turn of phrase."""
    texts = [side[0]["content"].strip() for side in sides if len(side) == 1]
    if len(texts) < 2 or len(texts[0]) < _SENTENCE or texts[0][:_SENTENCE] != texts[1][:_SENTENCE]:
        return sides
    prompt = row[named(row, PROMPT)]
    if not isinstance(prompt, str) or len(prompt := prompt.strip()) < _SENTENCE:
        return sides
    if not all(one.startswith(prompt) and len(one) > len(prompt) for one in texts):
        return sides
    return [[said("assistant", one[len(prompt) :].lstrip())] for one in texts]


_SENTENCE = 20
"""Characters of a prompt that an answer repeats only as a whole."""


def _after(before: list[Message], side: list[Message]) -> list[Message]:
    """A side that repeats the end of a prompt, with what stands before that end. Raises UnusableError for one that has
    nothing of the prompt."""
    for i in range(1, len(before)):
        end = before[i:]
        if len(side) > len(end) and all(map(m.alike, end, side)):
            return [*before[:i], *side]
    asks = " ".join(before[-1]["content"].split())
    heard = (" ".join(message["content"].split()) for message in side if message["role"] != "assistant")
    if side[-1]["role"] == "assistant" and not any(said in asks or asks in said for said in heard):
        raise UnusableError("prompt is not that of the answers")
    return side


_SCORES = {
    better.format(name): worse.format(name)
    for name in ("score", "rating", "avg_rating", "reward")
    for better, worse in (
        ("{}_chosen", "{}_rejected"),
        ("chosen_{}", "rejected_{}"),
        ("chosen-{}", "rejected-{}"),
    )
}
"""Names that data sets give to the chosen answer's score, and to the rejected one's."""


def _scores(row: Row) -> tuple[float, float] | None:
    """Those of the chosen and of the rejected answer, where no margin says more."""
    for better in row if row.get("margin") in (None, "") else ():
        worse = _SCORES.get(better)
        if worse is not None and row[better] is not None and row.get(worse) is not None:
            scores = number(row[better], better), number(row[worse], worse)
            if scores[0] < scores[1]:
                raise DataError(f"{worse}: is {scores[1]:g}, above {better}'s {scores[0]:g}; swap the two answers")
            return scores
    return None


def implicit_prompt(row: Row, where: str) -> Preference:
    """{chosen, rejected}: two lists of messages with a common beginning; one may be the text of its answer alone."""
    better, worse = named(row, CHOSEN), named(row, REJECTED)
    talks = {
        name: opened(row, conversation(row[name], name)) for name in (better, worse) if row[name].__class__ is list
    }
    before = next(iter(talks.values()))[:-1]
    chosen, rejected = [talks.get(name) or [*before, *turns(row, name, "assistant")] for name in (better, worse)]
    return _said(chosen, rejected, row, where, better)


def hh(row: Row, where: str) -> Preference:
    """{chosen, rejected}: two transcripts `\\n\\nHuman: … \\n\\nAssistant: …` (Bai et al. 2022)."""
    sides = [transcript(text(row, name), name) for name in ("chosen", "rejected")]
    if any(side[-1]["role"] != "assistant" for side in sides):
        raise UnusableError("no answer at the end")
    return _said(sides[0], sides[1], row, where)


def common_beginning(row: Row, where: str) -> Preference:
    """{chosen, rejected}: two texts whose common beginning, up to a word's end, is the prompt, or two dialogues."""
    better, worse = text(row, "chosen"), text(row, "rejected")
    if better.strip() == worse.strip():
        raise UnusableError("identical")
    if (chosen := questions(better)) and (rejected := questions(worse)):
        return _said(chosen, rejected, row, where)
    start = shared(better, worse)
    while start and not better[start - 1].isspace():
        start -= 1
    if not better[:start].strip():
        raise DataError("chosen: has no beginning in common with rejected to be the prompt; add a field `prompt`")
    before = asked({"prompt": better[:start].strip()})
    sides = [[*before, said("assistant", side[start:])] for side in (better, worse)]
    return _said(sides[0], sides[1], row, where)


def next_step(row: Row, where: str) -> Preference:
    """{prompt, initial_reason_steps, chosen, rejected}: a good and a bad next step of a solution (Step-DPO, Lai et al.
    2024). Each answer is the solution so far and the step."""
    before, so_far = asked(row), text(row, "initial_reason_steps")
    sides = [[*before, said("assistant", so_far + text(row, name))] for name in ("chosen", "rejected")]
    return _said(sides[0], sides[1], row, where)


def llamafactory(row: Row, where: str) -> Preference:
    """{conversations, chosen: {from, value}, rejected: {from, value}, system?}"""
    before = asked(row, "conversations")
    sides = [before + turns(row, name, "assistant") for name in ("chosen", "rejected")]
    return _said(sides[0], sides[1], row, where)


def rm_bench(row: Row, where: str) -> Rated:
    """{prompt, chosen: [text], rejected: [text]}: any of the chosen is better than any of the rejected (Liu et al.
    2024). One alone may stand without its list."""
    both: Answers = []
    for name, value in (("chosen", 1.0), ("rejected", 0.0)):
        for i, one in enumerate(listed([row[name]] if isinstance(row[name], str) else row[name], name, "texts")):
            both.append((turns({f"{name}[{i}]": one}, f"{name}[{i}]", "assistant"), {"score": value, LABEL: value}))
    return m.rated(asked(row), both, where, "chosen")


def _several_on_a_side(row: Row) -> bool:
    sides = (row["chosen"], row["rejected"])
    return any(side.__class__ is list and bool(side) and isinstance(side[0], str) for side in sides)


def stack_exchange(row: Row, where: str) -> Preference:
    """{question, response_j, response_k}: j was voted above k (Beeching et al. 2023)."""
    return answers(row, "response_j", "response_k", where, margin_of(row))


def comparison(row: Row, where: str) -> Preference:
    """{instruction, input?, output: [better, worse]}: Alpaca's comparisons (Peng et al. 2023)."""
    both = row["output"]
    if len(both) != 2 or not all(isinstance(answer, str) for answer in both):
        raise DataError("output: two texts, the better one first, are needed")
    before = instructed(row)
    sides = [[*before, said("assistant", answer)] for answer in both]
    return _said(sides[0], sides[1], row, where, "output")


def tldr(row: Row, where: str) -> Preference:
    """{info: {post, title?, subreddit?}, summaries: [{text}, {text}], choice: 0 or 1} (Stiennon et al. 2020)."""
    summaries = row["summaries"]
    if len(summaries) != 2 or not all(isinstance(summary, dict) for summary in summaries):
        raise DataError("summaries: two {text} are needed")
    better, question = integer(row["choice"], "choice", (0, 1)), to_summarise(row)
    sides = [[*question, said("assistant", text(summaries[i], "text", f"summaries[{i}].text"))] for i in (0, 1)]
    return _said(sides[better], sides[1 - better], row, where, "summaries")


def to_summarise(row: Row) -> list[Message]:
    """The post, or the article, that OpenAI's rows on summaries are about."""
    info = row["info"]
    body = named(info, "post|article")
    title = f"Title: {info['title']}\n\n" if isinstance(info.get("title"), str) else ""
    return [said("user", f"{title}{text(info, body, f'info.{body}')}\n\nTL;DR:")]


def beside(row: Row, where: str) -> Preference:
    """{messages or a prompt and its response, rejected_response or rejected_messages}: an example to imitate, and an
    answer that is worse than its last one, as ms-swift writes pairs."""
    worse = named(row, _BESIDE, TURNS)
    if isinstance(row.get("messages"), list):
        talk = opened(row, conversation(row["messages"], "messages"))
        before, better, field = talk[:-1], talk[-1:], "messages"
    else:
        field = named(row, RESPONSE, TURNS)
        before, better = asked(row), turns(row, field, "assistant")
    rejected = turns(row, worse, "assistant")
    repeats = rejected[0]["role"] != "assistant"
    return _said([*before, *better], opened(row, rejected) if repeats else [*before, *rejected], row, where, field)


def _answered(row: Row) -> bool:
    """Whether the better answer is there."""
    talk = row.get("messages")
    if isinstance(talk, list) and talk and isinstance(talk[-1], dict):
        return talk[-1].get("role") not in ("user", "system", "tool")
    return isinstance(row.get(named(row, RESPONSE, TURNS)), TURNS) and named(row, PROMPT) in row


def _repeats(row: Row, *sides: str) -> bool:
    """Whether both answers are transcripts that begin with the prompt."""
    prompt = row.get(named(row, PROMPT))
    return isinstance(prompt, str) and all(side.strip().startswith(prompt.strip()) for side in sides)


def _two_answers(row: Row) -> bool:
    """No transcripts that hold the prompt, and no names of answers that stand elsewhere in the row."""
    better, worse = row[named(row, CHOSEN)], row[named(row, REJECTED)]
    if isinstance(better, str) and isinstance(worse, str):
        if is_transcript(better) and _repeats(row, better, worse):
            return False
        return len(better) >= 30 or len(worse) >= 30 or not (names_a_side(row, better) and names_a_side(row, worse))
    return True


PREFERENCES = {
    "llamafactory": Format(llamafactory, {"conversations": list, "chosen": (dict, str), "rejected": (dict, str)}),
    "next_step": Format(
        next_step, {"prompt": TURNS, "initial_reason_steps": str, "chosen": str, "rejected": str}
    ),
    "rm_bench": Format(
        rm_bench, {PROMPT: TURNS, "chosen": TURNS, "rejected": TURNS}, _several_on_a_side, vague=True
    ),
    "pair": Format(
        pair,
        {PROMPT: (*TURNS, dict), CHOSEN: (*TURNS, dict), REJECTED: (*TURNS, dict)},
        _two_answers,
    ),
    "implicit_prompt": Format(
        implicit_prompt,
        {CHOSEN: TURNS, REJECTED: TURNS},
        lambda row: any(row[named(row, names)].__class__ is list for names in (CHOSEN, REJECTED)),
    ),
    "hh": Format(hh, {"chosen": str, "rejected": str}, lambda row: "\n\nAssistant:" in row["chosen"]),
    "common_beginning": Format(
        common_beginning,
        {"chosen": str, "rejected": str},
        lambda row: not any(name in row for name in PROMPT.split("|")),  # a prompt that is null is not meant so
        vague=True,
    ),
    "stack_exchange": Format(stack_exchange, {"question": str, "response_j": str, "response_k": str}),
    "comparison": Format(comparison, {"instruction": str, "output": list}, vague=True),
    "tldr": Format(tldr, {"info": dict, "summaries": list, "choice": (int, str)}),
    **VERDICTS,
    "beside": Format(beside, {_BESIDE: TURNS}, _answered, vague=True),
}  # fmt: skip
