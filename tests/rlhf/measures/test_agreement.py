"""Agreement beyond chance, by hand."""

import pytest

from rlhf.measures.agreement import agreements, by_annotator, cohen_kappa


def test_kappa_of_a_table_worked_by_hand() -> None:
    """20 both yes, 15 both no, 5 yes/no, 10 no/yes: p_o = 0.7, p_e = 0.5 × 0.6 + 0.5 × 0.4 = 0.5, kappa = 0.4."""
    said = [("y", "y")] * 20 + [("n", "n")] * 15 + [("y", "n")] * 5 + [("n", "y")] * 10
    assert cohen_kappa(said) == pytest.approx(0.4)


def test_kappa_is_1_for_full_agreement_and_undefined_without_choice() -> None:
    assert cohen_kappa([("a", "a"), ("b", "b"), (None, None)]) == 1
    assert cohen_kappa([("a", "a"), ("a", "a")]) is None


def test_agreement_is_of_the_questions_that_both_answered() -> None:
    said = [("ada", "q1", "x"), ("ada", "q2", "y"), ("ada", "q3", "x"), ("bob", "q1", "x"), ("bob", "q2", "x")]
    said += [("bob", "q2", "y"), ("eve", "q9", "x")]  # bob thought again; eve answered what nobody else did
    (only,) = agreements(by_annotator(said))
    assert (only.annotators, only.questions, only.raw, only.kappa) == (("ada", "bob"), 2, 1.0, 1.0)
