"""An LLM as a judge: both orders, verdicts that cannot be read, servers that fail. The server is on this machine."""

import pytest

from rlhf.endpoint import Endpoint
from rlhf.errors import RewardError
from rlhf.llm_judge import LLMJudge, verdict
from tests.conftest import ChatServer

TALKS = [[{"role": "user", "content": words}] for words in ("Where is my lamp?", "Write {b}.")]
ANSWERS = [("good {a}", "bad"), ("bad", "good")]


def judge(server: ChatServer, prompt: str = "{conversation}|{a}|{b}", tries: int = 2) -> LLMJudge:
    return LLMJudge(Endpoint(f"{server.url}/chat/completions", tries=tries, pause_s=0), "m", prompt)


def by_quality(said: str) -> str:
    """Calls the good answer better, wherever it stands."""
    return "Well: [[A]] or [[B]]? [[A]]" if "good" in said.split("|")[1] else "B."


def test_what_both_orders_say(chat_server: ChatServer) -> None:
    chat_server.reply, chat_server.fails = by_quality, 1  # one question is asked again
    assert judge(chat_server).compare(TALKS, ANSWERS, ("new", "old")) == [["new", "new"], ["old", "old"]]
    said = {question["messages"][0]["content"] for question in chat_server.asked}
    assert said == {
        "user: Where is my lamp?|good {a}|bad",
        "user: Where is my lamp?|bad|good {a}",
        "user: Write {b}.|bad|good",
        "user: Write {b}.|good|bad",
    }
    assert {question["model"] for question in chat_server.asked} == {"m"}


def test_one_who_always_likes_the_first_answer_contradicts_himself(chat_server: ChatServer) -> None:
    chat_server.reply = lambda said: "[[A]]"
    assert judge(chat_server).compare(TALKS, ANSWERS, ("new", "old")) == [["new", "old"]] * 2


def test_ties_and_what_cannot_be_read(chat_server: ChatServer) -> None:
    chat_server.reply = lambda said: "[[C]]" if "lamp" in said else None
    assert judge(chat_server).compare(TALKS, ANSWERS, ("new", "old")) == [["tie", "tie"], [None, None]]
    chat_server.reply = lambda said: "Both are nice."
    with pytest.raises(RewardError, match=r"no verdict in any of 4 answers, such as 'Both are nice\.'"):
        judge(chat_server).compare(TALKS, ANSWERS, ("new", "old"))


def test_a_server_that_fails_is_named(chat_server: ChatServer) -> None:
    chat_server.fails = 100
    with pytest.raises(RewardError, match=f"{chat_server.url}/chat/completions: no answer in 2 tries .*503"):
        judge(chat_server).compare(TALKS, ANSWERS, ("new", "old"))
    assert not chat_server.asked


def test_a_question_that_fails_is_unanswered_and_the_others_count(chat_server: ChatServer) -> None:
    """Neither a loss nor the end of the evaluation."""
    chat_server.reply, chat_server.fails = by_quality, 1
    found = judge(chat_server, tries=1).compare(TALKS, ANSWERS, ("new", "old"))
    verdicts = [verdict for both in found for verdict in both]
    assert verdicts.count(None) == 1 and {v for both in found[:1] for v in both} <= {"new", None}
    chat_server.fails = 3
    with pytest.raises(RewardError, match="no answer in 1 tries"):
        judge(chat_server, tries=1).compare(TALKS, ANSWERS, ("new", "old"))


@pytest.mark.parametrize(
    ("said", "letter"),
    [("[[A]]", "A"), ("First [[A]], no, [[ B ]]", "B"), (" C. ", "C"), ("A is better", None), ("[[D]]", None)],
)
def test_verdicts(said: str, letter: str | None) -> None:
    assert verdict(said) == letter
