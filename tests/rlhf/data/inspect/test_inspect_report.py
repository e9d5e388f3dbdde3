import json
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from rlhf.config.data import DataConfig
from rlhf.data.inspect import Report, inspect, page, terminal
from rlhf.data.inspect.report import TITLES
from rlhf.errors import DataError
from tests.rlhf.data.inspect.conftest import Look, find, pair, pairs

ROOT = Path(__file__).resolve().parents[4]
REAL = ROOT.parent / "shared" / "data"


def shown(report: Report, width: int = 100) -> str:
    screen = Console(file=StringIO(), width=width, highlight=False)
    terminal.show(report, screen)
    return screen.file.getvalue()  # type: ignore[attr-defined]


def test_clean_data_has_no_warning(look: Look) -> None:
    report = look(pairs(200))
    assert [finding.name for finding in report.findings] == ["length_bias"]
    assert report.findings[0].level == "note"
    assert {"exact_duplicates", "near_duplicates", "swapped", "special_tokens", "secrets"} <= set(report.clean)


def test_what_it_is_and_why(look: Look) -> None:
    report = look(pairs(4))
    assert (report.kind, report.usable, report.malformed) == ("preferences", 4, 0)
    assert [(seen.name, seen.rows, seen.fields) for seen in report.formats] == [
        ("pair", 4, ["prompt", "chosen", "rejected"])
    ]
    renamed = [{"q": row["prompt"], "yes": row["chosen"], "no": row["rejected"]} for row in pairs(3)]
    columns = {"prompt": "q", "chosen": "yes", "rejected": "no"}
    assert look(renamed, "preferences", {"columns": columns}).formats == look(pairs(3)).formats
    assert look(["Is it open?", "Is it shut?"], "prompts").kind == "prompts"


def test_several_formats(look: Look) -> None:
    other = {"question": "Is it open today?", "response_j": "Yes, until six.", "response_k": "No idea."}
    seen = look([*pairs(3), other]).formats
    assert [(one.name, one.rows) for one in seen] == [("pair", 3), ("stack_exchange", 1)]
    assert seen[1].fields == ["question", "response_j", "response_k"]


def test_malformed_rows(look: Look) -> None:
    report = look([*pairs(3), pair(9, rejected=3), "{", *["[1]"] * 30])
    finding = find(report, "malformed_rows")
    assert (finding.level, finding.count, finding.of, report.malformed) == ("error", 32, 35, 32)
    assert len(report.errors) == 20
    assert report.errors[0]["line"] == "4" and report.errors[0]["field"] == "rejected"
    assert report.errors[0]["reason"].startswith("is a number; ") and report.errors[0]["file"].endswith("x.jsonl")
    assert report.usable == 3


def test_dropped_rows(look: Look) -> None:
    same, empty = pair(8, rejected=pair(8)["chosen"]), pair(9, rejected=" ")
    report = look([*pairs(27), same, same, empty])
    finding = find(report, "dropped_rows")
    assert (finding.level, finding.count, finding.of) == ("warning", 3, 30)
    assert [(one.reason, one.count, len(one.places)) for one in report.dropped] == [
        ("identical", 2, 2),
        ("empty answer", 1, 1),
    ]
    assert find(look([*pairs(27), same]), "dropped_rows").level == "note"


def test_nothing_usable(look: Look) -> None:
    report = look([pair(1, rejected=pair(1)["chosen"])])
    assert report.usable == 0 and report.lengths is None and report.examples == []
    assert "1 identical" in shown(report) and "identical" in page.html(report)
    with pytest.raises(DataError):
        look(["{}"])


def test_findings_come_worst_first(look: Look) -> None:
    rows = [*pairs(40), "{", pair("mail", chosen="Write to ann.lee@northwind.org, please, and do it soon.")]
    levels = [finding.level for finding in look(rows).findings]
    assert levels == sorted(levels, key=["error", "warning", "note"].index) and levels[0] == "error"


