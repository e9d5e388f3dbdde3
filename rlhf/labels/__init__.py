"""People say which of two answers is better: pairs to ask about, a page to ask on, a file of what they said."""
