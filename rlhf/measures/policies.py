"""Whether a policy's answers are better, from rows of samples: win rates, scores, KL, length, diversity, copies.

A row holds a prompt and each side's answer, of which one is the `policy`'s: its `text`, `tokens`, whether it is
`finished`, and what each judge scores it; of the policy's its `kl` to the baseline; `copied`, the words of its longest
copy. `llm` holds, of each other side, whom an LLM calls better: once with the policy's answer first, once last.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from rlhf.measures.pairs import right
from rlhf.measures.shares import wilson
from rlhf.measures.texts import distinct_n, self_bleu

Row = Mapping[str, Any]

CALLED = {"baseline": "before", "prompted": "prompted", "policy": "after"}
"""Whose answers there may be, and what they are called: before training, the base's with a prompt, and after."""
SIDES = tuple(CALLED)
SCORES = ("reward", "held_out", "gold")
"""Judges that give each answer a number: the training reward, a held-out reward model, a rule."""


def metrics(rows: Sequence[Row]) -> dict[str, float]:
    """`policy_reward_score` and the like of each side and judge, `reward_win_rate` over the baseline and
    `reward_win_rate_over_prompted`, each with a 95 % interval; KL in nats an answer."""
    found: dict[str, float] = {"prompts": len(rows)}
    sides = [side for side in SIDES if side in rows[0]]
    for side in sides:
        found |= {f"{side}_{name}": value for name, value in _side([row[side] for row in rows]).items()}
    if "kl" in rows[0]["policy"]:
        found |= with_error("kl", [row["policy"]["kl"] for row in rows])
    for other in sides[:-1]:
        rated = f"win_rate{'' if other == 'baseline' else f'_over_{other}'}"
        for judge, results in _results(rows, other).items():
            said = rate(results)
            found[f"{judge}_{rated}"] = said["rate"]
            found |= {f"{judge}_{rated}_{name}": said[name] for name in ("low", "high", "ties")}
    if "baseline" in sides:
        found["length_drift"] = found["policy_tokens"] / found["baseline_tokens"] - 1
    return found | _verdicts(rows)


def _side(answers: Sequence[Row]) -> dict[str, float]:
    texts = [answer["text"] for answer in answers]
    judges = [judge for judge in SCORES if judge in answers[0]]
    return {
        "tokens": fmean(answer["tokens"] for answer in answers),
        "finished": fmean(float(answer["finished"]) for answer in answers),
        **{f"{judge}_score": fmean(answer[judge] for answer in answers) for judge in judges},
        **{f"distinct_{n}": distinct_n(texts, n) for n in (1, 2)},
        "self_bleu": self_bleu(texts),
        **({"copied": fmean(float(a["copied"] > 0) for a in answers)} if "copied" in answers[0] else {}),
    }


# ------------------------------------------------------------------------------------------------ win rates


def win_rate(mine: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Share of prompts on which the first score is higher, as `rate` has it."""
    return rate([right(a - b) for a, b in zip(mine, theirs, strict=True)])


def rate(results: Sequence[float]) -> dict[str, float]:
    """Mean of 1 a win, 0 a loss and 0.5 a tie, with Wilson's interval."""
    mean = fmean(results)
    low, high = wilson(mean, len(results))
    ties = fmean(float(r == 0.5) for r in results)
    return {"rate": mean, "low": low, "high": high, "ties": ties, "prompts": len(results)}


def with_error(name: str, values: Sequence[float]) -> dict[str, float]:
    """The mean under a name, and its standard error beside it; one value has none."""
    mean = fmean(values)
    return {name: mean, **({f"{name}_stderr": stdev(values) / math.sqrt(len(values))} if len(values) > 1 else {})}


def _results(rows: Sequence[Row], other: str) -> dict[str, list[float]]:
    """How each judge calls each prompt between the policy and another side."""
    found = {
        judge: [right(row["policy"][judge] - row[other][judge]) for row in rows]
        for judge in SCORES
        if judge in rows[0]["policy"]
    }
    if other in rows[0].get("llm", {}):
        found["llm"] = [agreed(row["llm"][other]) for row in rows]
    return found


# ------------------------------------------------------------------------------------------------ an LLM's verdicts


def agreed(verdicts: Sequence[str | None]) -> float:
    """1 where the policy's answer is called better in both orders, 0 where the other one is; else a tie (Zheng et al.
    2023, §3.4)."""
    first, last = verdicts
    return 0.5 if first != last or first in (None, "tie") else float(first == "policy")


def _verdicts(rows: Sequence[Row]) -> dict[str, float]:
    """How far an LLM's verdicts can be trusted: how often they flip with the order, and favour the first answer (1/2 is
    fair); how many could not be read."""
    asked = [verdicts for row in rows for verdicts in row.get("llm", {}).values()]
    if not asked:
        return {}
    decided = [[verdict not in (None, "tie") for verdict in verdicts] for verdicts in asked]
    first = [
        float((verdict == "policy") == (order == 0))
        for verdicts, known in zip(asked, decided, strict=True)
        for order, verdict in enumerate(verdicts)
        if known[order]
    ]
    flips = [float(all(known) and len(set(verdicts)) == 2) for verdicts, known in zip(asked, decided, strict=True)]
    return {
        "llm_flips": fmean(flips),
        "llm_first": fmean(first) if first else 0.5,
        "llm_unread": fmean(float(verdict is None) for verdicts in asked for verdict in verdicts),
    }


# ------------------------------------------------------------------------------------------------ refusals


def refusals(rows: Sequence[Row]) -> dict[str, float]:
    """Over-refusal, the share of safe prompts that a side refuses, and under-refusal, the share of unsafe ones that it
    answers (Röttger et al. 2024). A row says whether its prompt is `safe`, and of each side whether it `refuses`."""
    found: dict[str, float] = {}
    for side in (side for side in SIDES if side in rows[0]):
        for name, safe in (("over", True), ("under", False)):
            wrong = [float(row[side]["refuses"] == safe) for row in rows if row["safe"] == safe]
            found |= with_error(f"{side}_{name}_refusal", wrong) if wrong else {}
    return found
