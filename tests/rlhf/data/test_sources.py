"""Folders, patterns, mixes, functions of the user's own, and what may be wrong with some rows."""

import json
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rlhf.cli_data import check
from rlhf.config import DataConfig
from rlhf.data import files, parts
from rlhf.data.arrange import arranged
from rlhf.data.faults import Lists
from rlhf.data.intake import Intake
from rlhf.data.lines import Rows
from rlhf.data.load import kind_of_source, load, survey, validate
from rlhf.data.records import Preference, Record, prompt_key
from rlhf.errors import DataError, RecipeError
from rlhf.recipe.data import data_block


def pairs(count: int, said: str = "question") -> list[dict[str, str]]:
    return [{"prompt": f"{said} {i}", "chosen": "yes", "rejected": "no"} for i in range(count)]


def lay(folder: Path, name: str, rows: list[Any]) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def config(**settings: Any) -> DataConfig:
    return DataConfig.model_validate(settings)


def prompts(records: list[Any]) -> Counter[str]:
    return Counter(prompt_key(record) for record in records)


# ------------------------------------------------------------------------------------------------ folders and patterns


def test_a_folder_means_its_files_at_any_depth(tmp_path: Path) -> None:
    lay(tmp_path, "b/two.jsonl", pairs(3, "b"))
    lay(tmp_path, "a.jsonl", pairs(2, "a"))
    lay(tmp_path, ".hidden/x.jsonl", [{"no": "row"}])
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "dataset_info.json").write_text("{}")
    split = load(config(path=tmp_path, eval_fraction=0), "preferences")
    assert [Path(record.where).name for record in split.train] == [
        *("a.jsonl:1", "a.jsonl:2"), *(f"two.jsonl:{i}" for i in (1, 2, 3)),
    ]  # fmt: skip
    assert [source["name"] for source in split.ledger["sources"]] == ["a.jsonl", "two.jsonl"]


def test_a_pattern_means_the_files_that_fit_it(tmp_path: Path) -> None:
    for name in ("x/a1.jsonl", "x/a2.jsonl", "x/b.jsonl", "y/a3.jsonl"):
        lay(tmp_path, name, pairs(1, name))
    assert [p.name for p in files.found(tmp_path / "x" / "a*.jsonl")] == ["a1.jsonl", "a2.jsonl"]
    assert [p.name for p in files.found(tmp_path / "*" / "a[13].jsonl")] == ["a1.jsonl", "a3.jsonl"]
    assert len(files.found(tmp_path / "**" / "*.jsonl")) == 4


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "holds no file that can be read"),
        (["a.jsonl", "b.txt"], r"holds \.jsonl and \.txt files; name those meant: .*/\*\.jsonl"),
        (["train-00.jsonl", "test-00.jsonl"], "holds files of test and train; name those meant by a pattern"),
        (["train/0.jsonl", "validation/0.jsonl"], "holds files of train and validation"),
    ],
    ids=["empty", "kinds", "splits", "folders"],
)
def test_a_folder_of_which_not_all_may_be_meant_is_refused(tmp_path: Path, names: list[str], words: str) -> None:
    for name in names:
        lay(tmp_path, name, pairs(1))
    with pytest.raises(DataError, match=words):
        files.found(tmp_path)


def test_names_that_only_hold_a_split_in_a_word_are_no_splits(tmp_path: Path) -> None:
    for name in ("training.jsonl", "latest.jsonl", "evaluations.jsonl"):
        lay(tmp_path, name, pairs(1))
    assert len(files.found(tmp_path)) == 3


# ------------------------------------------------------------------------------------------------ mixes


