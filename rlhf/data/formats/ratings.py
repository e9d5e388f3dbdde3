"""Answers with what was said of each: numbers, ranks, labels. Several answers to a prompt make pairs. Solutions that
are rated step by step are in steps.py."""

from collections.abc import Iterator
from typing import Any

from rlhf.data import messages as m
from rlhf.data.formats.asking import PROMPT, RESPONSE, asked, opened, replies_to, said
from rlhf.data.formats.convert import RANKING
from rlhf.data.formats.preferences import to_summarise
from rlhf.data.formats.steps import STEPS
from rlhf.data.formats.table import TURNS, Answers, Format, Row, named
from rlhf.data.formats.values import LABEL_NAMES, label_of, listed, number, number_meant, numbers, objects, truth
from rlhf.data.messages import UnusableError, conversation, text, turns
from rlhf.data.records import LABEL, Message, Rated
from rlhf.errors import DataError

ANSWERS = (
    "completions|responses|responses_and_scores|answers|generations|outputs|candidates|candidates_completions|replies|"
    "all_generated_responses"
)
TEXT = "text|response|content|answer|completion|output|body"
SCORES = "scores|ratings|rewards|rating|score|reward|ranks|ranking|rank|all_rm_scores"


def scored(row: Row, where: str) -> Rated:
    """{prompt, completions: [{text, score, …}]}: every answer with every number it has. UltraFeedback's annotations
    (Cui et al. 2023), Nectar's and NeMo-RL's ranks, Stack Exchange's votes; the lowest `rank` is the best."""
    name = named(row, ANSWERS)
    answers = objects(row[name], name, "{text, score}")
    return m.rated(asked(row), [_scored(answer, f"{name}[{i}]") for i, answer in enumerate(answers)], where, name)


def _scored(answer: Row, where: str) -> tuple[list[Message], dict[str, float]]:
    name = named(answer, TEXT)
    known = _numbers(answer, TEXT)
    given = answer.get("annotations")
    judgements = given if isinstance(given, dict) else {}
    for aspect in judgements:
        judged = judgements[aspect]
        if isinstance(judged, dict) and "Rating" in judged:  # UltraFeedback; N/A where there is none
            known |= numbers({aspect: judged["Rating"]})
    label = label_of(answer)
    alone = known.keys().isdisjoint((label, *RANKING))
    if label is not None and answer[label] is not None and alone:  # in tables it is null where others have it
        good = truth(answer[label], f"{where}.{label}")
        known |= {"score": good, LABEL: good}
    if not known:
        raise DataError(f"{where}.score: is {answer.get('score')}; a number is needed")
    return turns({f"{where}.{name}": answer.get(name)}, f"{where}.{name}", "assistant"), known


def _numbers(row: Row, texts: str = "") -> dict[str, float]:
    """Every number a row has, but in fields that are to be texts; a rank of 1 is the best."""
    known = numbers(row, apart_from=("prompt", *texts.split("|")))
    return {**known, "score": known.get("score", -known["rank"])} if "rank" in known else known


def ranked(row: Row, where: str) -> Rated:
    """{prompt, responses: [text], scores or ratings: [number]}, or `ranks`, of which 1 is the best; as distilabel
    writes them, with null where an answer or its rating did not come about."""
    name, by = named(row, ANSWERS), named(row, SCORES)
    answers, said_of = listed(row[name], name, "texts", 0), listed(row[by], by, "numbers, one for each answer", 0)
    if len(answers) != len(said_of):
        raise DataError(f"{by}: {len(said_of)} numbers for {len(answers)} answers; one for each is needed")
    if by == "ranking":
        _check_ranks(said_of)
    sign = -1.0 if by.startswith("rank") else 1.0
    both: Answers = []
    lost: list[str] = []
    for i, (one, value) in enumerate(zip(answers, said_of, strict=True)):
        if one is None or value is None:
            lost.append("no answer" if one is None else "answer without a number")
        else:
            both.append((_answer(one, f"{name}[{i}]"), {"score": sign * number(value, f"{by}[{i}]")}))
    return m.rated(asked(row), both, where, name, lost)


