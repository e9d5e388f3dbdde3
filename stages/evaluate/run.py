"""Held-out evaluation: what the reward model is worth, whether the policy beats the one it came from, what it forgot.

Numbers are computed by `rlhf.measures` from raw rows, which are written beside them, so that both can be compared.
"""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlhf import rules, text
from rlhf.artifact import Artifact
from rlhf.config import DataConfig
from rlhf.data.beside import columns
from rlhf.data.chat import Ledger, encode_preferences, encode_prompts
from rlhf.data.faults import place
from rlhf.data.load import load
from rlhf.data.records import Preference, Prompt
from rlhf.errors import DataError, RecipeError
from rlhf.evaluate import pair_rows
from rlhf.measures import losses, pairs, policies
from rlhf.measures.headline import headline
from rlhf.reward_model import RewardModel
from rlhf.tracking import Tracker
from rlhf.weights import Weights
from stages.evaluate import answers, harness, texts
from stages.evaluate.config import EvaluateConfig
from stages.evaluate.sides import Lineage, Side, base_of

Row = dict[str, Any]


@dataclass
class _Measures:
    """What is found, logged as it is: each measure of a model is a step, so that who follows the run sees it move."""

    tracker: Tracker
    steps: int
    step: int = 0
    found: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, config: EvaluateConfig, judges: int, tracker: Tracker) -> "_Measures":
        answering = [side for side in (config.policy, config.baseline, config.prompted) if side is not None]
        parts = (config.demonstrations, config.refusals, config.harness, config.general_text or config.forgetting)
        of_policy = (len(answering) + 1) * (config.prompts is not None) + sum(map(bool, parts))
        return cls(tracker, judges * (config.preferences is not None) + of_policy * (config.policy is not None) + 1)

    def add(self, metrics: Mapping[str, Any] | None = None) -> None:
        """A step is done, and has shown this if it shows something by itself."""
        self.step += 1
        self.found |= metrics or {}
        self.tracker.log(metrics or {}, self.step, self.steps)

    def end(self) -> None:
        """Everything in one line, which is the last."""
        self.step = self.steps - 1
        self.add(self.found)


def run(config: EvaluateConfig, inputs: Mapping[str, Weights], out: Path, tracker: Tracker) -> Artifact:
    """Measure everything whose inputs are named. Raw rows go to pairs.jsonl, samples.jsonl, refusals.jsonl,
    harness.jsonl and losses.jsonl under `out`."""
    data: dict[str, Any] = {}
    fields = {"reward": "reward_model", "held_out": "held_out_reward"}
    given = {name: inputs[field] for name, field in fields.items() if field in inputs}
    if len({weights.lineage for weights in given.values()}) < len(given):
        raise RecipeError(f"stage '{config.name}': held_out_reward is the reward_model itself: name another")
    judges = answers.Judges(
        {name: RewardModel.load(weights, config.precision, config.batch_size) for name, weights in given.items()},
        rules.load(config.rule) if config.rule else None,
    )

    measures = _Measures.of(config, len(judges.models), tracker)

    # 1. reward models on pairs they have not seen
    if config.preferences:
        split = load(config.preferences, "preferences", out)
        sources = _sources(config.preferences, split.held_out)
        rows: list[Row] = []
        for name, judge in judges.models.items():
            found, ledger = _judged(config, config.preferences, judge, name, split.held_out, sources)
            data["preferences"] = {"file": split.ledger, "held_out": ledger}
            numbers = pairs.metrics(found) | pairs.sliced(found)
            measures.add({f"{name}_{key}": value for key, value in numbers.items()})
            rows += found
        _write(out / "pairs.jsonl", rows)

    sides: dict[str, Side] = {}
    if config.policy is not None:
        sides = _measure_policy(config, inputs, judges, out, measures, data)
    if not measures.found:
        raise DataError(f"stage '{config.name}': there is nothing to measure: name `prompts`, `demonstrations`, …")
    measures.end()
    called = [sides[name].called if name in sides else "" for name in ("policy", "baseline", "prompted")]
    for line in headline(measures.found, *called):
        tracker.screen.say(f"  {line}")
    return Artifact(config.name, config.stage, config.makes, "", data=data, metrics=measures.found)