def test_machines_get_plain_values(look: Look) -> None:
    told = json.loads(json.dumps(look([*pairs(10), "{"]).as_json()))
    assert (told["format"], told["kind"], told["rows"], told["usable"]) == ("pair", "preferences", 11, 10)
    assert told["findings"][0]["name"] == "malformed_rows" and told["findings"][0]["share"] == 1 / 11
    assert set(told["errors"][0]) == {"file", "line", "field", "reason"}
    assert {finding["name"] for finding in told["findings"]} | set(told["clean"]) <= set(TITLES)


def test_several_files_are_told_apart(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in pairs(2)))
    report = inspect(DataConfig(path=tmp_path))
    assert find(report, "exact_duplicates").count == 2
    assert report.at(find(report, "exact_duplicates").places[0]) == "b.jsonl:1"


# ------------------------------------------------------------------------------------------------ shown

HOSTILE = "</span><script>alert(1)</script>{{ 7 * 7 }}<img src=x onerror=alert(2)>\x1b[2J\x9b2J[bold]"


def test_html_escapes_hostile_text(look: Look) -> None:
    rows = [pair(i, prompt=f"{HOSTILE} {i}", chosen=f"{HOSTILE} x{i}", rejected=HOSTILE) for i in range(12)]
    rows += [pair("same", prompt=HOSTILE, rejected=HOSTILE)] * 4
    report = look([*rows, pair(0, rejected={HOSTILE: 1}), f'{{"{HOSTILE}'], judge=judged)
    assert report.doubts
    told = page.html(report)
    assert told.count("&lt;script&gt;") > 4 and "{{ 7 * 7 }}" in told
    assert "<script" not in told and "<img" not in told
    assert "://" not in told and "@import" not in told  # nothing is fetched


def judged(talks: list[list[dict[str, str]]]) -> list[float]:
    """Prefers every second conversation, which are the rejected ones."""
    return [5.0 * (i % 2) for i in range(len(talks))]


def test_the_terminal_obeys_no_text(look: Look) -> None:
    told = shown(look([pair(i, prompt=f"{HOSTILE} {i}") for i in range(12)]))
    assert "\x1b" not in told and "\x9b" not in told and "[bold]" in told


def test_the_page_has_everything(look: Look) -> None:
    report = look([*pairs(10), "{", pair(7, rejected=pair(7)["chosen"])], judge=judged)
    told = page.html(report)
    for finding in report.findings:
        assert finding.title in told
    assert "broken JSON" in told and "identical" in told and "prefers-color-scheme: dark" in told
    assert report.doubts[0].prompt in told


def test_the_terminal_is_readable_without_colour(look: Look) -> None:
    told = shown(look([*pairs(10), "{"]), width=80)
    assert "1 error · 0 warnings · 1 note" in told
    assert "error   rows that cannot be read: 1 of 11 rows (9.1%)" in told
    assert max(map(len, told.splitlines())) <= 80


def test_importing_is_light() -> None:
    heavy = {"torch", "transformers", "py3langid", "rich"}
    code = f"import sys, rlhf.data.inspect; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


# ------------------------------------------------------------------------------------------------ real files


@pytest.mark.parametrize(
    ("name", "warnings"),
    [
        ("sft/gpteacher_roleplay.json.gz", set()),
        ("safety/xstest_prompts.csv", set()),
        ("preference/stack_exchange_paired_tiny.json", set()),
        ("preference/ultrafeedback_1k.jsonl.gz", set()),
        ("preference/hh_harmless_base.jsonl.gz", {"speaker_marks"}),
        ("text/tinystories_train_head.jsonl.gz", {"damaged_text"}),
        ("sft/fastchat_dummy_conversation_sharegpt.json.gz", {"near_duplicates"}),
    ],
)
def test_real_files(name: str, warnings: set[str]) -> None:
    """What is warned of is there, and nothing else is warned of."""
    if not (REAL / name).is_file():
        pytest.skip(f"../shared/data/{name} is not here")
    report = inspect(DataConfig(path=REAL / name))
    assert {finding.name for finding in report.findings if finding.level != "note"} == warnings