def test_a_mix_weighs_its_sources(tmp_path: Path) -> None:
    twice, half = lay(tmp_path, "twice.jsonl", pairs(100, "a")), lay(tmp_path, "half.jsonl", pairs(400, "b"))
    mix = [{"path": twice, "weight": 2.5}, {"path": half, "weight": 0.5}]
    split = load(config(mix=mix, eval_fraction=0.2), "preferences")
    seen = prompts(split.train)
    of = {letter: [n for key, n in seen.items() if key.startswith(f"user: {letter} ")] for letter in "ab"}
    assert set(of["a"]) == {2, 3} and 0.35 < of["a"].count(3) / len(of["a"]) < 0.65
    assert set(of["b"]) == {1} and 120 < len(of["b"]) < 200
    assert max(prompts(split.held_out).values()) == 1 and not seen.keys() & prompts(split.held_out).keys()
    books = split.ledger
    assert books["examples"] == 500 == books["used"] + books["held_out"] + books["dropped"]["left out by weight"]
    assert len(split.train) == books["used"] + books["repeated"]


def test_each_source_of_a_mix_has_its_own_format(tmp_path: Path) -> None:
    lay(tmp_path, "own.jsonl", [{"q": f"own {i}", "good": "a", "bad": "b"} for i in range(5)])
    lay(tmp_path, "plain.jsonl", pairs(7))
    columns = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    mix = [{"path": tmp_path / "own.jsonl", "columns": columns, "max_rows": 3}, str(tmp_path / "plain.jsonl")]
    assert len(load(config(mix=mix, eval_fraction=0), "preferences").train) == 10


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mix": [{"path": "a"}], "path": "b"}, "name exactly one of"),
        ({"mix": [{"path": "a"}], "columns": {"prompt": "q"}}, "columns: with `mix`, say it of the sources"),
        ({"mix": [{"path": "a", "weight": 0}]}, "greater than 0"),
        ({}, "name exactly one of"),
    ],
)
def test_a_mix_is_said_once(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        config(**settings)


# ------------------------------------------------------------------------------------------------ functions


FUNCTION = """
def row(row):
    if row["kind"] == "skip":
        return None
    if row["kind"] == "two":
        return [{"prompt": row["q"] + s, "chosen": "a", "rejected": "b"} for s in "xy"]
    return {"prompt": row["q"], "chosen": row["answers"]["a"], "rejected": "b"}
"""


def test_a_function_makes_rows(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FUNCTION)
    rows = [{"kind": "skip"}, {"kind": "two", "q": "q"}, {"kind": "one", "q": "p", "answers": {"a": "c"}}]
    path = lay(tmp_path, "x.jsonl", rows)
    data = config(path=path, rows={"file": tmp_path / "mine.py", "trust_code": True}, eval_fraction=0)
    split = load(data, "preferences")
    assert [record.prompt[0]["content"] for record in split.train] == ["qx", "qy", "p"]
    assert split.ledger["rows"] == 3 and split.ledger["dropped"] == {"left out by data.rows": 1}
    lay(tmp_path, "x.jsonl", [{"kind": "one", "q": "p"}])
    with pytest.raises(DataError, match=r"x.jsonl:1: data.rows: the function failed: KeyError: 'answers'"):
        load(data, "preferences")


def test_a_function_needs_trust_and_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FUNCTION)
    with pytest.raises(ValidationError, match="read it, then set trust_code: true"):
        config(path="x.jsonl", rows={"file": tmp_path / "mine.py"})
    (tmp_path / "bad.py").write_text("row = 1\n1 / 0")
    data = config(path=lay(tmp_path, "x.jsonl", []), rows={"file": tmp_path / "bad.py", "trust_code": True})
    with pytest.raises(RecipeError, match=r"data.rows: .*bad.py does not run: ZeroDivisionError"):
        load(data, "preferences")


# ------------------------------------------------------------------------------------------------ bad rows, equal rows


def spoilt(folder: Path) -> Path:
    rows = pairs(30)
    rows[3] = {"prompt": "p", "chosen": "yes"}  # type: ignore[assignment]
    rows[7] = {"prompt": "p", "chosen": 5, "rejected": "no"}  # type: ignore[dict-item]
    return lay(folder, "x.jsonl", rows)


