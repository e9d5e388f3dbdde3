"""What scores responses: rules, servers, sums; models on the trunk and as text agree."""

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch

from rlhf import text
from rlhf.config import RewardSource
from rlhf.data.records import Prompt
from rlhf.endpoint import Endpoint
from rlhf.errors import RecipeError, RewardError
from rlhf.reward_model import RewardModel
from rlhf.rewards import EndpointReward, RoleReward, RuleReward, TextReward, WeightedSum
from rlhf.rollout import Rollout
from rlhf.weights import Weights
from tests.rlhf.test_backends import TINY


@pytest.fixture
def judged(finished):
    """A reward model, and a rollout of two answers of which the second does not end."""
    _, _, made = finished
    weights = Weights.of(made["reward"])
    chat = text.load(weights)
    prompts = [Prompt([{"role": "user", "content": words}], "") for words in ("Where is my lamp?", "Hello")]
    answers = [[*chat.text_ids("We are sorry."), chat.stop_ids[0]], chat.text_ids("Hi, how are")]
    rollout = Rollout([chat.prompt_ids(p.messages) for p in prompts], answers, torch.tensor([True, False]))
    return weights, chat, prompts, rollout


def test_tokens_and_text_are_scored_alike(judged) -> None:
    """The same judge on the policy's tokens, on a model of its own, and by way of text."""
    weights, chat, prompts, rollout = judged
    judge = RewardModel.load(weights)
    on_tokens, by_text = TextReward(judge, chat), TextReward(judge, chat)
    assert on_tokens.same_tokens
    by_text.same_tokens = False
    expected = RoleReward(judge.role, 1, chat.stop_ids[0]).score(prompts, rollout)
    for reward in (on_tokens, by_text):
        torch.testing.assert_close(reward.score(prompts, rollout), expected, rtol=0, atol=1e-4)


def test_a_conversation_that_is_longer_than_a_judge_reads_is_not_scored(judged) -> None:
    weights, chat, prompts, rollout = judged
    judge = RewardModel.load(weights)
    judge.longest = max(rollout.ended(chat.stop_ids[0]).lengths)
    TextReward(judge, chat).score(prompts, rollout)
    judge.longest -= 1
    with pytest.raises(RewardError, match=rf"reads {judge.longest} tokens, and a conversation has {judge.longest + 1}"):
        TextReward(judge, chat).score(prompts, rollout)


def test_an_answer_that_was_cut_short_is_judged_as_one_that_ends_there(judged) -> None:
    weights, chat, prompts, rollout = judged
    judge = RewardModel.load(weights)
    talks = [
        [*prompt.messages, {"role": "assistant", "content": words}]
        for prompt, words in zip(prompts, rollout.texts(chat), strict=True)
    ]
    expected = torch.tensor(judge.score(talks))  # what `rlhf score` says
    on_trunk = RoleReward(judge.role, 2, chat.stop_ids[0])
    for reward in (on_trunk, TextReward(judge, chat)):
        torch.testing.assert_close(reward.score(prompts, rollout), expected, rtol=0, atol=1e-4)
    as_cut = RoleReward(judge.role, 2, None).score(prompts, rollout)
    assert as_cut[0] == pytest.approx(float(expected[0]), abs=1e-4) and as_cut[1] != pytest.approx(float(expected[1]))


def test_rules_and_weights(judged) -> None:
    _, chat, prompts, rollout = judged
    words = RuleReward(lambda messages, response, answer: float(len(response.split())), chat)
    asked = RuleReward(lambda messages, response, answer: float(len(messages)), chat)
    both = WeightedSum({"words": (words, 0.5), "asked": (asked, -1.0)})
    assert words.score(prompts, rollout).tolist() == [3.0, 3.0]
    assert both.score(prompts, rollout).tolist() == [0.5, 0.5]


def test_scores_and_a_critics_states_come_from_one_pass(judged) -> None:
    weights, chat, prompts, rollout = judged
    judge = RewardModel.load(weights)
    reward = RoleReward(judge.role, 2, chat.stop_ids[0])
    scores_B, states = reward.read(rollout)
    torch.testing.assert_close(scores_B, reward.score(prompts, rollout), rtol=0, atol=1e-5)
    for row, response in enumerate(rollout.responses):
        part = rollout.packed([row])
        assert len(states[row]) == len(response)
        torch.testing.assert_close(states[row], judge.role.hidden(part, part.predicts_M), rtol=0, atol=1e-4)


def test_only_what_did_not_finish_gets_the_score_of_that(judged) -> None:
    _, chat, prompts, rollout = judged
    words = RuleReward(lambda messages, response, answer: float(len(response.split())), chat)
    assert WeightedSum({"words": (words, 1.0)}, unfinished=-1.0).score(prompts, rollout).tolist() == [3.0, -1.0]


@pytest.fixture
def server() -> Iterator[tuple[str, dict]]:
    """A server that answers what `answer` says and keeps what it was asked."""
    seen: dict = {"answer": lambda talks: {"scores": [float(len(t[-1]["content"])) for t in talks]}, "fail": 0}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            talks = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["conversations"]
            seen.update(talks=talks, path=self.path, said=self.headers.get("Authorization"))
            if seen["fail"]:
                seen["fail"] -= 1
                self.send_error(seen.get("code", 503))
                return
            self.send_response(200)
            if seen.get("cut"):
                self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(json.dumps(seen["answer"](talks)).encode())

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}/score", seen
    httpd.shutdown()
    httpd.server_close()


