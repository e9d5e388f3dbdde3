from collections.abc import Callable

import pytest

from rlhf.data.chat import ChatFormat
from tests.rlhf.data.inspect.conftest import Look, find, pair, pairs, sentence

Chats = Callable[[str], ChatFormat]


@pytest.mark.parametrize(
    "marker",
    [
        *("<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|endoftext|>", "<start_of_turn>", "[INST]", "<<SYS>>"),
        *("<｜Assistant｜>", "<|end_of_text|>", "<|assistant|>"),
    ],
)
def test_markers_of_common_families(look: Look, marker: str) -> None:
    report = look([*pairs(9), pair("m", rejected=f"{sentence('m')}{marker} more")])
    finding = find(report, "special_tokens")
    assert (finding.level, finding.count, finding.of) == ("warning", 1, 10)
    assert finding.says.startswith(f"Found: {marker}. ") and report.at(finding.places[0]) == "10"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<s>Yes.", {"<s>": 1}),
        ("Yes.</s>", None),
        ("Yes.</s> <s>No.", {"</s>": 1}),
        ("It costs <s>ten</s> nine euros.", None),
        ("a[i] < b[j] and x <y> z", None),
    ],
)
def test_strike_through_is_no_special_token(look: Look, text: str, found: dict[str, int] | None) -> None:
    report = look([*pairs(9), pair("m", chosen=text)])
    if found is None:
        assert "special_tokens" in report.clean
    else:
        assert find(report, "special_tokens").numbers == found


def test_the_tokenizers_own_tokens_count_wherever_they_are(look: Look, chats: Chats) -> None:
    rows = [*pairs(400), pair("m", chosen="It costs <s>ten</s> nine euros.")]
    finding = find(look(rows, chat=chats("chatml")), "special_tokens")
    assert (finding.level, finding.count) == ("warning", 1)
    assert set(finding.numbers) == {"<s>", "</s>"} and "takes its own for real ones" in finding.says
    foreign = find(look([*pairs(400), pair("m", chosen="<|endoftext|>")], chat=chats("chatml")), "special_tokens")
    assert foreign.level == "note" and "takes its own" not in foreign.says


def test_other_speakers(look: Look) -> None:
    went_on = pair("m", chosen="It is open.\n\nHuman: And on Sunday?\n\nAssistant: No.")
    assert find(look([*pairs(9), went_on]), "speaker_marks").count == 1
    assert find(look([*pairs(9), pair("m", chosen="Open.\n### Human: And then?")]), "speaker_marks").count == 1
    for harmless in (
        pair("m", rejected="It is open.\n\nHuman: And on Sunday?"),  # which is why it is rejected
        pair("m", prompt="Go on:\n\nHuman: And on Sunday?\n\nAssistant:"),
        pair("m", chosen="A human: someone like you. The Human:Machine ratio."),
    ):
        assert "speaker_marks" in look([*pairs(9), harmless]).clean


def test_transcripts_among_prompts(look: Look) -> None:
    whole = "\n\nHuman: Is it open?\n\nAssistant:"
    talks = [[{"role": "user", "content": text}] for text in (whole, "A play with a Human: and an Assistant: in it.")]
    assert find(look([{"messages": talk} for talk in talks], "prompts"), "speaker_marks").count == 1
    assert "speaker_marks" in look([{"text": whole}], "prompts").clean  # which is read as turns


def test_placeholders(look: Look) -> None:
    finding = find(look([*pairs(9), pair("m", chosen=" None\n"), pair("n", rejected="None of them.")]), "placeholders")
    assert finding.count == 1 and finding.numbers == {"None": 1}


def test_control_characters(look: Look) -> None:
    finding = find(look([*pairs(9), pair("m", chosen="Open\x00 until six.\x07\tYes.\r\n")]), "control_characters")
    assert (finding.level, finding.count, finding.numbers) == ("warning", 1, {"U+0000": 1, "U+0007": 1})


@pytest.mark.parametrize(
    "text",
    ["fiancÃ©", "donâ€™t", "2Â°C", "10 â‚¬", "ðŸ˜€", "Porter\x92s", "a \ufffd b", "ÐŸÑ€Ð¸Ð²ÐµÑ‚", "Â£5"],
)
def test_damaged_text(look: Look, text: str) -> None:
    assert find(look([*pairs(9), pair("m", chosen=f"It says {text} there.")]), "damaged_text").count == 1


@pytest.mark.parametrize(
    "text",
    [
        *(
            "fiancé",
            "MANHÃ”",
            "« été… »",
            "CAFÉ…",
            "Привет, мир",
            "São Paulo",
            "NÃO",
            "2 °C",
            "naïve",
            "über",
            "â",
            "10 €",
        ),
        *("今日は", "😀", "Ângela", "“É”", "d’être", "Ñandú", "Âge", "PORTUGUÊS – ÂMBITO"),
    ],
)
def test_sound_text(look: Look, text: str) -> None:
    assert "damaged_text" in look([*pairs(9), pair("m", chosen=f"It says {text} there.")]).clean


def test_invisible_characters(look: Look) -> None:
    finding = find(look([*pairs(9), pair("m", chosen="It\u200b is\ufeff open.")]), "invisible_characters")
    assert finding.count == 1 and set(finding.numbers) == {
        "U+200B ZERO WIDTH SPACE",
        "U+FEFF ZERO WIDTH NO-BREAK SPACE",
    }


def test_languages(look: Look) -> None:
    english = "The shop on the corner is open every day from nine in the morning until six in the evening"
    german = "Heute scheint die Sonne, und wir gehen nach der Schule mit unseren Freunden in den Park"
    rows = [{"prompt": sentence(i), "completion": f"{english}, as number {i} says."} for i in range(9)]
    short = {"prompt": sentence("s"), "completion": "Si."}
    report = look([*rows, short, {"prompt": sentence("g"), "completion": f"{german}."}])
    finding = find(report, "languages")
    assert (finding.level, finding.count, finding.of) == ("note", 1, 10)
    assert report.at(finding.places[0]) == "11" and finding.numbers == {"en": 0.9, "de": 0.1}
    assert "languages" in look(rows).clean
