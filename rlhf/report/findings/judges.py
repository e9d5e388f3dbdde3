"""Whether the policy is better, and to whom."""

from collections.abc import Iterator
from typing import Any

from rlhf.measures.frontier import Point, frontier, overoptimised
from rlhf.measures.headline import JUDGES, Outcome, outcome
from rlhf.report.findings.finding import Finding, above
from rlhf.report.number import words
from rlhf.report.run import Run, StageRun

FLIPS = 0.3
"""Share of an LLM's verdicts that may turn with the order of the answers."""


def hacked(run: Run) -> Iterator[Finding]:
    """The reward goes on rising while the judge that it was not trained on falls."""
    for stage in run.kinds("ppo"):
        if (best := best_look(stage)) is None:
            continue
        looks = {name: stage.series(f"heldout/{name}") for name in ("reward", "judge", "kl")}
        at = looks["judge"].xs.index(best.step)
        reward, said = looks["reward"].ys, looks["judge"].ys
        gamed = min((i for i in range(at + 1, len(said)) if reward[i] > reward[at]), key=lambda i: said[i])
        kept = stage.told("metrics", "best_rollout")
        yield Finding(
            stage.name,
            "The reward is being gamed",
            words(
                "after rollout ",
                looks["judge"].step(at),
                ", at ",
                looks["kl"].number(at, "nats"),
                " nats, the held-out judge falls from ",
                looks["judge"].number(at),
                " to ",
                looks["judge"].number(gamed),
                " at rollout ",
                looks["judge"].step(gamed),
                ", while the reward rises from ",
                looks["reward"].number(at),
                " to ",
                looks["reward"].number(gamed),
            ),
            "From there on the policy learns what its reward pays for, and not what is meant (over-optimisation). "
            + (
                "The policy of the judge's best look was kept."
                if kept
                else "What the stage left is the policy of the last rollout."
            ),
            "mend the reward; raise rl.kl_coef, or set rl.kl_budget near that KL"
            + ("" if kept else "; set watch.keep_best: true"),
        )


def best_look(stage: StageRun) -> Point | None:
    """The look after which more reward was worth less, if there is one."""
    return overoptimised(frontier(line.values for line in stage.lines))


def seen_by_the_reward_alone(run: Run) -> Iterator[Finding]:
    for stage in run.evaluations:
        outcomes = {judge: told for judge in JUDGES if (told := _outcome(stage, f"{judge}_win_rate"))}
        mine = outcomes.pop("reward", None)
        others = list(outcomes)
        if mine == "better" and others and "better" not in outcomes.values():
            yield Finding(
                stage.name,
                "Only the reward that it was trained on sees an improvement",
                words(
                    JUDGES["reward"],
                    " calls it better on ",
                    stage.last("reward_win_rate", "percent"),
                    " of prompts, ",
                    JUDGES[others[0]],
                    " on ",
                    stage.last(f"{others[0]}_win_rate", "percent"),
                ),
                "That reward may have been gamed.",
                "read the samples with the highest reward; raise rl.kl_coef; train the reward model on such answers",
            )


def judged_by_the_reward_alone(run: Run) -> Iterator[Finding]:
    for stage in run.evaluations:
        if stage.judges_itself:
            yield Finding(
                stage.name,
                "Only the training reward judged it",
                words(
                    "it prefers the policy's answer on ",
                    stage.last("reward_win_rate", "percent") or stage.last("reward_win_rate_over_prompted", "percent"),
                    " of prompts",
                ),
                "Training raises that score by whatever pays: it cannot tell a better policy from one that games it.",
                "name a rule, a held_out_reward or an llm_judge",
            )


def not_better(run: Run) -> Iterator[Finding]:
    for stage, judge, rate, worse in _not_won(run, "{}_win_rate"):
        yield Finding(
            stage.name,
            f"It is {'worse' if worse else 'not clearly better'} to {JUDGES[judge]}",
            words("the policy wins ", *rate),
            "Training made answers worse to this judge." if worse else _COIN,
            "look at the samples sorted by score change; train an earlier or a weaker policy" if worse else _MORE,
        )


def prompting_does_as_well(run: Run) -> Iterator[Finding]:
    for stage, judge, rate, worse in _not_won(run, "{}_win_rate_over_prompted"):
        yield Finding(
            stage.name,
            f"{'A prompt is better' if worse else 'Not clearly better than a prompt'} to {JUDGES[judge]}",
            words("the policy wins ", *rate, " against a model that was only told what to do"),
            "What was trained may be had without training." if worse else _COIN,
            "ship the prompt; or train from the prompted model's answers (sample, then sft)" if worse else _MORE,
        )


def _outcome(stage: StageRun, rate: str) -> Outcome | None:
    low, high = (stage.last(f"{rate}_{end}") for end in ("low", "high"))
    return outcome(low.value, high.value) if low and high else None


def _not_won(run: Run, key: str) -> Iterator[tuple[StageRun, str, list[Any], bool]]:
    """Where a judge's win rate is not surely above one half: the rate with its interval, and whether it is below."""
    for stage in run.evaluations:
        for judge in JUDGES:
            rate = key.format(judge)
            if (told := _outcome(stage, rate)) in ("worse", "unclear"):
                value, low, high = (stage.last(f"{rate}{end}", "percent") for end in ("", "_low", "_high"))
                yield stage, judge, [value, " (", low, " to ", high, ")"], told == "worse"


_COIN = "A coin could have decided: the interval has one half in it."
_MORE = "evaluate more prompts (max_prompts); train longer, or on more data"


def llm_is_unsure(run: Run) -> Iterator[Finding]:
    for stage in run.evaluations:
        if above(flips := stage.last("llm_flips", "percent"), FLIPS):
            yield Finding(
                stage.name,
                "The LLM's verdict turns with the order of the answers",
                words("in ", flips, " of the pairs"),
                "It sees little between them; such pairs count as ties.",
                "ask a stronger llm_judge.model, or say in llm_judge.prompt what better means",
            )
        if above(unread := stage.last("llm_unread", "percent"), 0.0):
            yield Finding(
                stage.name,
                "Verdicts of the LLM are missing",
                words(unread, " of them, which count as ties"),
                "It gave no answer, or none that ends with [[A]], [[B]] or [[C]].",
                "see the notes of the stage; say so in llm_judge.prompt, or ask a stronger llm_judge.model",
            )
