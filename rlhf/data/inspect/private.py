"""Personal data and secrets: found, counted, and shown to nobody in full."""

import re
from collections import Counter
from collections.abc import Callable, Iterator

from rlhf.data.inspect.material import Material, counted
from rlhf.data.inspect.report import Finding, Findings

_PLACEHOLDER = re.compile(
    r"(?:your[\w.-]*|my[._-]?(?:e?mail|name|address)|user(?:name)?\d*|name|e?mail|test\d*|foo|sample|example[\w.-]*"
    r"|recipient|sender|(?:john|jane)[._]?(?:doe|smith))@"
    r"|.*@(?:.+\.)?(?:example\d*|domain|company|email|mail|test|your\w+|some\w+|.)\.\w+\Z",
    re.I,
)


def _is_mail(text: str) -> bool:
    """Whether somebody may read it."""
    return _PLACEHOLDER.match(text) is None


def _is_phone(text: str) -> bool:
    """As many digits as numbers have, and none of those kept for films (555)."""
    return 10 <= sum(c.isdigit() for c in text) <= 13 and not re.match(r"\D*(?:1\D)?\d{3}\D+555", text)


def _is_address(text: str) -> bool:
    """An IPv4 address of the open internet: not of a home, a loop, a mask, or documentation."""
    parts = [int(part) for part in text.split(".")]
    if max(parts) > 255 or parts[0] in (0, 10, 127) or parts[0] >= 224 or parts[3] == 0 or parts[1:3] == [0, 0]:
        return False
    private = (192, 168), (169, 254), (192, 0), (198, 51), (203, 0), *((172, n) for n in range(16, 32))
    return (parts[0], parts[1]) not in private and text not in ("1.1.1.1", "8.8.8.8", "8.8.4.4", "1.2.3.4")


def _checks(number: str) -> bool:
    """Whether the last digit fits the others (Luhn, ISO/IEC 7812-1)."""
    digits = [int(c) for c in number]
    doubled = sum(sum(divmod(2 * d, 10)) for d in digits[-2::-2])
    return (sum(digits[-1::-2]) + doubled) % 10 == 0


def _number(checks: Callable[[str], bool], known: bool) -> Callable[[str], bool]:
    """Whether a number checks, and is one of documentation or is none."""

    def fits(text: str) -> bool:
        number = re.sub(r"[ .-]", "", text)
        return checks(number) and _is_known(number) == known

    return fits


def _is_iban(number: str) -> bool:
    """Whether the check digits are right (ISO 13616: the number, turned round, is 1 modulo 97)."""
    return 15 <= len(number) <= 34 and int("".join(str(int(c, 36)) for c in number[4:] + number[:4])) % 97 == 1


def _is_known(number: str) -> bool:
    """Whether a number is one of documentation, or of hardly any different digits as those are."""
    return number in _KNOWN or len(set(number)) < 4


_KNOWN = {
    *("378282246310005", "371449635398431", "6011111111111117", "6011000990139424", "5105105105105100"),
    *("GB82WEST12345698765432", "GB29NWBK60161331926819", "DE89370400440532013000", "FR7630006000011234567890189"),
    *("FR1420041010050500013M02606", "NL91ABNA0417164300", "ES9121000418450200051332"),
}
"""Numbers of documentation, which belong to nobody."""


def _always(_: str) -> bool:
    return True


