"""The familiar rules of thumb of fine-tuning as rows that `rlhf plan` computes: memory, cards, hours, cost.

python -m benchmarks.rules            # the table of docs/plan.md

The work is 20,000 examples of 1,024 tokens, half of them answers, three passes, in bf16 with checkpointing and 2,048
tokens a micro-batch; the cards are H100s at 2.50 an hour.
"""

import math
from collections.abc import Iterator

from rlhf.config import Full, LoRA, Optimizer, QLoRA
from rlhf.config.demand import Demand
from rlhf.plan.devices import named
from rlhf.plan.lengths import Batch
from rlhf.plan.memory import Setup, need
from rlhf.plan.plan import SPARE
from rlhf.plan.shape import shape_of
from rlhf.plan.work import work
from rlhf.registry import MODELS

EXAMPLES, TOKENS, PASSES, PRICE = 20_000, 1024, 3.0, 2.5
_LLAMA = {"model_type": "llama", "vocab_size": 32000, "tie_word_embeddings": False}
MODELS_OF_RULES = {
    "Qwen3 0.6B": MODELS["qwen3-0.6b"].config,
    "Llama 2 7B": {**_LLAMA, "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
                   "intermediate_size": 11008},
    "Llama 3 8B": MODELS["llama-3.1-8b"].config,
    "Llama 2 13B": {**_LLAMA, "hidden_size": 5120, "num_hidden_layers": 40, "num_attention_heads": 40,
                    "intermediate_size": 13824},
    "Llama 65B": {**_LLAMA, "hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64,
                  "intermediate_size": 22016},
    "Llama 3 70B": MODELS["llama-3.3-70b-instruct"].config,
}  # fmt: skip
WAYS: tuple[tuple[str, Full | LoRA | QLoRA, Optimizer], ...] = (
    ("full", Full(), "adamw"),
    ("full, 8-bit AdamW", Full(), "adamw_8bit"),
    ("LoRA", LoRA(), "adamw"),
    ("QLoRA", QLoRA(), "adamw"),
)


def rows() -> Iterator[str]:
    """Lines of a table in Markdown."""
    card = named("h100")
    yield "| | peak memory, GB | H100s to hold it | hours | cost |"
    yield "|---|---|---|---|---|"
    for model, config in MODELS_OF_RULES.items():
        for way, backend, optimizer in WAYS:
            setup = Setup(
                shape_of(config),
                backend,
                "bf16",
                Demand("demonstrations", passes=PASSES),
                card,
                Batch(2 * TOKENS, 2 * TOKENS, TOKENS),
                accumulates=True,
                checkpointing=True,
                optimizer=optimizer,
            )
            peak = sum(need(setup).values())
            cards = math.ceil(peak / (SPARE * card.memory))
            seconds = work(setup, EXAMPLES, TOKENS, TOKENS / 2, 0).seconds
            assert seconds is not None
            hours = seconds / 3600
            yield f"| {model}, {way} | {peak / 1e9:,.1f} | {cards} | {hours / cards:.1f} | {hours * PRICE:,.0f} |"


if __name__ == "__main__":
    print("\n".join(rows()))
