"""`rlhf score`, `rlhf chat` and `rlhf export`: what a model is used for. Thin, as the other commands are."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from rlhf.cli_shared import AsJson, Model, ready

app = typer.Typer(rich_markup_mode=None)


class Precision(StrEnum):
    """Storage of exported weights."""

    fp32 = "fp32"
    bf16 = "bf16"


@app.command()
def score(
    model: Model,
    file: Annotated[
        Path | None, typer.Argument(help="Conversations or pairs in any format that training takes.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="Score one answer to this prompt.")] = None,
    answer: Annotated[str | None, typer.Option(help="The answer.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows a forward pass.")] = 16,
    as_json: AsJson = False,
) -> None:
    """Score texts with a reward model.

    One JSON line each; of a pair, both sides.
    """
    from rlhf.errors import DataError
    from rlhf.reward_model import RewardModel

    if (file is None) == (prompt is None or answer is None):
        raise DataError("give a file of conversations, or --prompt and --answer")
    if file is None:
        asked = [{"role": "user", "content": prompt or ""}, {"role": "assistant", "content": answer or ""}]
        rows = [("--prompt", {"": asked})]
    else:
        from rlhf.data.scorable import scorable

        read = scorable(file)
        rows = read.rows
        for reason, count in read.dropped.items():
            print(f"{count} rows not scored: {reason}", file=sys.stderr)
    judge = RewardModel.load(ready(model), batch_size=batch_size)
    talks = [talk for _, sides in rows for talk in sides.values()]
    scores, more = iter(judge.score(talks)), iter(judge.attributes(talks))
    apart = iter(judge.disagreement(talks) or ())
    result: dict[str, Any] = {"model": model}
    for where, sides in rows:
        line: dict[str, Any] = {"where": where}
        for side, talk in sides.items():
            prefix = f"{side}_" if side else ""
            line[f"{prefix}score"], line[f"{prefix}messages"] = next(scores), talk
            if attributes := next(more):
                line[f"{prefix}attributes"] = attributes
            if (disagreement := next(apart, None)) is not None:
                line[f"{prefix}disagreement"] = disagreement
            result.setdefault(f"{prefix}scores", []).append(line[f"{prefix}score"])
        print(json.dumps(line, ensure_ascii=False))
    if pairs := result.get("chosen_scores"):
        from rlhf.measures.policies import win_rate

        found = win_rate(pairs, result["rejected_scores"])
        result["accuracy"] = found["rate"]
        ties = f", equals counted half ({found['ties']:.1%})" if found["ties"] else ""
        print(f"chosen above rejected in {found['rate']:.1%} of {len(pairs)} pairs{ties}", file=sys.stderr)
    if as_json:
        print(json.dumps(result))


@app.command()
def chat(
    model: Model,
    prompt: Annotated[str | None, typer.Option(help="Answer once instead of a conversation.")] = None,
    temperature: Annotated[float, typer.Option(min=0, help="0 takes the likeliest token.")] = 0.7,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 256,
    seed: Annotated[int, typer.Option(help="Seed of sampling.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Talk to a policy. An empty line or Ctrl-D ends."""
    from rlhf.chatting import Chat

    talk = Chat.load(ready(model), temperature, max_new_tokens, seed)
    if prompt is not None:
        reply = talk.say(prompt)
        print(reply)
        if as_json:
            print(json.dumps({"model": model, "prompt": prompt, "answer": reply}))
        return
    while line := _ask():
        print(talk.say(line))
    if as_json:
        print(json.dumps({"model": model, "messages": talk.messages}))


@app.command()
def export(
    model: Model,
    out: Annotated[Path, typer.Option("--out", help="New folder for what is exported.")],
    precision: Annotated[Precision, typer.Option(help="Storage of merged weights.")] = Precision.bf16,
    adapter: Annotated[bool, typer.Option("--adapter", help="The adapter alone, for PEFT.")] = False,
    text: Annotated[Path | None, typer.Option(help="Lines of text to compare on; ours when left out.")] = None,
    push: Annotated[str | None, typer.Option(help="Upload to the Hugging Face hub under this name, org/model.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Of --push: for yourself alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Merge adapter and base into plain safetensors.

    Read back and compared with the live model on text; with a model card, and how to serve them.
    """
    from rlhf import export as exporting

    weights = ready(model)
    if adapter:
        made = exporting.export_adapter(weights, out, text)
    else:
        made = exporting.export(weights, out, precision.value, text)
    gap = made["compared"]["exported"]
    print(f"{'adapter' if adapter else 'merged model'}: {out}")
    print(f"compared with the live model: {gap['largest']:.2g} {made['compared']['unit']} apart at most\n")
    for line in made["serve"]:
        print(line)
    if push is not None:
        made["pushed"] = exporting.push(out, push, private)
        print(f"uploaded: {made['pushed']}")
    if as_json:
        print(json.dumps({"model": model, **made}))


def _ask() -> str:
    try:
        return input("> ").encode("utf-8", "replace").decode().strip()
    except EOFError:
        return ""
