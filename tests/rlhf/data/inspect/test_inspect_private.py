import pytest

from rlhf.data.inspect.private import PERSONAL, SECRETS, excerpt, masked, within
from tests.rlhf.data.inspect.conftest import Look, find, pair, pairs


def kinds(text: str) -> list[str]:
    return [kind for kind, _ in within(text, SECRETS | PERSONAL)]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("e-mail address", "ann.lee+news@mail.northwind.co.uk"),
        ("phone number", "+44 20 7946 0958"),
        ("phone number", "+4915112345678"),
        ("phone number", "(202) 225-2815"),
        ("phone number", "932-682-1067"),
        ("IP address", "81.2.69.142"),
        ("card number", "4539 1488 0343 6467"),
        ("card number", "4539148803436467"),
        ("card number", "3472-938475-61027"),
        ("card number", "4539.1488.0343.6467"),
        ("card number", "3566 0020 2036 0505"),
        ("card number", "3056 930902 5904"),
        ("test card number", "4111 1111 1111 1111"),
        ("test card number", "5500-0000-0000-0004"),
        ("test card number", "378282246310005"),
        ("bank account", "DE75 5121 0800 1245 1261 99"),
        ("bank account", "CH9300762011623852957"),
        ("test bank account", "DE89 3704 0044 0532 0130 00"),
        ("test bank account", "GB82WEST12345698765432"),
        ("key", "sk-proj-abcdefghij0123456789ABCD"),
        ("key", "AKIAIOSFODNN7EXAMPLE"),
        ("key", "ghp_" + "a1B2" * 9),
        ("key", "hf_" + "abcDEF" * 6),
        ("key", "-----BEGIN RSA PRIVATE KEY-----"),
    ],
)
def test_found(kind: str, text: str) -> None:
    said = f"It is {text}, I think."
    assert kinds(said) == [kind]
    assert text not in masked(said) and masked(said).startswith("It is ") and masked(said).endswith(", I think.")


@pytest.mark.parametrize(
    "text",
    [
        *("you@example.com", "your_email@gmail.com", "info@m.com", "john.doe@company.com", "decorate @app.route"),
        *("(512) 555-0202", "555-1234", "1234567890", "2021-10-05", "100-200-300", "+1 + 2 = 3", "+960397912423686"),
        *(
            "3.14.15.92653",
            "192.168.0.1",
            "127.0.0.1",
            "255.255.255.0",
            "999.1.1.1",
            "v1.2.3.4",
            "1.2.3.4.5",
            "8.8.8.8",
        ),
        *(
            "4539 1488 0343 6468",
            "1111 1111 1111 1111",
            "5555 5555 5555 5555",
            *("12345678901234567890", "4212883012996", "960397912423686", "20230326190120", "6864.78678324707"),
            "0.4539148803436467",
        ),
        *("DE75 5121 0800 1245 1261 98", "GB82 WEST 1234 5698 7654 33", "AB12 CDEF"),
        *("sk-learn", "ask-me-anything-about-the-whole-thing", "risk-abcdefghij0123456789ABCD", "hf_hub_download"),
    ],
)
def test_not_found(text: str) -> None:
    assert kinds(f"It is {text}, I think.") == []


def test_personal_data_is_told_and_never_shown(look: Look) -> None:
    mail, phone, key = "ann.lee@northwind.org", "932-682-1067", "sk-abcdefghij0123456789ABCD"
    rows = [*pairs(8), pair("m", chosen=f"Write to {mail}. {phone}"), pair("n", prompt=f"{mail}? {key}")]
    report = look(rows)
    personal, secrets = find(report, "personal_data"), find(report, "secrets")
    assert (personal.level, personal.count, personal.of) == ("note", 2, 10)
    assert personal.numbers == {"e-mail address": 1, "phone number": 1}
    assert personal.says.startswith("Different ones: 1 e-mail address, 1 phone number.")
    assert set(personal.quotes) == {"e-mail address: an…", "phone number: 93…"}
    assert (secrets.level, secrets.count, [report.at(place) for place in secrets.places]) == ("warning", 1, ["10"])
    told = str(report.as_json())
    assert mail not in told and phone not in told and key not in told


def test_faults_and_doubts_are_masked_too(look: Look) -> None:
    mail = "ann.lee@northwind.org"
    rows = [pair(i, chosen=f"Write to {mail}, number {i}.") for i in range(9)]
    wrong = {"messages": [{"role": mail, "content": "a"}, {"role": "assistant", "content": "b"}]}
    report = look([*rows, {**wrong, "prompt": wrong["messages"], "chosen": "a", "rejected": "b"}], judge=_turned)
    assert report.doubts and report.malformed == 1 and mail not in str(report.as_json())


def _turned(talks: list[list[dict[str, str]]]) -> list[float]:
    return [9.0 * (i % 2) for i in range(len(talks))]


def test_excerpt() -> None:
    assert excerpt(" one\n two ") == "one two"
    assert excerpt("word " * 100, 20) == "word word word word…"
