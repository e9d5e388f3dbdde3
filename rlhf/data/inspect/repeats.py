"""What a file says twice: duplicates, near-duplicates, prompts with many rows, and verdicts that contradict."""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator

from rlhf.data.inspect.material import Material, answers_of, graded, said, sample
from rlhf.data.inspect.private import excerpt
from rlhf.data.inspect.report import Finding, Findings
from rlhf.data.inspect.similar import LEAST_WORDS, Index, Shingler, shingles
from rlhf.data.records import LABEL, Preference, Rated, Record, prompt_of

_MOST = 50_000
"""Records among which near-duplicates are looked for."""
_FAVOURITE = 0.1
"""Share of rows with one prompt from which on it crowds out the others."""


def check(material: Material) -> Findings:
    """Exact copies are not counted again among the near ones."""
    groups = _grouped(map(_words_of, material.prompts, material.answers, material.records))
    found: Findings = {
        "exact_duplicates": _exact(material, groups.values()),
        "near_duplicates": _near(material, groups),
    }
    if material.kind != "prompts":
        found["repeated_prompts"] = _prompts(material)
    if material.kind in ("preferences", "labels"):
        found["contradictions"] = _contradictions(material)
    return found


def _words_of(prompt: str, answers: list[str], record: Record) -> Hashable:
    """All that a record says; of rated answers with what was said of them."""
    numbers = tuple(tuple(sorted(told.items())) for _, told in record.answers) if isinstance(record, Rated) else ()
    return prompt, tuple(answers), numbers


def _grouped(keys: Iterable[Hashable]) -> dict[Hashable, list[int]]:
    """The places of each key."""
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for i, key in enumerate(keys):
        groups[key].append(i)
    return groups


def _exact(material: Material, groups: Iterable[list[int]]) -> Finding | None:
    copies = sorted(i for group in groups for i in group[1:])
    if not copies:
        return None
    share = len(copies) / len(material.records)
    return Finding(
        name="exact_duplicates",
        level=graded(share, 0.01),
        count=len(copies),
        of=len(material.records),
        unit="examples",
        says="They say what an earlier row says, word for word, and so count double in training. Keep one of each.",
        places=material.places(copies),
    )


def _near(material: Material, groups: dict[Hashable, list[int]]) -> Finding | None:
    firsts = sample([group[0] for group in groups.values()], _MOST)
    shingler, index = Shingler(), Index()
    twins: list[tuple[int, int]] = []
    for i in firsts:
        record = material.records[i]
        asked = shingler.words(message["content"] for message in prompt_of(record) if message["role"] != "system")
        answered = shingler.words(m["content"] for _, answer in answers_of(record) for m in answer)
        if len(asked) + len(answered) < LEAST_WORDS:
            continue
        parts = shingles(asked), shingles(answered)
        sketch = index.sketch(parts)
        twin = index.like(parts, sketch)
        if twin is None:
            index.add(i, parts, sketch)
        else:
            twins.append((i, twin))
    if not twins:
        return None
    copies = [i for i, _ in twins]
    of_sample = f" Looked for in a sample of {_MOST:,}." if len(groups) > _MOST else ""
    return Finding(
        name="near_duplicates",
        level=graded(len(copies) / len(firsts), 0.05),
        count=len(copies),
        of=len(firsts),
        unit="examples",
        says="Prompt and answers share at least four fifths of their three-word runs with those of an earlier row. "
        "They teach little new, and when one of two is held out, it measures memory. Keep one of each."
        f"{of_sample}",
        places=material.places(copies),
        quotes=[f"like {material.records[j].where.rpartition(':')[2]}: {_shown(material, i)}" for i, j in twins[:3]],
    )


def _shown(material: Material, i: int) -> str:
    record = material.records[i]
    return excerpt(said(prompt_of(record)[-1:]) or material.answers[i][0], 100)


def _prompts(material: Material) -> Finding | None:
    groups = [group for prompt, group in _grouped(material.prompts).items() if prompt and len(group) > 1]
    if not groups:
        return None
    most = max(groups, key=len)
    count, of = sum(map(len, groups)), len(material.records)
    crowded = len(most) / of > _FAVOURITE and len(most) >= 10
    advice = (
        "One prompt makes up so much of the file that training is largely about it: thin it out."
        if crowded
        else "That is as it should be where several answers to a prompt are compared or shown."
    )
    return Finding(
        name="repeated_prompts",
        level="warning" if crowded else "note",
        count=count,
        of=of,
        unit="examples",
        says=f"{len(groups):,} {'prompts have' if len(groups) > 1 else 'prompt has'} several; the most frequent has "
        f"{len(most):,}. {advice}",
        places=material.places(most),
        quotes=[_shown(material, most[0])],
        numbers={"prompts": len(groups), "most": len(most)},
    )


def _contradictions(material: Material) -> Finding | None:
    """Pairs of the same two answers in both orders; answers that are called good and bad."""
    groups = _preferred(material) if material.kind == "preferences" else _labelled(material)
    against = sorted(i for verdicts in groups for i in verdicts)
    if not against:
        return None
    unit = "pairs" if material.kind == "preferences" else "examples"
    return Finding(
        name="contradictions",
        level=graded(len(against) / len(material.records), 0.01),
        count=len(against),
        of=len(material.records),
        unit=unit,
        says="Another row gives the opposite verdict on the same prompt and answers, so that both together teach "
        "nothing. Keep the verdict of the majority, or neither.",
        places=material.places(against),
    )


def _preferred(material: Material) -> list[set[int]]:
    verdicts: dict[Hashable, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for i, (prompt, answers, record) in enumerate(_all(material)):
        if isinstance(record, Preference) and not record.tie:
            chosen, rejected = answers
            verdicts[prompt, frozenset((chosen, rejected))][chosen].add(i)
    return _divided(verdicts)


def _labelled(material: Material) -> list[set[int]]:
    verdicts: dict[Hashable, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for i, (prompt, answers, record) in enumerate(_all(material)):
        told = [numbers for _, numbers in record.answers] if isinstance(record, Rated) else []
        for answer, numbers in zip(answers, told, strict=True):
            if LABEL in numbers:
                verdicts[prompt, answer][str(numbers[LABEL])].add(i)
    return _divided(verdicts)


def _all(material: Material) -> Iterator[tuple[str, list[str], Record]]:
    return zip(material.prompts, material.answers, material.records, strict=True)


def _divided(verdicts: dict[Hashable, dict[str, set[int]]]) -> list[set[int]]:
    """The rows of each question on which there are several verdicts."""
    return [set().union(*rows.values()) for rows in verdicts.values() if len(rows) > 1]