def _measure_policy(
    config: EvaluateConfig,
    inputs: Mapping[str, Weights],
    judges: answers.Judges,
    out: Path,
    measures: _Measures,
    data: dict[str, Any],
) -> dict[str, Side]:
    """Add what is found of the policy to measures and data. Everyone who was compared."""
    say = measures.tracker.screen.say
    sides = {name: Side.load(config, inputs[name]) for name in ("policy", "baseline") if name in inputs}
    lineage = Lineage.of(inputs["policy"])
    seen = texts.studied(lineage.stages, say) if config.prompts or config.forgetting else []
    lost: list[Row] = []

    # 2. both policies on demonstrations they have not seen, and on some that were seen
    if config.demonstrations:
        split = load(config.demonstrations, "demonstrations", out)
        lost, ledger = texts.demonstrated(config, config.demonstrations, split, sides)
        _some(config, "demonstrations", [row for row in lost if row["split"] == "held_out"])
        data["demonstrations"] = {"file": split.ledger, "held_out": ledger}
        measures.add(losses.metrics(lost))

    # 3. everyone's answers to prompts they have not seen, before the judges
    if config.prompts:
        prompts, data["prompts"] = _prompts(config, config.prompts, inputs, sides["policy"], out)
        reference = answers.reference_of(config, sides)
        if config.prompted:
            sides["prompted"] = _prompted(config, inputs)
        said = {}
        for name, side in sides.items():
            known = reference if name == "policy" else None
            said[name] = answers.answered(config, prompts, name, side, judges, known)
            measures.add()
        said = {name: said[name] for name in policies.SIDES if name in said}
        rows = answers.compared(config, prompts, said, texts.answers_of(seen))
        if config.llm_judge:
            _write(out / "samples.jsonl", rows)  # which took longest, and are there whatever the server does
            answers.ask_llm(config.llm_judge, prompts, rows, say)
        measures.add(policies.metrics(rows))
        _write(out / "samples.jsonl", rows)
        _show(config, rows, measures.tracker)

    # 4. whether they refuse what they should, and nothing else
    if config.refusals:
        if config.prompted and "prompted" not in sides:
            sides["prompted"] = _prompted(config, inputs)
        prompts, safe, data["refusals"] = _labelled(config, config.refusals, inputs, sides["policy"], out)
        rows = answers.refused(config, prompts, safe, sides)
        measures.add(policies.refusals(rows))
        _write(out / "refusals.jsonl", rows)

    # 5. public benchmarks
    if config.harness:
        trained = {name: side for name, side in sides.items() if name != "prompted"}
        rows = list(harness.benchmarked(config.harness, trained, config.batch_size, config.seed))
        measures.add(harness.metrics(rows))
        _write(out / "harness.jsonl", rows)

    # 6. what every model on the way to the policy knows of text that it is no longer trained on
    if config.general_text or config.forgetting:
        general = None
        if config.general_text:
            split = load(config.general_text, "demonstrations", out)
            _some(config, "general_text", split.held_out)
            general = config.general_text, split.held_out
            data["general_text"] = {"file": split.ledger}
        lost += texts.remembered(config, lineage, seen, sides, general, say)
        measures.add(losses.metrics(lost))
    _write(out / "losses.jsonl", lost)
    return sides


def _prompted(config: EvaluateConfig, inputs: Mapping[str, Weights]) -> Side:
    """The model that is not trained but told."""
    assert config.prompted is not None
    weights = inputs.get("prompted.model") or base_of(inputs["policy"])
    return Side.load(config, weights).told(config.prompted)


# ------------------------------------------------------------------------------------------------ rows


def _some(config: EvaluateConfig, block: str, rows: Sequence[Any]) -> None:
    if not rows:
        raise DataError(f"stage '{config.name}': {block}: no row is held out; raise eval_fraction or name eval_path")


