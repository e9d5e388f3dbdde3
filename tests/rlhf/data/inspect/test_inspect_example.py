from collections.abc import Callable, Iterable

from rlhf.data.chat import ChatFormat
from rlhf.data.inspect.example import examples
from rlhf.data.inspect.material import Material
from rlhf.data.inspect.report import Piece
from rlhf.data.records import Demonstration, Message, Preference, Prompt, Rated

Chats = Callable[[str], ChatFormat]


def talk(*said: str) -> list[Message]:
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(said)]


def told(pieces: Iterable[Piece]) -> list[tuple[str, str]]:
    return [(piece.state, piece.text) for piece in pieces]


PAIR = Preference(talk("Is it open?"), talk("", "Yes.")[1:], talk("", "No idea.")[1:], "x:1")


def test_a_pair(chats: Chats) -> None:
    (example,) = examples(Material("preferences", [PAIR]), 1024, chats("chatml"))
    assert example.where == "x:1" and list(example.parts) == ["prompt", "chosen", "rejected"]
    assert told(example.parts["prompt"]) == [
        ("context", "<|im_start|>user\nIs it open?<|im_end|>\n<|im_start|>assistant\n")
    ]
    assert told(example.parts["chosen"]) == [("trained", "Yes."), ("stop", "<|im_end|>")]
    assert told(example.parts["rejected"]) == [("trained", "No idea."), ("stop", "<|im_end|>")]


def test_a_conversation_to_imitate(chats: Chats) -> None:
    """Every answer is learnt; an earlier one in a pair's prompt is not."""
    record = Demonstration(talk("a", "b", "c", "d"), "x:1")
    (example,) = examples(Material("demonstrations", [record]), 1024, chats("chatml"))
    assert told(example.parts["prompt"]) == [
        ("context", "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"),
        ("trained", "b"),
        ("stop", "<|im_end|>"),
        ("context", "\n<|im_start|>user\nc<|im_end|>\n<|im_start|>assistant\n"),
    ]
    assert told(example.parts["answer"]) == [("trained", "d"), ("stop", "<|im_end|>")]
    pair = Preference(record.messages[:3], PAIR.chosen, PAIR.rejected, "x:1")
    (example,) = examples(Material("preferences", [pair]), 1024, chats("chatml"))
    assert {piece.state for piece in example.parts["prompt"]} == {"context"}


def test_text_alone(chats: Chats) -> None:
    (example,) = examples(
        Material("demonstrations", [Demonstration(talk("", "Once.")[1:], "x:1")]), 99, chats("chatml")
    )
    assert told(example.parts["prompt"]) == [("context", "<|im_start|>assistant\n")]
    assert told(example.parts["answer"])[0] == ("trained", "Once.")


def test_what_is_cut(chats: Chats) -> None:
    """Whole turns first, then the beginning of the first that is left."""
    chat = chats("chatml")
    record = Demonstration(talk("first question", "first answer", "x " * 40 + "the end", "d"), "x:1")
    (example,) = examples(Material("demonstrations", [record]), 60, chat, ["x:1"])
    cut = [piece for piece in example.parts["prompt"] if piece.state == "cut"]
    assert [(piece.role, piece.text) for piece in cut[:2]] == [
        ("user", "first question"),
        ("assistant", "first answer"),
    ]
    assert cut[2].role == "user" and cut[2].text.startswith("x x ")
    kept = "".join(piece.text for piece in example.parts["prompt"] if piece.state != "cut")
    assert kept.startswith("<|im_start|>user\n") and "the end<|im_end|>" in kept
    assert (cut[2].text + kept.removeprefix("<|im_start|>user\n")).startswith("x " * 40 + "the end<|im_end|>")


def test_the_usual_one_and_one_that_is_cut(chats: Chats) -> None:
    long = Preference(talk("word " * 60), PAIR.chosen, PAIR.rejected, "x:3")
    endless = Preference(PAIR.prompt, talk("", "word " * 60)[1:], PAIR.rejected, "x:4")
    usual = [Preference(talk(f"Is it open on day {i}?"), PAIR.chosen, PAIR.rejected, f"y:{i}") for i in range(9)]
    material = Material("preferences", [endless, long, *usual])
    found = examples(material, 100, chats("chatml"), ["x:3", "x:4"])
    assert [example.where for example in found] == ["y:0", "x:3"]
    assert [example.where for example in examples(material, 100, None)] == ["y:0"]


def test_by_role_without_a_tokenizer() -> None:
    (example,) = examples(Material("preferences", [PAIR]), 1024, None)
    assert {name: [(p.role, p.state, p.text) for p in pieces] for name, pieces in example.parts.items()} == {
        "prompt": [("user", "text", "Is it open?")],
        "chosen": [("assistant", "text", "Yes.")],
        "rejected": [("assistant", "text", "No idea.")],
    }


def test_other_kinds(chats: Chats) -> None:
    rated = Rated(talk("a"), [(talk("", "b")[1:], {"score": 2.5}), (talk("", "c")[1:], {"score": 1.0})], "x:1")
    (example,) = examples(Material("scores", [rated]), 99, chats("chatml"))
    assert list(example.parts) == ["prompt", "answer 1: score 2.5", "answer 2: score 1"]
    (example,) = examples(Material("prompts", [Prompt(talk("a"), "x:1")]), 99, chats("chatml"))
    assert told(example.parts["prompt"]) == [("context", "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n")]


def test_private_data_is_masked_and_long_text_shortened() -> None:
    record = Prompt(talk("Write to ann.lee@northwind.org. " + "word " * 2000), "x:1")
    (example,) = examples(Material("prompts", [record]), 99, None)
    (piece,) = example.parts["prompt"]
    assert "ann.lee" not in piece.text and "an…" in piece.text
    assert "characters…]" in piece.text and len(piece.text) < 3100
    other = Prompt(talk("Write to nobody. " + "word " * 2000), "x:2")
    (example,) = examples(Material("prompts", [record, other]), 99, None)
    assert example.where == "x:2"
