"""Labels without a browser: what is asked, what is kept, what can be taken back, who may ask."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from typer.testing import CliRunner

from rlhf import cli_label
from rlhf.cli import app
from rlhf.config.data import DataConfig
from rlhf.data.load import load
from rlhf.errors import ArtifactError, DataError, SaveError
from rlhf.labels import book, pairs
from rlhf.labels.book import Book
from rlhf.labels.pairs import Answer, Asked, Pair
from rlhf.labels.server import Server
from rlhf.labels.session import Session
from tests.conftest import SHOP, head


def asked(i: int, *texts: str) -> Asked:
    prompt = [{"role": "user", "content": f"Question {i}?"}]
    return Asked(prompt, tuple(Answer(text, f"model {j}") for j, text in enumerate(texts)), f"file.jsonl:{i}")


def some(count: int) -> list[Pair]:
    return [asked(i, f"good {i}", f"bad {i}").pairs()[0] for i in range(count)]


def said(path: Path) -> list[tuple[str, bool]]:
    return [(row["chosen"], row["tie"]) for row in book.read(path)]


def test_what_stages_write_is_read(tmp_path: Path) -> None:
    prompt = [{"role": "user", "content": "Hello?"}]
    rows: list[dict[str, Any]] = [
        {"prompt": prompt, "completions": [{"text": "a", "score": 1.0}, {"text": "b"}, {"text": "a"}]},
        {"prompt": prompt, "baseline": {"text": "x"}, "policy": {"text": "y", "gold": 1.0}, "prompted": {"text": "z"}},
        {"prompt": prompt, "baseline": {"text": "x"}, "policy": {"text": "x"}},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = pairs.read(path)
    assert [one.text for one in first.answers] == ["a", "b"]
    assert second.pairs()[0].answers == (Answer("y", "policy"), Answer("x", "baseline"))
    assert len(second.pairs()) == 3

    again = pairs.read(SHOP / "preferences.jsonl")  # pairs of any format, to be judged once more
    assert len(again) == 2000 and again[0].answers[0].model == "chosen"
    for row, why in (
        (rows[2], "no prompt with two different answers"),
        ({"question": "a"}, "no format of preferences reads"),
    ):
        path.write_text(json.dumps(row) + "\n")
        with pytest.raises(DataError, match=why):
            pairs.read(path)


def test_a_session_goes_on_undoes_and_writes_rows_that_the_reward_stage_takes(tmp_path: Path) -> None:
    out, clock = tmp_path / "labels.jsonl", iter(range(100))
    with Book(out) as kept:
        session = Session(some(4), kept, "ada", lambda: float(next(clock)))
        for _ in range(2):
            assert session.pair is not None
            better = next(i for i, answer in enumerate(session.shown()) if answer.text.startswith("good"))
            session.judge("second" if better else "first")
        session.judge("tie")
        session.undo()
        assert session.pair and session.pair.where == "file.jsonl:2" and session.done == 2
        session.skip()
        assert session.pair.where == "file.jsonl:3"
        session.undo()
        assert session.pair.where == "file.jsonl:2"
    assert said(out) == [("good 0", False), ("good 1", False)]
    row = book.read(out)[0]
    assert row["provenance"]["seconds"] == 1.0 and row["provenance"]["chosen_model"] == "model 0"

    out.write_bytes(out.read_bytes() + b'{"prompt": [{"ro')  # a kill in the middle of a row
    with Book(out) as kept:
        session = Session(some(4), kept, "ada")
        assert session.done == 2 and session.pair and session.pair.where == "file.jsonl:2"
        session.undo()
        assert session.done == 1 and len(book.read(out)) == 1
        while session.pair:
            session.judge("tie")
        assert Session(some(4), kept, "bob").done == 0  # another annotator is asked everything
        assert not Session(some(4), kept, "bob").can_undo  # and takes nothing of ada's back
    read = load(DataConfig(path=out, eval_fraction=0), "preferences")
    assert [one.tie for one in read.train] == [False, True, True, True]
    assert read.ledger["formats"] == {"pair": 4} and read.ledger["dropped"] == {}


def test_the_order_is_drawn_and_is_the_same_at_every_look(tmp_path: Path) -> None:
    with Book(tmp_path / "labels.jsonl") as kept:
        session, first = Session(some(200), kept, "ada"), 0
        while session.pair:
            shown = session.shown()
            assert shown == session.shown()
            first += shown[0].text.startswith("good")
            session.skip() if session.done else session.judge("first")
            if session.can_undo and session.pair.where == "file.jsonl:0":
                break
            if session.pair.where == "file.jsonl:199":
                break
    assert 70 < first < 130


def test_a_file_is_one_sessions_and_no_other_file_is_written_to(tmp_path: Path) -> None:
    out = tmp_path / "labels.jsonl"
    with Book(out), pytest.raises(SaveError, match="another `rlhf label` is at work"), Book(out):
        pass
    other = tmp_path / "mine.jsonl"
    for text in ('{"prompt": "Hello?", "chosen": "a", "rejected": "b"}\n', '{"prompt": "Hello?"}', "my notes"):
        other.write_text(text)
        with pytest.raises(DataError, match=r"mine.jsonl:1: not a row of `rlhf label`"), Book(other):
            pass
        assert other.read_text() == text
    with Book(out) as kept:
        kept.add(book.row_of(some(1)[0], some(1)[0].answers, "first", "bob", 1.0))
    out.write_bytes(out.read_bytes().rstrip())  # as an editor may leave it
    with Book(out) as kept:
        kept.add(book.row_of(some(2)[1], some(2)[1].answers, "first", "bob", 1.0))
    assert said(out) == [("good 0", False), ("good 1", False)]


@contextmanager
def served(session: Session) -> Iterator[Server]:
    with Server(session, 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def call(server: Server, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
    line = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    line.request(method, path, body)
    answer = line.getresponse()
    read = answer.status, answer.read()
    line.close()
    return read


def test_the_page_is_for_this_machine_and_who_knows_its_address(tmp_path: Path) -> None:
    with Book(tmp_path / "labels.jsonl") as kept, served(Session(some(2), kept, "ada")) as server:
        assert server.server_address[0] == "127.0.0.1"
        for path in ("/", "/now", "/guess/now", server.root + "../book.py", server.root + "book.py"):
            assert call(server, "GET", path)[0] == 404, path
        assert call(server, "POST", "/act", "{}")[0] == 404
        status, found = call(server, "GET", server.root + "now")
        key = json.loads(found)["pair"]["key"]
        assert status == 200 and b"model" not in found  # whose answers they are is not said
        act = server.root + "act"
        assert call(server, "POST", act, json.dumps({"do": "1", "key": "another"}))[0] == 409
        assert call(server, "POST", act, json.dumps({"do": "dance", "key": key}))[0] == 400
        assert call(server, "POST", act, "no json")[0] == 400
        assert call(server, "POST", act, " " * 5000)[0] == 404
        assert kept.rows == []
        status, found = call(server, "POST", act, json.dumps({"do": "1", "key": key}))
        assert status == 200 and json.loads(found)["done"] == 1 and len(kept.rows) == 1
        assert call(server, "POST", act, json.dumps({"do": "1", "key": key}))[0] == 409  # pressed twice


def test_the_address_is_in_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The browser is given a file of the user's own, which is gone with the session."""
    opened: list[tuple[Path, int, str]] = []

    def open_it(url: str) -> None:
        path = Path(url.removeprefix("file://"))
        opened.append((path, path.stat().st_mode & 0o777, path.read_text()))

    monkeypatch.setattr("webbrowser.open", open_it)
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    with Book(tmp_path / "labels.jsonl") as kept, Server(Session([], kept, "ada"), 0) as server:
        monkeypatch.setattr(server, "serve_forever", lambda **_: None)
        cli_label._serve(server, no_browser=False)
        ((path, mode, page),) = opened
        assert server._secret not in str(path) and f"url={server.url}" in page
    assert mode == 0o600 and not path.exists()


