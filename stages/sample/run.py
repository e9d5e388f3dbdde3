"""Best-of-n and rejection sampling: n answers a prompt, scored, written as a dataset that other stages read.

Pairs of the best and the worst are what online DPO trains on (Guo et al. 2024; Dong et al. 2024), the best alone what
rejection sampling fine-tunes on (Touvron et al. 2023, section 3.2.3).
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import torch

from rlhf import checkpoint, disk, stopping, text
from rlhf.artifact import CHECKPOINT, EXAMPLES, Artifact
from rlhf.backends import for_weights
from rlhf.checkpoint import Checkpoint
from rlhf.data.chat import encode_prompts
from rlhf.data.load import load
from rlhf.errors import DataError, GuardError
from rlhf.job import check_some_left
from rlhf.rewards import WeightedSum
from rlhf.roles import judged as load_judged
from rlhf.rollout import Sampling, decode, engine_for, sample
from rlhf.sources import Sources, short
from rlhf.tracking import Tracker
from rlhf.weights import Weights
from stages.sample.config import SampleConfig

Row = dict[str, Any]


def run(config: SampleConfig, inputs: Mapping[str, Weights], out: Path, tracker: Tracker) -> Artifact:
    """Answer prompts; write `out/examples.jsonl`, a prompt a line with its answers and their scores."""
    policy = inputs["model"]
    chat = text.load(policy, config.template)
    whole = config.data.model_copy(update={"eval_fraction": 0.0})  # who reads the answers splits them by prompt
    split = load(whole, "prompts", out)
    room = text.prompt_room(config.name, inputs.values(), config.data.max_length, config.rollout.max_new_tokens)
    records, prompts, ledger = encode_prompts(split.train, chat, room)
    check_some_left(len(prompts), ledger, "prompt to answer")
    how = for_weights(policy, config.precision)
    models = {short(where): weights for where, weights in inputs.items() if where != "model"}
    role, judges = load_judged(how, policy, models, chat)
    sources = Sources(models, judges, chat, how, config.precision, config.rollout.batch_size)
    reward = WeightedSum({short(w): (sources.reward(w, s), s.weight) for w, s in config.sources.items()})
    engine = engine_for(role, config.rollout.engine)
    size = config.rollout.batch_size // config.n
    batches = [range(start, min(start + size, len(prompts))) for start in range(0, len(prompts), size)]
    file = _Examples(out, tracker.screen.say)
    tracker.rewind(file.done)
    with stopping.patiently() as stop:
        for i in range(file.done, len(batches)):
            torch.manual_seed(config.seed * 1_000_003 + i)  # a batch's luck is its own, whatever was interrupted
            asked = [row for row in batches[i] for _ in range(config.n)]
            rollout = sample(role, [prompts[row] for row in asked], chat, Sampling.of(config.rollout), engine)
            each = reward.each([records[row] for row in asked], rollout)
            score_B = reward.total(each, rollout.finished_B)
            if not bool(score_B.isfinite().all()):
                raise GuardError(
                    f"an answer to the prompt at {records[batches[i][0]].where} or after it has no finite score"
                )
            rows = []
            for place, row in enumerate(batches[i]):
                mine = range(place * config.n, (place + 1) * config.n)
                answers = [
                    {
                        "text": decode(chat, rollout.responses[b]),
                        "score": float(score_B[b]),
                        "tokens": len(rollout.responses[b]),
                        "finished": bool(rollout.finished_B[b]),
                        **({name: float(said_B[b]) for name, said_B in each.items()} if len(each) > 1 else {}),
                    }
                    for b in mine
                ]
                rows.append({"prompt": records[row].messages, "completions": answers})
            file.add(rows)
            tracker.log({"score": float(score_B.mean()), "best": fmean(map(_best, rows))}, i + 1, len(batches))
            if stop():
                break
    metrics, dropped = file.finish(config.keep_unfinished)
    if not metrics["prompts"]:
        lost = ", ".join(f"{count} × {reason}" for reason, count in dropped.items())
        raise DataError(
            f"stage '{config.name}': no prompt has two different answers ({lost}); raise rollout.max_new_tokens"
        )
    bound = math.log(config.n) - (config.n - 1) / config.n  # KL of best-of-n to the policy is at most this
    books = {"rows": len(prompts), "used": metrics["prompts"], "cut": 0, "dropped": dict(dropped)}
    data = {"file": split.ledger, "prompts": ledger, "examples": books}
    return Artifact(config.name, config.stage, config.makes, "", data=data, metrics={**metrics, "best_of_n_kl": bound})


def _best(row: Row) -> float:
    return max(answer["score"] for answer in row["completions"])


class _Examples:
    """The file of examples, batch by batch, so that an interrupted stage goes on."""

    def __init__(self, out: Path, say: Callable[[str], None]) -> None:
        self.out, self.path = out, out / CHECKPOINT / "drawn.jsonl"
        self.path.parent.mkdir(exist_ok=True)
        begun = checkpoint.newest(out, say, self._is_there)
        self.done, length = (begun.step, begun.state()["bytes"]) if begun else (0, 0)
        with self.path.open("ab") as file:
            file.truncate(length)
        self.hash = checkpoint.hash_of(self.path)

    def _is_there(self, begun: Checkpoint) -> bool:
        """Whether the file is what it was at a checkpoint, as far as it went then."""
        state = begun.state()
        return self.path.is_file() and checkpoint.fingerprint(self.path, state["bytes"]) == state["hash"]

    def add(self, rows: Sequence[Row]) -> None:
        more = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        with self.path.open("ab") as file:
            file.write(more)
        disk.sync(self.path)
        self.hash.update(more)
        self.done += 1
        state = {"bytes": self.path.stat().st_size, "hash": self.hash.hexdigest()}
        checkpoint.save(self.out, self.done, state)

    def finish(self, keep_unfinished: bool) -> tuple[dict[str, float], Counter[str]]:
        """Write the answers that others may learn from; what was drawn, in numbers, and prompts left out, by reason."""
        drawn = [json.loads(line) for line in self.path.read_text("utf-8").split("\n") if line]
        dropped: Counter[str] = Counter()
        kept: list[Row] = []
        for row in drawn:
            answers = {a["text"]: a for a in row["completions"] if a["text"] and (keep_unfinished or a["finished"])}
            if len(answers) < 2:
                ended = sum(answer["finished"] for answer in row["completions"])
                dropped["fewer than two answers ended" if ended < 2 else "all answers alike"] += 1
                continue
            kept.append({"prompt": row["prompt"], "completions": list(answers.values())})
        with (self.out / EXAMPLES).open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
        answers = [answer for row in drawn for answer in row["completions"]]
        metrics = {
            "prompts": len(kept),
            "answers": len(answers),
            "finished": fmean(float(answer["finished"]) for answer in answers),
            "score": fmean(answer["score"] for answer in answers),
            "score_best_of_n": fmean(map(_best, drawn)),
            "score_spread": fmean(pstdev([answer["score"] for answer in row["completions"]]) for row in drawn),
            "tokens": fmean(answer["tokens"] for answer in answers),
        }
        return metrics, dropped