def _check_ranks(ranking: list[Any]) -> None:
    """Raises DataError where numbers may be the rank of each answer, or the answers' own in order, and say different
    things."""
    first = min((one for one in ranking if isinstance(one, int)), default=0)
    if sorted(map(str, ranking)) != sorted(str(first + i) for i in range(len(ranking))):
        return  # no order: ranks with ties
    places = [int(one) - first for one in ranking]
    if any(places[place] != i for i, place in enumerate(places)):
        raise DataError(
            f"ranking: {ranking} may be the rank of each answer, or the answers' numbers from the best on; call it "
            "`ranks` if it is the first, else put the answers in that order and add `ranked: true`"
        )


def best_first(row: Row, where: str) -> Rated:
    """{prompt, responses: [text]} with a field `ranked` or `best_first` that is true: the best answer first."""
    name = named(row, ANSWERS)
    answers = listed(row[name], name, "texts")
    both: Answers = [(_answer(one, f"{name}[{i}]"), {"score": float(-i)}) for i, one in enumerate(answers)]
    return m.rated(asked(row), both, where, name)


def _answer(value: Any, field: str) -> list[Message]:
    return turns({field: value}, field, "assistant")


def judged_choices(row: Row, where: str) -> Rated:
    """{input or question, targets: {choices: [text], labels: [0 or 1]}}: HHH's (Askell et al. 2021), TruthfulQA's."""
    name = named(row, _TARGETS)
    given = row[name]
    answers, labels = (
        listed(given["choices"], f"{name}.choices", "texts"),
        listed(given["labels"], f"{name}.labels", "0s and 1s"),
    )
    if len(answers) != len(labels):
        raise DataError(f"{name}.labels: {len(labels)} for {len(answers)} choices; one for each is needed")
    known = [truth(one, f"{name}.labels[{i}]") for i, one in enumerate(labels)]
    both: Answers = [
        (_answer(one, f"{name}.choices[{i}]"), {"score": good, LABEL: good})
        for i, (one, good) in enumerate(zip(answers, known, strict=True))
    ]
    return m.rated(asked(row), both, where, name)


_TARGETS = "targets|mc1_targets|mc2_targets"


def tree(row: Row, where: str) -> list[Rated | UnusableError]:
    """{prompt: {role, text, replies: [{role, text, rank, replies}]}}: OpenAssistant's trees (Köpf et al. 2023). A
    record for every prompt in the tree that has ranked answers; rank 0 is the best. What was deleted, and an answer
    beside them that has no rank, is told of."""
    found = list(_branches(row["prompt"], where))
    if not any(isinstance(one, Rated) for one in found):
        raise UnusableError("no ranked answers")
    return found


def _branches(root: Row, where: str) -> Iterator[Rated | UnusableError]:
    """Depth first; by a list of what is left and no function in itself, for a chain may be of thousands."""
    left: list[tuple[Row, list[Message]]] = [(root, [])]
    while left:
        node, before = left.pop()
        talk = [*before, *conversation({"role": node.get("role"), "content": node.get("text")}, "prompt")]
        replies = replies_to(node)
        yield from [UnusableError("deleted")] * (len(node.get("replies") or ()) - len(replies))
        if talk[-1]["role"] == "user":
            ranks = [(reply, reply["rank"]) for reply in replies if isinstance(reply.get("rank"), int)]
            both: Answers = [
                ([said("assistant", text(r, "text", "replies.text"))], {"score": -float(n)}) for r, n in ranks
            ]
            if both:
                yield m.rated(talk, both, where, "replies")
                yield from [UnusableError("answer without a rank")] * (len(replies) - len(both))
        left += [(reply, talk) for reply in reversed(replies)]


def scored_answer(row: Row, where: str) -> Rated:
    """{prompt, response or completion, and numbers such as score or helpfulness}: every field that is a number, and a
    label that is true or false."""
    name = named(row, RESPONSE, TURNS)
    known = _numbers(row, RESPONSE) | ({LABEL: float(row[LABEL])} if isinstance(row.get(LABEL), bool) else {})
    return m.rated(asked(row), [(turns(row, name, "assistant"), _some(known, row))], where, name)


