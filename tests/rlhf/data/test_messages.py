from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf.data.messages import UnusableError, conversation, preference, prompt
from rlhf.data.records import Message
from rlhf.errors import DataError


def talk(*contents: str) -> list[Message]:
    """User and assistant in turn."""
    return [{"role": ("user", "assistant")[i % 2], "content": content} for i, content in enumerate(contents)]


def test_roles_of_many_data_sets() -> None:
    value = [{"from": "human", "value": "a"}, {"role": "GPT", "content": "b"}, {"role": "developer", "content": "c"}]
    assert [m["role"] for m in conversation(value, "x")] == ["user", "assistant", "system"]


def test_empty_system_message_is_none() -> None:
    assert conversation([{"role": "system", "content": " "}, {"role": "user", "content": "a"}], "x") == talk("a")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "x: is missing or null; a list of messages"),
        ([], "x: is an empty list"),
        (["hello"], r"x\[0\]: is a string; a message"),
        ([{"role": "asistant", "content": "a"}], r"x\[0\]\.role: is 'asistant'.*did you mean 'assistant'"),
        ([{"content": "a"}], r"x\[0\]\.role: is missing"),
        ([{"role": "user", "content": ["a"]}], r"x\[0\]\.content: is a list; a string is needed"),
        ([{"from": "human", "value": 3}], r"x\[0\]\.value: is a number"),
    ],
)
def test_wrong_messages(value: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        conversation(value, "x")


def test_preference_splits_at_the_last_common_prompt() -> None:
    made = preference(talk("a", "b", "c", "d"), talk("a", "b", "c", "e"), "f:1")
    assert (made.prompt, made.chosen, made.rejected) == (
        talk("a", "b", "c"),
        [{"role": "assistant", "content": "d"}],
        [{"role": "assistant", "content": "e"}],
    )


def test_preference_steps_back_to_the_assistant() -> None:
    made = preference(talk("a", "b", "c", "d"), talk("a", "b", "x", "y"), "f:1")
    assert made.prompt == talk("a")
    assert [m["content"] for m in made.chosen] == ["b", "c", "d"]
    made = preference(talk("a", "b", "c", "d"), talk("a", "b"), "f:1")
    assert (made.prompt, [m["content"] for m in made.rejected]) == (talk("a"), ["b"])


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        (talk("a", "b"), talk("a", " b\n"), "identical"),
        (talk("a", "b"), talk("a", " "), "empty answer"),
        (talk(" ", "b"), talk(" ", "c"), "empty prompt"),
        (talk("a", "b"), talk("x", "c"), "prompts differ"),
    ],
)
def test_unusable_preferences(chosen: list[Message], rejected: list[Message], reason: str) -> None:
    with pytest.raises(UnusableError, match=reason):
        preference(chosen, rejected, "f:1")


def test_preference_needs_prompt_and_answer() -> None:
    with pytest.raises(DataError, match="rejected: ends with the user's turn"):
        preference(talk("a", "b"), talk("a"), "f:1")
    with pytest.raises(DataError, match="no turn of the user's"):
        preference(talk("a", "b")[1:], talk("a", "c")[1:], "f:1")


def test_half_a_character_is_a_fault() -> None:
    with pytest.raises(DataError, match=r"content: holds '\\ud83d', half of a character"):
        prompt(talk("a \ud83d b"), "f:1")


def test_prompt_takes_answers_off() -> None:
    assert prompt(talk("a", "b", "c", "d"), "f:1").messages == talk("a", "b", "c")
    with pytest.raises(DataError, match="no turn of the user's"):
        prompt(talk("a", "b")[1:], "f:1")


conversations = st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map(
    lambda said: talk(*[text for pair in said for text in (f"ask {pair}", f"say {pair}")])
)


@given(conversations, conversations)
def test_preference_keeps_both_conversations(chosen: list[Message], rejected: list[Message]) -> None:
    try:
        made = preference(chosen, rejected, "f:1")
    except UnusableError as reason:
        assert (chosen == rejected) == (str(reason) == "identical")
        return
    assert made.prompt + made.chosen == chosen
    assert made.prompt + made.rejected == rejected
    assert made.prompt[-1]["role"] == "user"
    assert made.chosen != made.rejected
    for side in (made.chosen, made.rejected):
        assert side[0]["role"] == side[-1]["role"] == "assistant"
