"""A stage's output for others: merged into plain weights, or the adapter alone, compared with the live model on text.

Whoever loads an export needs nothing of ours. What it computes is read back from disk by the libraries that others
would use, must be what was to be written, and its difference to the live model is written beside it.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from rlhf import adapters, card, loading, probe, text
from rlhf.artifact import ADAPTER
from rlhf.backends import for_weights
from rlhf.data.chat import ChatFormat
from rlhf.errors import ArtifactError, GuardError
from rlhf.intact import first_line
from rlhf.memory import ran_out
from rlhf.probe import Row
from rlhf.registry import hub_name
from rlhf.roles import standalone
from rlhf.weights import Weights

COMPARED = "compared.json"
ENDS_AT_STOP = "{{% set whole %}}{template}{{% endset %}}{{{{ whole if add_generation_prompt else whole.rstrip() }}}}"
"""A chat template without the white space that many write after the last turn, which a reward model never read."""
_TOKENS = 256
"""Most tokens of a text that is compared."""
_APART = 0.02
"""Nats (or score) that a merge in float32 may be off at any token; beyond it, something else was merged."""
_WRITTEN = 1e-3
"""The same for what is read back of weights that were rounded already: memory that begins elsewhere sums otherwise."""


def export(weights: Weights, out: Path, precision: str = "bf16", texts: Path | None = None) -> dict[str, Any]:
    """Write a merged model to the new folder `out`; returns how it compares and the commands that serve it.

    A policy loads with AutoModelForCausalLM, a reward model with AutoModelForSequenceClassification(num_labels=1).
    Merging is in float32, rounding to `precision` comes last. `texts`: a file of lines to compare on.
    """
    with _new_folder(out):
        return _export(weights, out, precision, texts)


def _export(weights: Weights, out: Path, precision: str, texts: Path | None) -> dict[str, Any]:
    chat = text.load(weights)
    rows = _rows(weights, chat, texts)
    live = probe.said(standalone(for_weights(weights), weights, chat), rows)
    model = loading.merged(weights, chat, weights.head_kind).eval()
    whole = _gap(live, [_plain(model, row, weights.scores) for row in rows])
    _check(whole, "merged model")
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    rounded = loading.in_precision(loading.in_precision(model, dtype), torch.float32)
    to_write = [_plain(rounded, row, weights.scores) for row in rows]
    model.to(dtype)  # type: ignore[arg-type]
    model.save_pretrained(out)
    if weights.scores:  # read by others, a conversation must end as it did in training: with the stop token
        chat.tokenizer.chat_template = ENDS_AT_STOP.format(template=chat.template_text)
    text.save(chat, out)
    read = _read(weights, out)
    written = [_plain(read, row, weights.scores) for row in rows]
    _check(_gap(to_write, written), "export, read back from disk,", "model that was to be written", _WRITTEN)
    _check_tokenizer(weights, chat, out)
    found = _compared(weights, rows, texts, merged=whole, exported=_gap(live, written))
    return _finish(weights, out, found | {"precision": precision}, _serve)


def export_adapter(weights: Weights, out: Path, texts: Path | None = None) -> dict[str, Any]:
    """Write the adapter alone to the new folder `out`, as PEFT loads it onto its base.

    Adapters that add up become one, of the sum of their ranks. A reward model's head goes with it.
    """
    if weights.adapter is None:
        raise ArtifactError(f"'{weights.called}' has no adapter: export it whole")
    with _new_folder(out):
        return _export_adapter(weights, out, texts)


def _export_adapter(weights: Weights, out: Path, texts: Path | None) -> dict[str, Any]:
    chat = text.load(weights)
    rows = _rows(weights, chat, texts)
    live = probe.said(standalone(for_weights(weights), weights, chat), rows)
    base = loading.whole(weights, chat, weights.head_kind, torch.float32)
    model, names = adapters.add_frozen(base, "default", weights.adapters)
    whole = "default"
    if len(names) > 1:
        whole = "sum"
        adapters.add_up(model, names, whole)
    adapters.save(model, whole, out)
    _complete(weights, out, hub_name(weights.name) or str(weights.base))
    text.save(chat, out)
    exported = _gap(live, _read_back(weights, chat, out, rows))
    _check(exported, "exported adapter, on its base,")
    _check_tokenizer(weights, chat, out)
    found = _compared(weights, rows, texts, exported=exported)
    return _finish(weights, out, found, _use_adapter)


def _check(gap: dict[str, float], what: str, other: str = "live model", most: float = _APART) -> None:
    if not gap["largest"] <= most:
        raise GuardError(f"the {what} is {gap['largest']:.2g} from the {other} at a token: it is another model")


def _check_tokenizer(weights: Weights, chat: ChatFormat, out: Path) -> None:
    """Raise GuardError where the tokenizer in an export makes other tokens of text, or another chat of it."""
    try:
        read = AutoTokenizer.from_pretrained(out, trust_remote_code=weights.trust_remote_code)
    except Exception as error:  # whatever its files make the library stumble over
        raise GuardError(f"the exported tokenizer cannot be read back: {first_line(error)}") from None
    saved = replace(chat, template_text=str(chat.tokenizer.chat_template))
    if not text.same(saved, replace(chat, tokenizer=read, template_text=str(read.chat_template))):
        raise GuardError("the exported tokenizer, read back from disk, makes other tokens or another chat of a text")


# ------------------------------------------------------------------------------------------------ writing


@contextmanager
def _new_folder(out: Path) -> Iterator[None]:
    """The folder to write to, which is new or empty, and is so again where the export fails."""
    is_new = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArtifactError(f"{out}: cannot be a folder ({error.strerror}); name another with --out") from None
    if any(out.iterdir()):
        raise ArtifactError(f"{out} is not empty; name a new folder")
    try:
        yield
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        if not is_new:
            out.mkdir()
        raise


def _complete(weights: Weights, out: Path, base: str) -> None:
    """Have PEFT find the base, and of a reward model the head, which it keeps among the adapter's tensors."""
    path = out / "adapter_config.json"
    config = json.loads(path.read_text("utf-8"))
    config["base_model_name_or_path"] = base
    config["revision"] = weights.revision
    config["task_type"] = "SEQ_CLS" if weights.scores else "CAUSAL_LM"
    if weights.head is not None:
        config["modules_to_save"] = ["score"]
        tensors = load_file(out / ADAPTER)
        tensors["base_model.model.score.weight"] = load_file(weights.head)["weight"]
        save_file(tensors, out / ADAPTER, {"format": "pt"})
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _finish(
    weights: Weights, out: Path, found: dict[str, Any], serve: Callable[[Weights, str, str], list[str]]
) -> dict[str, Any]:
    (out / COMPARED).write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    written = card.write(weights, found, serve(weights, out.name, out.name), whole=serve is _serve)
    (out / "README.md").write_text(written, encoding="utf-8")
    lines = serve(weights, str(out), out.name)
    return {"out": str(out), "score_shift": weights.score_shift, "compared": found, "serve": lines}


