"""Diversity and copies, against numbers worked out by hand or by NLTK."""

import pytest

from rlhf.measures.texts import copied, distinct_n, self_bleu, words


def test_words() -> None:
    assert words("We're sorry, Sam!") == ["we", "'", "re", "sorry", ",", "sam", "!"]


def test_distinct_n_by_hand() -> None:
    assert distinct_n(["a b a b", "a b"], 1) == pytest.approx(2 / 6)
    assert distinct_n(["a b a b", "a b"], 2) == pytest.approx(2 / 4)  # ab, ba of ab ba ab ab
    assert distinct_n(["a"], 2) == 0.0


def test_self_bleu_is_what_nltk_says() -> None:
    """sentence_bleu of NLTK 3.10.4 with smoothing method1, mean over the texts."""
    texts = ["the cat sat on the mat", "the cat sat on a mat today", "dogs bark"]
    assert self_bleu(texts) == pytest.approx(0.2965075922159274)


def test_self_bleu_of_the_same_and_of_wholly_different_answers() -> None:
    assert self_bleu(["We will send it at once."] * 3) == pytest.approx(1.0)
    assert self_bleu(["yes"] * 2) == self_bleu(["no thanks"] * 3) == pytest.approx(1.0)
    assert self_bleu(["yes", "no"]) == self_bleu(["a b c d", "e f g h"]) == 0.0
    assert self_bleu(["alone"]) == self_bleu(["", ""]) == 0.0


TRAINING = ["One two three four five six seven.", "Thank you!", "three four five nine"]


def test_a_run_from_one_text_is_a_copy() -> None:
    answers = ["so: two three four five six, eight", "two three", "three four five nine ten"]
    assert copied(answers, TRAINING, 4) == [5, 0, 4]
    assert copied(answers, TRAINING, 6) == [0, 0, 0]


def test_a_whole_answer_is_a_copy_however_short() -> None:
    assert copied(["thank you!", "thank you", ""], TRAINING, 4) == [3, 0, 0]


def test_runs_of_two_texts_are_not_joined() -> None:
    assert copied(["a b c d e f"], ["a b c d", "c d e f"], 3) == [4]