def test_all_bad_rows_are_listed_and_may_be_dropped(tmp_path: Path) -> None:
    path = spoilt(tmp_path)
    with pytest.raises(DataError, match="2 of 30 rows cannot be read") as caught:
        load(config(path=path), "preferences", tmp_path)
    listed = tmp_path / "bad_rows.preferences.jsonl"
    assert str(caught.value).endswith(f"all of them: {listed}")
    found = [json.loads(line) for line in listed.read_text().splitlines()]
    assert [(row["file"], row["line"], row["field"]) for row in found] == [
        (str(path), "4", "fields"), (str(path), "8", "chosen"),
    ]  # fmt: skip
    for policy in ("drop", "warn"):
        books = load(config(path=path, bad_rows=policy), "preferences").ledger
        assert books["dropped"] == {"cannot be read": 2} and books["used"] + books["held_out"] == 28
        assert ("bad_rows" in books) == (policy == "warn")
    assert "x.jsonl:4: fields" in books["bad_rows"]


@pytest.mark.parametrize("policy", ["error", "drop"])
def test_all_rows_that_teach_nothing_are_listed(tmp_path: Path, policy: str) -> None:
    """Also beside rows that stop the run; more than are kept in memory."""
    same, empty = {"prompt": "a", "chosen": "b", "rejected": "b"}, {"prompt": "a", "chosen": "", "rejected": "b"}
    path = lay(tmp_path, "x.jsonl", [*pairs(3), *[same] * 2500, empty, *[{"prompt": 1}] * (policy == "error")])
    if policy == "error":
        with pytest.raises(DataError):
            load(config(path=path), "preferences", tmp_path)
    else:
        assert load(config(path=path), "preferences", tmp_path).ledger["dropped_rows"] == LISTED[1]
    listed = read(tmp_path / LISTED[1])
    assert listed[0] == {"file": str(path), "line": "4", "reason": "identical"} and len(listed) == 2501
    assert listed[-1] == {"file": str(path), "line": "2504", "reason": "empty answer"}


@pytest.mark.parametrize(
    ("policy", "told"), [("keep", "duplicates: 2 (used all the same)"), ("drop", "2 dropped: dup")]
)
def test_the_books_as_they_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], policy: str, told: str
) -> None:
    """What is in the column of figures adds up."""
    monkeypatch.chdir(tmp_path)
    lay(tmp_path, "x.jsonl", [*pairs(9), *pairs(2), {"prompt": "a", "chosen": "b", "rejected": "b"}])
    check(["x.jsonl", f"duplicates={policy}"])
    said = capsys.readouterr().out
    assert told in said and ("duplicates:" in said) == (policy == "keep")
    assert "rows that teach nothing: dropped_rows.preferences.jsonl\n" in said
    assert sum(int(line.split()[0]) for line in said.splitlines()[1:] if line.startswith(" ")) == 12


def test_a_file_of_bad_rows_alone_is_an_error_whatever_the_policy(tmp_path: Path) -> None:
    path = lay(tmp_path, "x.jsonl", [{"a": 1}] * 3)
    with pytest.raises(DataError, match=r"no usable row among 3 \(3 × cannot be read\):\n.*fields: found a"):
        load(config(path=path, bad_rows="drop"), "preferences")


@pytest.mark.parametrize("first", [[], [{"prompt": "a", "response": "b", "score": 1}]], ids=["faults", "a row"])
def test_faults_are_told_as_they_come(first: list[Any]) -> None:
    """However many there are, none is kept until a row comes that can be read, or until the last row has come."""
    taken = 0

    def rows() -> Rows:
        nonlocal taken
        for taken, row in enumerate([*first, *[DataError("x")] * 9999]):
            yield str(taken), row

    for told, _ in enumerate(arranged(rows(), config(path="x.jsonl"), "preferences")):
        assert told >= taken - 100