_CARD = (
    r"(?:4\d\d\d|5[1-5]\d\d|2[2-7]\d\d|35\d\d|6(?:011|[25]\d\d))([ .-]?)\d{4}\1\d{4}\1\d{4}"
    r"|3[47]\d\d([ .-]?)\d{6}\2\d{5}|3[068]\d\d([ .-]?)\d{6}\3\d{4}"
)
_CARD = rf"(?<![\d.,-])(?<!\d )(?:{_CARD})(?![\d., -]?\d)"
"""By the first digits of issuers: of any 13 to 19 digits in a text, a tenth would check."""
_ACCOUNT = r"\b[A-Z]{2}\d\d(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"
_PHONE = (
    r"\+(?!0)\d{1,3}[ .-]?\(?\d{2,4}\)?(?:[ .-]?\d{2,4}){2,4}|\([2-9]\d\d\) ?[2-9]\d\d-\d{4}"
    r"|(?:1-)?[2-9]\d\d-[2-9]\d\d-\d{4}|[2-9]\d\d\.[2-9]\d\d\.\d{4}"
)
_KEY = (
    r"\b(?:sk-(?:proj-|ant-|or-)?[A-Za-z0-9_-]{20,}|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36,}"
    r"|github_pat_\w{50,}|xox[abprs]-[A-Za-z0-9-]{20,}|AIza[\w-]{35}|hf_[A-Za-z0-9]{30,}|glpat-[\w-]{20})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)


class _Sort:
    """One sort of private data."""

    def __init__(self, pattern: str, hints: str, holds: Callable[[str], bool] = _always) -> None:
        """`hints`: words apart by a space, without one of which no text is searched."""
        self.pattern, self.hints, self.holds = re.compile(pattern), hints.split(), holds

    def within(self, text: str) -> Iterator[str]:
        if self.hints and not any(hint in text for hint in self.hints):
            return
        for match in self.pattern.finditer(text):
            if self.holds(match[0]):
                yield match[0]


_TWO_DIGITS = re.compile(r"\d\d")
_DIGITS = re.compile(r"(?<![\d .-])[ .-]*+\d[\d .-]{2,}\d\d")
"""What every number that matters has somewhere; most texts have none. Looked for where such signs begin, and there
alone, for a text of digits would be gone through from each of them."""

SECRETS = {
    "key": _Sort(_KEY, "sk- AKIA ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ xox AIza hf_ glpat- PRIVATE"),
    "card number": _Sort(_CARD, "", _number(_checks, known=False)),
    "bank account": _Sort(_ACCOUNT, "", _number(_is_iban, known=False)),
}
PERSONAL = {
    "e-mail address": _Sort(r"\b[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}\b", "@", _is_mail),
    "phone number": _Sort(rf"(?<![\w.+/=-])(?:{_PHONE})(?![\w-]|\.\d)", "", _is_phone),
    "test card number": _Sort(_CARD, "", _number(_checks, known=True)),
    "test bank account": _Sort(_ACCOUNT, "", _number(_is_iban, known=True)),
    "IP address": _Sort(r"(?<![\w./-])\d{1,3}(?:\.\d{1,3}){3}(?![\w/-]|\.\d)", ".", _is_address),
}
_UNNUMBERED = ("key", "e-mail address")


def within(text: str, sorts: dict[str, _Sort]) -> Iterator[tuple[str, str]]:
    """Each sort of private data in a text, with what was found."""
    numbered = _TWO_DIGITS.search(text) is not None and _DIGITS.search(text) is not None
    for name, sort in sorts.items():
        if numbered or name in _UNNUMBERED:
            yield from ((name, found) for found in sort.within(text))


def masked(text: str) -> str:
    """A text that may be shown: of private data only the first two letters are left."""
    for _, found in list(within(text, SECRETS | PERSONAL)):
        text = text.replace(found, _mask(found))
    return text


def _mask(found: str) -> str:
    return f"{found[:2]}…" if not found.startswith("-----") else "-----BEGIN …"


def excerpt(text: str, most: int = 160) -> str:
    """The beginning of a text on one line, private data masked."""
    line = " ".join(masked(text[: 4 * most]).split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def check(material: Material) -> Findings:
    """Secrets are warned of; personal data is told."""
    found = {text: list(dict.fromkeys(within(text, SECRETS | PERSONAL))) for text in material.passages}
    return {
        "secrets": _found(
            material,
            found,
            SECRETS,
            "secrets",
            "A model can learn to recite them. Take them out, and have what they open changed: whoever has this file "
            "has them.",
        ),
        "personal_data": _found(
            material,
            found,
            PERSONAL,
            "personal_data",
            "Hints by pattern, so some are invented. A model can learn to recite the real ones: take them out, or "
            "put placeholders in their place.",
        ),
    }


def _found(
    material: Material, found: dict[str, list[tuple[str, str]]], sorts: dict[str, _Sort], name: str, says: str
) -> Finding | None:
    hits = {text: own for text, both in found.items() if (own := [one for one in both if one[0] in sorts])}
    if not hits:
        return None
    where = material.records_with(hits)
    different = dict.fromkeys(one for found in hits.values() for one in found)
    kinds = Counter(kind for kind, _ in different)
    told = ", ".join(counted(count, kind) for kind, count in kinds.most_common())
    shown = list(dict.fromkeys(f"{kind}: {_mask(text)}" for kind, text in different))
    return Finding(
        name=name,
        level="warning" if sorts is SECRETS else "note",
        count=material.rows(where),
        of=material.rows(range(len(material.records))),
        unit="rows",
        says=f"Different ones: {told}. {says}",
        places=material.places(where),
        quotes=shown[:5],
        numbers=dict(kinds),
    )
