import gzip
import io
import itertools
import json
import math
import sys
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf.config import DataConfig
from rlhf.data import files
from rlhf.errors import DataError

Write = Callable[[str, str | bytes], Path]


def places(path: Path) -> list[tuple[str, Any]]:
    """Rows with the part of `where` after the file's name; faults as text."""
    return [
        (where.removeprefix(f"{path}:"), str(row) if isinstance(row, DataError) else row)
        for where, row in files.read(path)
    ]


def test_json_lines(write: Write) -> None:
    path = write("x.jsonl", '\ufeff{"a": 1}\r\n\n{"a": "one\u2028two\u0085three"}\n{"a": \n{"a": 4}')
    first, second, broken, last = places(path)
    assert first == ("1", {"a": 1})
    assert second == ("3", {"a": "one\u2028two\u0085three"})
    assert broken[0] == "4" and broken[1].startswith("row: broken JSON, Expecting value at column")
    assert last == ("5", {"a": 4})


def test_json_array(write: Write) -> None:
    path = write("x.json", '[\n {"a": 1},\n\n {"a":\n  2}, {"a": 3}\n]\n')
    assert places(path) == [("2 (row 1)", {"a": 1}), ("4 (row 2)", {"a": 2}), ("5 (row 3)", {"a": 3})]
    assert places(write("empty.json", "[]")) == []
    assert places(write("lines.json", '{"a": 1}\n{"a": 2}')) == [("1", {"a": 1}), ("2", {"a": 2})]


def test_broken_json_array(write: Write) -> None:
    rows = places(write("x.json", '[\n {"a": 1},\n {"a": }\n]'))
    assert rows[0] == ("2 (row 1)", {"a": 1})
    assert rows[1][0] == "3 (row 2)" and "broken JSON, Expecting value at column 8" in rows[1][1]
    assert places(write("y.json", "[1"))[1] == (
        "1 (row 2)",
        "row: broken JSON, Expecting value at column 3; one complete object is needed",
    )
    assert places(write("z.json", '{\n "a": 1\n}')) == [("1", {"a": 1})]


WRAPPED = [
    ({"data": [{"a": 1}, {"a": 2}], "version": "1.1"}, [("data[0]", {"a": 1}), ("data[1]", {"a": 2})]),
    ({"train": [{"input": "a", "output": "b"}]}, [("train[0]", {"input": "a", "output": "b"})]),
    ({"alpaca": [{"a": 1}]}, [("alpaca[0]", {"a": 1})]),
    ({"features": [{"name": "a"}], "rows": [{"row_idx": 0, "row": {"a": 1}}]}, [("rows[0]", {"a": 1})]),
    ({"prompts": ["x", "y"]}, [("prompts[0]", "x"), ("prompts[1]", "y")]),
    ({"a": ["x", "y"], "b": [1, 2]}, [("row 1", {"a": "x", "b": 1}), ("row 2", {"a": "y", "b": 2})]),
    (
        {"a": {"0": "x", "7": "y"}, "b": {"0": 1, "7": 2}},
        [("row 0", {"a": "x", "b": 1}), ("row 7", {"a": "y", "b": 2})],
    ),
    ({"columns": ["a", "b"], "data": [["x", 1]]}, [("data[0]", {"a": "x", "b": 1})]),
    ({"0": {"a": 1}, "1": {"a": 2}}, [("row 0", {"a": 1}), ("row 1", {"a": 2})]),
]
TALK = [{"role": "user", "content": "x"}]
ONE_ROW = [
    {"data": ["x", "y"]},
    {"data": TALK},
    {"chosen": TALK, "rejected": TALK},
    {"a": {"b": 1}},
    {"a": [1], "b": []},
    {"instruction": "a", "instances": [{"input": "x", "output": "b"}]},
    {"dialogue": [{"user": "a", "assistant": "b"}, {"user": "c", "assistant": "d"}]},
]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(("value", "rows"), WRAPPED, ids=range(len(WRAPPED)))
def test_one_object_that_holds_rows(write: Write, value: Any, rows: list[Any], indent: int | None) -> None:
    assert places(write("x.json", json.dumps(value, indent=indent))) == rows