def scored_messages(row: Row, where: str) -> Rated:
    """{messages, and numbers such as score}: of the last answer."""
    talk = _talk(row)
    return m.rated(talk[:-1], [(talk[-1:], _some(_numbers(row), row))], where, "messages")


def _some(known: dict[str, float], row: Row) -> dict[str, float]:
    if not known:
        name = next((name for name in RANKING if row.get(name) is not None), "score")
        found = "missing" if row.get(name) is None else repr(row[name])
        hint = number_meant(row.get(name))
        raise DataError(f"{name}: is {found}; a field that holds a number, such as score, is needed{hint}")
    return known


def scored_summary(row: Row, where: str) -> Rated:
    """{info: {post, title?}, summary: {text, axes: {overall, accuracy, …}}}: the axes of summaries of Stiennon et al.
    (2020)."""
    summary = row["summary"]
    axes = summary.get("axes")
    known = numbers(axes) if isinstance(axes, dict) else {}
    if not known:
        raise UnusableError("no judgement")
    answer = said("assistant", text(summary, "text", "summary.text"))
    return m.rated(to_summarise(row), [([answer], known)], where, "summary")


def labelled(row: Row, where: str) -> Rated:
    """{prompt, completion, label}: label true for a good answer, false for a bad one. Also called `kto_tag`, `is_safe`
    (BeaverTails) or `is_correct`."""
    name = named(row, RESPONSE, TURNS)
    return m.rated(asked(row), [(turns(row, name, "assistant"), _label(row))], where, name)


def labelled_messages(row: Row, where: str) -> Rated:
    """{messages, label or kto_tag}: of the last answer, as LLaMA-Factory writes it."""
    talk = _talk(row)
    return m.rated(talk[:-1], [(talk[-1:], _label(row))], where, "messages")


def _label(row: Row) -> dict[str, float]:
    by = label_of(row) or "label"
    return {LABEL: truth(row[by], by)}


def _talk(row: Row) -> list[Message]:
    name = named(row, _TALK)
    return opened(row, conversation(row[name], name))


def _texts(names: str, row: Row) -> bool:
    values = row[named(row, names)]
    return isinstance(values, list) and bool(values) and all(isinstance(one, str | list | None) for one in values)


def _is_labelled(row: Row) -> bool:
    return label_of(row) is not None


_LABEL = (bool, int, float, str)
_TALK = "messages|conversations|conversation"

LISTS = {
    **STEPS,
    "scored": Format(scored, {PROMPT: (*TURNS, dict), ANSWERS: list}, lambda row: not _texts(ANSWERS, row)),
    "ranked": Format(ranked, {PROMPT: TURNS, ANSWERS: list, SCORES: list}, lambda row: _texts(ANSWERS, row)),
    "best_first": Format(
        best_first, {PROMPT: TURNS, ANSWERS: list, "ranked|best_first": bool}, lambda row: _texts(ANSWERS, row)
    ),
    "judged_choices": Format(
        judged_choices,
        {PROMPT: TURNS, _TARGETS: dict},
        lambda row: all(isinstance(row[named(row, _TARGETS)].get(name), list) for name in ("choices", "labels")),
        vague=True,
    ),
    "tree": Format(tree, {"prompt": dict}, lambda row: "replies" in row["prompt"], vague=True),
}
"""Several answers to a prompt."""

LABELS = {
    "labelled": Format(labelled, {PROMPT: TURNS, RESPONSE: TURNS, LABEL_NAMES: _LABEL}, _is_labelled),
    "labelled_messages": Format(labelled_messages, {_TALK: list, LABEL_NAMES: _LABEL}, _is_labelled),
}

SCORED = {
    "scored_answer": Format(scored_answer, {PROMPT: TURNS, RESPONSE: TURNS}),
    "scored_messages": Format(scored_messages, {_TALK: list, "score|rating|reward|helpfulness|quality": _LABEL[1:]}),
    "scored_summary": Format(scored_summary, {"info": dict, "summary": dict}),
}
