import pytest

from rlhf.data.records import Message
from rlhf.data.transcripts import asking, dialogue, questions, transcript
from rlhf.errors import DataError


def talk(*contents: str) -> list[Message]:
    """User and assistant in turn."""
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]


def test_transcript() -> None:
    assert transcript("\n\nHuman: a\n\nb\n\nAssistant: c", "x") == talk("a\n\nb", "c")
    assert transcript("Human: a\n\nAssistant:", "x") == talk("a", "")
    assert transcript("\n\nHuman: a\n\nHuman: b\n\nAssistant: \n\nAssistant: c", "x") == talk("a\n\nb", "c")


@pytest.mark.parametrize("value", ["", "no speaker", "Once\n\nHuman: a"])
def test_transcript_needs_a_speaker(value: str) -> None:
    with pytest.raises(DataError, match="x: does not open with a speaker"):
        transcript(value, "x")


@pytest.mark.parametrize(
    ("value", "turns"),
    [
        ("Human: a Assistant:", talk("a", "")),
        ("\nHuman: a\nAssistant: b\nHuman: c", talk("a", "b", "c")),
        ("User: a: b\nAssistant: c", talk("a: b", "c")),
        ("prompter: a assistant: b prompter: c", talk("a", "b", "c")),
        ("prompter: a", talk("a")),
        ("Some chat. USER: a ASSISTANT:", [{"role": "system", "content": "Some chat."}, *talk("a", "")]),
        ("Human: a\n\nAI: b\n\nHuman: c\n\nAI: ", talk("a", "b", "c", "")),
        ("Customer: a\nAgent:", talk("a", "")),
        ("**User:** a\n\n**Assistant:**", talk("a", "")),
        ("**User**: a\n**Bot**:", talk("a", "")),
        ("[user]: a\n  [assistant]:", talk("a", "")),
        ("### Human: a ### Assistant: b ### Human: c ### Assistant:", talk("a", "b", "c", "")),
        ("### User:\na\n\n### Assistant:\n", talk("a", "")),
    ],
)
def test_dialogue(value: str, turns: list[Message]) -> None:
    assert dialogue(value) == questions(value) == turns
    assert asking(value) == ([m for m in turns if m["content"]] if turns[-1] != talk("", "c")[1] else None)


@pytest.mark.parametrize(
    "value", ["Q: a\nA: b", "Question: a\n\nAnswer: b", "### Instruction:\na\n\n### Response:\nb", "Q: a\nA: b\n"]
)
def test_questions_are_a_dialogue_only_where_they_are_looked_for(value: str) -> None:
    assert questions(value) == talk("a", "b") and dialogue(value) is None and asking(value) is None


def test_what_people_said_may_be_what_is_asked_about() -> None:
    value = "Customer: a\nAgent: b\nCustomer: c"
    assert dialogue(value) == talk("a", "b", "c") and asking(value) is None


@pytest.mark.parametrize(
    "value",
    [
        *("", "Human: a", "a Human: b Assistant: c", "Human: a Human: b Assistant: c", "Human: Assistant: b"),
        *("Human:a Assistant:b", "Human: a xAssistant: b", "User: a Assistant: b User:", "Bot: a USER: b"),
        *("Customer: a Agent: b", "User: a\nnot Bot: b", "Human: a\nAI: b\nBot: c", "**User:** a\nAssistant: b"),
    ],
)
def test_what_may_be_anything_is_no_dialogue(value: str) -> None:
    assert dialogue(value) is None and asking(value) is None
