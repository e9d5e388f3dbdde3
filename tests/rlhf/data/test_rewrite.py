"""Data written anew: convert, split, mix, and the words that say which data."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlhf import cli_data
from rlhf.data import rewrite
from rlhf.data.load import load, validate
from rlhf.data.records import prompt_key
from rlhf.errors import DataError, RecipeError
from rlhf.recipe.data import data_block


def lay(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def pairs(count: int, said: str = "question") -> list[dict[str, str]]:
    return [{"prompt": f"{said} {i}", "chosen": "yes", "rejected": "no"} for i in range(count)]


def test_any_format_becomes_canonical_rows(tmp_path: Path) -> None:
    votes = [{"instruction": "q", "output_1": "a", "output_2": "b", "preference": n} for n in (2, 1, 1.5)]
    path, out = lay(tmp_path / "votes.jsonl", votes), tmp_path / "out.jsonl"
    books = rewrite.convert(data_block([str(path)]), "preferences", out)
    turn = [[{"role": "assistant", "content": word}] for word in "ab"]
    asked = [{"role": "user", "content": "q"}]
    assert read(out) == [
        {"prompt": asked, "chosen": turn[1], "rejected": turn[0]},
        {"prompt": asked, "chosen": turn[0], "rejected": turn[1]},
        {"prompt": asked, "chosen": turn[0], "rejected": turn[1], "tie": True},
    ]
    assert books["rows"] == books["used"] == 3
    again = tmp_path / "again.jsonl"
    rewrite.convert(data_block([str(out)]), "preferences", again)
    assert again.read_bytes() == out.read_bytes()


def test_answers_of_several_turns_stay_whole(tmp_path: Path) -> None:
    talk = [{"role": role, "content": word} for role, word in zip(("assistant", "user") * 2, "abcd", strict=True)][:3]
    rows = [{"prompt": "q", "completion": talk, "score": 2.0}]
    path, out = lay(tmp_path / "x.jsonl", rows), tmp_path / "out.jsonl"
    rewrite.convert(data_block([str(path)]), "scores", out)
    before, after = (load(data_block([str(one), "eval_fraction=0"]), "scores").train[0] for one in (path, out))
    assert after.answers == before.answers == [(talk, {"score": 2.0})]


def test_what_teaches_nothing_is_listed_beside_the_file(tmp_path: Path) -> None:
    path = lay(tmp_path / "x.jsonl", [*pairs(3), {"prompt": "a", "chosen": "b", "rejected": "b"}])
    books = rewrite.convert(data_block([str(path)]), "preferences", tmp_path / "out.jsonl")
    assert books["dropped_rows"] == "dropped_rows.out.jsonl"
    assert read(tmp_path / "dropped_rows.out.jsonl") == [{"file": str(path), "line": "4", "reason": "identical"}]


def test_what_cannot_be_read_leaves_no_file(tmp_path: Path) -> None:
    path = lay(tmp_path / "x.jsonl", [*pairs(3), {"prompt": "q"}])
    with pytest.raises(DataError, match=r"x.jsonl:4: "):
        rewrite.convert(data_block([str(path)]), "preferences", tmp_path / "out.jsonl")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad_rows.out.jsonl", "x.jsonl"]
    with pytest.raises(DataError, match=r"name a file that ends with \.jsonl"):
        rewrite.convert(data_block([str(path)]), "preferences", tmp_path / "out.csv")


def test_a_split_is_the_one_that_stages_see(tmp_path: Path) -> None:
    data = data_block([str(lay(tmp_path / "x.jsonl", pairs(80))), "eval_fraction=0.25"])
    rewrite.split(data, "preferences", tmp_path / "parts")
    whole = load(data, "preferences")
    for name, records in (("train", whole.train), ("held_out", whole.held_out)):
        found = load(data_block([str(tmp_path / "parts" / f"{name}.jsonl"), "eval_fraction=0"]), "preferences").train
        assert [prompt_key(record) for record in found] == [prompt_key(record) for record in records]


def test_a_mix_is_shuffled_by_its_seed(tmp_path: Path) -> None:
    a, b = lay(tmp_path / "a.jsonl", pairs(10, "a")), lay(tmp_path / "b.jsonl", pairs(30, "b"))
    data = data_block([f"mix=[{{path: {a}, weight: 3}}, {{path: {b}}}]"])
    made = []
    for seed in (0, 0, 1):
        rewrite.mix(data, "preferences", tmp_path / "out.jsonl", seed)
        made.append((tmp_path / "out.jsonl").read_text())
    assert made[0] == made[1] != made[2] and len(made[0].splitlines()) == 60
    assert '"a ' in "".join(made[0].splitlines()[30:])  # which follow in the order of the sources


WRITERS: dict[str, Callable[[Path, Path], object]] = {
    "convert": lambda read, out: cli_data.convert([str(read)], out),
    "split": lambda read, out: cli_data.split([str(read), "eval_fraction=0"], out.parent),
    "mix": lambda read, out: cli_data.mix([str(read)], out),
    "inspect": lambda read, out: cli_data.inspect([str(read)], html=out),
    "check": lambda read, out: validate(data_block([str(read)]), "preferences", out.parent),
}
"""All that write, each to the file `out` or into its folder."""


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_folders_are_made(tmp_path: Path, write: Callable[[Path, Path], object]) -> None:
    path = lay(tmp_path / "x.jsonl", [*pairs(3), {"prompt": "a", "chosen": "b", "rejected": "b"}])
    write(path, tmp_path / "new" / "folder" / "train.jsonl")
    (made, *_) = (tmp_path / "new" / "folder").iterdir()
    assert made.stat().st_size and not made.name.startswith(".")


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_what_cannot_be_written_is_named(tmp_path: Path, write: Callable[[Path, Path], object]) -> None:
    path = lay(tmp_path / "x.jsonl", [*pairs(3), {"prompt": "a", "chosen": "b", "rejected": "b"}])
    folder = lay(tmp_path / "file", [])
    with pytest.raises(DataError, match=r"file/\S+: cannot be written \(.+\); name a place that can be written to"):
        write(path, folder / "train.jsonl")
    assert sorted(tmp_path.iterdir()) == [folder, path]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["x.jsonl", "y.jsonl"], "y.jsonl: one path is read, x.jsonl"),
        (["x.jsonl", "colums.prompt=q"], "override 'colums.prompt=q': colums: unknown key; did you mean 'columns'?"),
        (["x.jsonl", "eval_fraction=2"], "override 'eval_fraction=2': eval_fraction: "),
        (["eval_fraction=0"], "name exactly one of"),
        (["stage=sft"], "only a recipe has stages"),
    ],
    ids=["two", "unknown", "bounds", "none", "stage"],
)
def test_words_that_are_wrong_are_named(words: list[str], told: str) -> None:
    with pytest.raises(RecipeError) as caught:
        data_block(words)
    assert told in str(caught.value)


def test_what_is_read_is_not_written_over(tmp_path: Path) -> None:
    path = lay(tmp_path / "train.jsonl", pairs(3))
    data, before = data_block([str(path)]), path.read_text()
    with pytest.raises(DataError, match=r"train\.jsonl: is read from, and would be lost; name another place"):
        rewrite.convert(data, "preferences", path)
    with pytest.raises(DataError, match="is read from"):
        rewrite.split(data, "preferences", tmp_path)
    with pytest.raises(DataError, match="is read from"):
        rewrite.mix(data, "preferences", path)
    assert path.read_text() == before


def test_names_of_others_cannot_command_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = lay(tmp_path / "x.jsonl", [{"prompt": "q", "chosen": "a", "rejected": "b", "\x1b[2J": 1}])
    cli_data.convert([str(path)], tmp_path / "out.jsonl")
    told = capsys.readouterr().out
    assert "not read: ␛[2J (1)" in told and "\x1b" not in told


def test_rows_of_several_examples_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [{"completions": [{"text": t, "rating": r} for t, r in (("a", 1), ("b", -1))], "chosen_completion": 0}] * 2
    path = lay(tmp_path / "x.jsonl", [{"question": {"problem": "q"}, "label": {"steps": steps}}])
    cli_data.convert([str(path)], tmp_path / "out.jsonl")
    assert "1 rows, 2 examples read as preferences (1 steps)\n        2 used" in capsys.readouterr().out
