"""A rule that is easily hacked: it pays for words, whatever they say."""


def words(messages: list[dict[str, str]], response: str) -> float:
    """A tenth of the number of words."""
    return len(response.split()) / 10
