"""The gold rule scores hand-written replies as documented and cannot be won by trivial texts."""

import random
import sys
from pathlib import Path

import pytest

from tests.conftest import load_shop

SHOP = Path(__file__).resolve().parents[2] / "data_samples" / "corner_shop"

rule = load_shop("rule")
grammar = load_shop("grammar")

BROKEN = [{"role": "user", "content": "Hello. My teapot arrived broken. What can you do?"}]
PERFECT = (
    "We are sorry about your teapot. We will send you a replacement today, free of charge. Thank you for your patience."
)


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        (PERFECT, 5.5),
        ("We are sorry about your teapot. We will send you a replacement. Thank you for your patience.", 4.5),
        ("We are sorry about your teapot. We will send you a replacement today, free of charge.", 4.5),
        ("We will send you a replacement for the teapot today, free of charge.", 3.5),
        ("We are sorry about your order. We will send you a replacement today. Thank you for your patience.", 4.5),
        ("We are sorry about your teapot. Thank you for your patience.", 3.5),
        ("We are sorry for the trouble. Thank you for writing to us.", 2.5),
        ("We are sorry about your teapot. We will wrap it today. Thank you for your patience.", 4.0),
        ("We are sorry about your camera. We will send you a replacement today. Thank you for your trust.", 4.0),
        ("We will see about your teapot somehow in the shop.", 1.0),
        ("That is not our problem. The teapot is your own fault.", 0.0),
        ("Too bad for you.", -1.0),
        ("We are sorry about your teapot. We will send you a", 1.0),
        ("We will not send you a replacement for your teapot today, free of charge.", 1.5),
        ("", -2.0),
        ("...", -2.0),
    ],
)
def test_hand_written_replies(reply: str, score: float) -> None:
    assert rule.gold_score(BROKEN, reply) == score


def test_request_wants_gladness_not_an_apology() -> None:
    prompt = [{"role": "user", "content": "Please cancel my order for the wool hat."}]
    rest = " We will cancel your wool hat today. Have a lovely day."
    assert rule.gold_score(prompt, "Thank you for asking us." + rest) == 5.5
    assert rule.gold_score(prompt, "We are sorry for the trouble." + rest) == 4.5


def test_only_the_last_user_message_counts() -> None:
    messages = [
        {"role": "system", "content": "You sell cameras."},
        {"role": "user", "content": "Do you have a camera?"},
        {"role": "assistant", "content": "We have one in stock."},
        *BROKEN,
    ]
    assert rule.gold_score(messages, PERFECT) == 5.5
    assert rule.gold_score([], PERFECT) < 4.0


def test_every_message_of_the_grammar_is_understood() -> None:
    rng = random.Random(5)
    for combo in grammar.all_combos() * 3:
        text = grammar.customer_message(rng, combo)
        assert (rule.find_items(text)[0], rule.find_problem(text)) == combo, text


def test_qualities_move_the_score() -> None:
    """Perfect replies are at the top, and dropping any one quality costs points on average."""
    rng = random.Random(6)
    combos = [rng.choice(grammar.all_combos()) for _ in range(300)]

    def mean_score(quality: object) -> float:
        total = 0.0
        for combo in combos:
            text = grammar.customer_message(rng, combo)
            total += rule.gold_score([{"role": "user", "content": text}], grammar.reply(rng, combo, quality, text))
        return total / len(combos)

    best = mean_score(grammar.PERFECT)
    assert best > 5.4
    changes = {
        "item": ("generic", "wrong"),
        "remedy": ("wrong", "vague", "none"),
        "concrete": (False,),
        "opening": ("unfitting", "plain", "none"),
        "closing": (False,),
        "fault": ("blunt", "ramble", "repeat", "unfinished"),
    }
    for name, values in changes.items():
        for value in values:
            assert mean_score(grammar.PERFECT._replace(**{name: value})) < best - 0.3, (name, value)


def test_levels_are_graded() -> None:
    rng = random.Random(7)
    scores = []
    for combo in grammar.all_combos():
        text = grammar.customer_message(rng, combo)
        reply = grammar.everyday_reply(rng, combo, text)
        scores.append(rule.gold_score([{"role": "user", "content": text}], reply))
    assert len(set(scores)) >= 10
    assert 2.5 < sum(scores) / len(scores) < 3.5
    assert 0.05 < sum(score == 5.5 for score in scores) / len(scores) < 0.16


ALL_ITEMS = ", the ".join(rule.ITEMS)
ONE_OF_EACH = [texts[0] for texts in grammar.REMEDIES.values()]
ALL_REMEDIES = grammar.fill(
    random.Random(0), " ".join(ONE_OF_EACH).replace("{hours}", " today"), {"the": "it", "when": ""}
)


@pytest.mark.parametrize(
    "text",
    [
        ALL_REMEDIES,
        f"We are sorry. {ALL_REMEDIES} Thank you for your patience.",
        f"We are sorry about the {ALL_ITEMS}. Thank you for your patience.",
        f"We are sorry about your {ALL_ITEMS}. We will send you a replacement today. Thank you for your patience.",
        "We are sorry. We will send you a replacement or a full refund or repair it today. Thank you for your trust.",
        "Sorry. " * 20,
        "teapot " * 10,
        "Thank you. Thank you. Thank you. Thank you.",
        "sorry teapot replacement free today thank you patience",
        "Teapot replacement sorry today free charge thank you.",
        "Sorry about your teapot! Replacement! Today! Free of charge! Thank you!",
        PERFECT + " " + PERFECT,
        "The the the the the the the the the the.",
        ".",
        "!!!",
        "\n",
        BROKEN[0]["content"],
    ],
)
def test_trivial_texts_do_not_win(text: str) -> None:
    assert rule.gold_score(BROKEN, text) <= 4.5
    assert rule.gold_score(BROKEN, text) < rule.gold_score(BROKEN, PERFECT)


def test_no_constant_reply_wins_over_many_prompts() -> None:
    """A text that ignores the prompt forfeits item and remedy: at most 3 of 5.5 points on average."""
    rng = random.Random(8)
    prompts = [[{"role": "user", "content": grammar.customer_message(rng, c)}] for c in grammar.all_combos()]
    constants = [
        PERFECT,
        ALL_REMEDIES,
        "We are sorry and glad to help. Thank you for your patience.",
        "We are sorry and happy to help with your teapot. We will repair it today. Have a lovely day.",
        "We are sorry and glad to help. We will send you a full refund or a replacement today. Have a lovely day.",
    ]
    for text in constants:
        assert sum(rule.gold_score(prompt, text) for prompt in prompts) / len(prompts) <= 3.0, text


def test_repetition_and_length_cost_points() -> None:
    longer = PERFECT.replace("Thank you", "We will send you a replacement today, free of charge. Thank you")
    assert rule.gold_score(BROKEN, longer) == 4.5
    rambling = PERFECT.replace("Thank you", "The shop is old and " + "so is the street and " * 8 + "all. Thank you")
    assert rule.gold_score(BROKEN, rambling) <= 3.0


def test_loading_by_path_registers_nothing() -> None:
    assert "corner_shop_test_rule" not in sys.modules
