"""How positive a text is by VADER's lexicon and rules (Hutto & Gilbert 2014), which nothing here is trained on.

Of the group `bench`: pip install --group bench
"""

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer  # type: ignore[import-untyped]

_analyzer = SentimentIntensityAnalyzer()


def score(messages: list[dict[str, str]], response: str) -> float:
    """The compound score, -1 to 1. A rule, as recipes take them."""
    return float(_analyzer.polarity_scores(response)["compound"])
