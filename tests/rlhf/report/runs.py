"""Run folders made by hand, in the format that stages write, with measures computed from their rows."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rlhf import artifact as artifacts
from rlhf import yamlfile
from rlhf.artifact import Artifact, Base
from rlhf.measures import pairs, policies
from rlhf.progress import SETTINGS

Row = dict[str, Any]
REF = {"stage": None, "name": None, "revision": None, "trust_remote_code": False}
BACKEND = {"kind": "lora", "r": 8}
LEDGER = {"rows": 100, "used": 90, "cut": 0, "dropped": {}, "tokens": {"trained": 4000, "context": 1000, "cut": 0}}
NASTY = "</script><script>window.hacked = true</script><img src=x onerror='window.hacked = true'><b>\u2028&amp;"
PLACES = ("description", "prompt", "prompt's place", "source", "reason", "setting", "base model", "judge", "task")
"""Where else than in an answer a file's text gets to the page of a `whole` run."""


def nasty(place: str) -> str:
    """Hostile text, a different one for each place."""
    assert place in PLACES
    return f"{place}: {NASTY}"


def stage(
    run: Path,
    name: str,
    kind: str,
    lines: Iterable[Row],
    *,
    makes: str = "policy",
    settings: Mapping[str, Any] | None = None,
    rows: Mapping[str, Iterable[Row]] | None = None,
    **record: Any,
) -> Row:
    """Write a finished stage, and return its settings for the recipe."""
    folder = run / "stages" / name
    folder.mkdir(parents=True)
    spent = {"seconds": 90.25, "memory": 3 * 2.0**29}
    file = {**LEDGER, "examples": 100, "held_out": 10, "sources": [{"name": f"{name}.jsonl", "sha256": "ab" * 32}]}
    data = {"file": file, "train": LEDGER} if makes != "evaluation" else {"prompts": {"file": file}}
    made = {"base": Base("/base", "tiny", "1234567890abcdef"), "backend": BACKEND, "data": data, "spent": spent}
    artifact = Artifact(name, kind, makes, f"{name:0<16}", **(made | record))
    logged = [{"time": 1.5 * i, **line} for i, line in enumerate(lines)]
    logged.append({"time": 90.25, "step": logged[-1]["step"], **artifacts.numbers(artifact)})
    for file, some in {"metrics.jsonl": logged, **(rows or {})}.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in some)
        (folder / file).write_text(text, encoding="utf-8")
    artifacts.write(artifact, folder)
    return {"stage": kind, **({} if makes == "evaluation" else {"backend": BACKEND}), **(settings or {})}


def recipe(run: Path, stages: Mapping[str, Any], **top: Any) -> Path:
    """The settings of all stages, beside them."""
    run.mkdir(parents=True, exist_ok=True)
    yamlfile.write({"name": run.name, "stages": dict(stages), **top}, run / SETTINGS)
    return run


def of(name: str) -> Row:
    """A setting that names a stage."""
    return {**REF, "stage": name}


# ------------------------------------------------------------------------------------------------ stages


def pair_rows(judge: str, count: int = 40) -> list[Row]:
    """Pairs of growing margin, of which every fourth is wrong."""
    found = []
    for i in range(count):
        margin = (0.1 + 0.08 * i) * (-1 if i % 4 == 3 else 1)
        found.append(
            {
                "judge": judge,
                "file": "pairs.jsonl",
                "line": str(i + 1),
                "source": "pairs.jsonl",
                "chosen_score": margin / 2,
                "rejected_score": -margin / 2,
                "margin": margin,
                "correct": float(margin > 0),
                "chosen_tokens": 20 + i % 7,
                "rejected_tokens": 24,
            }
        )
    return found


VERDICTS = (["policy", "policy"], ["policy", "baseline"], ["baseline", "baseline"], ["policy", None])
"""Of an LLM, with the policy's answer first and last."""


def samples(count: int = 30, better: float = 1.0) -> list[Row]:
    """Answers before and after, the second of which to the rule are better by `better`, half the time by twice that."""
    return [
        {
            "where": nasty("prompt's place") if i == 0 else f"prompts.jsonl:{i + 1}",
            "prompt": [{"role": "user", "content": nasty("prompt") if i == 0 else f"Question {i}: where is my lamp?"}],
            "baseline": {"text": f"Before {i}.", "tokens": 10 + i % 5, "finished": True, "gold": 1.0, "reward": 0.5},
            "policy": {
                "text": NASTY if i == 0 else f"After {i}, with care.",
                "tokens": 12 + i % 9,
                "finished": i % 10 != 9,
                "gold": 1.0 + better * (1 + i % 2),
                "reward": 1.0 + 0.1 * i,
                "kl": 2.0 + 0.1 * i,
            },
            "llm": {"baseline": VERDICTS[i % 4]},
        }
        for i in range(count)
    ]


