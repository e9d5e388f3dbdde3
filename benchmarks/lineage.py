"""SFT → DPO by QLoRA: the adapter carried on, against merging between the stages and quantising again.

python -m benchmarks.lineage --model FOLDER --data hh_harmless_base.jsonl.gz       # seeds 0 1 2

Three ways to go on from the same SFT stage, with the same pairs, steps and rates:
- lineage: DPO continues the SFT adapter on the same 4-bit base (what rlhf does);
- dequantised: the adapter is merged into the base as it saw it, the result is quantised again, DPO adds a new adapter;
- original: the adapter is merged into the base's original weights, as peers do, then the same.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import torch
from peft import PeftModel

from benchmarks.common import keep, run_recipe
from rlhf import artifact as artifacts
from rlhf import config as settings
from rlhf import evaluate, libraries, loading, text
from rlhf.backends import backend
from rlhf.config import DataConfig, ModelRef
from rlhf.data.chat import Encoded, encode_demonstrations
from rlhf.data.load import load
from rlhf.measures.losses import loss
from rlhf.recipe import load as load_recipe
from rlhf.roles import standalone
from rlhf.weights import Weights, find

RECIPE = Path(__file__).with_name("cells.yaml")
WAYS = ("lineage", "dequantised", "original")


def restart(sft: Weights, way: str, folder: Path) -> Weights:
    """What DPO starts from."""
    if way == "lineage":
        return sft
    chat = text.load(sft)
    if way == "dequantised":
        whole = loading.merged(sft, chat)
    else:
        base = loading.whole(sft, chat, "lm", torch.float32)
        whole = PeftModel.from_pretrained(base, str(sft.adapter)).merge_and_unload()  # type: ignore[operator]
    whole.save_pretrained(folder)
    text.save(chat, folder)
    return find(ModelRef(name=str(folder)), {})


def held_out(weights: Weights, data: DataConfig) -> list[Encoded]:
    rows, _ = encode_demonstrations(load(data, "demonstrations").held_out, text.load(weights), data.max_length)
    return rows


def loss_of(weights: Weights, rows: list[Encoded]) -> float:
    """Nats a token on held-out chosen answers, held in 4 bit as the stage that goes on holds it."""
    role = standalone(backend(settings.QLoRA()), weights, text.load(weights))
    return loss(evaluate.losses(role, rows, 16)).nats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--name", default="lineage", help="of the result file")
    parser.add_argument("more", nargs="*", help="further overrides")
    options = parser.parse_intermixed_args()
    libraries.prepare()
    runs: list[dict[str, Any]] = []
    recipe = load_recipe(RECIPE, [f"data.path={options.data}", f"model={options.model}", *options.more])
    data = recipe.stages["dpo"].data  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as work:
        os.environ["RLHF_CACHE"] = work
        for seed in options.seeds:
            out = Path(work) / str(seed)
            words = [f"data.path={options.data}", f"seed={seed}", "backend.kind=qlora", *options.more]
            made, _ = run_recipe(str(RECIPE), *words, f"model={options.model}", "name=sft", out=out, only="sft")
            sft = Weights.of(artifacts.read(Path(made["stages"]["sft"]["artifact"])))
            rows = held_out(sft, data)
            after_sft = loss_of(sft, rows)
            for way in WAYS:
                start = restart(sft, way, out / way)
                at = made["stages"]["sft"]["artifact"] if way == "lineage" else str(out / way)
                done, _ = run_recipe(str(RECIPE), *words, f"dpo.model={at}", f"model={at}", f"name={way}", out=out,
                                     only="dpo")  # fmt: skip
                dpo = done["stages"]["dpo"]
                runs.append(
                    {
                        "seed": seed,
                        "way": way,
                        "lost_between_stages": loss_of(start, rows) - after_sft,
                        "loss_after_dpo": loss_of(Weights.of(artifacts.read(Path(dpo["artifact"]))), rows),
                        "dpo_loss": dpo["metrics"]["eval_loss"],
                        "dpo_accuracy": dpo["metrics"]["eval_rewards/accuracies"],
                        "after_sft": after_sft,
                    }
                )
                print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    measures = [key for key in runs[0] if key not in ("seed", "way")]
    table = {
        way: {
            key: [fmean(values), stdev(values) if len(values) > 1 else 0.0]
            for key in measures
            if (values := [run[key] for run in runs if run["way"] == way])
        }
        for way in WAYS
    }
    shown = {"model": Path(options.model).name, "data": Path(options.data).name, "overrides": options.more}
    keep(options.name, {**shown, "summary": table, "runs": runs})


if __name__ == "__main__":
    main()
