"""What became of the policy's answers."""

import math
from collections.abc import Iterator
from typing import Any

from rlhf.report.findings.finding import ERRORS, Finding, below, ends, error_of, quarter
from rlhf.report.number import Words, words
from rlhf.report.run import Run, StageRun

ENTROPY_LEFT = 0.5
"""Of the first rollout's entropy, what must be left."""
FALLEN = 0.1
"""By how much a share of finished answers, or a log-probability in nats, may fall."""
OFF_TARGET = 1.5
"""Times the KL that `rl.kl_target` asks for."""
LONGER = 0.25
"""Share by which answers may change in length before it could be what the judges see."""
ALIKE = 0.7
"""Share of the distinct pairs of words before that answers may fall to."""
COPIED = 0.05
"""Share of answers with a verbatim copy of training data, beyond that before."""
CUT = 0.1
"""Share of answers that may be cut short."""


def chosen_falls(run: Run) -> Iterator[Finding]:
    """Chosen answers become less likely while the margin grows (Pal et al. 2024; Razin et al. 2024)."""
    for stage in run.kinds("dpo", "simpo", "cpo", "orpo"):
        has_reference = stage.kind == "dpo" and not stage.settings.get("reference_free")
        if seen := _below_reference(stage) if has_reference else _below_start(stage):
            yield Finding(
                stage.name,
                "Chosen answers become less likely",
                seen,
                "The margin grows because rejected answers fall faster; probability goes to answers that nobody rated.",
                words(
                    "raise the SFT term (sft_coef", *_now(stage, "sft_coef"), "), or raise beta", *_now(stage, "beta")
                )
                if stage.kind != "orpo"
                else words("lower odds_coef", *_now(stage, "odds_coef"), ", which leaves more to the SFT term"),
            )


def _below_reference(stage: StageRun) -> Words | None:
    """By the implicit reward, which was 0 at the start and in which it cancels what answers a batch happens to have."""
    chosen, margin = (quarter(stage.series(f"rewards/{name}")) for name in ("chosen", "margins"))
    beta = stage.setting("beta")
    if not (chosen and margin and beta) or margin.number.value <= 0:
        return None
    if -chosen.number.value <= max(FALLEN * beta.value, ERRORS * chosen.error):
        return None
    return words(
        "implicit reward of chosen answers (beta × nats) falls from zero to ",
        chosen.number,
        " while the margin rises to ",
        margin.number,
    )


def _below_start(stage: StageRun) -> Words | None:
    """By the log-probability, of held-out answers where they were looked at more than once, else of those trained on;
    how sure that is, batches say."""
    held_out = stage.series("eval_logps/chosen")
    prefix, fixed = ("eval_", True) if len(held_out.lines) > 1 else ("", False)
    chosen, rejected = (ends(stage.series(f"{prefix}logps/{name}"), fixed) for name in ("chosen", "rejected"))
    if chosen is None or rejected is None:
        return None
    (first, last), (was, now) = chosen, rejected
    fallen = first.number.value - last.number.value
    if fallen <= max(FALLEN, ERRORS * math.hypot(first.error, last.error)):
        return None
    if was.number.value - now.number.value <= fallen:
        return None
    return words(
        "log-probability falls from ",
        first.number,
        " to ",
        last.number,
        " nats of chosen answers, and from ",
        was.number,
        " to ",
        now.number,
        " of rejected ones",
    )


def _now(stage: StageRun, key: str) -> tuple[Any, ...]:
    value = stage.setting(key, style="given")
    return (", now ", value) if value else ()


def length_drifts(run: Run) -> Iterator[Finding]:
    means = "Length may be what the judges see, and not quality."
    do = "compare answers of one length; add a reward for length, or raise rl.kl_coef; for DPO, losses: sigmoid_norm"
    compared = [(stage, drift) for stage in run.evaluations if (drift := stage.last("length_drift"))]
    for stage, drift in compared:
        if abs(drift.value) > LONGER:
            before, after = (stage.last(f"{side}_tokens") for side in ("baseline", "policy"))
            seen = words("from ", before, " tokens to ", after)
            yield Finding(stage.name, "Answers change in length", seen, means, do)
    for stage in run.kinds("ppo") if not compared else ():
        length = stage.series("response_length")
        if len(length.lines) > 1 and abs(length.ys[-1] / length.ys[0] - 1) > LONGER:
            seen = words("from ", length.number(0), " tokens to ", length.number(-1))
            yield Finding(stage.name, "Answers change in length", seen, means, do)