def looks(judge: Iterable[float]) -> list[Row]:
    """Rollouts, and a look after each: the reward rises, the judge says what is given."""
    found: list[Row] = []
    for step, said in enumerate(judge):
        if step:
            said_of = {
                "score": 0.4 * step,
                "kl": 1.5 * step,
                "response_length": 20.0 + step,
                "entropy": 1.0 - 0.02 * step,
            }
            found.append({"step": step, "episodes": 8 * step, "finished": 0.9, **said_of})
        seen = {"reward": 0.4 * step, "judge": said, "judge_stderr": 0.1, "kl": 1.5 * step}
        found.append({"step": step, **{f"heldout/{key}": value for key, value in seen.items()}})
    return found


def whole(
    run: Path, judge: Iterable[float] = (1.0, 1.6, 2.0, 1.4, 0.8), better: float = 1.0, watched: bool = True, **top: Any
) -> Path:
    """SFT, reward model, PPO with looks, of another judge where it is `watched`, and evaluation."""
    supervised = [{"step": s, "loss": 1 / s, "mean_token_accuracy": 0.5 + s / 100} for s in (1, 10, 20)]
    reward = [{"step": s, "loss": 0.7 / s, "accuracy": 0.5 + s / 100, "margin": s / 10} for s in (1, 10, 20)]
    said, rows, others = samples(better=better), pair_rows("reward"), pair_rows("held_out")
    found = policies.metrics(said) | {f"reward_{k}": v for k, v in (pairs.metrics(rows) | pairs.sliced(rows)).items()}
    found |= {f"held_out_{k}": v for k, v in pairs.metrics(others).items()}
    found |= {"loss/sft/sft": 0.5, "loss/sft/ppo": 0.75, "forgetting/sft": 0.25, "forgetting/sft_stderr": 0.03}
    ends = [f"{task}/acc{end}" for task in ("arc", nasty("task")) for end in ("", "_stderr")]
    found |= {f"{side}_harness/{end}": 0.4 for side in ("baseline", "policy") for end in ends}
    file = {**LEDGER, "sources": [{"name": nasty("source"), "sha256": "cd" * 32}], "dropped": {nasty("reason"): 3}}
    kept = {"updates": 4, "best_rollout": 2}
    judge_of = {"rule": {"file": "rule.py", "function": "score"}} if watched else None
    stages = {
        "sft": stage(
            run,
            "sft",
            "sft",
            [*supervised, {"step": 20, "eval_loss": 0.2}],
            settings={"model": {**REF, "name": nasty("base model")}, "system": nasty("setting")},
            metrics={"steps": 20},
            data={"file": file, "train": LEDGER},
        ),
        "reward": stage(
            run,
            "reward",
            "reward",
            reward,
            makes="reward",
            settings={"model": of("sft")},
            metrics={"steps": 20, **pairs.metrics(rows)},
            parents={"model": "sft0"},
        ),
        "ppo": stage(
            run,
            "ppo",
            "ppo",
            looks(judge),
            settings={
                "model": of("sft"),
                "reward_model": of("reward"),
                "rl": {"kl_coef": 0.05},
                "watch": {"judge": judge_of},
            },
            metrics=kept,
        ),
        "evaluate": stage(
            run,
            "evaluate",
            "evaluate",
            [{"step": 0, **found}],
            makes="evaluation",
            settings={
                "policy": of("ppo"),
                "baseline": of("sft"),
                "reward_model": of("reward"),
                "held_out_reward": {**REF, "name": nasty("judge")},
            },
            rows={"pairs.jsonl": [*rows, *others], "samples.jsonl": said},
            metrics=found,
            base=None,
        ),
    }
    return recipe(run, stages, description=nasty("description"), **top)


def only(run: Path, kind: str, lines: Iterable[Row], settings: Mapping[str, Any] | None = None, **record: Any) -> Path:
    """A run of one stage, called by its kind."""
    makes = {"evaluate": "evaluation", "reward": "reward"}.get(kind, "policy")
    return recipe(run, {kind: stage(run, kind, kind, lines, makes=makes, settings=settings, **record)})
