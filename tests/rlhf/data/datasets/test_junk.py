"""Nothing that stands in a field of a known row ends in a traceback."""

from contextlib import suppress
from typing import Any

import pytest

from rlhf.errors import DataError
from tests.rlhf.data.datasets import test_conversations, test_exports, test_preferences, test_rated
from tests.rlhf.data.datasets.rows import read

READ = [*test_preferences.READ, *test_rated.READ, *test_conversations.READ, *test_exports.READ]


@pytest.mark.parametrize("junk", [None, 3, "x", [], {}, [3], [{}], {"a": [None]}], ids=str)
def test_whatever_a_field_holds_is_read_or_refused(junk: Any) -> None:
    for _, kind, rows, _ in READ:
        first, *rest = rows if isinstance(rows, list) else [rows]
        for name, value in first.items():
            inner = [{**value, field: junk} for field in value] if isinstance(value, dict) else []
            for worse in [junk, *inner, *([[junk, *value[1:]]] if isinstance(value, list) else [])]:
                with suppress(DataError):
                    read(kind, {**first, name: worse}, *rest)
