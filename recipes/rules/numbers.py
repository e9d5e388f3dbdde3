"""Rules for questions whose answer is a number, such as GSM8K's (Cobbe et al. 2021)."""

import re

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def last_number(text: str) -> float | None:
    """The last number in a text: 1,234.50 is 1234.5; None where there is none."""
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None


def right(messages: list[dict[str, str]], response: str, answer: str) -> float:
    """1 when the response's last number is the answer's last number, else 0."""
    given, wanted = last_number(response), last_number(answer)
    return float(given is not None and wanted is not None and abs(given - wanted) < 1e-6)
