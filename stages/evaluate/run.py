"""Held-out evaluation: what the reward model is worth, and whether the policy beats the one it came from."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from rlhf import evaluate, rules, text
from rlhf.artifact import Artifact
from rlhf.backends import for_weights
from rlhf.data.chat import ChatFormat, encode_demonstrations, encode_preferences, encode_prompts
from rlhf.data.load import load
from rlhf.errors import DataError
from rlhf.reward_model import RewardModel
from rlhf.rewards import Reward, RuleReward, TextReward
from rlhf.roles import Role, standalone
from rlhf.rollout import Sampling, decode, sample
from rlhf.tracking import Tracker
from rlhf.weights import Weights
from stages.evaluate.config import EvaluateConfig


def run(config: EvaluateConfig, inputs: Mapping[str, Weights], out: Path, tracker: Tracker) -> Artifact:
    """Measure everything whose inputs are named; answers of both policies go to `out/samples.jsonl`."""
    metrics: dict[str, Any] = {}
    data: dict[str, Any] = {}
    rule = rules.load(config.rule) if config.rule else None
    judge = (
        RewardModel.load(inputs["reward_model"], config.precision, config.batch_size) if config.reward_model else None
    )

    # 1. the reward model on pairs it has not seen
    if judge and config.preferences:
        split = load(config.preferences, "preferences", out)
        pairs, ledger = encode_preferences(split.held_out, judge.chat, config.preferences.max_length)
        data["preferences"] = {"file": split.ledger, "held_out": ledger}
        _some(config, "preferences", pairs)
        found = evaluate.pair_metrics(judge.role, pairs, config.batch_size)
        metrics |= {f"reward_{name}": value for name, value in found.items()}

    # 2. both policies on demonstrations they have not seen
    policies = {"policy": _policy(config, inputs["policy"])}
    if config.baseline:
        policies["baseline"] = _policy(config, inputs["baseline"])
    if config.demonstrations:
        split = load(config.demonstrations, "demonstrations", out)
        for name, (role, chat) in policies.items():
            rows, ledger = encode_demonstrations(split.held_out, chat, config.demonstrations.max_length)
            data["demonstrations"] = {"file": split.ledger, "held_out": ledger}
            _some(config, "demonstrations", rows)
            found = evaluate.perplexity(role, rows, config.batch_size)
            metrics |= {f"{name}_{key}": value for key, value in found.items()}

    # 3. both policies' answers to prompts they have not seen, before the judges
    if config.prompts:
        split = load(config.prompts, "prompts", out)
        chat = policies["policy"][1]
        prompts, _, ledger = encode_prompts(split.held_out[: config.max_prompts], chat, config.prompts.max_length)
        _some(config, "prompts", prompts)
        data["prompts"] = {"file": split.ledger, "answered": ledger}
        metrics |= _compare(config, prompts, policies, judge, rule, out, tracker)
    tracker.log(metrics, 0)
    return Artifact(name=config.name, stage=config.stage, makes=config.makes, hash="", data=data, metrics=metrics)


def _some(config: EvaluateConfig, block: str, rows: Sequence[Any]) -> None:
    if not rows:
        raise DataError(f"stage '{config.name}': {block}: no row is held out; raise eval_fraction or name eval_path")


def _policy(config: EvaluateConfig, weights: Weights) -> tuple[Role, ChatFormat]:
    chat = text.load(weights, None if weights.text else config.template)  # a stage's output brings its own
    return standalone(for_weights(weights, config.precision), weights, chat), chat


def _compare(
    config: EvaluateConfig,
    prompts: Sequence[Any],
    policies: Mapping[str, tuple[Role, ChatFormat]],
    judge: RewardModel | None,
    rule: rules.Rule | None,
    out: Path,
    tracker: Tracker,
) -> dict[str, Any]:
    """Win rates of the policy over the baseline under each judge, scores, KL and lengths."""
    reference = None
    if "baseline" in policies and config.temperature > 0 and text.same(policies["policy"][1], policies["baseline"][1]):
        reference = policies["baseline"][0]  # KL needs samples, and both to read the same tokens
    answers: dict[str, list[dict[str, Any]]] = {}
    for name, (role, chat) in policies.items():
        rewards: dict[str, Reward] = {"reward": TextReward(judge, chat)} if judge else {}
        rewards |= {"gold": RuleReward(rule, chat)} if rule else {}
        against = reference if name == "policy" else None
        answers[name] = _answer(config, prompts, role, chat, rewards, against)
    judges = [name for name, named in (("reward", judge), ("gold", rule)) if named]
    metrics: dict[str, Any] = {}
    for name, given in answers.items():
        metrics[f"{name}_tokens"] = fmean(a["tokens"] for a in given)
        metrics[f"{name}_finished"] = fmean(float(a["finished"]) for a in given)
        metrics |= {f"{name}_{by}_score": fmean(a[by] for a in given) for by in judges}
    if reference is not None:
        metrics["kl"] = fmean(a["kl"] for a in answers["policy"])
    if "baseline" in answers:
        for by in judges:
            result = evaluate.win_rate(*([a[by] for a in answers[name]] for name in ("policy", "baseline")))
            metrics[f"{by}_win_rate"] = result["rate"]
            metrics |= {f"{by}_win_rate_{key}": result[key] for key in ("low", "high", "ties")}
    _write_samples(config, prompts, answers, judges, out, tracker)
    return metrics


def _answer(
    config: EvaluateConfig,
    prompts: Sequence[Any],
    role: Role,
    chat: ChatFormat,
    rewards: Mapping[str, Reward],
    reference: Role | None,
) -> list[dict[str, Any]]:
    """A policy's answers with their scores, judged as in training."""
    rows = [chat.prompt_ids(prompt.messages) for prompt in prompts]
    sampling = Sampling(config.max_new_tokens, config.temperature)
    answers: list[dict[str, Any]] = [{} for _ in rows]
    for index in evaluate.batches([len(row) for row in rows], config.batch_size):
        rollout = sample(role, [rows[i] for i in index], chat, sampling)
        kl_B = None
        if reference is not None:
            kl_B = evaluate.kl_per_response(role, reference, rollout, config.temperature).tolist()
        asked = [prompts[i] for i in index]
        scores = {name: reward.score(asked, rollout).tolist() for name, reward in rewards.items()}
        for place, i in enumerate(index):
            response = rollout.responses[place]
            answers[i] = {
                "text": decode(chat, response),
                "tokens": len(response),
                "finished": bool(rollout.finished_B[place]),
                "kl": kl_B[place] if kl_B else 0.0,
                **{name: scored[place] for name, scored in scores.items()},
            }
    return answers


def _write_samples(
    config: EvaluateConfig,
    prompts: Sequence[Any],
    answers: Mapping[str, list[dict[str, Any]]],
    judges: Sequence[str],
    out: Path,
    tracker: Tracker,
) -> None:
    """Every answer with its scores, one prompt a line; the first few on screen, before and after."""
    order = [name for name in ("baseline", "policy") if name in answers]
    rows: list[list[str]] = []
    with (out / "samples.jsonl").open("w", encoding="utf-8") as file:
        for i, prompt in enumerate(prompts):
            sides = {name: answers[name][i] for name in order}
            file.write(json.dumps({"prompt": prompt.messages, **sides}, ensure_ascii=False) + "\n")
            shown = [f"{sides[n]['text']}\n" + "  ".join(f"{j} {sides[n][j]:.2f}" for j in judges) for n in order]
            rows.append([prompt.messages[-1]["content"], *shown])
    columns = ["prompt", *("before" if name == "baseline" else "after" for name in order)]
    tracker.table("samples", columns, rows)
    if config.show:
        tracker.screen.table("Held-out prompts, before and after", columns, rows[: config.show])
