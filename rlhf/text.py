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
from rlhf.errors import ArtifactError, RecipeError, RLHFError
from rlhf.intact import first_line, read_json
from rlhf.weights import Weights


def load(weights: Weights, template: str | Path | None = None, new_tokens: Sequence[str] = ()) -> ChatFormat:
    """How `weights` formats text. A stage's output brings its own; a model from outside is given the family's.

    `new_tokens` are added to the vocabulary, as special ones, where it lacks them.
    """
    config = _config(weights)
    try:
        tokenizer = AutoTokenizer.from_pretrained(weights.tokenizer, trust_remote_code=weights.trust_remote_code)
    except Exception as error:  # whatever its files make the library stumble over
        for name in ("tokenizer.json", "tokenizer_config.json"):
            if (path := weights.tokenizer / name).is_file():
                read_json(path)
        raise ArtifactError(f"{weights.tokenizer}: no tokenizer there ({first_line(error)})") from None
    family = registry.family_of(config.to_dict())
    tokenizer.chat_template = registry.choose_template(tokenizer, family, template)
    if weights.text is None:
        _check_vocabulary(weights, tokenizer, config.get_text_config())
        try:
            tokens = registry.choose_tokens(tokenizer, family, tokenizer.chat_template)
        except RLHFError as error:
            raise type(error)(f"{weights.tokenizer}: {error}") from None
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
            f"stage '{stage}': max_new_tokens leaves no room for a prompt in '{shortest}', which reads "
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


def _check_vocabulary(weights: Weights, tokenizer: PreTrainedTokenizerBase, config: Any) -> None:
    """Raise ArtifactError where model and tokenizer are not each other's. Special tokens may lack their rows: those are
    made."""
    rows, vocabulary = getattr(config, "vocab_size", None), tokenizer.get_vocab()
    known = max(vocabulary.values(), default=-1) + 1
    added = {str(token) for token in tokenizer.added_tokens_decoder.values()}
    plain = max((i for token, i in vocabulary.items() if token not in added), default=-1) + 1
    if rows is not None and plain > rows:
        raise ArtifactError(
            f"{weights.tokenizer}: the tokenizer knows {plain} tokens, and the model {rows}: not its own"
        )
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    if beyond := [end for end in ends if isinstance(end, int) and end >= known]:
        why = f"config.json ends a text with token {beyond[0]}, and the tokenizer knows {known}: not its own"
        raise ArtifactError(f"{weights.base}: {why}")


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
    except Exception as error:  # whatever a setting makes the library stumble over
        if "custom code" in str(error):
            why = "names Python code to run; read it, then set trust_remote_code: true"
            raise ArtifactError(f"{weights.base}: its config.json {why}") from None
        raise ArtifactError(f"{weights.base}: its config.json is not understood: {first_line(error)}") from None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