def test_equal_examples_are_counted_and_may_be_dropped(tmp_path: Path) -> None:
    rows = pairs(20)
    path = lay(tmp_path, "x.jsonl", [*rows, rows[4], {**rows[4], "rejected": "maybe"}, rows[4]])
    kept = load(config(path=path, eval_fraction=0), "preferences")
    assert len(kept.train) == 23 and kept.ledger["duplicates"] == 2 and kept.ledger["dropped"] == {}
    once = load(config(path=path, eval_fraction=0, duplicates="drop"), "preferences")
    assert len(once.train) == 21 and once.ledger["duplicates"] == 2 and once.ledger["dropped"] == {"duplicate": 2}


def test_validating_keeps_the_same_books_as_loading(tmp_path: Path) -> None:
    path = lay(tmp_path, "x.jsonl", [*pairs(50), {"prompt": "a", "chosen": "b", "rejected": "b"}])
    other = lay(tmp_path, "y.jsonl", [*pairs(5), *pairs(5, "new")])
    for data in (
        config(path=path),
        config(path=path, eval_path=other),
        config(mix=[{"path": path, "weight": 0.5}, {"path": other, "weight": 2.5}]),
    ):
        assert validate(data, "preferences") == load(data, "preferences").ledger
    lay(tmp_path, "y.jsonl", [{"prompt": "q"}])
    with pytest.raises(DataError, match=r"y.jsonl:1: "):
        validate(config(path=path, eval_path=other), "preferences")


@pytest.mark.parametrize("settings", [{}, {"duplicates": "drop"}, {"eval_fraction": 0}], ids=str)
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="parts are read by forked processes")
def test_parts_of_a_file_keep_the_same_books(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    """Also on what only all parts together show: copies of an earlier part's rows, and the numbers of lines."""
    rows = [*pairs(60), *pairs(30), {"prompt": "a", "chosen": "b", "rejected": "b"}, *pairs(40, "new")]
    rows[10:10] = rows[80:80] = [{"prompt": 3, "chosen": "a", "rejected": "b"}]
    rows[21:21] = [{"prompt": "a", "chosen": "b", "rejected": " "}]
    path = lay(tmp_path, "x.jsonl", rows)
    data = config(path=path, bad_rows="drop", **settings)
    whole, apart = tmp_path / "whole", tmp_path / "apart"
    whole.mkdir(), apart.mkdir()
    ledger = validate(data, "preferences", whole)
    monkeypatch.setattr(parts, "LEAST", 999)
    for workers in (2, 5):
        assert len(parts.parts_of(data, "preferences", workers)) == workers
        assert validate(data, "preferences", apart, workers=workers) == ledger
        assert sorted(one.name for one in apart.iterdir()) == LISTED
        assert all((apart / name).read_bytes() == (whole / name).read_bytes() for name in LISTED)
    assert [row["line"] for row in read(whole / LISTED[1])] == ["22", "94"]
    assert ledger["dropped"]["cannot be read"] == 2 and ledger["duplicates"] == 30
    for workers in (1, 4):
        with pytest.raises(DataError, match=r"2 of 134 rows .*\n.*x\.jsonl:11: prompt: is a number.*and 1 more rows"):
            validate(config(path=path), "preferences", workers=workers)


LISTED = ["bad_rows.preferences.jsonl", "dropped_rows.preferences.jsonl"]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="parts are read by forked processes")
def test_readings_at_one_time_do_not_disturb_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is listed is whole, and that of the one that ended last."""
    one, other = (lay(tmp_path, f"{name}.jsonl", [*pairs(30), *[{"prompt": 1}] * 9, *pairs(30)]) for name in "ab")
    monkeypatch.setattr(parts, "LEAST", 999)
    data = [config(path=path, bad_rows="drop") for path in (one, other)]
    with Intake(data[0], "preferences", Lists(tmp_path / LISTED[0])) as intake:
        assert len(list(intake.take(data[0]))) == 60
        beside = multiprocessing.get_context("fork").Process(
            target=validate, args=(data[1], "preferences", tmp_path, 2)
        )
        beside.start(), beside.join()
        assert beside.exitcode == 0 and [row["file"] for row in read(tmp_path / LISTED[0])] == [str(other)] * 9
    assert [row["file"] for row in read(tmp_path / LISTED[0])] == [str(one)] * 9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl", LISTED[0]]


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="parts are read by forked processes")
def test_nothing_is_left_of_parts_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [*pairs(60), {"prompt": "a", "chosen": "b", "rejected": "b"}, *pairs(60, "new")]
    path = lay(tmp_path, "x.jsonl", rows)
    path.write_bytes(path.read_bytes() + b"\0")
    monkeypatch.setattr(parts, "LEAST", 999)
    with pytest.raises(DataError, match=r"x\.jsonl:122: holds a zero byte"):
        validate(config(path=path), "preferences", tmp_path, workers=2)
    assert {one.name for one in tmp_path.iterdir()} <= {"x.jsonl", *LISTED}


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="parts are read by forked processes")
@pytest.mark.parametrize(
    ("happens", "says"),
    [
        (lambda path: os.kill(os.getpid(), signal.SIGKILL), "a process that read was killed; does memory run out"),
        (lambda path: os.truncate(path, 99), r"x\.jsonl: became shorter while it was read"),
    ],
    ids=["killed", "shorter"],
)
def test_a_part_that_does_not_come_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, happens: Callable[[Path], object], says: str
) -> None:
    path = lay(tmp_path, "x.jsonl", pairs(999))
    monkeypatch.setattr(parts, "LEAST", 999)
    share_of = parts.share

    def share(record: Record) -> float:
        happens(path)
        return share_of(record)

    monkeypatch.setattr(parts, "share", share)
    with pytest.raises(DataError, match=says):
        validate(config(path=path), "preferences", tmp_path, workers=2)


def test_what_is_read_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that belong together, files of one value, choices that go by order."""
    monkeypatch.setattr(parts, "LEAST", 9)
    path = lay(tmp_path, "x.jsonl", pairs(9))
    scored = lay(tmp_path, "y.jsonl", [{"prompt": "a", "response": "b", "score": i} for i in range(9)])
    on_macs = tmp_path / "r.jsonl"
    on_macs.write_bytes(path.read_bytes().replace(b"\n", b"\r"))
    array = tmp_path / "z.jsonl"
    array.write_text("[\n" + ",\n".join(json.dumps(row) for row in pairs(9)) + "\n]")
    for data in (
        config(path=path, max_rows=3),
        config(path=path, eval_path=path),
        config(path=scored),
        config(path=array),
        config(path=on_macs),
    ):
        assert parts.parts_of(data, "preferences", 2) == []


