"""The shipped samples are what make.py writes, and the tiny base model is what the README says."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import load_shop

SAMPLES = Path(__file__).resolve().parents[2] / "data_samples"
SHOP, FORMATS, BASE = SAMPLES / "corner_shop", SAMPLES / "formats", SAMPLES / "tiny_base"

grammar = load_shop("grammar")
rule = grammar.rule


def rows(path: Path) -> list[Any]:
    """Read a file of JSON lines."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def combo(messages: list[dict[str, str]]) -> tuple[str, str]:
    """Return the item and the problem of the last user message."""
    text = rule.last_user_message(messages)
    return rule.find_items(text)[0], rule.find_problem(text)


def test_files_are_what_make_writes() -> None:
    done = subprocess.run(
        [sys.executable, str(SAMPLES / "make.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_row_counts_and_shapes() -> None:
    sft = rows(SHOP / "sft.jsonl")
    assert len(sft) == 400
    assert all([m["role"] for m in row["messages"]] == ["user", "assistant"] for row in sft)
    for name, count in (("preferences", 2000), ("heldout_preferences", 200)):
        pairs = rows(SHOP / f"{name}.jsonl")
        assert len(pairs) == count
        for row in pairs:
            assert set(row) == {"prompt", "chosen", "rejected"}
            assert [[m["role"] for m in row[key]] for key in ("prompt", "chosen", "rejected")] == [
                ["user"],
                ["assistant"],
                ["assistant"],
            ]
    for name, count in (("prompts", 400), ("heldout_prompts", 200)):
        prompts = rows(SHOP / f"{name}.jsonl")
        assert len(prompts) == count
        assert all(set(row) == {"prompt"} and [m["role"] for m in row["prompt"]] == ["user"] for row in prompts)


def test_demonstrations_are_mixed() -> None:
    scores = [rule.gold_score(r["messages"][:1], r["messages"][1]["content"]) for r in rows(SHOP / "sft.jsonl")]
    assert 2.0 < sum(scores) / len(scores) < 3.0
    assert 0 < sum(score == rule.HIGHEST for score in scores) / len(scores) < 0.1


@pytest.mark.parametrize(("name", "flipped"), [("preferences", 100), ("heldout_preferences", 0)])
def test_labels_follow_the_gold_rule(name: str, flipped: int) -> None:
    gaps = [
        rule.gold_score(row["prompt"], row["chosen"][0]["content"])
        - rule.gold_score(row["prompt"], row["rejected"][0]["content"])
        for row in rows(SHOP / f"{name}.jsonl")
    ]
    assert 0.0 not in gaps
    assert sum(gap < 0 for gap in gaps) == flipped
    assert len({abs(gap) for gap in gaps}) >= 6


def test_heldout_combos_are_disjoint() -> None:
    training, heldout = grammar.split_combos()
    assert not set(training) & set(heldout)
    for name in ("heldout_prompts", "heldout_preferences"):
        assert {combo(row["prompt"]) for row in rows(SHOP / f"{name}.jsonl")} <= set(heldout)
    used = {combo(row.get("prompt") or row["messages"]) for n in ("sft", "preferences", "prompts")
            for row in rows(SHOP / f"{n}.jsonl")}  # fmt: skip
    used |= {combo(row["messages"]) for row in rows(FORMATS / "messages.jsonl")}
    assert used <= set(training)


def test_variety() -> None:
    messages = [row["prompt"][0]["content"] for row in rows(SHOP / "prompts.jsonl")]
    assert len(set(messages)) == len(messages)
    assert len(rule.ITEMS) >= 40 and len(rule.PROBLEMS) >= 10
    assert all(len(grammar.MESSAGES[name]) >= 8 and len(grammar.REMEDIES[name]) >= 8 for name in rule.PROBLEMS)


def test_formats() -> None:
    keys = {
        "sharegpt": {"conversations"},
        "messages": {"messages"},
        "prompt_completion": {"prompt", "completion"},
        "hh": {"chosen", "rejected"},
        "preference_strings": {"prompt", "chosen", "rejected"},
        "preference_implicit": {"chosen", "rejected"},
        "kto": {"prompt", "completion", "label"},
        "scored": {"prompt", "completions"},
    }
    for name, expected in keys.items():
        content = rows(FORMATS / f"{name}.jsonl")
        assert 4 <= len(content) <= 8
        assert all(set(row) == expected for row in content), name
    assert all(
        set(row) == {"instruction", "input", "output"} for row in json.loads((FORMATS / "alpaca.json").read_text())
    )
    assert len((FORMATS / "prompts.txt").read_text().splitlines()) == 6
    assert (FORMATS / "prompts.csv").read_text().splitlines()[0] == "prompt"
    assert all(row["chosen"][:-1] == row["rejected"][:-1] for row in rows(FORMATS / "preference_implicit.jsonl"))


def test_no_text_names_a_path() -> None:
    for path in SAMPLES.rglob("*"):
        if path.suffix in {".py", ".md", ".json", ".jsonl", ".csv", ".txt", ".jinja"}:
            assert not re.search(r"/(tmp|home|work|root)/", path.read_text(encoding="utf-8")), path


def test_tokenizer() -> None:
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(BASE)
    specials = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]
    assert [tokenizer(text, add_special_tokens=False).input_ids for text in specials] == [[0], [1], [2], [3]]
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.bos_token) == (specials[3], specials[1], specials[0])
    assert tokenizer.padding_side == "left" and len(tokenizer) == 1024
    messages = [{"role": "user", "content": "  Where is my kettle?\n"}, {"role": "assistant", "content": "Here."}]
    rendered = "<|im_start|>user\n  Where is my kettle?\n<|im_end|>\n<|im_start|>assistant\nHere.<|im_end|>\n"
    assert tokenizer.apply_chat_template(messages, tokenize=False) == rendered
    prompt = tokenizer.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    assert prompt == rendered[: rendered.index("Here.")]
    ids = tokenizer(rendered, add_special_tokens=False).input_ids
    assert ids.count(2) == ids.count(3) == 2
    assert tokenizer.apply_chat_template(messages, return_dict=False) == ids
    text = "Grüße, 12 €!\n\n Tabs\tand  spaces."
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_model() -> None:
    transformers = pytest.importorskip("transformers")
    torch = pytest.importorskip("torch")
    assert sum(path.stat().st_size for path in BASE.iterdir() if path.is_file()) <= 5_000_000
    model = transformers.AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    assert 1_500_000 <= model.num_parameters() <= 2_400_000
    assert model.config.tie_word_embeddings and model.config.max_position_embeddings >= 256
    sizes = [tuple(m.weight.shape) for m in model.modules() if isinstance(m, torch.nn.Linear)]
    assert all(size % 64 == 0 for shape in sizes for size in shape)
    assert (model.generation_config.eos_token_id, model.generation_config.pad_token_id) == (3, 1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(BASE)
    prompts = [row["prompt"] for row in rows(SHOP / "heldout_prompts.jsonl")[:40]]
    batch = tokenizer.apply_chat_template(
        prompts, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    torch.manual_seed(0)
    with torch.no_grad():
        output = model.generate(**batch, max_new_tokens=60, do_sample=True, temperature=1.0, top_k=0)
    texts = tokenizer.batch_decode(output[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    scores = [rule.gold_score(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
    assert 0.8 < sum(scores) / len(scores) < 3.0
