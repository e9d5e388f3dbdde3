from typing import Any

import numpy as np
import pytest

from rlhf.data.inspect.similar import Index, Shingler, jaccard, shingles
from tests.rlhf.data.inspect.conftest import Look, find, pair, pairs, sentence


def test_shingles_are_runs_of_three_words() -> None:
    shingler = Shingler()

    def of(*texts: str) -> Any:
        return shingles(shingler.words(texts))

    assert len(of("one two three four")) == 2
    assert np.array_equal(of("One, two: THREE four!"), of("one two", "three four"))
    assert not np.array_equal(of("one two three"), of("three two one"))
    assert len(of("one two")) == 1 and len(of("")) == 0
    assert not np.array_equal(of("one two"), of("two one"))
    assert len(of("Straße für drei Leute")) == 2
    assert len(of("你好世界")) == 2  # every letter is a word


def test_jaccard() -> None:
    shingler = Shingler()
    one, other = (shingles(shingler.words([text])) for text in ("a b c d e", "a b c d x"))
    assert jaccard(one, other) == 2 / 4
    assert jaccard(one, one) == 1.0
    assert jaccard(one[:0], one[:0]) == 1.0 and jaccard(one, one[:0]) == 0.0


def test_each_part_must_be_alike() -> None:
    """Two answers to one long prompt are no near-copies, however much of the whole the prompt is."""
    shingler, index = Shingler(), Index()
    prompt = shingles(shingler.words([sentence("p", 300)]))
    parts = [(prompt, shingles(shingler.words([sentence(answer, 12)]))) for answer in ("a", "b")]
    index.add(0, parts[0], index.sketch(parts[0]))
    assert index.like(parts[1], index.sketch(parts[1])) is None
    assert index.like(parts[0], index.sketch(parts[0])) == 0


@pytest.mark.parametrize("words", [900, 1000, 1100, 1300, 9000])
def test_long_texts_that_are_alike_are_found_in_either_way(words: int) -> None:
    shingler, index = Shingler(), Index()
    whole = sentence("w", words).split()
    long, cut, other = (
        (shingles(shingler.words([" ".join(text)])), shingles(shingler.words(["Yes."])))
        for text in (whole, whole[words // 10 :], sentence("x", words).split())
    )
    index.add(0, long, index.sketch(long))
    assert index.like(cut, index.sketch(cut)) == 0
    assert index.like(other, index.sketch(other)) is None


def test_exact_duplicates(look: Look) -> None:
    rows = pairs(97)
    report = look([*rows, rows[3], {**rows[5], "prompt": f"  {rows[5]['prompt']}\n"}, rows[3]])
    finding = find(report, "exact_duplicates")
    assert (finding.level, finding.count, finding.of) == ("warning", 3, 100)
    assert [report.at(place) for place in finding.places] == ["98", "99", "100"]
    assert "near_duplicates" in report.clean


def test_near_duplicates(look: Look) -> None:
    rows = [{"prompt": sentence(f"p{i}", 60), "completion": sentence(f"a{i}", 60)} for i in range(20)]
    near = {**rows[4], "completion": rows[4]["completion"].replace(".", " indeed!")}
    answered_anew = {**rows[5], "completion": sentence("new", 60)}
    report = look([*rows, near, answered_anew])
    finding = find(report, "near_duplicates")
    assert (finding.level, finding.count, finding.of) == ("note", 1, 22)
    assert [report.at(place) for place in finding.places] == ["21"]
    assert finding.quotes[0].startswith("like 5: ")


def test_a_system_message_makes_nobody_alike(look: Look) -> None:
    system = {"role": "system", "content": sentence("system", 400)}
    rows = [
        {"messages": [system, {"role": "user", "content": sentence(i)}, {"role": "assistant", "content": sentence(-i)}]}
        for i in range(1, 9)
    ]
    assert "near_duplicates" in look(rows).clean


def test_short_texts_are_compared_exactly(look: Look) -> None:
    assert "near_duplicates" in look([{"prompt": "What is 2 + 2?"}, {"prompt": "What is 2 * 2?"}], "prompts").clean


def test_repeated_prompts(look: Look) -> None:
    asked = [pair(i, prompt="Is it open?") for i in range(4)]
    finding = find(look([*pairs(40), *asked]), "repeated_prompts")
    assert (finding.level, finding.count, finding.of) == ("note", 4, 44)
    assert finding.numbers == {"prompts": 1, "most": 4} and finding.quotes == ["Is it open?"]
    many = [pair(i, prompt="Is it open?") for i in range(12)]
    assert find(look([*pairs(40), *many]), "repeated_prompts").level == "warning"


def test_contradictory_pairs(look: Look) -> None:
    row = pair("x")
    turned = {**row, "chosen": row["rejected"], "rejected": row["chosen"]}
    other = pair("y", prompt=row["prompt"], rejected=row["chosen"])  # a ranking, no contradiction
    report = look([*pairs(20), row, turned, other])
    finding = find(report, "contradictions")
    assert (finding.level, finding.count, finding.of) == ("warning", 2, 23)
    assert [report.at(place) for place in finding.places] == ["21", "22"]


@pytest.mark.parametrize(("second", "found"), [(False, True), (True, False)])
def test_contradictory_labels(look: Look, second: bool, found: bool) -> None:
    rows = [{"prompt": sentence(i), "completion": sentence(-i), "label": True} for i in range(1, 20)]
    report = look([*rows, {**rows[0], "label": second}], "labels")
    assert ("contradictions" not in report.clean) == found
    assert ("exact_duplicates" in report.clean) == found
