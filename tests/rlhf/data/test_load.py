import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf.config import DataConfig
from rlhf.data.load import load
from rlhf.data.records import Kind, Preference, prompt_key
from rlhf.errors import DataError

Write = Callable[[str, str | bytes], Path]
ROOT = Path(__file__).resolve().parents[3]
REAL = ROOT.parent / "shared" / "data"


def config(path: Path, **settings: Any) -> DataConfig:
    return DataConfig.model_validate({"path": path, **settings})


def lines(*rows: Any) -> str:
    return "\n".join(json.dumps(row) for row in rows)


def pairs(count: int) -> list[dict[str, str]]:
    return [{"prompt": f"question {i}", "chosen": "yes", "rejected": "no"} for i in range(count)]


def balanced(ledger: dict[str, Any]) -> bool:
    return ledger["rows"] == ledger["used"] + ledger["held_out"] + sum(ledger["dropped"].values())


def test_every_row_is_accounted_for(write: Write) -> None:
    same = {"prompt": "a", "chosen": "b", "rejected": "b "}
    empty = {"prompt": "a", "chosen": "b", "rejected": ""}
    path = write("x.jsonl", lines(*pairs(50), same, same, empty))
    split = load(config(path), "preferences")
    source = {"name": "x.jsonl", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    assert split.ledger == {
        "rows": 53,
        "examples": 53,
        "used": len(split.train),
        "repeated": 0,
        "duplicates": 0,
        "held_out": len(split.held_out),
        "dropped": {"identical": 2, "empty answer": 1},
        "formats": {"pair": 53},
        "unread": {},
        "sources": [source],
    }
    assert balanced(split.ledger) and 0 < len(split.held_out) < 15
    assert split.train[0].where.endswith("x.jsonl:1")


def test_the_side_of_a_prompt_does_not_depend_on_file_kind_or_order(write: Write) -> None:
    prompts = [{"prompt": f" question  {i}"} for i in reversed(range(50))]
    one = load(config(write("x.jsonl", lines(*pairs(50)))), "preferences")
    two = load(config(write("y.json", json.dumps(prompts))), "prompts")
    assert {prompt_key(r) for r in one.held_out} == {prompt_key(r) for r in two.held_out} != set()


def test_eval_path(write: Write) -> None:
    path, apart = write("x.jsonl", lines(*pairs(9))), write("y.jsonl", lines(*pairs(2)))
    split = load(config(path, eval_path=apart), "preferences")
    assert (len(split.train), len(split.held_out)) == (7, 2)
    assert split.ledger["dropped"] == {"prompt is in eval_path": 2}
    assert split.ledger["rows"] == 11 and balanced(split.ledger)
    with pytest.raises(DataError, match="eval_path: holds every prompt"):
        load(config(apart, eval_path=path), "preferences")


@pytest.mark.parametrize(("fraction", "sizes"), [(0.0, (9, 0)), (1.0, (0, 9))])
def test_extreme_fractions(write: Write, fraction: float, sizes: tuple[int, int]) -> None:
    split = load(config(write("x.jsonl", lines(*pairs(9))), eval_fraction=fraction), "preferences")
    assert (len(split.train), len(split.held_out)) == sizes


def test_max_rows_counts_usable_rows(write: Write) -> None:
    same = {"prompt": "a", "chosen": "b", "rejected": "b"}
    split = load(config(write("x.jsonl", lines(same, *pairs(9)) + "\n{broken"), max_rows=4), "preferences")
    assert split.ledger["rows"] == 5 and split.ledger["used"] + split.ledger["held_out"] == 4


def test_all_wrong_rows_are_told_at_once(write: Write) -> None:
    path = write("x.jsonl", lines(*pairs(2), {"prompt": "a", "chosen": "b", "rejected": 3}, [1], {"text": "a"}) + "\n{")
    with pytest.raises(DataError) as caught:
        load(config(path), "preferences")
    told = str(caught.value).split("\n")
    assert told[0] == "4 of 6 rows cannot be read as preferences:"
    assert told[1] == f"{path}:3: rejected: is a number; a string or a list or an object is needed"
    assert told[2] == f"{path}:4: row: is a list; an object with named fields is needed"
    assert told[3].startswith(f"{path}:5: fields: found text (a string), which no format of preferences reads; ")
    assert told[4].startswith(f"{path}:6: row: broken JSON")


def test_twenty_different_faults_are_named(write: Write) -> None:
    with pytest.raises(DataError) as caught:
        load(config(write("x.jsonl", "".join("{" + " " * i + "\n" for i in range(25)))), "prompts")
    told = str(caught.value).split("\n")
    assert len(told) == 22 and told[-1] == "… and 5 more"


def test_a_fault_of_many_rows_is_told_once(write: Write) -> None:
    with pytest.raises(DataError) as caught:
        load(config(write("x.jsonl", "{\n" * 25)), "prompts")
    _, told = str(caught.value).split("\n")
    assert "x.jsonl:1: " in told and told.endswith("(and 24 more rows)")


def test_nothing_usable(write: Write) -> None:
    with pytest.raises(DataError, match=r"holds no row; it is empty"):
        load(config(write("x.jsonl", "")), "prompts")
    with pytest.raises(DataError, match=r"no usable row among 1 \(1 × identical"):
        load(config(write("y.jsonl", lines({"prompt": "a", "chosen": "b", "rejected": "b"}))), "preferences")


def test_explicit_format(write: Write) -> None:
    path = write("x.jsonl", lines({"text": "Once.", "question": "a", "answer": "b"}))
    assert (
        load(config(path, format="text", eval_fraction=0), "demonstrations").train[0].messages[0]["content"] == "Once."
    )
    with pytest.raises(DataError, match="no format 'txt' makes demonstrations; did you mean 'text'"):
        load(config(path, format="txt"), "demonstrations")


def test_rows_that_belong_together(write: Write) -> None:
    """What shares a prompt is compared where it stands together; its parts are told by the first one's place."""
    scored = [{"prompt": p, "response": r, "score": s} for p, r, s in (("a", "b", 1), ("a", "c", 2), ("x", "y", 1))]
    path = write("x.jsonl", lines(*scored[:2]) + "\n{broken\n" + lines(*scored[2:]))
    with pytest.raises(DataError, match=r"1 of 4 rows cannot be read as preferences:\n.*x\.jsonl:3: row: broken JSON"):
        load(config(path), "preferences")
    split = load(config(write("y.jsonl", lines(*scored)), eval_fraction=0), "preferences")
    assert [(pair.where[-2:], pair.chosen[0]["content"]) for pair in split.train] == [(":1", "c")]
    assert split.ledger["dropped"] == {"fewer than two answers": 1}
    assert (split.ledger["rows"], split.ledger["examples"]) == (3, 2)
    assert split.ledger["formats"] == {"scored": 2}


def test_rows_stay_as_they_are_where_the_user_says_how_to_read_them(write: Write) -> None:
    messages = [
        {"message_id": i, "parent_id": above, "role": role, "text": text}
        for i, above, role, text in (("1", None, "prompter", "a"), ("2", "1", "assistant", "b"))
    ]
    path = write("x.jsonl", lines(*messages))
    assert load(config(path, eval_fraction=0), "demonstrations").ledger["formats"] == {"tree_path": 1}
    assert load(config(path, eval_fraction=0, format="text"), "demonstrations").ledger["formats"] == {"text": 2}
    assert load(config(path, eval_fraction=0, columns={"text": "text"}), "demonstrations").ledger["rows"] == 2


def test_a_list_of_bad_rows_goes_when_there_are_none(write: Write, tmp_path: Path) -> None:
    path, listed = write("x.jsonl", "{}"), tmp_path / "bad_rows.preferences.jsonl"
    with pytest.raises(DataError):
        load(config(path), "preferences", tmp_path)
    assert listed.read_text()
    write("x.jsonl", '{"prompt": "q", "chosen": "a", "rejected": "b"}')
    load(config(path), "preferences", tmp_path)
    assert not listed.exists()


@pytest.mark.parametrize("settings", [{"rank_by": "score"}, {"pairs": "all"}])
def test_a_choice_that_no_row_offers_is_refused(write: Write, settings: dict[str, str]) -> None:
    path = write("x.jsonl", lines(*pairs(9)))
    with pytest.raises(DataError, match=f"data.{next(iter(settings))}: does nothing, for no row has several"):
        load(config(path, **settings), "preferences")
    assert load(config(path, **settings), "prompts").train  # as a block that several stages share may be read


asked = st.text("ab \n", min_size=1, max_size=3).filter(str.strip)


@given(st.lists(asked, min_size=1, max_size=20), st.floats(0, 0.9), st.lists(asked, max_size=3))
def test_no_prompt_is_on_both_sides(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], fraction: float, others: list[str]
) -> None:
    """Whatever white space it is written with, in any order of the rows; also where the other side is a file."""
    folder = tmp_path_factory.mktemp("rows")
    rows = [{"prompt": text, "chosen": "a", "rejected": f"b{i}"} for i, text in enumerate(texts)]
    (folder / "x.jsonl").write_text(lines(*rows))
    (folder / "y.jsonl").write_text(lines(*rows[::-1]))
    (folder / "z.jsonl").write_text(lines(*({"prompt": text, "chosen": "a", "rejected": "b"} for text in others)))
    (train, held_out), turned = (
        sides(config(folder / name, eval_fraction=fraction)) for name in ("x.jsonl", "y.jsonl")
    )
    assert not keys(train) & keys(held_out)
    assert sorted(said(train + held_out)) == sorted(row["rejected"] for row in rows)
    assert [said(side) for side in turned] == [said(train)[::-1], said(held_out)[::-1]]
    if others and keys(train + held_out) - {" ".join(text.split()) for text in others}:
        apart = load(config(folder / "x.jsonl", eval_path=folder / "z.jsonl"), "preferences")
        assert not keys(apart.train) & keys(apart.held_out) and len(apart.held_out) == len(others)


