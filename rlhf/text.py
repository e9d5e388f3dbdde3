"""Tokenizer, chat template, pad and stop tokens of a model: chosen once, then carried by every artifact."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerBase

from rlhf import registry
from rlhf.artifact import Text
from rlhf.data.chat import ChatFormat
from rlhf.errors import ArtifactError, RecipeError
from rlhf.weights import Weights


def load(weights: Weights, template: str | Path | None = None, new_tokens: Sequence[str] = ()) -> ChatFormat:
    """How `weights` formats text. A stage's output brings its own; a model from outside is given the family's.

    `new_tokens` are added to the vocabulary, as special ones, where it lacks them.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(weights.tokenizer, trust_remote_code=weights.trust_remote_code)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{weights.tokenizer}: no tokenizer there ({str(error).splitlines()[0]})") from None
    family = registry.family_of(_config(weights).to_dict())
    tokenizer.chat_template = registry.choose_template(tokenizer, family, template)
    if weights.text is None:
        tokens = registry.choose_tokens(tokenizer, family, tokenizer.chat_template)
        if tokens.pad_is_new:
            tokenizer.add_special_tokens({"pad_token": tokens.pad})
        pad, stops = tokens.pad, tokens.stops
    else:
        _check_locked(weights, tokenizer)
        pad, stops = weights.text.pad_token, weights.text.stop_tokens
    lacking = [token for token in dict.fromkeys(new_tokens) if token not in tokenizer.get_vocab()]
    if lacking:
        tokenizer.add_special_tokens({"additional_special_tokens": lacking}, replace_extra_special_tokens=False)
    tokenizer.pad_token = pad
    tokenizer.padding_side = "left"
    stop_ids = tuple(tokenizer.convert_tokens_to_ids(list(stops)))
    if tokenizer.pad_token_id in stop_ids:
        raise ArtifactError(
            f"{weights.tokenizer}: pad token '{pad}' also ends an answer; the model could not learn to stop"
        )
    new_ids = tuple(tokenizer.convert_tokens_to_ids(lacking))
    return ChatFormat(tokenizer, tokenizer.chat_template, stop_ids, tokenizer.pad_token_id, new_ids)


def positions(weights: Weights) -> int | None:
    """Most tokens that a model was built to read; None where its architecture sets no limit."""
    return getattr(_config(weights).get_text_config(), "max_position_embeddings", None)


def prompt_room(stage: str, readers: Iterable[Weights], asked: int, answer: int) -> int:
    """Most tokens of a prompt, `asked` or fewer, that all models can read to the end of an answer of `answer` tokens.

    Raises RecipeError where no room for a prompt is left.
    """
    ends = {weights.called or weights.name: positions(weights) or math.inf for weights in readers}
    shortest = min(ends, key=lambda name: ends[name])
    room = ends[shortest] - answer - 1  # a judge reads an end too
    if room < 8:
        raise RecipeError(
            f"stage '{stage}': rollout.max_new_tokens leaves no room for a prompt in '{shortest}', which reads "
            f"{ends[shortest]:.0f} tokens"
        )
    return int(min(asked, room))


def describe(chat: ChatFormat) -> Text:
    """What an artifact records, so that no later stage formats text otherwise."""
    stops = tuple(chat.tokenizer.convert_ids_to_tokens(list(chat.stop_ids)))
    return Text(_sha256(chat.template_text), chat.tokenizer.pad_token, stops)


def save(chat: ChatFormat, out: Path) -> None:
    """Write tokenizer and template beside the weights."""
    chat.tokenizer.save_pretrained(out)


def same(left: ChatFormat, right: ChatFormat) -> bool:
    """Whether both turn every conversation into the same token ids."""
    if describe(left) != describe(right):
        return False
    return left.tokenizer is right.tokenizer or _serialised(left.tokenizer) == _serialised(right.tokenizer)


def _check_locked(weights: Weights, tokenizer: PreTrainedTokenizerBase) -> None:
    assert weights.text is not None
    if _sha256(str(tokenizer.chat_template)) != weights.text.template_sha256:
        raise ArtifactError(
            f"{weights.tokenizer}: its chat template is not the one it was trained with; "
            "a model must see text as it was trained on: remove `template`, or restore the folder"
        )


def _serialised(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return backend.to_str() if backend is not None else str(sorted(tokenizer.get_vocab().items()))


def _config(weights: Weights) -> Any:
    try:
        return AutoConfig.from_pretrained(weights.base, trust_remote_code=weights.trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(
            f"{weights.base}: its config.json is not understood: {str(error).splitlines()[0]}"
        ) from None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