def _serve(weights: Weights, out: str, name: str) -> list[str]:
    if weights.scores:
        return [
            f"load it: AutoModelForSequenceClassification.from_pretrained('{out}', num_labels=1)",
            f"its scores are {weights.score_shift:+.4f} above those of `rlhf score`, which centres them "
            "(and rounded, unless exported with --precision fp32)",
            "format conversations with its own chat template, tokenizer.apply_chat_template(messages)",
            *_lost(weights),
        ]
    return [
        f"vLLM:    vllm serve {out}",
        f"Ollama:  printf 'FROM %s\\n' {out} > Modelfile && ollama create {name} -f Modelfile",
    ]


def _lost(weights: Weights) -> list[str]:
    """What an export cannot take along."""
    if weights.heads is None:
        return []
    return ["its several heads have become the one that is their mean or sum: what each says stays with the stage"]


def _use_adapter(weights: Weights, out: str, _: str) -> list[str]:
    how = "AutoPeftModelForSequenceClassification" if weights.scores else "AutoPeftModelForCausalLM"
    more = ", num_labels=1" if weights.scores else ""
    lines = [f"load it: peft.{how}.from_pretrained('{out}'{more})"]
    if hub_name(weights.name) is None:
        lines.append(f"its base is the folder {weights.base}: to take it elsewhere, take that too or export it merged")
    if weights.quantisation:
        lines.append(f"it was trained on its base in 4 bit ({weights.quantisation}): load the base so as well")
    if weights.scores:
        lines.append(f"its scores are {weights.score_shift:+.4f} above those of `rlhf score`, which centres them")
    return lines + _lost(weights)