def sides(data: DataConfig) -> tuple[list[Preference], list[Preference]]:
    split = load(data, "preferences")
    return split.train, split.held_out


def keys(records: list[Preference]) -> set[str]:
    return {" ".join(record.prompt[0]["content"].split()) for record in records}


def said(records: list[Preference]) -> list[str]:
    return [record.rejected[0]["content"] for record in records]


usable = st.fixed_dictionaries(
    {"prompt": st.text("ab ", max_size=3), "chosen": st.text("ab ", max_size=2), "rejected": st.text("ab ", max_size=2)}
)


@given(st.lists(usable, min_size=1, max_size=20))
def test_ledger_always_adds_up(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]) -> None:
    path = tmp_path_factory.mktemp("rows") / "x.jsonl"
    path.write_text(lines(*rows))
    try:
        split = load(config(path), "preferences")
    except DataError as error:
        assert "no usable row" in str(error)
        return
    assert balanced(split.ledger) and split.ledger["rows"] == len(rows)
    assert all(r.chosen[0]["content"].strip() != r.rejected[0]["content"].strip() for r in split.train + split.held_out)


def test_importing_and_loading_is_light(write: Write) -> None:
    path = write("x.jsonl", lines(*pairs(3)))
    code = (
        "import sys; from rlhf.config import DataConfig; from rlhf.data.load import load; import rlhf.data.chat\n"
        f"load(DataConfig(path={str(path)!r}), 'preferences')\n"
        "print(sorted({'torch', 'transformers', 'trl', 'peft', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


# ------------------------------------------------------------------------------------------------ real files

REAL_FILES: list[tuple[str, Kind, int, dict[str, int], str]] = [
    ("preference/hh_harmless_base.jsonl.gz", "preferences", 1866, {"empty answer": 2}, "hh"),
    ("preference/ultrafeedback_1k.jsonl.gz", "preferences", 1000, {"identical": 4, "empty answer": 2}, "pair"),
    (
        "preference/alpaca_eval_gpt4_judgements.jsonl.gz",
        "preferences",
        8554,
        {"no judgement": 6, "identical": 73},
        "alpaca_eval",
    ),
    ("preference/llamafactory_dpo_en_demo.json.gz", "preferences", 300, {}, "llamafactory"),
    ("preference/stack_exchange_paired_tiny.json", "preferences", 25, {}, "stack_exchange"),
    ("preference/llamafactory_kto_en_demo.json.gz", "prompts", 300, {}, "messages"),
    ("sft/code_alpaca_2k.json.gz", "demonstrations", 2017, {"empty answer": 2}, "alpaca"),
    ("sft/fastchat_dummy_conversation_sharegpt.json.gz", "demonstrations", 500, {}, "sharegpt"),
    ("sft/gpteacher_roleplay.json.gz", "demonstrations", 1923, {}, "alpaca"),
    ("sft/gsm8k_train.jsonl.gz", "demonstrations", 7473, {}, "question_answer"),
    ("sft/llamafactory_alpaca_en_demo.json.gz", "demonstrations", 999, {}, "alpaca"),
    ("sft/llamafactory_identity.json.gz", "demonstrations", 91, {}, "alpaca"),
    ("sft/safety_tuned_llamas_2483.json.gz", "demonstrations", 2483, {}, "alpaca"),
    ("sft/self_instruct_seed_tasks.jsonl.gz", "demonstrations", 175, {}, "self_instruct"),
    ("sft/sharegpt_en_short_4k.jsonl.gz", "demonstrations", 4000, {"empty prompt": 4}, "sharegpt"),
    ("text/tinystories_train_head.jsonl.gz", "demonstrations", 847, {}, "text"),
    ("prompts/tinystories_openings.txt", "prompts", 800, {}, "text"),
    ("prompts/wildchat_en_7k.jsonl.gz", "prompts", 7060, {}, {"text": 7059, "dialogue_text": 1}),
    ("safety/xstest_prompts.csv", "prompts", 450, {}, "prompt"),
    ("preference/hh_harmless_base.jsonl.gz", "prompts", 1866, {"empty answer": 2}, "hh"),
    ("sft/sharegpt_en_short_4k.jsonl.gz", "prompts", 4000, {"empty prompt": 4}, "sharegpt"),
]


@pytest.mark.parametrize(("name", "kind", "rows", "dropped", "format"), REAL_FILES)
def test_real_files(name: str, kind: Kind, rows: int, dropped: dict[str, int], format: str | dict[str, int]) -> None:
    if not (REAL / name).is_file():
        pytest.skip(f"../shared/data/{name} is not here")
    split = load(config(REAL / name), kind)
    assert split.ledger["rows"] == rows and balanced(split.ledger)
    assert split.ledger["dropped"] == dropped
    assert split.ledger["formats"] == ({format: rows} if isinstance(format, str) else format)
    assert not {prompt_key(r) for r in split.train} & {prompt_key(r) for r in split.held_out}


def test_max_rows_counts_rows_and_not_what_they_hold(write: Write) -> None:
    rows = [{"prompt": f"{i}", "responses": ["a", "b", "c"], "scores": [1, 2, 3]} for i in range(9)]
    ledger = load(config(write("x.jsonl", lines(*rows)), max_rows=4, pairs="all"), "preferences").ledger
    assert (ledger["rows"], ledger["examples"]) == (4, 12)


def test_fields_inside_others_that_nothing_reads_are_told_whichever_row_has_them(write: Write) -> None:
    said = {"role": "assistant", "content": "b"}
    path = write(
        "x.jsonl",
        lines(
            *(
                {"messages": [{"role": "user", "content": f"{i}"}, one]}
                for i, one in enumerate((said, said | {"note": 1}, said, said | {"note": 2}, said | {"id": 3}))
            )
        ),
    )
    unread = load(config(path), "demonstrations").ledger["unread"]
    assert unread == {"messages[].note": 2, "messages[].id": 1}


def test_what_is_only_looked_at_is_not_read(write: Write) -> None:
    pair = {"prompt": "a", "chosen": "b", "rejected": "c", "status": "discarded"}
    assert load(config(write("x.jsonl", lines(pair))), "preferences").ledger["unread"] == {"status": 1}
    example = {"prompt": "a", "response": "b", "label": "news"}
    assert load(config(write("x.jsonl", lines(example))), "demonstrations").ledger["unread"] == {"label": 1}


def test_less_is_better_where_it_is_said(write: Write) -> None:
    path = write(
        "x.jsonl", lines({"prompt": "q", "responses": [{"text": "bad", "loss": 5}, {"text": "good", "loss": 1}]})
    )
    (found,) = load(config(path, rank_by="-loss"), "preferences").train
    assert (found.chosen[0]["content"], found.margin) == ("good", 4.0)


def test_strengths_of_which_none_is_for_the_first_may_be_numbers(write: Write) -> None:
    rows = [{"prompt": f"{i}", "response_1": "a", "response_2": "b", "overall_preference": 1 + i % 2} for i in range(4)]
    with pytest.raises(DataError, match="overall_preference: its numbers are 1 and 2, which do not say whether"):
        load(config(write("x.jsonl", lines(*rows))), "preferences")
    rows.append({**rows[0], "prompt": "4", "overall_preference": -2})
    assert len(load(config(write("x.jsonl", lines(*rows))), "preferences").train) == 5


def test_a_line_of_lists_is_a_row_and_no_table(write: Write) -> None:
    row = {"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]}
    assert load(config(write("x.jsonl", lines(row))), "demonstrations").ledger["rows"] == 1
    with pytest.raises(DataError, match=r"x\.jsonl:1: "):
        load(config(write("x.jsonl", lines({"user": ["a", "b"], "assistant": ["c", "d"]}))), "demonstrations")


def test_fields_that_nothing_reads_are_told(write: Write) -> None:
    row = {"prompt": "a", "chosen": "b", "rejected": "c"}
    path = write("x.jsonl", lines(row | {"votes": 3, "why": ""}, row | {"votes": 0, "why": "e"}, row | {"why": None}))
    assert load(config(path), "preferences").ledger["unread"] == {"votes": 2, "why": 2}
