import math

import pytest

from rlhf.data.inspect.preferences import LengthJudge, refuses, swap
from rlhf.data.records import Message
from tests.rlhf.data.inspect.conftest import Look, find, pair, pairs, sentence

WHOLE = "The shop is open every day from nine until six, and on Sundays it is closed."


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        (WHOLE[:40], WHOLE, "breaks off where the other goes on"),
        (WHOLE, f"{WHOLE} It is also closed on holidays.", None),  # brief, and complete
        ("False", "False. The answer to the question is not in the text.", None),
        (WHOLE, WHOLE[:40], None),
        ("...", WHOLE, "says nothing"),
        ("?", "No.", None),
        ("[deleted]", WHOLE, "says nothing"),
        ("42", WHOLE, None),
        ("👍", WHOLE, None),
        ("no no " * 60, sentence("x", 80), "repeats itself without end"),
        ("no no " * 60, "yes yes " * 60, None),
        (sentence("x", 80), "no no " * 60, None),
    ],
)
def test_swapped(chosen: str, rejected: str, reason: str | None) -> None:
    assert swap(chosen.strip(), rejected.strip()) == reason


def test_swapped_pairs_are_found(look: Look) -> None:
    report = look([*pairs(20), pair("s", chosen="...")])
    finding = find(report, "swapped")
    assert (finding.level, finding.count, finding.of) == ("warning", 1, 21)
    assert report.at(finding.places[0]) == "21" and "says nothing (1)" in finding.says


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, I cannot provide that.",
        "Sorry, I can't do that.",
        "I apologize, but I am unable to translate this.",
        "As an AI language model, I cannot give opinions.",
        "I'm sorry, but as an AI language model, I cannot fulfill this.",
        "I cannot assist with that request.",
        "I won't help you hurt someone.",
        "Unfortunately I’m unable to tell you that.",
    ],
)
def test_refusals(answer: str) -> None:
    assert refuses(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "Sorry, I can't understand what you're saying.",
        "I'm sorry I couldn't help you more.",
        "I'm sorry to hear that. Have you tried to restart it?",
        "I can help you with that!",
        "You can't park here, but the next street is free.",
        "I cannot recommend this film enough.",
        "I'm sorry, but I can't do that. " + "However, here is a long story. " * 40,
    ],
)
def test_no_refusals(answer: str) -> None:
    assert not refuses(answer)


def test_refusals_are_told_and_not_warned_of(look: Look) -> None:
    no = "I'm sorry, but I can't help with that."
    report = look([*pairs(20), *[pair(f"c{i}", chosen=no) for i in range(3)], pair("r", rejected=no)])
    finding = find(report, "refusals")
    assert (finding.level, finding.count, finding.of) == ("note", 4, 24)
    assert finding.numbers == {"refusal_chosen": 3, "refusal_rejected": 1}
    assert report.at(finding.places[0]) == "24"  # the few come first
    assert "refusals" in look([*pairs(5), pair("b", chosen=no, rejected=f"{no} Sorry.")]).clean


def test_a_judge_of_length() -> None:
    """Two right, one wrong, one tie: 2.5 / 4; variance of the marks (1, 1, 0, ½) is 11 / 48."""
    found = LengthJudge.of([("aaa", "a"), ("aa", "a"), ("a", "aaaa"), ("aa", "bb")])
    assert found.accuracy == 0.625
    assert found.error == pytest.approx(math.sqrt(11 / 48 / 4))
    assert (found.chosen, found.rejected) == (2.0, 2.0)
    assert not found.biased  # four pairs say nothing


def test_length_bias(look: Look) -> None:
    long = [pair(i, chosen=sentence(f"l{i}", 18)) for i in range(80)]
    short = [pair(i, rejected=sentence(f"l{i}", 18)) for i in range(80, 100)]
    finding = find(look([*long, *short]), "length_bias")
    assert (finding.level, finding.count, finding.of) == ("warning", 80, 100)
    assert finding.numbers["accuracy"] == 0.8
    assert finding.numbers["standard_error"] == pytest.approx(math.sqrt(0.8 * 0.2 / 99))
    assert "80.0% (± 4.0%)" in finding.says and "much in place of well" in finding.says
    fair = find(look([*long[:50], *[pair(i, rejected=sentence(f"l{i}", 18)) for i in range(100, 140)]]), "length_bias")
    assert fair.level == "note"


def test_label_noise(look: Look) -> None:
    """Margins of 10 pairs: three of -3, five of +3, two that it is not sure about."""
    margins = [-3.0, 3.0, 3.0, -4.0, 3.0, 1.0, -3.0, 3.0, -2.0, 3.0]

    def judge(talks: list[list[Message]]) -> list[float]:
        assert [talk[-1]["role"] for talk in talks] == ["assistant"] * 20
        return [margins[i // 2] if i % 2 == 0 else 0.0 for i in range(20)]

    report = look(pairs(10), judge=judge)
    finding = find(report, "label_noise")
    assert (finding.level, finding.count, finding.of) == ("warning", 3, 8)
    assert finding.numbers["accuracy"] == 0.6
    assert finding.numbers["standard_error"] == pytest.approx(math.sqrt(3 / 8 * 5 / 8 / 8))
    assert [(report.at(doubt.where), doubt.margin) for doubt in report.doubts] == [("4", 4.0), ("1", 3.0), ("7", 3.0)]
    assert report.doubts[0].chosen == pairs(10)[3]["chosen"]


def test_what_the_judge_cannot_read_is_left_out(look: Look) -> None:
    def judge(talks: list[list[Message]]) -> list[float]:
        return [math.nan if i < 2 else 5.0 * (i % 2 == 0) for i in range(len(talks))]

    finding = find(look(pairs(10), judge=judge), "label_noise")
    assert (finding.level, finding.count, finding.of) == ("note", 0, 9)
    for score in (0.0, math.nan):  # sure about none, and none to be sure about
        report = look(pairs(10), judge=lambda talks, score=score: [score] * len(talks))
        assert (find(report, "label_noise").level, find(report, "label_noise").of) == ("note", 0)
        assert report.doubts == []


def test_ties_are_no_verdicts(look: Look) -> None:
    sides = {"output_1": sentence("one"), "output_2": sentence("two")}
    tie = {"instruction": sentence("asked"), **sides, "preference": 1.5}
    report = look([*pairs(9), tie])
    assert (find(report, "ties").count, find(report, "ties").of) == (1, 10)
    assert find(report, "length_bias").of == 9 and "contradictions" in report.clean
    assert look([tie, {**tie, "instruction": sentence("other")}]).usable == 2


def test_pairs_that_part_early(look: Look) -> None:
    def talk(*said: str) -> list[Message]:
        return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(said)]

    early = {"chosen": talk("a", "b", "c", "d"), "rejected": talk("a", "x", "y", "z")}
    assert find(look([*pairs(9), early]), "parts_early").count == 1
