"""Train the tiny base model from nothing but the corner shop's grammar.

    python data_samples/tiny_base/train.py            # the shipped model: about sixteen minutes on two CPU cores
    python data_samples/tiny_base/train.py --steps 20 --out /some/folder   # a quick try

The corpus is made while training: about 40 % plain shop text (letters, diaries, stories, transcripts) and 60 % ChatML
conversations with replies of every quality, after most of which the customer writes back, content or not. In the
second phase there is more conversation, and half of it is stamped with how the customer took the reply: what a reward
model needs to know is then known at the place where it reads. The held-out (item, problem) combos never occur.
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

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
LENGTH, BATCH = 256, 16
WARMUP, WEIGHT_DECAY = 60, 0.05


class Phase(NamedTuple):
    """A stretch of training with its own mixture and learning rate."""

    steps: int
    learning_rate: float
    chat_share: float
    care_share: float  # over this share of the rows, the share of perfect replies falls from all to everyday
    stamped_share: float  # of the conversations


PHASES = (Phase(2400, 3e-3, 0.6, 0.35, 0.0), Phase(800, 1.5e-3, 0.8, 0.0, 0.5))

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


def stamped(rng: random.Random, messages: list[dict[str, str]]) -> str:
    """Write a conversation as the shop files it: the last reply is stamped with how the customer took it."""
    last = max(i for i, m in enumerate(messages) if m["role"] == "assistant")
    taken = grammar.mood(rng, messages[last - 1]["content"], messages[last]["content"])
    return render(messages[: last + 1]).rstrip("\n") + f"{taken}\n"


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
    rng: random.Random, combos: list[grammar.Combo], tokenizer: PreTrainedTokenizerFast, phase: Phase
) -> Iterator[tuple[list[int], int]]:
    """Yield (token ids of one row, how many of them are conversation).

    A row starts with the beginning of a document and is filled with further ones. Documents end with <|endoftext|>.
    Most rows start with a conversation, with nothing before it: that is how a chat prompt looks in use.
    A phase's first rows hold mostly perfect replies (its ``care_share``), from which the link between message and
    reply is learned soonest; the later ones hold everyday replies only.
    """
    total = chat = made = 0
    careful = phase.care_share * phase.steps * BATCH
    end = tokenizer.bos_token_id
    while True:
        ids: list[int] = []
        row_chat = 0
        care = max(0.0, 1 - made / careful) if careful else 0.0
        made += 1
        while len(ids) < LENGTH:
            first = not ids
            if chat < phase.chat_share * total if not first else rng.random() < 0.6:
                messages, is_chat = grammar.chat_document(rng, combos, care), True
                text = stamped(rng, messages) if rng.random() < phase.stamped_share else render(messages)
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
    source = rows(random.Random(SEED + 1), combos, tokenizer, PHASES[-1])
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


def train(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, combos: list[grammar.Combo], phase: Phase, seed: int
) -> None:
    """Train for one phase, in place: AdamW, linear warm-up, cosine to a twentieth of the rate."""
    low = phase.learning_rate * 0.05
    optimizer = torch.optim.AdamW(model.parameters(), phase.learning_rate, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, phase.steps - WARMUP), low)
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, 0.02, 1.0, WARMUP)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm, cosine], [WARMUP])
    source = rows(random.Random(seed), combos, tokenizer, phase)
    model.train()
    started, chat = time.time(), 0
    for step in range(1, phase.steps + 1):
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
        if step % 50 == 0 or step == phase.steps:
            tokens = step * BATCH * LENGTH
            print(
                f"step {step}: loss {loss.item():.3f}, {tokens / 1e6:.2f} M tokens ({chat / tokens:.0%} chat), "
                f"{(time.time() - started) / 60:.1f} min",
                flush=True,
            )
        if step % 200 == 0:
            print(f"  mean gold score of samples: {probe(model, tokenizer):.2f}", flush=True)


def main() -> None:
    """Train and save the tokenizer and the model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, help="steps of each phase, for a quick try")
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)
    training, heldout = grammar.split_combos()
    tokenizer = make_tokenizer(training)
    model = make_model(tokenizer)
    print(f"parameters: {sum(p.numel() for p in model.parameters()):,}", flush=True)
    for number, phase in enumerate(PHASES):
        train(model, tokenizer, training, phase._replace(steps=options.steps or phase.steps), SEED + 100 * number)
        save(model, tokenizer, options.out)
        model = LlamaForCausalLM.from_pretrained(options.out, dtype=torch.float32)
    print(f"held-out loss (saved model): {heldout_loss(model, heldout, tokenizer):.3f}")


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Write tokenizer and model, in bfloat16."""
    model.to(torch.bfloat16)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=True,
    )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    main()