def test_an_example_that_is_evaluated_on_is_no_copy_of_one_to_train_on(tmp_path: Path) -> None:
    path, other = lay(tmp_path, "x.jsonl", pairs(9)), lay(tmp_path, "y.jsonl", pairs(4))
    split = load(config(path=path, eval_path=other, duplicates="drop"), "preferences")
    assert (len(split.train), len(split.held_out)) == (5, 4)


def test_a_survey_reads_what_a_stage_would_refuse(tmp_path: Path) -> None:
    found = survey(config(path=spoilt(tmp_path)))
    assert found.kind == "preferences" and len(found.records) == 28
    assert [Path(fault.where).name for fault in found.faults] == ["x.jsonl:4", "x.jsonl:8"]


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "preferences"),
        ({"prompt": "a", "completion": "b", "label": True}, "labels"),
        ({"instruction": "a", "output": "b"}, "demonstrations"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "demonstrations"),
        ({"prompt": "a"}, "prompts"),
    ],
    ids=["pair", "label", "alpaca", "messages", "prompt"],
)
def test_the_kind_of_a_file_is_seen_from_its_rows(tmp_path: Path, row: dict[str, Any], kind: str) -> None:
    assert survey(config(path=lay(tmp_path, "x.jsonl", [row]))).kind == kind


