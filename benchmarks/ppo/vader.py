"""How positive a text is by VADER's lexicon and rules (Hutto & Gilbert 2014), which nothing here is trained on."""

from functools import cache
from typing import Any


@cache
def _analyzer() -> Any:
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


def score(messages: list[dict[str, str]], response: str) -> float:
    """The compound score, -1 to 1. A rule, as recipes take them."""
    return float(_analyzer().polarity_scores(response)["compound"])
