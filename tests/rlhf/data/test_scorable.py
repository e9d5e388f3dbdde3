import json
from pathlib import Path

from rlhf.data.scorable import scorable


def test_what_can_be_scored(tmp_path: Path) -> None:
    """Conversations as they are; both sides of a pair; what has none is counted."""

    def talk(answer: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": "a"}, {"role": "assistant", "content": answer}]

    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"prompt": "a", "completion": "b"}))
    assert scorable(path).rows == [(f"{path}:1", {"": talk("b")})]
    path = tmp_path / "y.jsonl"
    rows = [{"prompt": "a", "chosen": "b", "rejected": "c"}, {"prompt": "a", "chosen": "b", "rejected": "b"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = scorable(path)
    assert found.rows == [(f"{path}:1", {"chosen": talk("b"), "rejected": talk("c")})]
    assert found.dropped.total() == 1
