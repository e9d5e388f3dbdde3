"""Text of others, as a terminal may show it."""

_PICTURES: dict[int, str] = {
    **{code: chr(0x2400 + code) for code in range(32) if chr(code) != "\n"},
    **dict.fromkeys((*range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "�"),
}


def visible(text: str) -> str:
    """Control characters as pictures, so that no text can command the terminal."""
    return text.translate(_PICTURES)
