"""A byte-level tokenizer made on the spot, and chat formats of several templates on it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlhf.data.chat import ChatFormat

CHATML = (
    "{%- for m in messages -%}{{- '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)
UNMARKED = "{%- for m in messages -%}{{- m['content'] -}}{%- endfor -%}"
"""Writes no stop token at all."""
STRICT = (
    "{%- for m in messages -%}{%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) -%}"
    "{{- raise_exception('roles must alternate') -}}{%- endif -%}"
    "{{- '[' + m['role'] + ']' + m['content'] + '</s>' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '[assistant]' -}}{%- endif -%}"
)
THINKING = (
    "{%- for m in messages -%}{{- '<|im_start|>' + m['role'] + '\n' -}}"
    "{%- if loop.last and m['role'] == 'assistant' -%}{{- '<think></think>' -}}{%- endif -%}"
    "{{- m['content'] + '<|im_end|>\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)
"""Renders the last answer otherwise than earlier ones, as Qwen 3's own template does."""

TEMPLATES = {"chatml": CHATML, "unmarked": UNMARKED, "strict": STRICT, "thinking": THINKING}
SPECIAL = [
    *("<|im_end|>", "</s>", "<|pad|>", "<s>", "<|im_start|>", "<|eot_id|>", "<|start_header_id|>"),
    *("<|end_header_id|>", "<start_of_turn>", "<end_of_turn>", "<|end|>"),
]


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    """Bytes, a few merges, and the special tokens of the common templates; every text has a lossless encoding."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(["the shop is open and the answer is that the order is here"] * 4, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<|pad|>",
        clean_up_tokenization_spaces=False,
    )


@pytest.fixture(scope="session")
def chats(tokenizer: Any) -> Callable[[str], ChatFormat]:
    """`chats("chatml")`: the chat format of a template above, or of one of rlhf/templates by its source."""

    def make(name: str) -> ChatFormat:
        template = TEMPLATES.get(name, name)
        ends = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "</s>")
        stops = [end for end in ends if end in template] or ["</s>"]
        stop_ids = tuple(tokenizer.convert_tokens_to_ids([*stops, *({"</s>"} - set(stops))]))
        return ChatFormat(tokenizer, template, stop_ids, tokenizer.pad_token_id)

    return make


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Write a file of examples."""

    def write_(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_