# ------------------------------------------------------------------------------------------------ comparing


def _rows(weights: Weights, chat: ChatFormat, texts: Path | None) -> list[Row]:
    """Text as tokens, as much of each as the model reads."""
    return probe.rows(chat, weights.scores, min(_TOKENS, text.positions(weights) or _TOKENS), texts)


@torch.no_grad()
def _plain(model: Any, row: Row, scores: bool) -> Tensor:
    """The same by transformers' own forward pass."""
    ids_BT = torch.tensor([row], device=next(model.parameters()).device)
    logits = model(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT)).logits[0].float().cpu()
    if scores:
        return logits
    return logits[:-1].log_softmax(-1).gather(1, ids_BT[0, 1:, None].cpu())[:, 0]


def _read(weights: Weights, out: Path) -> Any:
    """What transformers makes of an exported folder. Raises GuardError where it makes none, or fills in what lacks."""
    more = {"dtype": torch.float32, "output_loading_info": True, "trust_remote_code": weights.trust_remote_code}
    try:
        loaded: Any
        if weights.scores:
            loaded = AutoModelForSequenceClassification.from_pretrained(out, num_labels=1, **more)
        else:
            loaded = AutoModelForCausalLM.from_pretrained(out, **more)
    except Exception as error:  # whatever its files make the library stumble over
        if ran_out(error):
            raise
        raise GuardError(f"the exported model cannot be read back: {first_line(error)}") from None
    read, told = loaded
    if told["missing_keys"]:
        raise GuardError(f"the exported model, read back from disk, lacks {min(told['missing_keys'])}")
    return read.eval()


def _read_back(weights: Weights, chat: ChatFormat, out: Path, rows: Sequence[Row]) -> list[Tensor]:
    """What PEFT makes of the exported adapter on its base, in 4 bit where that is what it was trained on."""
    import peft

    if weights.quantisation:
        how = loading.nf4(torch.float32, weights.quantisation == loading.DOUBLE)
        base = loading.quantised(weights, chat, weights.head_kind, torch.float32, how, loading.default_device())
    else:
        base = loading.whole(weights, chat, weights.head_kind, torch.float32)
    model = peft.PeftModel.from_pretrained(base, str(out)).eval()
    return [_plain(model, row, weights.scores) for row in rows]


def _gap(live: Sequence[Tensor], other: Sequence[Tensor]) -> dict[str, float]:
    apart = (torch.cat(list(live)) - torch.cat(list(other))).abs()
    return {"largest": float(apart.max()), "mean": float(apart.mean())}


def _compared(weights: Weights, rows: Sequence[Row], texts: Path | None, **gaps: dict[str, float]) -> dict[str, Any]:
    """What is written beside an export."""
    unit = "score" if weights.scores else "nats a token"
    tokens = sum(len(row) - 1 for row in rows)
    source = texts.name if texts else "passages that ship with rlhf"
    return {"with": "the live model", "unit": unit, "text": source, "texts": len(rows), "tokens": tokens, **gaps}


# ------------------------------------------------------------------------------------------------ the hub


def push(folder: Path, name: str, private: bool) -> str:
    """Upload an exported folder to the Hugging Face hub as `name` (org/model); its address. Raises ArtifactError."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    api = HfApi()
    try:
        url = api.create_repo(name, private=private, exist_ok=True)
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Exported by rlhf")
    except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ArtifactError(
            f"{name}: was not uploaded ({first}); `hf auth login` with a token that may write. It is still in {folder}"
        ) from None
    return str(url)
