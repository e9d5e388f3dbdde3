"""Sample the tiny base model on the held-out prompts and score the replies with the gold rule.

python data_samples/tiny_base/measure.py
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from statistics import mean

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

HERE = Path(__file__).resolve().parent
SHOP = HERE.parent / "corner_shop"
sys.path.insert(0, str(SHOP))
import rule  # noqa: E402

Prompt = list[dict[str, str]]


def heldout_prompts(count: int = 200) -> list[Prompt]:
    """Return the first held-out prompts."""
    lines = (SHOP / "heldout_prompts.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["prompt"] for line in lines[:count]]


@torch.no_grad()
def sample(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: list[Prompt]
) -> tuple[list[str], list[int]]:
    """Sample one reply to each prompt at temperature 1 (at most 60 tokens); return the texts and their lengths."""
    batch = tokenizer.apply_chat_template(
        prompts, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    output = model.generate(**batch, max_new_tokens=60, do_sample=True, temperature=1.0, top_k=0)
    replies = output[:, batch["input_ids"].shape[1] :]
    lengths = (replies != tokenizer.pad_token_id).sum(1).tolist()
    return tokenizer.batch_decode(replies, skip_special_tokens=True), lengths


def main() -> None:
    """Print the mean gold score, the spread of scores, reply lengths and a few samples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=HERE)
    parser.add_argument("--samples", type=int, default=6)
    options = parser.parse_args()
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval()
    prompts = heldout_prompts()
    texts, lengths = sample(model, tokenizer, prompts)
    parts = [rule.score_parts(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
    scores = [rule.gold_score(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
    print(f"mean gold score {mean(scores):.2f}, perfect {mean(s == rule.HIGHEST for s in scores):.1%}")
    print(f"reply tokens {mean(lengths):.1f}, at the limit of 60: {mean(n == 60 for n in lengths):.1%}")
    print("scores:", dict(sorted(Counter(scores).items())))
    for name, count in Counter(name for found in parts for name in found).most_common():
        print(f"  {name}: {count / len(texts):.1%}")
    for prompt, text, score in list(zip(prompts, texts, scores, strict=True))[: options.samples]:
        print(f"\n{prompt[-1]['content']}\n  [{score}] {text}")
    start = torch.full((3, 1), tokenizer.bos_token_id)
    with torch.no_grad():
        free = model.generate(
            start, attention_mask=torch.ones_like(start), max_new_tokens=80, do_sample=True, temperature=1.0, top_k=0,
            eos_token_id=tokenizer.bos_token_id,
        )  # fmt: skip
    for text in tokenizer.batch_decode(free, skip_special_tokens=True):
        print(f"\nunprompted: {text}")


if __name__ == "__main__":
    main()
