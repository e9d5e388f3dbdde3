"""A user's own columns by the names that formats know."""

from pathlib import Path
from typing import Any

import pytest

from rlhf.config import DataConfig
from rlhf.data.columns import renamed
from rlhf.data.load import load
from rlhf.errors import DataError

ROW = {"q": "a", "answers": [{"text": "b"}, {"text": "c"}], "meta.id": 7, "meta": {"id": 8, "who": "x"}}


@pytest.mark.parametrize(
    ("path", "value"),
    [("q", "a"), ("answers[0].text", "b"), ("answers[-1].text", "c"), ("meta.id", 7), ("meta.who", "x")],
)
def test_paths(path: str, value: Any) -> None:
    assert renamed(ROW, {"it": path}) == {"it": value}


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("answer", r"data\.columns\.it: there is no answer \(found: q, answers, .*did you mean 'answers'"),
        ("answers[2].text", r"there is no answers\[2\]\.text \(found: 2 items\)"),
        ("q.text", r"there is no q\.text \(found: str\)"),
        ("answers[0].txt", r"found: text\); did you mean 'text'"),
    ],
)
def test_what_is_not_there_is_named(path: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        renamed(ROW, {"it": path})


@pytest.mark.parametrize("path", ["", "a[", "a[x]", ".a", "a..b", "[0]"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="is no path"):
        DataConfig.model_validate({"path": "x.csv", "columns": {"prompt": path}})


def test_a_file_of_own_columns(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("frage,gut,schlecht,label\nWo?,Hier.,Weg.,junk\n")
    columns = {"prompt": "frage", "chosen": "gut", "rejected": "schlecht"}
    config = {"path": path, "eval_fraction": 0}
    (pair,) = load(DataConfig.model_validate({**config, "columns": columns}), "preferences").train
    assert (pair.prompt[0]["content"], pair.chosen[0]["content"], pair.rejected[0]["content"]) == (
        "Wo?",
        "Hier.",
        "Weg.",
    )
    with pytest.raises(
        DataError,
        match=r"mine\.csv:2: fields: found frage .*columns are meant, every one: data\.columns\.prompt=NAME d",
    ):
        load(DataConfig.model_validate(config), "preferences")
    with pytest.raises(DataError, match=r"mine\.csv:2: data\.columns\.chosen: there is no gud"):
        load(DataConfig.model_validate({**config, "columns": {**columns, "chosen": "gud"}}), "preferences")