@pytest.mark.parametrize("value", ONE_ROW, ids=range(len(ONE_ROW)))
def test_one_object_that_is_a_row(write: Write, value: Any) -> None:
    assert places(write("x.json", json.dumps(value))) == [("1", value)]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (
            {"train": [{"a": 1}], "test": [{"a": 2}]},
            r"x\.json: holds several lists of rows \(train, test\); write the one",
        ),
        ({"citation": "", "features": {"a": {}}}, "describes a data set and holds no rows; name the .arrow"),
        ({"_data_files": [{"filename": "data-0.arrow"}]}, "holds no rows; name one of them: data-0.arrow"),
        ({"x": {"file_name": "x.json"}, "y": {"hf_hub_url": "a/y"}}, "for LLaMA-Factory .* name a file of it: x.json"),
    ],
    ids=["several", "dataset_info", "state", "llama_factory"],
)
def test_one_object_without_rows(write: Write, value: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        places(write("x.json", json.dumps(value)))


def test_json_under_the_other_ending(write: Write) -> None:
    assert places(write("x.jsonl", '[\n{"a": 1},\n{"a": 2}\n]')) == [("2 (row 1)", {"a": 1}), ("3 (row 2)", {"a": 2})]
    for opening in ("{\n", "{"):
        assert places(write("y.jsonl", f'{opening}"data": [{{"a": 1}}]}}')) == [("data[0]", {"a": 1})]
    with pytest.raises(DataError, match=r"z\.json: holds objects of several lines; .* jq -c \. FILE"):
        places(write("z.json", '{\n"a": 1\n}\n{\n"a": 2\n}'))


def test_a_list_a_line(write: Write) -> None:
    """Conversations without a name."""
    for name in ("x.jsonl", "x.json"):
        assert places(write(name, "[1, 2]\n\n[3]\n")) == [("1", [1, 2]), ("3", [3])]
    assert places(write("y.jsonl", "[[1],\n[2]]")) == [("1 (row 1)", [1]), ("2 (row 2)", [2])]


def test_not_a_number_is_missing(write: Write) -> None:
    assert places(write("x.jsonl", '{"a": NaN, "b": [Infinity]}')) == [("1", {"a": None, "b": [math.inf]})]


@pytest.mark.parametrize("sign", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
def test_csv_by_another_sign(write: Write, sign: str) -> None:
    path = write("x.csv", f'"prompt"{sign}n\n"one; two, three"{sign}1\n')
    assert places(path) == [("2", {"prompt": "one; two, three", "n": "1"})]
    assert places(write("y.csv", "prompt\none; two\n")) == [("2", {"prompt": "one; two"})]


def test_csv(write: Write) -> None:
    path = write("x.csv", '\ufeffprompt,n\r\n"two\nlines, ""quoted""",1\r\n\r\nplain,2\r\nshort\r\n')
    *rows, short = places(path)
    assert rows == [("2", {"prompt": 'two\nlines, "quoted"', "n": "1"}), ("5", {"prompt": "plain", "n": "2"})]
    assert short == ("6", "row: 1 cells under 2 column names; the first line must name all columns")
    assert "unexpected end of data" in places(write("open.csv", 'prompt\n"never closed\n'))[0][1]


def test_cells_without_a_name(write: Write) -> None:
    path = write("x.csv", ",prompt,completion,\n0,a,b,\n1,a,b,LOST\n")
    assert places(path) == [
        ("2", {"prompt": "a", "completion": "b"}),
        ("3", "column 4: holds 'LOST' and has no name; name it, or take it out"),
    ]


def test_tsv_has_no_quotes(write: Write) -> None:
    assert places(write("x.tsv", 'text\tn\n"half a quote\t1\n')) == [("2", {"text": '"half a quote', "n": "1"})]


ROWS = [
    {"prompt": "Where?", "n": 1, "talk": [{"role": "user", "content": "a"}]},
    {"prompt": "When?", "n": 2, "talk": []},
]


@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
@pytest.mark.parametrize("ending", [".parquet", ".arrow", "-file.arrow", ".jsonl"])
def test_tables(tmp_path: Path, ending: str, packed: str) -> None:
    """Nested as they are, in Arrow's two formats too; whatever they are packed in."""
    buffer, table = io.BytesIO(), pyarrow.Table.from_pylist(ROWS)
    if ending == ".parquet":
        pyarrow.parquet.write_table(table, buffer)
    elif ending == ".jsonl":
        buffer.write("\n".join(map(json.dumps, ROWS)).encode())
    else:
        new = pyarrow.ipc.new_file if "file" in ending else pyarrow.ipc.new_stream
        with new(buffer, table.schema) as writer:
            writer.write_table(table)
    pack = {"": bytes, ".gz": gzip.compress, ".zst": lambda content: pyarrow.compress(content, "zstd", asbytes=True)}[
        packed
    ]
    path = tmp_path / f"x{ending}{packed}"
    path.write_bytes(pack(buffer.getvalue()))
    assert places(path) == [("1", ROWS[0]), ("2", ROWS[1])]


Sheets = dict[str, list[list[Any]]]


def workbook(path: Path, sheets: Sheets) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.worksheets[0])
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for cells in rows:
            sheet.append(cells)
    book.save(path)
    return path


def test_excel(tmp_path: Path) -> None:
    """Cells are text, as in .csv."""
    rows = [["prompt", "score", None, "on"], ["Where?", 1.5, "x", date(2026, 1, 2)], [None] * 4, [2, 42.0, "y", True]]
    assert places(workbook(tmp_path / "x.xlsx", {"Data": rows})) == [
        ("2", {"prompt": "Where?", "score": "1.5", "on": "2026-01-02 00:00:00"}),
        ("4", {"prompt": "2", "score": "42", "on": "true"}),
    ]
    assert places(workbook(tmp_path / "y.xlsx", {"Data": [["n"], [0.1 + 0.2]]})) == [("2", {"n": "0.3"})]


HEAD, HEAD_2 = ["prompt", "answer"], ["answer", None, "prompt"]


@pytest.mark.parametrize(
    ("sheets", "rows"),
    [
        ({"A": [HEAD, ["a", "b"]], "B": [["About this file"]], "C": [HEAD], "D": []}, [("2", "a", "b")]),
        ({"A": [], "B": [HEAD, ["a", "b"]]}, [("B!2", "a", "b")]),
        ({"A": [HEAD, ["a", "b"]], "B 2": [[], HEAD_2, ["d", "x", "c"]]}, [("A!2", "a", "b"), ("B 2!3", "c", "d")]),
    ],
    ids=["one", "the second", "two"],
)
def test_sheets(tmp_path: Path, sheets: Sheets, rows: list[tuple[str, str, str]]) -> None:
    found = places(workbook(tmp_path / "x.xlsx", sheets))
    assert found == [(place, {"prompt": prompt, "answer": answer}) for place, prompt, answer in rows]


def test_sheets_of_different_columns(tmp_path: Path) -> None:
    path = workbook(tmp_path / "x.xlsx", {"Pairs": [HEAD, ["a", "b"]], "More": [["prompt"], ["c"]]})
    with pytest.raises(DataError, match=r"x\.xlsx: its sheets \(Pairs, More\) have different columns; save the one"):
        places(path)


@pytest.mark.parametrize("ending", ["csv", "tsv", "xlsx"])
def test_cells_that_are_no_text(tmp_path: Path, ending: str) -> None:
    """Formulas that failed are faults; what databases and pandas write for nothing is null."""
    rows = [["a", "b"], ["NULL", "x"], ["nan", "<NA>"], ["#N/A", "x"], ["x", "#DIV/0!"], ["None", "null"], ["N/A", "#"]]
    path = tmp_path / f"x.{ending}"
    if ending == "xlsx":
        workbook(path, {"Data": rows})
    else:
        path.write_text("".join((",", "\t")[ending == "tsv"].join(row) + "\n" for row in rows))
    assert places(path) == [
        ("2", {"a": None, "b": "x"}),
        ("3", {"a": None, "b": None}),
        ("4", "a: is #N/A, a formula that failed; mend it, or take the column out"),
        ("5", "b: is #DIV/0!, a formula that failed; mend it, or take the column out"),
        ("6", {"a": "None", "b": "null"}),
        ("7", {"a": "N/A", "b": "#"}),
    ]


@pytest.mark.parametrize(
    ("name", "content", "row"),
    [
        ("x.jsonl", '{"a": "1"}\n{"a": "é"}\n{"a": "2"}\n', "{row}"),
        ("x.csv", 'a\n1\n"x\né"\n2\n', "{row}"),
        ("x.tsv", "a\n1\né\n2\n", "{row}"),
        ("x.txt", "1\né\n2\n", "text"),
    ],
    ids=["jsonl", "csv", "tsv", "txt"],
)
def test_a_line_that_is_not_utf8_is_one_fault(write: Write, name: str, content: str, row: str) -> None:
    first, fault, last = places(write(name, content.encode("latin-1")))
    assert [first[1], last[1]] == ([{"a": "1"}, {"a": "2"}] if row == "{row}" else ["1", "2"])
    assert fault[0] == str(content[: content.index("é")].count("\n") + 1)
    told = "holds the byte 0xe9, which is not UTF-8; mend it, or save the file as UTF-8"
    assert fault[1] == f"row: {told} (if it is Western European: iconv -f LATIN1 -t UTF-8 {name} > NEW)"
    windows = places(write(name, content.replace("é", "“é”").encode("windows-1252")))[1][1]
    assert "the byte 0x93, which" in windows and "iconv -f WINDOWS-1252 -t UTF-8" in windows


def test_a_file_that_is_not_utf8(write: Write) -> None:
    """Where lines are no rows, it is told at once."""
    for name, content in (("x.csv", "réponse\na\n"), ("x.json", '[\n{"a": "é"}]')):
        with pytest.raises(DataError, match=rf"{name}:[12]: row: holds the byte 0xe9, which is not UTF-8"):
            places(write(name, content.encode("latin-1")))


@pytest.mark.parametrize("between", ["", " ", "  ", "\t", " \t", "\r"], ids=repr)
def test_a_key_that_is_there_twice(write: Write, between: str) -> None:
    """However much white space there is before its colon."""
    for text in ("b", "b : c", 'b\\":'):
        path = write("x.jsonl", f'{{"a": 1, "b"{between}: "{text}", "a"{between}: 2}}\n{{"a"{between}: 1}}\n')
        assert places(path) == [("1", "a: occurs twice in one object; leave one of them out"), ("2", {"a": 1})]


def test_endings_in_capitals(write: Write) -> None:
    row = [("1", {"a": "b"})]
    assert places(write("X.JSONL", '{"a": "b"}')) == places(write("x.ndjson", '{"a": "b"}')) == row
    assert places(write("X.JSONL.GZ", gzip.compress(b'{"a": "b"}'))) == row
    assert places(write("X.Csv", "a\nb")) == [("2", {"a": "b"})]


def test_hidden_files(write: Write, tmp_path: Path) -> None:
    """A Mac writes `._x.jsonl` beside x.jsonl."""
    shown, hidden, of_mac = (write(name, "{}") for name in ("x.jsonl", ".x.jsonl", "._x.jsonl"))
    write("bad_rows.preferences.jsonl", "{}")
    assert files.found(tmp_path) == files.found(tmp_path / "*.jsonl") == files.found(tmp_path / "**/*") == [shown]
    assert files.found(tmp_path / ".*.jsonl") == [of_mac, hidden]


def test_a_link_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").symlink_to(tmp_path / "gone.jsonl")
    with pytest.raises(
        DataError, match=r"x\.jsonl is a link to .*/gone\.jsonl, where no file is; name the file itself"
    ):
        places(tmp_path / "x.jsonl")
    with pytest.raises(DataError, match=r"x\.jsonl is a link to .*/gone\.jsonl"):
        places(tmp_path)


def test_a_pattern_in_the_working_directory(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("x.jsonl", "{}")
    monkeypatch.chdir(tmp_path)
    assert files.found(Path("*.jsonl")) == [Path("x.jsonl")]
    if sys.version_info < (3, 13):
        with pytest.raises(DataError, match=r"^\*\*\.jsonl is no pattern \("):
            files.found(Path("**.jsonl"))


def test_parts_of_a_table(write: Write, tmp_path: Path) -> None:
    parts = [write(f"train-0000{i}-of-00004-{i}f.jsonl", "{}") for i in (0, 1, 3)]
    for path in (tmp_path, tmp_path / "train*"):
        with pytest.raises(DataError, match=r": 1 of 4 parts are missing, train-00002-of-00004-0f\.jsonl first; fetch"):
            files.found(path)
    assert files.found(tmp_path / "*-0000[01]-*") == parts[:2]
    write("train-00002-of-00004-2f.jsonl", "{}")
    assert len(files.found(tmp_path)) == 4


def test_text_and_gzip(write: Write) -> None:
    assert places(write("x.txt", "One.\n\n Two.\n")) == [("1", "One."), ("3", " Two.")]
    assert places(write("x.txt.gz", gzip.compress(b"One.\nTwo.\n"))) == [("1", "One."), ("2", "Two.")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl.gz", b"not gzip", "cannot be read"),
        ("x.jsonl.gz", gzip.compress(b"a" * 999, mtime=0)[:-12], "cannot be read"),
        ("x.pickle", b"", r"ends with '\.pickle'; readable: \.jsonl, \.ndjson, .*\.xlsx \(\.gz and \.zst too\)"),
        (
            "x.txt",
            b'{"prompt": "a"}\n{"prompt": "b"}',
            r"x\.txt: holds rows of JSON; give it a name",
        ),
        ("x.parquet", b"no parquet", r"x\.parquet: cannot be read \(Parquet magic bytes not found"),
        ("x.arrow", b"no arrow, but long enough", r"x\.arrow: cannot be read \("),
        ("x.xlsx", b"no workbook", r"x\.xlsx: cannot be read \(File is not a zip file"),
        ("x.jsonl.zst", b"no zstd", r"x\.jsonl\.zst: cannot be read \("),
        (
            "x.jsonl.gz",
            gzip.compress(b"{}\n" * 999, mtime=0)[:-12] + b"damagedgzip!",
            r"x\.jsonl\.gz: cannot be read \(",
        ),
    ],
)
def test_unreadable_files(write: Write, name: str, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        places(write(name, content))


def test_missing_file(write: Write, tmp_path: Path) -> None:
    write("pairs.jsonl", "")
    with pytest.raises(DataError, match=r"no file .*pair\.jsonl; did you mean 'pairs\.jsonl'"):
        places(tmp_path / "pair.jsonl")
    with pytest.raises(DataError, match="there is no folder"):
        places(tmp_path / "nowhere" / "pair.jsonl")


def test_deep_json_is_a_fault(write: Write) -> None:
    deep = "[" * 100_000
    assert "nested too deeply" in places(write("x.jsonl", deep))[0][1]
    assert "nested too deeply" in places(write("x.json", deep))[0][1]


@pytest.mark.parametrize("name", ["x.jsonl", "x.json"])
def test_levels_of_a_row(write: Write, name: str) -> None:
    """As many as any data set has; replies of a tree are no levels."""
    tree: dict[str, Any] = {"text": "a", "replies": []}
    for _ in range(150):
        tree = {"text": "a", "replies": [tree]}
    shapes = ['{"a": ' + "[" * n + "]" * n + "}" for n in (99, 100, 900)] + [json.dumps(tree)]
    for text, deep in zip([*shapes, shapes[2].replace("a", "replies")], [False, True, True, False, True], strict=True):
        content = f"{text}\n" if name == "x.jsonl" else f"[{text}]"
        assert ("row: JSON nested too deeply" in str(places(write(name, content))[0][1])) == deep


json_rows = st.lists(st.dictionaries(st.text(max_size=4), st.text(max_size=8) | st.integers(), max_size=3), max_size=6)


@given(json_rows, st.sampled_from([None, 2]))
def test_json_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[Any], indent: int | None) -> None:
    folder = tmp_path_factory.mktemp("json")
    lines, array = folder / "x.jsonl", folder / "x.json"
    lines.write_bytes("\n".join(json.dumps(row) for row in rows).encode())
    array.write_bytes(json.dumps(rows, indent=indent).encode())
    assert [row for _, row in files.read(lines)] == [row for _, row in files.read(array)] == rows


# ------------------------------------------------------------------------------------------------ hub


class Hub:
    """Stands for the `datasets` library."""

    def __init__(self, configurations: list[str], error: Exception | None = None) -> None:
        self.configurations, self.error = configurations, error
        self.asked: dict[str, Any] = {}

    def get_dataset_config_names(self, name: str, revision: str | None) -> list[str]:
        return self.configurations

    def load_dataset(self, path: str, **at: Any) -> list[dict[str, Any]]:
        if self.error:
            raise self.error
        self.asked = at
        return [{"text": "a"}]


@pytest.fixture(autouse=True)
def _nothing_fetched() -> None:
    files._hub.cache_clear()


@pytest.mark.parametrize(
    ("configurations", "subset", "asked"),
    [
        (["default"], "harmless-base", {"data_dir": "harmless-base"}),
        (["main", "socratic"], "main", {"name": "main"}),
        (["default"], None, {}),
    ],
)
def test_hub(
    monkeypatch: pytest.MonkeyPatch, configurations: list[str], subset: str | None, asked: dict[str, str]
) -> None:
    hub = Hub(configurations)
    monkeypatch.setitem(sys.modules, "datasets", hub)
    data = DataConfig.model_validate({"hub": "a/b", "subset": subset, "split": "test", "revision": "v1"})
    assert list(files.read_hub(data)) == [("a/b/test:0", {"text": "a"})]
    assert hub.asked == {"split": "test", "revision": "v1", **asked}


def test_a_hub_dataset_is_known_by_what_it_holds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also where its name and revision stay: in memory, and in the tables that it was fetched as."""
    datasets = pytest.importorskip("datasets")
    data, keys = DataConfig.model_validate({"hub": "a/b"}), []

    def fetched(on_disk: bool, text: str, name: str, **_: Any) -> Any:
        rows = datasets.Dataset.from_list([{"text": text}])
        if not on_disk:
            return rows
        rows.save_to_disk(tmp_path / f"{len(keys)}")
        return datasets.load_from_disk(tmp_path / f"{len(keys)}")

    for held in itertools.product((False, True), ("a", "a", "b")):
        monkeypatch.setattr(datasets, "load_dataset", partial(fetched, *held))
        files._hub.cache_clear()
        keys.append(files.hub_hash(data))
    assert keys[0] == keys[1] != keys[2] and keys[3] == keys[4] != keys[5]
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("was fetched twice"))
    assert list(files.read_hub(data)) == [("a/b/train:0", {"text": "b"})] and files.hub_hash(data) == keys[-1]


def test_hub_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", Hub([], ConnectionError("Couldn't reach 'a/b' on the Hub")))
    with pytest.raises(DataError, match=r"cannot load 'a/b' split 'train' \(Couldn't reach.*data\.path="):
        list(files.read_hub(DataConfig.model_validate({"hub": "a/b"})))