def test_the_kind_is_seen_through_columns_and_functions(tmp_path: Path) -> None:
    path = lay(tmp_path, "x.jsonl", [{"q": "a", "good": "b", "bad": "c"}])
    columns = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    assert survey(config(path=path, columns=columns)).kind == "preferences"
    (tmp_path / "mine.py").write_text("def row(row):\n    return {'instruction': row['q'], 'output': row['good']}")
    rows = {"file": tmp_path / "mine.py", "trust_code": True}
    assert survey(config(path=path, rows=rows)).kind == "demonstrations"


# ------------------------------------------------------------------------------------------------ what is meant


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "chosen": None, "rejected": "b"},
        {"prompt": "q", "response_1": "a", "response_2": "b", "votes": [1, 2]},
        {"prompt": "q", "responses": ["a", "b"]},
        {"text": "q", "completion_a": "a", "completion_b": "b"},
    ],
    ids=["a side is null", "two answers without a verdict", "answers without scores", "two answers to a text"],
)
def test_answers_are_not_left_out_for_the_prompt(tmp_path: Path, row: dict[str, Any]) -> None:
    assert kind_of_source(config(path=lay(tmp_path, "x.jsonl", [row]))) == "preferences"


def judged(sides: tuple[str, str], name: str, verdicts: Sequence[Any]) -> list[dict[str, Any]]:
    return [{"prompt": f"q{i}", sides[0]: "a", sides[1]: "b", name: one} for i, one in enumerate(verdicts)]


AB, OUTPUTS, COUNTED = ("response_a", "response_b"), ("output_1", "output_2"), ("response_0", "response_1")


@pytest.mark.parametrize(
    ("sides", "name", "verdicts", "chosen"),
    [
        (AB, "winner", [1, 2, 2], "abb"),
        (AB, "winner", ["A wins", "b is slightly better", "both bad"], "ab="),
        (COUNTED, "preference", [0, 1, 1], "abb"),
        (("response_1", "response_2"), "overall_response", [1, 2, 0], "ab="),
    ],
    ids=["counted", "words", "by name", "with ties"],
)
def test_verdicts_of_a_column(
    tmp_path: Path, sides: tuple[str, str], name: str, verdicts: list[Any], chosen: str
) -> None:
    data = config(path=lay(tmp_path, "x.jsonl", judged(sides, name, verdicts)), eval_fraction=0)
    records = load(data, "preferences").train
    assert "".join("=" if one.tie else one.chosen[0]["content"] for one in records) == chosen


@pytest.mark.parametrize(
    ("sides", "name", "verdicts"),
    [(AB, "winner", [0, 1]), (AB, "label", [1, 1]), (AB, "preference", [-1, 1, 0]), (COUNTED, "preference", [1, 2])],
    ids=["0 and 1", "nothing but 1", "signs", "two ways to count"],
)
@pytest.mark.parametrize("bad_rows", ["error", "drop"])
def test_a_column_that_does_not_say_which_is_better(
    tmp_path: Path, sides: tuple[str, str], name: str, verdicts: list[int], bad_rows: str
) -> None:
    path = lay(tmp_path, "x.jsonl", judged(sides, name, verdicts))
    with pytest.raises(DataError, match=rf"x\.jsonl: {name}: its numbers? .*data\.verdicts='"):
        load(config(path=path, bad_rows=bad_rows), "preferences")
    meanings = {str(number): "second" for number in verdicts}
    found = load(config(path=path, bad_rows=bad_rows, verdicts=meanings, eval_fraction=0), "preferences").train
    assert [one.chosen[0]["content"] for one in found] == ["b"] * len(verdicts)


def test_a_verdict_that_data_verdicts_leaves_out(tmp_path: Path) -> None:
    path = lay(tmp_path, "x.jsonl", judged(AB, "winner", [0, 1]))
    with pytest.raises(DataError, match=r"x\.jsonl:2: winner: is 1, of which data\.verdicts says nothing"):
        load(config(path=path, verdicts={"0": "first"}), "preferences")


