import json
from pathlib import Path

import pytest

from rlhf.data.scorable import scorable
from rlhf.errors import DataError


def talk(answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": "a"}, {"role": "assistant", "content": answer}]


def test_what_can_be_scored(tmp_path: Path) -> None:
    """Conversations as they are; both sides of a pair; what has none is counted."""
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"prompt": "a", "completion": "b"}))
    assert scorable(path).rows == [(f"{path}:1", {"": talk("b")})]
    path = tmp_path / "y.jsonl"
    rows = [{"prompt": "a", "chosen": "b", "rejected": "c"}, {"prompt": "a", "chosen": "b", "rejected": "b"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = scorable(path)
    assert found.rows == [(f"{path}:1", {"chosen": talk("b"), "rejected": talk("c")})]
    assert found.dropped.total() == 1


@pytest.mark.parametrize(
    "rows",
    [
        [{"prompt": "a", "completion": said, "label": said == "good"} for said in ("bad", "good")],
        [{"prompt": "a", "response": said, "score": n} for n, said in enumerate(("bad", "good"))],
    ],
    ids=["labels", "scores"],
)
def test_answers_are_scored_whatever_was_said_of_them(tmp_path: Path, rows: list[dict[str, object]]) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = scorable(path)
    assert found.rows == [(f"{path}:{i}", {"": talk(said)}) for i, said in ((1, "bad"), (2, "good"))]
    assert not found.dropped


def test_most_rows_say_what_is_scored(tmp_path: Path) -> None:
    """And not the first, which is told of."""
    rows = [{"prompt": "a", "completion": "b"}, *({"prompt": "a", "chosen": "b", "rejected": f"{i}"} for i in range(3))]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=r"x\.jsonl:1: "):
        scorable(path)
    path.write_text('{"prompt": "a"}')
    with pytest.raises(DataError, match=r"x\.jsonl:1: "):
        scorable(path)
