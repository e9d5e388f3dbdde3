"""Write all data samples from the corner shop's grammar, byte for byte the same every time.

python data_samples/make.py            # write the files
python data_samples/make.py --check    # only verify that the files are unchanged
"""

import argparse
import csv
import io
import json
import random
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "corner_shop"))
import grammar  # noqa: E402

gold_score = grammar.rule.gold_score
SEED = 2026
SFT_ROWS, PREFERENCE_ROWS, PROMPT_ROWS, HELDOUT_ROWS = 400, 2000, 400, 200
FLIPPED = 0.05
Message = dict[str, str]


def user(text: str) -> Message:
    """Return a message of the user."""
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    """Return a message of the assistant."""
    return {"role": "assistant", "content": text}


def draw_prompts(rng: random.Random, combos: list[grammar.Combo], count: int, seen: set[str]) -> list[tuple[str, Any]]:
    """Return distinct (message, combo) pairs, none of them in ``seen``; adds them to it."""
    drawn: list[tuple[str, Any]] = []
    while len(drawn) < count:
        combo = rng.choice(combos)
        text = grammar.customer_message(rng, combo)
        if text not in seen:
            seen.add(text)
            drawn.append((text, combo))
    return drawn


def preference(rng: random.Random, text: str, combo: grammar.Combo, flip: bool) -> dict[str, list[Message]]:
    """Return one comparison of two curt replies of different gold score."""
    prompt = [user(text)]
    while True:
        first, second = (grammar.curt_reply(rng, combo, text) for _ in range(2))
        difference = gold_score(prompt, first) - gold_score(prompt, second)
        if difference:
            break
    if (difference < 0) != flip:
        first, second = second, first
    return {"prompt": prompt, "chosen": [assistant(first)], "rejected": [assistant(second)]}


def jsonl(rows: list[Any]) -> str:
    """Write rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def corner_shop_files() -> dict[str, str]:
    """Return the content of the corner shop's files, by path."""
    training, heldout = grammar.split_combos()
    rng, seen = random.Random(SEED), set()
    sft = [
        {"messages": [user(text), assistant(grammar.curt_reply(rng, combo, text))]}
        for text, combo in draw_prompts(rng, training, SFT_ROWS, seen)
    ]
    compared = draw_prompts(rng, training, PREFERENCE_ROWS, seen)
    flipped = set(rng.sample(range(PREFERENCE_ROWS), round(FLIPPED * PREFERENCE_ROWS)))
    preferences = [preference(rng, text, combo, i in flipped) for i, (text, combo) in enumerate(compared)]
    prompts = [{"prompt": [user(text)]} for text, _ in draw_prompts(rng, training, PROMPT_ROWS, seen)]
    asked = draw_prompts(rng, heldout, HELDOUT_ROWS, seen)
    return {
        "corner_shop/sft.jsonl": jsonl(sft),
        "corner_shop/preferences.jsonl": jsonl(preferences),
        "corner_shop/prompts.jsonl": jsonl(prompts),
        "corner_shop/heldout_prompts.jsonl": jsonl([{"prompt": [user(text)]} for text, _ in asked]),
        "corner_shop/heldout_preferences.jsonl": jsonl([preference(rng, text, combo, False) for text, combo in asked]),
    }


def format_files() -> dict[str, str]:
    """Return one tiny file for each common shape of training data, by path."""
    training, _ = grammar.split_combos()
    rng = random.Random(SEED + 1)
    asked = draw_prompts(rng, training, 6, set())
    good = [grammar.reply(rng, combo, grammar.PERFECT, text) for text, combo in asked]
    bad = [
        grammar.reply(rng, combo, grammar.Reply("generic", "vague", False, "plain", False, "blunt"))
        for _, combo in asked
    ]
    triples = [(text, yes, no) for (text, _), yes, no in zip(asked, good, bad, strict=True)]
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["prompt"])
    writer.writerows([text] for text, _, _ in triples)
    task = "Answer the customer of the corner shop."
    files: dict[str, str] = {
        "alpaca.json": json.dumps(
            [{"instruction": task, "input": text, "output": yes} for text, yes, _ in triples[:4]]
            + [{"instruction": text, "input": "", "output": yes} for text, yes, _ in triples[4:]],
            ensure_ascii=False,
            indent=1,
        )
        + "\n",
        "sharegpt.jsonl": jsonl(
            [{"conversations": [{"from": "human", "value": t}, {"from": "gpt", "value": y}]} for t, y, _ in triples[:4]]
            + [
                {
                    "conversations": [
                        {"from": "system", "value": task},
                        {"from": "human", "value": t},
                        {"from": "gpt", "value": y},
                        {"from": "human", "value": "Thank you!"},
                        {"from": "gpt", "value": "You are welcome. Have a lovely day."},
                    ]
                }
                for t, y, _ in triples[4:]
            ]
        ),
        "messages.jsonl": jsonl(
            [{"messages": [user(t), assistant(y)]} for t, y, _ in triples[:4]]
            + [{"messages": [{"role": "system", "content": task}, user(t), assistant(y)]} for t, y, _ in triples[4:]]
        ),
        "prompt_completion.jsonl": jsonl([{"prompt": t, "completion": y} for t, y, _ in triples]),
        "hh.jsonl": jsonl(
            [
                {"chosen": f"\n\nHuman: {t}\n\nAssistant: {y}", "rejected": f"\n\nHuman: {t}\n\nAssistant: {n}"}
                for t, y, n in triples
            ]
        ),
        "preference_strings.jsonl": jsonl([{"prompt": t, "chosen": y, "rejected": n} for t, y, n in triples]),
        "preference_implicit.jsonl": jsonl(
            [{"chosen": [user(t), assistant(y)], "rejected": [user(t), assistant(n)]} for t, y, n in triples]
        ),
        "prompts.txt": "".join(f"{t}\n" for t, _, _ in triples),
        "prompts.csv": table.getvalue(),
        "kto.jsonl": jsonl(
            [
                {"prompt": t, "completion": y if i % 2 else n, "label": bool(i % 2)}
                for i, (t, y, n) in enumerate(triples)
            ]
        ),
        "scored.jsonl": jsonl(
            [
                {"prompt": t, "completions": [{"text": r, "score": gold_score([user(t)], r)} for r in (y, n)]}
                for t, y, n in triples
            ]
        ),
    }
    return {f"formats/{name}": content for name, content in files.items()}


def main() -> int:
    """Write or check all files; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only verify that the files are unchanged")
    check = parser.parse_args().check
    changed = 0
    for name, content in (corner_shop_files() | format_files()).items():
        path, data = HERE / name, content.encode()
        if check:
            same = path.is_file() and path.read_bytes() == data
            changed += not same
            print(f"{'same' if same else 'CHANGED'}  {name}")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            print(f"{len(data):>8} bytes  {name}")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