def test_why_no_row_has_a_kind(tmp_path: Path) -> None:
    path = lay(tmp_path, "x.jsonl", [{"q": "a", "good": "b", "bad": "c"}] * 3)
    with pytest.raises(DataError, match=r"x\.jsonl:1: data\.columns\.prompt: there is no qq"):
        kind_of_source(config(path=path, columns={"prompt": "qq", "chosen": "good", "rejected": "bad"}))


def test_a_field_that_is_misspelt_in_a_mapping(tmp_path: Path) -> None:
    path = lay(tmp_path, "x.jsonl", [{"q": "a", "good": "b", "bad": "c", "by": 1}])
    columns = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    assert load(config(path=path, eval_fraction=0, columns={**columns, "margin": "by"}), "preferences").train[0].margin
    with pytest.raises(DataError, match=r"data\.columns\.magrin: no format reads such a field; did you mean 'margin'"):
        load(config(path=path, columns={**columns, "magrin": "by"}), "preferences")


@pytest.mark.parametrize(("weight", "says"), [(1e9, "less than or equal to 1000"), (0, "greater than 0")])
def test_a_weight_within_reason(tmp_path: Path, weight: float, says: str) -> None:
    path = lay(tmp_path, "x.jsonl", pairs(2))
    with pytest.raises(RecipeError, match=rf"weight: .*{says}"):
        data_block([f"mix=[{{path: {path}, weight: {weight}}}]"])


@pytest.mark.parametrize("word", ["", "mix=[{path: ''}]"])
def test_a_path_that_is_empty(word: str) -> None:
    with pytest.raises(RecipeError, match=r"path: .*is empty; name a file"):
        data_block([word])


def replies(count: int) -> list[dict[str, Any]]:
    """A chain of OpenAssistant's messages; each of the user's has two answers, the second of rank 0."""
    rows: list[dict[str, Any]] = []
    for i in range(count):
        node = {"message_id": str(i), "parent_id": str(i - 1) if i else None, "text": f"t{i}", "rank": i % 2}
        rows.append({**node, "role": ("prompter", "assistant")[i % 2]})
        if i % 2:
            rows.append({**rows[-1], "message_id": f"{i}b", "rank": 0, "text": f"t{i} again"})
    return rows


@pytest.mark.parametrize("kind", ["preferences", "prompts"])
def test_a_chain_of_2000_messages(tmp_path: Path, kind: Any) -> None:
    found = load(config(path=lay(tmp_path, "x.jsonl", replies(2000)), eval_fraction=0), kind).train
    lengths = [len(one.prompt if isinstance(one, Preference) else one.messages) for one in found]
    assert lengths == list(range(1, 2000, 2))


def test_a_list_of_bad_rows_is_no_data(tmp_path: Path) -> None:
    lay(tmp_path, "x.jsonl", pairs(2))
    for name in (*LISTED, "dropped_rows.out.jsonl", "bad_rows.preferences.0.jsonl"):
        lay(tmp_path, name, [{"file": "x.jsonl"}])
    assert files.found(tmp_path) == [tmp_path / "x.jsonl"]


# ------------------------------------------------------------------------------------------------ nothing is lost


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"prompt": "q", "initial_reason_steps": "s ", "chosen": "a", "rejected": "b"},
        {
            "chosen": [said("user", "q"), said("assistant", "a")],
            "rejected": [said("user", "q"), said("assistant", "b")],
        },
        {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
        {"chosen": "Human: q Assistant: a", "rejected": "Human: q Assistant: b"},
        {"chosen": "It is here", "rejected": "It is gone"},
        {"prompt": "q", "response": "a", "rejected_response": "b"},
        {"question": "q", "response_j": "a", "response_k": "b"},
        {"instruction": "q", "output": ["a", "b"]},
        {"info": {"post": "q"}, "summaries": [{"text": "a"}, {"text": "b"}], "choice": 0},
    ],
    ids=lambda row: " ".join(row),
)
def test_what_is_said_beside_two_answers_is_heard(tmp_path: Path, row: dict[str, Any]) -> None:
    """However they are written: how much better one is, or that none is."""
    path = lay(tmp_path, "x.jsonl", [row | {"margin": 2}, row | {"tie": True}, row | {"is_tie": "yes", "status": "x"}])
    found = load(config(path=path, eval_fraction=0), "preferences")
    assert [(one.margin, one.tie) for one in found.train] == [(2.0, False), (None, True), (None, True)]
    lay(tmp_path, "x.jsonl", [row, row | {"tie": "perhaps"}])
    with pytest.raises(DataError, match=r"x\.jsonl:2: tie: is 'perhaps'"):
        load(config(path=path), "preferences")