TALKS = [Prompt([{"role": "user", "content": words}], "") for words in ("Where?", "Hello")]


def told(text_format, *answers: str) -> Rollout:
    return Rollout([[1], [1]], [text_format.text_ids(words) for words in answers], torch.tensor([True, True]))


@pytest.fixture(scope="module")
def chat():
    return text.load(Weights(base=TINY, name="tiny", identity="", tokenizer=TINY))


def test_a_server_scores_conversations(chat, server) -> None:
    url, seen = server
    seen["fail"] = 2  # the third try answers
    endpoint = EndpointReward(Endpoint(url, pause_s=0), chat)
    assert endpoint.score(TALKS, told(chat, "We are sorry.", "Hi")).tolist() == [13.0, 2.0]
    assert seen["talks"][1] == [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"scores": [1.0]}, "1 scores for 2 conversations"),
        ({"score": 1}, "expected"),
        ({"scores": ["a", "b"]}, "expected"),
        ({"scores": {"0": 0.9, "1": 0.1}}, "expected"),
        ({"scores": "12"}, "expected"),
        ({"scores": [True, False]}, "expected"),
        ([], "expected"),
    ],
)
def test_a_server_that_answers_nonsense_is_named(chat, server, answer: object, words: str) -> None:
    url, seen = server
    seen["answer"] = lambda _: answer
    with pytest.raises(RewardError, match=f"{url}.*{words}"):
        EndpointReward(Endpoint(url), chat).score(TALKS, told(chat, "a", "b"))


def test_a_server_that_is_not_there_is_named(chat) -> None:
    with pytest.raises(RewardError, match="no answer in 2 tries"):
        EndpointReward(Endpoint("http://127.0.0.1:9/score", tries=2, pause_s=0), chat).score(
            TALKS, told(chat, "a", "b")
        )


def test_a_fault_of_the_network_is_no_fault_of_ours(chat, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ssl.SSLError("bad record")

    monkeypatch.setattr("urllib.request.urlopen", broken)
    with pytest.raises(RewardError, match=r"no answer in 2 tries .*bad record"):
        EndpointReward(Endpoint("http://127.0.0.1:9", tries=2, pause_s=0), chat).score(TALKS, told(chat, "a", "b"))


@pytest.mark.parametrize(("code", "tries"), [(503, 3), (429, 3), (401, 1)])
def test_a_server_that_refuses_is_not_asked_again(chat, server, code: int, tries: int) -> None:
    url, seen = server
    seen |= {"fail": 9, "code": code}
    with pytest.raises(RewardError, match=rf"no answer in {tries} tries .*{code}"):
        EndpointReward(Endpoint(url, pause_s=0), chat).score(TALKS, told(chat, "a", "b"))
    assert seen["fail"] == 9 - tries


def test_an_answer_that_breaks_off_is_asked_for_again(chat, server) -> None:
    url, seen = server
    seen["cut"] = True
    with pytest.raises(RewardError, match="no answer in 2 tries"):
        EndpointReward(Endpoint(url, tries=2, pause_s=0), chat).score(TALKS, told(chat, "a", "b"))


def test_a_server_is_told_its_password_or_token_and_no_error_tells_them(chat, server) -> None:
    url, seen = server
    secret = url.replace("http://", "http://me:p%40ss@") + "?key=a-key"
    EndpointReward(Endpoint(secret), chat).score(TALKS, told(chat, "a", "b"))
    assert (seen["said"], seen["path"]) == ("Basic bWU6cEBzcw==", "/score?key=a-key")  # me:p@ss
    EndpointReward(Endpoint(url, token="a-token"), chat).score(TALKS, told(chat, "a", "b"))
    assert seen["said"] == "Bearer a-token"
    seen["answer"] = lambda _: ["a-key", "p%40ss", "a-token"]
    for endpoint in (EndpointReward(Endpoint(secret), chat), EndpointReward(Endpoint(url, token="a-token"), chat)):
        with pytest.raises(RewardError) as caught:
            endpoint.score(TALKS, told(chat, "a", "b"))
        assert "***" in str(caught.value)
        kept = ("a-key", "p%40ss") if endpoint.server.token is None else ("a-token",)
        assert not any(word in str(caught.value) for word in kept)


def test_a_token_is_named_and_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    source = RewardSource(url="http://h", token_env="JUDGE_TOKEN")
    monkeypatch.setenv("JUDGE_TOKEN", "a-token\n")
    assert source.token() == "a-token"
    monkeypatch.delenv("JUDGE_TOKEN")
    with pytest.raises(RecipeError, match="environment variable JUDGE_TOKEN"):
        source.token()
    with pytest.raises(ValueError, match="in capitals"):
        RewardSource(url="http://h", token_env="hf_abc")
    with pytest.raises(ValueError, match=r"token_env"):
        RewardSource(url="http://h/?key=***")


def test_waits_grow_between_tries(chat, server, monkeypatch: pytest.MonkeyPatch) -> None:
    url, seen = server
    seen["fail"] = 2
    waits: list[float] = []
    monkeypatch.setattr("rlhf.endpoint.time.sleep", waits.append)
    EndpointReward(Endpoint(url, pause_s=0.5), chat).score(TALKS, told(chat, "a", "b"))
    assert waits == [0.5, 1.0]
