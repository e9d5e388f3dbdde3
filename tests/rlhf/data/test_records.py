import pytest

from rlhf.data.records import Demonstration, Message, Preference, Prompt, Rated, Record, identity, prompt_key, prompt_of


def turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}


ASKED = [turn("system", "Be brief."), turn("user", "Are you  open\n today?")]
ANSWER = turn("assistant", "Yes.")


def test_prompt_key_is_the_same_in_every_kind() -> None:
    key = "system: Be brief.\nuser: Are you open today?"
    assert prompt_key(Prompt(ASKED, "x:1")) == key
    assert prompt_key(Demonstration([*ASKED, ANSWER], "y:1")) == key
    assert prompt_key(Preference(ASKED, [ANSWER], [turn("assistant", "No.")], "z:1")) == key


def test_the_answers_to_one_opening_stay_together() -> None:
    """A pair that parts at the first answer, and a demonstration that ends at the second."""
    more = [turn("user", "And then?"), turn("assistant", "Nothing.")]
    pair = Preference(ASKED, [ANSWER, *more], [turn("assistant", "No.")], "x:1")
    assert prompt_key(pair) == prompt_key(Demonstration([*ASKED, ANSWER, *more], "y:1"))


def test_prompt_key_tells_roles_apart() -> None:
    assert prompt_key(Prompt([turn("user", "a"), turn("user", "b")], "")) != prompt_key(
        Prompt([turn("user", "a"), turn("system", "b")], "")
    )


def test_text_without_a_prompt_is_its_own() -> None:
    one, two = (Demonstration([turn("assistant", text)], "") for text in ("Once.", "Twice."))
    assert prompt_of(one) == []
    assert prompt_key(one) == "assistant: Once." != prompt_key(two)


def rated(*scores: float) -> Rated:
    return Rated(ASKED, [([ANSWER], {"score": score}) for score in scores], "")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (rated(-1, -2), rated(-2, -1)),
        (
            Preference(ASKED, [ANSWER], [turn("assistant", "No.")], "", 1.0),
            Preference(ASKED, [ANSWER], [turn("assistant", "No.")], ""),
        ),
        (Demonstration([*ASKED, ANSWER], ""), Demonstration([turn("user", "Be brief."), ASKED[1], ANSWER], "")),
    ],
    ids=["numbers", "margin", "roles"],
)
def test_what_is_said_otherwise_is_no_duplicate(one: Record, other: Record) -> None:
    assert identity(one) != identity(other)
