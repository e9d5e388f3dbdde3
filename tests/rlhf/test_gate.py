"""Signs that a reward is easily gamed."""

import pytest
import torch

from rlhf import gate, text
from rlhf.data.records import Prompt
from rlhf.measures.trust import training_signs
from rlhf.rewards import RuleReward
from rlhf.rollout import Rollout
from rlhf.weights import Weights
from tests.rlhf.test_backends import TINY


@pytest.fixture(scope="module")
def asked():
    chat = text.load(Weights(base=TINY, name="tiny", identity="", tokenizer=TINY))
    prompts = [Prompt([{"role": "user", "content": words}], "") for words in ("Where is my lamp?", "Hello there")]
    answers = [[*chat.text_ids(words), chat.stop_ids[0]] for words in ("It is on its way to you.", "Good day to you.")]
    return chat, prompts, Rollout([[1], [1]], answers, torch.tensor([True, True]))


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"accuracy": 0.55, "accuracy_stderr": 0.03}, "not above chance"),
        ({"accuracy": 0.7, "accuracy_stderr": 0.03, "length_correlation": -0.5}, "learn to be short"),
        ({"accuracy": 0.7, "length_correlation": 0.5}, "learn to be long"),
        ({"accuracy": 0.7, "ece": 0.3}, "calibration error 0.30"),
        ({"accuracy": 0.6, "brier": 0.245}, "where a coin has 0.25"),
        ({"accuracy": 0.7, "brier": 0.3, "ece": 0.3}, "calibration error 0.30"),  # it knows, and wrongly
        (
            {"accuracy": 0.7, "sure_accuracy": 0.7, "sure_confidence": 0.9, "pairs": 200},
            "30% of the held-out pairs are labelled otherwise",
        ),
    ],
)
def test_what_training_measured(metrics: dict[str, float], words: str) -> None:
    (sign,) = training_signs(metrics)
    assert words in sign


def test_a_sound_reward_and_an_unknown_one_raise_no_sign() -> None:
    assert training_signs({"accuracy": 0.7, "accuracy_stderr": 0.03, "length_correlation": 0.1, "ece": 0.02}) == []
    by_chance = {"sure_accuracy": 0.85, "sure_confidence": 0.95, "pairs": 100}  # three of twenty
    weak = {"sure_accuracy": 0.68, "sure_confidence": 0.68, "pairs": 1000}
    assert training_signs({"accuracy": 0.8, **by_chance}) == training_signs({"accuracy": 0.6, **weak}) == []
    assert training_signs({}) == []


@pytest.mark.parametrize(
    ("rule", "preferred"),
    [
        (lambda messages, response: -len(response), "an empty answer"),
        (lambda messages, response: response.count("good"), "one word over and over"),
        (lambda messages, response: float(response[:5] == messages[-1]["content"][:5]), "the question said back"),
    ],
)
def test_degenerate_answers_that_score_high(asked, rule, preferred: str) -> None:
    chat, prompts, rollout = asked
    signs, shares = gate.probe_signs(RuleReward(lambda m, r, _: float(rule(m, r)), chat), prompts, rollout, chat)
    assert any(preferred in sign for sign in signs)
    assert set(shares) == {"gate/empty", "gate/repeated", "gate/echo", "gate/score_std"}


def test_a_reward_that_likes_real_answers_raises_no_sign(asked) -> None:
    chat, prompts, rollout = asked
    signs, shares = gate.probe_signs(RuleReward(lambda m, r, _: float("you" in r), chat), prompts, rollout, chat)
    assert signs == [] and set(shares.values()) == {0.0}  # the answers score alike
