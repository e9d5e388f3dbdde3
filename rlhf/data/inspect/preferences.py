"""What is wrong with verdicts: pairs that look swapped, length that gives the answer away, and a judge's doubts."""

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from rlhf.data.inspect.material import Material, graded, said, sample
from rlhf.data.inspect.private import excerpt
from rlhf.data.inspect.report import Doubt, Finding, Findings
from rlhf.data.records import Message, Preference

Judge = Callable[[list[list[Message]]], list[float]]
"""Scores conversations that end with an answer; the difference of two is the log-odds that the first is better. `nan`
for one that it cannot read."""

_MOST_JUDGED = 1_000
_SURE = math.log(0.9 / 0.1)
"""Margin whose sigmoid is 0.9."""
_BIAS = 0.1
"""How far from one half a judge of length must be right or wrong to be warned of; good human data has up to this."""
_LEAST_PAIRS = 20


def check(material: Material, judge: Judge | None) -> tuple[Findings, list[Doubt]]:
    """All that can be said of pairs; what a judge thinks where there is one, with the pairs that it doubts most."""
    if material.kind != "preferences":
        return {}, []
    ties: Findings = {"ties": _ties(material)}
    if not material.pairs:
        return ties, []
    both = zip(material.records, material.answers, strict=True)
    sides = [(answers[0], answers[1]) for pair, answers in both if isinstance(pair, Preference) and not pair.tie]
    found: Findings = {
        **ties,
        "swapped": _swapped(material, sides),
        "refusals": _refusals(material, sides),
        "length_bias": _length_bias(material, sides),
        "parts_early": _parts_early(material),
    }
    if judge is None:
        return found, []
    found["label_noise"], doubts = _noise(material, judge)
    return found, doubts


def _ties(material: Material) -> Finding | None:
    hits = [i for i, record in enumerate(material.records) if isinstance(record, Preference) and record.tie]
    if not hits:
        return None
    return Finding(
        name="ties",
        level="note",
        count=len(hits),
        of=len(material.records),
        unit="pairs",
        says="Neither answer is better. A reward model learns from them where its stage sets `ties`; else they are "
        "dropped.",
        places=material.places(hits),
    )


def _finding(material: Material, name: str, hits: list[int], warn_from: float, says: str) -> Finding:
    """`hits` are places among the pairs."""
    return Finding(
        name=name,
        level=graded(len(hits) / len(material.pairs), warn_from),
        count=len(hits),
        of=len(material.pairs),
        unit="pairs",
        says=says,
        places=list(dict.fromkeys(material.pairs[i].where for i in hits))[:5],
    )


# ------------------------------------------------------------------------------------------------ swapped

_NOTHING = re.compile(r"[\s.,…!?*_:;'\"–—-]*|\[?(?:deleted|removed|null|nan|undefined|todo)\]?\.?", re.I)
"""Answers without a word, and what programs write in place of one."""
_ENDS = tuple(".!?…。！？\"'”’)]}>`*_:;|~0123456789")
"""How a text ends that was not broken off."""


def _swapped(material: Material, sides: list[tuple[str, str]]) -> Finding | None:
    reasons = {i: reason for i, (chosen, rejected) in enumerate(sides) if (reason := swap(chosen, rejected))}
    if not reasons:
        return None
    told = ", ".join(f"{reason} ({count})" for reason, count in Counter(reasons.values()).most_common())
    says = f"The chosen answer {told}. See whether the two are the wrong way round."
    return _finding(material, "swapped", list(reasons), 0.005, says)


def swap(chosen: str, rejected: str) -> str | None:
    """Why the chosen answer can hardly be the better one.

    Few signs, which three of 12,000 real pairs have, and rightly:
    it breaks off after eight words or more, and the rejected one goes on; it has no word where that has five or more;
    it goes round in circles, and that does not.
    """
    spaces, more = chosen.count(" "), rejected.count(" ")
    if spaces >= 7 and more >= spaces + 3 and rejected.startswith(chosen) and not chosen.endswith(_ENDS):
        return "breaks off where the other goes on"
    if more >= 4 and _NOTHING.fullmatch(chosen):
        return "says nothing"
    if _variety(chosen) < 0.2 and _variety(rejected) > 0.6:
        return "repeats itself without end"
    return None


