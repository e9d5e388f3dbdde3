"""Train the tiny base model from nothing but the corner shop's grammar.

    python data_samples/tiny_base/train.py            # the shipped model: about eight minutes on two CPU cores
    python data_samples/tiny_base/train.py --steps 20 --out /some/folder   # a quick try

The corpus is made while training: about 65 % plain shop text (letters, diaries, stories, transcripts) and 35 % ChatML
conversations with replies of every quality. The held-out (item, problem) combos never occur in it.
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "corner_shop"))
import grammar  # noqa: E402
import measure  # noqa: E402

SEED = 20
END_OF_TEXT, PAD, IM_START, IM_END = "<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"
VOCABULARY = 1024
LENGTH, BATCH, STEPS = 256, 16, 1600
LEARNING_RATE, WARMUP, WEIGHT_DECAY = 3e-3, 60, 0.05
CHAT_SHARE = 0.35
CARE_SHARE = 0.5  # over this share of the rows, the share of perfect replies falls from all to everyday

CHAT_TEMPLATE = (
    "{%- for message in messages -%}\n"
    "{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' -}}\n"
    "{%- endfor -%}\n"
    "{%- if add_generation_prompt -%}\n"
    "{{- '<|im_start|>assistant\\n' -}}\n"
    "{%- endif -%}\n"
)


def render(messages: list[dict[str, str]]) -> str:
    """Write a conversation as the chat template does (a test compares the two)."""
    return "".join(f"{IM_START}{m['role']}\n{m['content']}{IM_END}\n" for m in messages)


def make_tokenizer(combos: list[grammar.Combo]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on plain documents and bare conversations."""
    rng = random.Random(SEED)
    texts = [grammar.plain_document(rng, combos) for _ in range(6000)]
    texts += [m["content"] for _ in range(6000) for m in grammar.chat_document(rng, combos)]
    texts += ["system\n", "user\n", "assistant\n"] * 500
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT, PAD, IM_START, IM_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=END_OF_TEXT,
        eos_token=IM_END,
        pad_token=PAD,
        additional_special_tokens=[IM_START],
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        model_max_length=2 * LENGTH,
        clean_up_tokenization_spaces=False,
    )


def make_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Build the untrained model; every linear size is a multiple of 64."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=2 * LENGTH,
        tie_word_embeddings=True,
        initializer_range=0.05,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def rows(
    rng: random.Random, combos: list[grammar.Combo], tokenizer: PreTrainedTokenizerFast, planned: int = 0
) -> Iterator[tuple[list[int], int]]:
    """Yield (token ids of one row, how many of them are conversation).

    A row starts with the beginning of a document and is filled with further ones. Documents end with <|endoftext|>.
    Most rows start with a conversation, with nothing before it: that is how a chat prompt looks in use.
    Of ``planned`` rows the first ones hold mostly perfect replies, from which the link between message and reply is
    learned soonest; the later ones hold everyday replies only.
    """
    total = chat = made = 0
    end = tokenizer.bos_token_id
    while True:
        ids: list[int] = []
        row_chat = 0
        care = max(0.0, 1 - made / (CARE_SHARE * planned)) if planned else 0.0
        made += 1
        while len(ids) < LENGTH:
            first = not ids
            if chat < CHAT_SHARE * total if not first else rng.random() < 0.6:
                text, is_chat = render(grammar.chat_document(rng, combos, care)), True
            else:
                text, is_chat = grammar.plain_document(rng, combos, care), False
            new = [*tokenizer.backend_tokenizer.encode(text).ids, end]
            if first and not is_chat:
                new = [end, *new]
            total += len(new)
            chat += is_chat * len(new)
            row_chat += is_chat * len(new[: LENGTH - len(ids)])
            ids.extend(new)
        yield ids[:LENGTH], row_chat


@torch.no_grad()
def heldout_loss(model: LlamaForCausalLM, combos: list[grammar.Combo], tokenizer: PreTrainedTokenizerFast) -> float:
    """Return the mean next-token loss on a corpus made of held-out combos only."""
    source = rows(random.Random(SEED + 1), combos, tokenizer)
    ids = torch.tensor([next(source)[0] for _ in range(64)])
    model.eval()
    losses = [model(input_ids=part, labels=part).loss.item() for part in ids.split(16)]
    model.train()
    return sum(losses) / len(losses)


def probe(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast) -> float:
    """Return the mean gold score of one sample for each of 64 held-out prompts: shows how the training goes."""
    model.eval()
    prompts = measure.heldout_prompts(64)
    texts, _ = measure.sample(model, tokenizer, prompts)
    model.train()
    return sum(grammar.rule.gold_score(p, text) for p, text in zip(prompts, texts, strict=True)) / len(prompts)


def main() -> None:
    """Train and save the tokenizer and the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)
    training, heldout = grammar.split_combos()
    tokenizer = make_tokenizer(training)
    model = make_model(tokenizer)
    print(f"parameters: {sum(p.numel() for p in model.parameters()):,}", flush=True)

    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, options.steps - WARMUP), LEARNING_RATE * 0.05)
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, 0.02, 1.0, WARMUP)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, cosine], [WARMUP])

    source = rows(random.Random(SEED), training, tokenizer, options.steps * BATCH)
    model.train()
    started, chat = time.time(), 0
    for step in range(1, options.steps + 1):
        batch = [next(source) for _ in range(BATCH)]
        chat += sum(count for _, count in batch)
        ids = torch.tensor([row for row, _ in batch])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(input_ids=ids).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == options.steps:
            tokens = step * BATCH * LENGTH
            print(
                f"step {step}: loss {loss.item():.3f}, {tokens / 1e6:.2f} M tokens ({chat / tokens:.0%} chat), "
                f"{(time.time() - started) / 60:.1f} min",
                flush=True,
            )
        if step % 200 == 0:
            print(f"  mean gold score of samples: {probe(model, tokenizer):.2f}", flush=True)
    model.to(torch.bfloat16)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=True,
    )
    model.save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)
    reloaded = LlamaForCausalLM.from_pretrained(options.out, dtype=torch.float32)
    print(f"held-out loss (saved model): {heldout_loss(reloaded, heldout, tokenizer):.3f}")


if __name__ == "__main__":
    main()