def test_truths_of_several_answers_are_heard(tmp_path: Path) -> None:
    answers = [{"text": "a", "is_good": False, "length": 1}, {"text": "b", "is_good": True, "length": 1}]
    path = lay(tmp_path, "x.jsonl", [{"prompt": "q", "responses": answers}])
    (pair,) = load(config(path=path, eval_fraction=0), "preferences").train
    assert (pair.chosen[0]["content"], pair.margin) == ("b", 1.0)
    answers[0]["is_good"] = None
    lay(tmp_path, "x.jsonl", [{"prompt": "q", "responses": answers}])
    with pytest.raises(DataError, match=r"x\.jsonl:1: score: is it length that says"):
        load(config(path=path), "preferences")


def test_an_answer_without_a_verdict_among_others_is_told_by_its_place(tmp_path: Path) -> None:
    rows = [
        {"prompt": "q", "response": said, "is_chosen": good} for said, good in (("a", True), ("b", None), ("c", False))
    ]
    path = lay(tmp_path, "x.jsonl", rows)
    with pytest.raises(DataError, match=r"x\.jsonl:2: is_chosen: is None; true"):
        load(config(path=path), "preferences")
    (pair,) = load(config(path=path, bad_rows="drop", eval_fraction=0), "preferences").train
    assert (pair.chosen[0]["content"], pair.rejected[0]["content"]) == ("a", "c")


def test_a_side_that_repeats_the_last_question_keeps_what_stands_before(tmp_path: Path) -> None:
    asks, good, bad = {"role": "user", "content": "q"}, *({"role": "assistant", "content": text} for text in "ab")
    head = {"role": "system", "content": "s"}
    row = {"prompt": [head, asks], "chosen": [asks, good], "rejected": [asks, bad]}
    (record,) = load(config(path=lay(tmp_path, "x.jsonl", [row]), eval_fraction=0), "preferences").train
    assert record.prompt == [head, asks] and (record.chosen, record.rejected) == ([good], [bad])


def test_answers_about_other_articles_are_not_compared(tmp_path: Path) -> None:
    rows = [{"question": "Title?", "article": a, "answer": a, "score": n} for n, a in enumerate(["cats", "dogs"])]
    with pytest.raises(DataError, match="2 × fewer than two answers"):
        load(config(path=lay(tmp_path, "x.jsonl", rows)), "preferences")


def test_a_verdict_is_part_of_what_makes_a_copy(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "completion": "a", "label": label} for label in (True, False, True)]
    split = load(config(path=lay(tmp_path, "x.jsonl", rows), duplicates="drop", eval_fraction=0), "labels")
    assert len(split.train) == 2 and split.ledger["dropped"] == {"duplicate": 1}


def test_one_bad_example_of_a_function_leaves_the_others(tmp_path: Path) -> None:
    path = lay(tmp_path, "x.jsonl", [{"q": "a"}])
    (tmp_path / "f.py").write_text("def row(r): return [{'prompt': 'q', 'completion': t} for t in ('a', ' ', 'b')]")
    rows = {"file": tmp_path / "f.py", "function": "row", "trust_code": True}
    split = load(config(path=path, rows=rows, eval_fraction=0), "demonstrations")
    assert len(split.train) == 2 and split.ledger["dropped"] == {"empty answer": 1}