def _variety(text: str) -> float:
    """Share of runs of three words that are different; 1 of short texts."""
    words = text.split()
    runs = list(zip(words, words[1:], words[2:], strict=False))
    return len(set(runs)) / len(runs) if len(words) >= 60 else 1.0


# ------------------------------------------------------------------------------------------------ refusals

_CANNOT = (
    r"(?:(?:can(?:[’']t|not| not)|(?:am|[’']m) (?:not able|unable)|won[’']t|will not)"
    r"(?! (?:\w+ )?(?:hear|understand|see|remember|believe|say|agree)))"
)
_REFUSAL = re.compile(
    rf"(?:(?:I[’']m|I am) (?:\w+ )?sorry|Sorry|I apologi[sz]e|Unfortunately|As an (?:AI|artificial)\b[^.]{{0,60}})"
    rf"[,.]? (?:but |that )?(?:as an (?:AI|artificial)[^,]{{0,40}}, )?I ?{_CANNOT}"
    rf"|I {_CANNOT} (?:\w+ )?"
    "(?:help|assist|provide|fulfill|comply|engage|answer|generate|create|write|support|discuss)",
    re.I,
)  # fmt: skip


def refuses(answer: str) -> bool:
    """Whether an answer begins by refusing, and is little more than that."""
    return len(answer) < 600 and _REFUSAL.match(answer) is not None


def _refusals(material: Material, sides: list[tuple[str, str]]) -> Finding | None:
    one_sided = {
        i: refuses(chosen) for i, (chosen, rejected) in enumerate(sides) if refuses(chosen) != refuses(rejected)
    }
    if not one_sided:
        return None
    preferred = sum(one_sided.values())
    fewer = preferred <= len(one_sided) / 2
    says = (
        f"The refusal is the chosen answer in {preferred} of them, and the rejected one in "
        f"{len(one_sided) - preferred}. The former is right for requests that do harm; elsewhere it teaches a model to "
        f"refuse what it should answer. Look at the few: those that {'prefer' if fewer else 'reject'} the refusal."
    )
    hits = sorted(one_sided, key=lambda i: one_sided[i] != fewer)
    found = _finding(material, "refusals", hits, math.inf, says)
    return replace(found, numbers={"refusal_chosen": preferred, "refusal_rejected": len(one_sided) - preferred})


# ------------------------------------------------------------------------------------------------ length


@dataclass(frozen=True)
class LengthJudge:
    """One that calls the longer answer better."""

    pairs: int
    accuracy: float
    """Share of pairs in which it is right; it is half right where both are as long."""
    error: float
    """Standard error of the accuracy."""
    chosen: float
    """Characters of a chosen answer on average."""
    rejected: float

    @classmethod
    def of(cls, sides: list[tuple[str, str]]) -> "LengthJudge":
        differences = [len(chosen) - len(rejected) for chosen, rejected in sides]
        marks = [0.5 if d == 0 else float(d > 0) for d in differences]
        n = len(marks)
        accuracy = sum(marks) / n
        variance = sum((mark - accuracy) ** 2 for mark in marks) / max(n - 1, 1)
        means = (sum(len(side[i]) for side in sides) / n for i in (0, 1))
        return cls(n, accuracy, math.sqrt(variance / n), *means)

    @property
    def biased(self) -> bool:
        off = abs(self.accuracy - 0.5)
        return self.pairs >= _LEAST_PAIRS and off > _BIAS and off > 3 * self.error