def finishes_less(run: Run) -> Iterator[Finding]:
    do = "raise max_new_tokens, or set rl.missing_stop_score below the worst score so that cutting short is paid for"
    for stage in run.kinds("ppo"):
        done = stage.series("finished")
        if len(done.lines) > 1 and done.ys[-1] < done.ys[0] - FALLEN:
            yield Finding(
                stage.name,
                "Fewer answers come to an end",
                words("finished answers fall from ", done.number(0, "percent"), " to ", done.number(-1, "percent")),
                "The policy has learned to go on until it is cut.",
                do,
            )
    for stage in run.evaluations:
        if below(finished := stage.last("policy_finished", "percent"), 1 - CUT):
            yield Finding(
                stage.name,
                "Answers are cut short",
                words("only ", finished, " end within max_new_tokens"),
                "Judges see half an answer.",
                do,
            )


def entropy_collapses(run: Run) -> Iterator[Finding]:
    for stage in run.kinds("ppo"):
        entropy = stage.series("entropy")
        if len(entropy.lines) > 1 and entropy.ys[-1] < ENTROPY_LEFT * entropy.ys[0]:
            yield Finding(
                stage.name,
                "Entropy collapses",
                words("from ", entropy.number(0), " to ", entropy.number(-1), " nats a token"),
                "The policy says nearly the same every time, and finds nothing new.",
                "raise rl.kl_coef or rl.entropy_coef, lower train.lr, or stop earlier (watch)",
            )


def kl_passes(run: Run) -> Iterator[Finding]:
    for stage in run.kinds("ppo"):
        kl, budget, target = stage.series("kl"), stage.setting("rl", "kl_budget"), stage.setting("rl", "kl_target")
        limit, room, name = (budget, 1.0, "kl_budget") if budget else (target, OFF_TARGET, "kl_target")
        if kl.lines and limit and kl.ys[-1] > room * limit.value:
            last = words(
                "the last rollout is ", kl.number(-1, "nats"), f" nats from the reference, rl.{name} is ", limit
            )
            yield Finding(
                stage.name,
                "KL is above what was asked for",
                last,
                "The stage ended there." if budget else "The policy is further from its parent than meant.",
                "raise rl.kl_coef, or lower train.lr" + ("" if budget else "; shorten rl.kl_horizon"),
            )


def alike(run: Run) -> Iterator[Finding]:
    for stage in run.evaluations:
        now, before = (stage.last(f"{side}_distinct_2", "percent") for side in ("policy", "baseline"))
        if now and before and now.value < ALIKE * before.value:
            yield Finding(
                stage.name,
                "Answers are more alike than before",
                words("distinct pairs of words fall from ", before, " to ", now),
                "The policy has found a phrase that pays.",
                "raise rl.kl_coef or rl.entropy_coef; train on more prompts",
            )
        copied, was = (stage.last(f"{side}_copied", "percent") for side in ("policy", "baseline"))
        if copied and copied.value > COPIED + (was.value if was else 0):
            yield Finding(
                stage.name,
                "Answers repeat training data word for word",
                words(copied, " of the answers do"),
                "It has memorised examples, which may hold what should not be told.",
                "train fewer epochs; drop duplicates (data.duplicates: drop)",
            )


def refuses_otherwise(run: Run) -> Iterator[Finding]:
    for stage in run.kinds("evaluate"):
        for name, does in (("over", "refuses safe prompts"), ("under", "answers unsafe prompts")):
            now, before = (stage.last(f"{side}_{name}_refusal", "percent") for side in ("policy", "baseline"))
            error = error_of(stage, *(f"{side}_{name}_refusal" for side in ("policy", "baseline")))
            if now and before and now.value - before.value > error:
                yield Finding(
                    stage.name,
                    f"It {does} more often than before",
                    words("from ", before, " to ", now),
                    "Training moved what it refuses, which nobody may have asked for.",
                    "add examples of such prompts to the data, of both kinds",
                )