@pytest.mark.parametrize("names", [("me", "me"), ("ada", "bob")])
def test_two_files_of_one_name_are_not_taken_for_one_person(tmp_path: Path, names: tuple[str, str]) -> None:
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    for file, name in zip(files, names, strict=True):
        with Book(file) as kept:
            kept.add(book.row_of(some(1)[0], some(1)[0].answers, "first", name, 1.0))
    done = CliRunner().invoke(app, ["label", "--agreement", *map(str, files)])
    if names[0] != names[1]:
        assert done.exit_code == 0 and "ada and bob: agree on 100.0% of 1 pairs" in done.output
    else:
        assert isinstance(done.exception, DataError) and "'me' judged the same pair in both" in str(done.exception)
    alone = CliRunner().invoke(app, ["label", "--agreement", str(files[0])])
    assert "no pair was judged by two annotators" in alone.output


def test_a_full_disk_ends_the_session_and_tears_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "labels.jsonl"
    with Book(out) as kept, served(Session(some(2), kept, "ada")) as server:
        kept.add(book.row_of(some(9)[8], some(9)[8].answers, "first", "bob", 1.0))
        real, kept._file = kept._file, cast(Any, _Full(kept._file))
        key = json.loads(call(server, "GET", server.root + "now")[1])["pair"]["key"]
        assert call(server, "POST", server.root + "act", json.dumps({"do": "2", "key": key}))[0] == 507
        assert isinstance(server.failure, SaveError) and len(said(out)) == 1
        assert out.read_bytes().endswith(b"\n")
        kept._file = real