def _length_bias(material: Material, sides: list[tuple[str, str]]) -> Finding:
    found = LengthJudge.of(sides)
    more = found.chosen / found.rejected - 1
    says = (
        f"A judge that calls the longer answer better is right in {found.accuracy:.1%} (± {found.error:.1%}) of pairs. "
        f"A chosen answer has {found.chosen:,.0f} characters on average, a rejected one {found.rejected:,.0f} "
        f"({more:+.0%})."
    )
    if found.biased:
        much = "much" if found.accuracy > 0.5 else "little"
        says += (
            f" A model can learn to write {much} in place of well, and a reward model to count. Pair answers of like "
            "length, or use a method that divides by length, such as SimPO."
        )
    return Finding(
        name="length_bias",
        level="warning" if found.biased else "note",
        count=sum(len(chosen) > len(rejected) for chosen, rejected in sides),
        of=found.pairs,
        unit="pairs with the longer answer chosen",
        says=says,
        numbers={
            "accuracy": found.accuracy,
            "standard_error": found.error,
            "chosen_characters": found.chosen,
            "rejected_characters": found.rejected,
        },
    )


def _parts_early(material: Material) -> Finding | None:
    hits = [i for i, pair in enumerate(material.pairs) if max(len(pair.chosen), len(pair.rejected)) > 1]
    if not hits:
        return None
    says = (
        "The two sides differ before the last answer, so that the user's later turns differ too. Reward models read "
        "them; DPO and its like drop them."
    )
    return _finding(material, "parts_early", hits, 0.1, says)


# ------------------------------------------------------------------------------------------------ a judge


def _noise(material: Material, judge: Judge) -> tuple[Finding, list[Doubt]]:
    """Pairs that a judge sees the other way round although it is sure."""
    places = list(sample(range(len(material.pairs)), _MOST_JUDGED))
    asked = [material.pairs[i] for i in places]
    scores = judge([pair.prompt + side for pair in asked for side in (pair.chosen, pair.rejected)])
    both = zip(asked, scores[::2], scores[1::2], strict=True)
    judged = [(pair, chosen - rejected) for pair, chosen, rejected in both if not math.isnan(chosen - rejected)]
    pairs, margins = [pair for pair, _ in judged], [margin for _, margin in judged]
    sure = sum(abs(margin) > _SURE for margin in margins)
    wrong = sorted((n for n, margin in enumerate(margins) if margin < -_SURE), key=lambda n: margins[n])
    accuracy = sum(0.5 if margin == 0 else margin > 0 for margin in margins) / max(len(margins), 1)
    share = len(wrong) / max(sure, 1)
    error = math.sqrt(share * (1 - share) / max(sure, 1))
    looked = f" of {'a sample of ' * (len(pairs) < len(material.pairs))}{len(pairs):,}"
    finding = Finding(
        name="label_noise",
        level="warning" if share - error > 0.1 else "note",
        count=len(wrong),
        of=sure,
        unit="pairs that it is sure about",
        says=f"The judge is sure (over 90 %) about {sure:,}{looked} pairs, and in {share:.1%} (± {error:.1%}) of these "
        f"it prefers the rejected answer; over all pairs it agrees in {accuracy:.1%}. One whose probabilities are "
        "right errs in fewer than 10 % of what it is sure about: beyond that, verdicts are wrong, or it does not suit "
        "them. If it was trained on this file it has learnt wrong verdicts too, and there are more.",
        places=[pairs[n].where for n in wrong[:5]],
        numbers={"accuracy": accuracy, "sure": sure, "standard_error": error},
    )
    return finding, [_doubt(pairs[n], -margins[n]) for n in wrong[:_SHOWN]]


_SHOWN = 5
"""Doubted pairs that are shown."""


def _doubt(pair: Preference, margin: float) -> Doubt:
    asked, chosen, rejected = (excerpt(said(part), 300) for part in (pair.prompt[-1:], pair.chosen, pair.rejected))
    return Doubt(pair.where, margin, asked, chosen, rejected)