def _judged(
    config: EvaluateConfig,
    block: DataConfig,
    judge: RewardModel,
    name: str,
    records: Sequence[Preference],
    sources: Mapping[str, str],
) -> tuple[list[Row], Ledger]:
    """What a reward model says of held-out pairs, each with where it comes from."""
    most = min(block.max_length, judge.longest or block.max_length)
    encoded, ledger = encode_preferences(records, judge.chat, most)
    _some(config, "preferences", encoded)
    found = pair_rows(judge.role, encoded, config.batch_size)
    named = [{"judge": name, **place(pair["where"]), "source": sources[pair["where"]]} for pair in encoded]
    return [{**where, **row} for where, row in zip(named, found, strict=True)], ledger


_SOURCES = ("subset", "category", "source", "dataset")
"""Fields that say what a pair is from; the first that a row has."""


def _sources(block: DataConfig, records: Sequence[Preference]) -> dict[str, str]:
    """What each pair is from, by where it stands: its row's word for it, or its file's name."""
    said = columns(block, _SOURCES)
    files = {record.where: place(record.where)["file"] for record in records}
    return {
        where: next(iter(said.get(where, {}).values()), Path(file).name if Path(file).suffix else file)
        for where, file in files.items()
    }


def _prompts(
    config: EvaluateConfig, block: DataConfig, inputs: Mapping[str, Weights], policy: Side, out: Path
) -> tuple[list[Prompt], Ledger]:
    """Held-out prompts that every reader has room for."""
    split = load(block, "prompts", out)
    prompts, ledger = _fitting(config, block, split.held_out[: config.max_prompts], inputs, policy)
    _some(config, "prompts", prompts)
    return prompts, {"file": split.ledger, "answered": ledger}


def _labelled(
    config: EvaluateConfig, block: DataConfig, inputs: Mapping[str, Weights], policy: Side, out: Path
) -> tuple[list[Prompt], list[bool], Ledger]:
    """Held-out prompts, and whether each may be answered. Raises DataError where a row does not say."""
    split = load(block, "prompts", out)
    records = split.held_out
    if len(records) > config.max_prompts:  # those of a kind stand together
        records = random.Random(config.seed).sample(records, config.max_prompts)
    said = columns(block, ("label", "type"))
    known = {record.where: answers.is_safe(said.get(record.where, {})) for record in records}
    if unclear := [where for where, safe in known.items() if safe is None]:
        raise DataError(f"{unclear[0]}: label: safe or unsafe is needed, or `type` as XSTest has it")
    prompts, ledger = _fitting(config, block, records, inputs, policy)
    _some(config, "refusals", prompts)
    return prompts, [bool(known[p.where]) for p in prompts], {"file": split.ledger, "answered": ledger}


def _fitting(
    config: EvaluateConfig, block: DataConfig, records: Sequence[Prompt], inputs: Mapping[str, Weights], policy: Side
) -> tuple[list[Prompt], Ledger]:
    room = text.prompt_room(config.name, inputs.values(), block.max_length, config.max_new_tokens)
    prompts, _, ledger = encode_prompts(records, policy.chat, room)
    return prompts, ledger


def _write(path: Path, rows: Sequence[Row]) -> None:
    """Rows as JSON lines; no file where there is none."""
    if rows:
        with path.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _show(config: EvaluateConfig, rows: Sequence[Row], tracker: Tracker) -> None:
    """Every answer with its scores to the tracker; the first few on screen, before and after."""
    order = [name for name in policies.SIDES if name in rows[0]]
    columns = ["prompt", *(policies.CALLED[name] for name in order)]
    table = [[row["prompt"][-1]["content"], *(_shown(row[name]) for name in order)] for row in rows]
    tracker.table("samples", columns, table)
    if config.show:
        tracker.screen.table("Held-out prompts, before and after", columns, table[: config.show])


def _shown(answer: Row) -> str:
    scores = [f"{judge} {answer[judge]:.2f}" for judge in policies.SCORES if judge in answer]
    return f"{answer['text']}\n{'  '.join(scores)}"