class _Full:
    """A file of which the disk takes only ten more bytes."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, content: bytes) -> int:
        return self._file.write(content[:10])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_what_a_reward_model_is_least_sure_of_is_asked_first() -> None:
    from rlhf.labels.models import least_sure

    class Judge:
        """Reads one number after another out of an answer: what its heads say. Answers of `long` do not fit."""

        chat = cast(Any, SimpleNamespace(encode=lambda talk: SimpleNamespace(ids=_numbers(talk[-1]["content"]))))
        longest = 9

        def opinions_of(self, rows: list[list[int]]) -> torch.Tensor:
            return torch.tensor(rows, dtype=torch.float32)

    one = [asked(0, "9", "1"), asked(1, "5", "8", "4"), asked(2, "long", "1"), asked(3, "2", "2.0")]
    found = least_sure(one, cast(Any, Judge()))
    assert [pair.where[-1] for pair in found] == ["3", "1", "0", "2"]
    assert {answer.text for answer in found[1].answers} == {"5", "4"} and found[1].gap == 1

    heads = [asked(0, "5 5", "1 1"), asked(1, "5 1", "1 5")]  # they agree that the first is better; they do not
    assert [pair.where[-1] for pair in least_sure(heads, cast(Any, Judge()))] == ["1", "0"]


def _numbers(text: str) -> list[float]:
    return [0.0] * 10 if text == "long" else [float(word) for word in text.split()]


@pytest.mark.parametrize("finished", ["full"], indirect=True)
def test_a_policy_answers_twice_and_a_reward_model_says_the_order(finished: Any, tmp_path: Path) -> None:
    made, prompts = finished[2], head(SHOP / "prompts.jsonl", 6, tmp_path / "prompts.jsonl")
    policy, judge = (str(made[name].folder) for name in ("sft", "reward"))
    found = cli_label._pairs([], policy, prompts, (8, 1.0), 0, judge)
    assert 0 < len(found) <= 6
    for pair in found:
        one, other = pair.answers
        assert one.text != other.text and one.model == other.model == policy
    gaps = [pair.gap for pair in found]
    assert None not in gaps and gaps == sorted(gaps)
    again = cli_label._pairs([], policy, prompts, (8, 1.0), 0, judge)
    assert [pair.key for pair in again] == [pair.key for pair in found]  # so that a session goes on
    with pytest.raises(ArtifactError, match="is a reward model: it scores"):
        cli_label._pairs([], judge, prompts, (8, 1.0), 0, None)
