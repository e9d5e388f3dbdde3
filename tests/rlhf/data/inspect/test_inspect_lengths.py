from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlhf.config.data import DataConfig
from rlhf.data.chat import ChatFormat, encode_demonstrations, encode_preferences
from rlhf.data.inspect import lengths
from rlhf.data.inspect.material import Material, words
from rlhf.data.load import survey
from rlhf.data.records import Demonstration
from tests.rlhf.data.inspect.conftest import Look, find, pair, pairs, sentence

Chats = Callable[[str], ChatFormat]


def test_words() -> None:
    assert [words(text) for text in ("", "one", " one\ntwo  three ", "Straße für")] == [0, 1, 3, 2]
    assert words("你好 ok") == 2 + 2  # two letters that are words, and two stretches between spaces


def test_in_words(look: Look) -> None:
    rows = [{"prompt": "a " * n, "chosen": "b " * 2 * n, "rejected": "c"} for n in range(1, 101)]
    found = look(rows, settings={"max_length": 240}).lengths
    assert found is not None and (found.unit, found.measured, found.of) == ("words", 100, 100)
    assert {name: (c.p50, c.p95, c.most) for name, c in found.columns.items()} == {
        "prompt": (51, 95, 100),
        "chosen": (102, 190, 200),
        "rejected": (1, 1, 1),
        "whole": (153, 285, 300),
    }
    assert found.over == 20  # 3 n > 240
    assert [sum(c.bins) for c in found.columns.values()] == [100] * 4
    assert found.columns["rejected"].bins == [0, 100]


def test_too_long_in_words(look: Look) -> None:
    report = look([*pairs(19), pair("long", prompt="word " * 300)], settings={"max_length": 256})
    finding = find(report, "too_long")
    assert (finding.level, finding.count, [report.at(place) for place in finding.places]) == ("note", 1, ["20"])


def test_in_tokens_as_training_has_it(look: Look, chats: Chats) -> None:
    """The books are those of the stage's own function; lengths are those before any cut."""
    chat = chats("chatml")
    rows = [*pairs(20), pair("cut", prompt="word " * 80), pair("lost", chosen="word " * 80)]
    report = look(rows, settings={"max_length": 256}, chat=chat)
    found = report.lengths
    assert found is not None and found.unit == "tokens"
    records = survey(DataConfig(path=Path(report.source))).records
    _, ledger = encode_preferences(records, chat, 256)
    assert found.ledger == ledger and ledger["cut"] > 0 and ledger["dropped"]["too long"] > 0
    endless, _ = encode_preferences(records, chat, 1 << 30)
    assert found.columns["prompt"].most == max(len(row["prompt_ids"]) for row in endless)
    assert found.columns["chosen"].most == max(len(row["chosen_ids"]) for row in endless)
    wholes = [len(r["prompt_ids"]) + max(len(r["chosen_ids"]), len(r["rejected_ids"])) for r in endless]
    assert found.columns["whole"].most == max(wholes)
    assert found.over == sum(whole > 256 for whole in wholes)
    finding = find(report, "too_long")
    assert finding.level == "warning"
    assert finding.numbers == {"cut": ledger["cut"], "dropped": ledger["dropped"]["too long"]}


def test_of_other_kinds(look: Look, chats: Chats) -> None:
    chat = chats("chatml")
    told = {"max_length": 4096}
    rows = [{"prompt": sentence(i), "completion": sentence(-i), "label": i % 2 == 0} for i in range(1, 5)]
    demonstrations = look(rows, "demonstrations", told, chat=chat).lengths
    labels = look(rows, "labels", told, chat=chat).lengths
    prompts = look(rows, "prompts", told, chat=chat).lengths
    assert demonstrations and labels and prompts
    assert labels.columns["prompt"] == prompts.columns["prompt"]
    assert list(prompts.columns) == ["prompt"] and list(demonstrations.columns) == ["prompt", "answer", "whole"]
    assert labels.ledger and labels.ledger["rows"] == 4


def test_a_large_file_is_sampled(look: Look, chats: Chats, monkeypatch: Any) -> None:
    monkeypatch.setattr(lengths, "_MOST_TOKENISED", 10)
    found = look(pairs(40), chat=chats("chatml")).lengths
    assert found is not None and (found.measured, found.of) == (10, 40)
    monkeypatch.setattr(lengths, "_MOST_WORK", 1)
    found = look(pairs(40), chat=chats("chatml")).lengths
    assert found is not None and found.measured == 1


def test_a_template_that_refuses(look: Look, chats: Chats) -> None:
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Is it open?"}]
    rows = [{"messages": [*talk, {"role": "assistant", "content": "Yes."}]}, {"prompt": "a", "completion": "b"}]
    report = look(rows, chat=chats("strict"))
    finding = find(report, "template_refuses")
    assert (finding.level, finding.count, finding.of) == ("error", 1, 2)
    assert "roles must alternate" in finding.says and ":1: " not in finding.says
    assert report.lengths is not None and report.lengths.measured == 1
    assert [example.where for example in report.examples] == [report.examples[0].where]
    assert look(rows[:1], chat=chats("strict")).lengths is None


def test_nothing_to_measure() -> None:
    assert lengths.check(Material("prompts", []), 100, None) == (None, {})


def test_examples_encoded_as_one(look: Look, chats: Chats) -> None:
    """Early answers of a demonstration are learnt, and so counted as such."""
    talk = [{"role": role, "content": role * 3} for role in ("user", "assistant") * 2]
    found = look([{"messages": talk}], chat=chats("chatml")).lengths
    (encoded,), ledger = encode_demonstrations([Demonstration(talk, "")], chats("chatml"), 1024)
    assert found is not None and found.ledger == ledger
    assert found.columns["whole"].most == len(encoded.ids)
    assert ledger["tokens"]["trained"] > found.columns["answer"].most
