"""What may be wrong with a run: what was seen, what it means and what to do. Pure functions of a run, one a rule."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from statistics import stdev
from typing import Any, NamedTuple

from rlhf.measures import trust
from rlhf.measures.frontier import Point, frontier, overoptimised
from rlhf.measures.headline import JUDGES
from rlhf.report.number import Name, Number, Style, Words, computed, words
from rlhf.report.run import Run, Series, StageRun

DROPPED = 0.05
"""Share of the rows, or of the tokens, that may be lost."""
ENTROPY_LEFT = 0.5
"""Of the first rollout's entropy, what must be left."""
FALLEN = 0.1
"""By how much a share of finished answers, or a log-probability in nats, may fall."""
OFF_TARGET = 1.5
"""Times the KL that `rl.kl_target` asks for."""
MEMORISED = 0.1
"""By how much a reward model's accuracy on what it trains on may be above that on held-out pairs."""
LONGER = 0.25
"""Share by which answers may change in length before it could be what the judges see."""
ALIKE = 0.7
"""Share of the distinct pairs of words before that answers may fall to."""
COPIED = 0.05
"""Share of answers with a verbatim copy of training data, beyond that before."""
CUT = 0.1
"""Share of answers that may be cut short."""
FLIPS = 0.3
"""Share of an LLM's verdicts that may turn with the order of the answers."""
FORGOTTEN = 0.05
"""Nats a token that may be lost of other text."""
ERRORS = 2.0
"""Standard errors beyond which a difference is told."""


FEWEST = 3
"""Lines of a log whose mean is looked at."""


class Finding(NamedTuple):
    """Something that a person should look at."""

    stage: str
    title: str
    seen: Words
    means: str
    do: str

    def line(self) -> str:
        """In one line, for a screen."""
        return f"{self.stage}: {self.title[0].lower()}{self.title[1:]} ({self.seen}): {self.do}"

    def plain(self) -> dict[str, str]:
        """For a machine."""
        return {name: str(part) for name, part in self._asdict().items()}


Rule = Callable[[Run], Iterable[Finding]]


def findings(run: Run) -> list[Finding]:
    """All that the rules find, the gravest first."""
    return [found for rule in _RULES for found in rule(run)]


def _above(number: Number | None, limit: float) -> bool:
    return number is not None and number.value > limit


def _below(number: Number | None, limit: float) -> bool:
    return number is not None and number.value < limit


def _error(stage: StageRun, *names: str) -> float:
    """How far means may be apart by chance; infinite where nothing says how sure they are."""
    errors = [stage.last(f"{name}_stderr") for name in names]
    return ERRORS * math.hypot(*(error.value if error else math.inf for error in errors))


class Mean(NamedTuple):
    """Of some lines of a log."""

    number: Number
    error: float
    """Standard error, in which it is the batches that differ."""


def _mean(series: Series, places: range, style: Style = "plain") -> Mean:
    values = [series.ys[at] for at in places]
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return Mean(computed("mean", [series.number(at, style) for at in places]), error)


def _quarter(series: Series, style: Style = "plain") -> Mean | None:
    """Mean of the last quarter of the lines, for one batch says little."""
    count = max(len(series.lines) // 4, FEWEST)
    return _mean(series, range(-count, 0), style) if len(series.lines) >= 2 * count else None


def _ends(series: Series, fixed: bool) -> tuple[Mean, Mean] | None:
    """The first and the last line where all are of the same `fixed` rows, else the means of the outer quarters."""
    count = 1 if fixed else max(len(series.lines) // 4, FEWEST)
    enough = len(series.lines) >= 2 * count
    return (_mean(series, range(count)), _mean(series, range(-count, 0))) if enough else None


# ------------------------------------------------------------------------------------------------ is it better?


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
        lows = {judge: stage.last(f"{judge}_win_rate_low") for judge in JUDGES}
        mine = lows.pop("reward")
        others = [judge for judge, low in lows.items() if low]
        if _above(mine, 0.5) and others and not any(_above(lows[judge], 0.5) for judge in others):
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
    for stage in run.evaluations:
        for judge in JUDGES:
            low, high = (stage.last(f"{judge}_win_rate_{end}", "percent") for end in ("low", "high"))
            if low is None or high is None or low.value > 0.5:
                continue
            worse = high.value < 0.5
            yield Finding(
                stage.name,
                f"It is {'worse' if worse else 'not clearly better'} to {JUDGES[judge]}",
                words("the policy wins ", stage.last(f"{judge}_win_rate", "percent"), " (", low, " to ", high, ")"),
                "Training made answers worse to this judge."
                if worse
                else "A coin could have decided: the interval has one half in it.",
                "look at the samples sorted by score change; train an earlier or a weaker policy"
                if worse
                else "evaluate more prompts (max_prompts); train longer, or on more data",
            )


def prompting_does_as_well(run: Run) -> Iterator[Finding]:
    for stage in run.evaluations:
        for judge in JUDGES:
            rate = f"{judge}_win_rate_over_prompted"
            low, high = (stage.last(f"{rate}_{end}", "percent") for end in ("low", "high"))
            if low is None or high is None or low.value > 0.5:
                continue
            worse = high.value < 0.5
            yield Finding(
                stage.name,
                f"A prompt is better to {JUDGES[judge]}"
                if worse
                else f"Not clearly better than a prompt to {JUDGES[judge]}",
                words(
                    "the policy wins ",
                    stage.last(rate, "percent"),
                    " (",
                    low,
                    " to ",
                    high,
                    ") against a model that was only told what to do",
                ),
                "What was trained may be had without training."
                if worse
                else "A coin could have decided: the interval has one half in it.",
                "ship the prompt; or train from the prompted model's answers (sample, then sft)"
                if worse
                else "evaluate more prompts (max_prompts); train longer, or on more data",
            )


def llm_is_unsure(run: Run) -> Iterator[Finding]:
    for stage in run.evaluations:
        if _above(flips := stage.last("llm_flips", "percent"), FLIPS):
            yield Finding(
                stage.name,
                "The LLM's verdict turns with the order of the answers",
                words("in ", flips, " of the pairs"),
                "It sees little between them; such pairs count as ties.",
                "ask a stronger llm_judge.model, or say in llm_judge.prompt what better means",
            )
        if _above(unread := stage.last("llm_unread", "percent"), 0.0):
            yield Finding(
                stage.name,
                "Verdicts of the LLM cannot be read",
                words(unread, " of them, which count as ties"),
                "It does not end with [[A]], [[B]] or [[C]].",
                "say so in llm_judge.prompt, or ask a stronger llm_judge.model",
            )


# ------------------------------------------------------------------------------------------------ the policy


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
                f"raise the SFT term (sft_coef{_now(stage, 'sft_coef')}), or raise beta{_now(stage, 'beta')}"
                if stage.kind != "orpo"
                else f"lower odds_coef{_now(stage, 'odds_coef')}, which leaves more to the SFT term",
            )


def _below_reference(stage: StageRun) -> Words | None:
    """By the implicit reward, which was 0 at the start and in which it cancels what answers a batch happens to have."""
    chosen, margin = (_quarter(stage.series(f"rewards/{name}")) for name in ("chosen", "margins"))
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
    ends = [_ends(stage.series(f"{prefix}logps/{name}"), fixed) for name in ("chosen", "rejected")]
    if not all(ends):
        return None
    (first, last), (was, now) = ends  # type: ignore[misc]
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


def _now(stage: StageRun, key: str) -> str:
    value = stage.settings.get(key)
    return "" if value is None else f", now {value:g}"


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
        if _below(finished := stage.last("policy_finished", "percent"), 1 - CUT):
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
            error = _error(stage, *(f"{side}_{name}_refusal" for side in ("policy", "baseline")))
            if now and before and now.value - before.value > error:
                yield Finding(
                    stage.name,
                    f"It {does} more often than before",
                    words("from ", before, " to ", now),
                    "Training moved what it refuses, which nobody may have asked for.",
                    "add examples of such prompts to the data, of both kinds",
                )


# ------------------------------------------------------------------------------------------------ the reward model


def reward_is_doubtful(run: Run) -> Iterator[Finding]:
    """What the gate looks at, of each reward model on held-out pairs of its own and of an evaluation."""
    for stage, prefix in _judged(run):
        accuracy, error = (stage.last(f"{prefix}{name}", "percent") for name in ("accuracy", "accuracy_stderr"))
        if accuracy and error and accuracy.value - trust.ACCURACY_ERRORS * error.value <= 0.5:
            yield Finding(
                stage.name,
                "The reward model is no better than chance",
                words("held-out accuracy ", accuracy, " ± ", error),
                "What is trained on it is trained on noise.",
                "look at the pairs (rlhf data inspect), train on more of them, or from a larger model",
            )
        follows = stage.last(f"{prefix}length_correlation", "signed")
        if follows and abs(follows.value) > trust.LENGTH_CORRELATION:
            likes = "long" if follows.value > 0 else "short"
            yield Finding(
                stage.name,
                "Scores follow length",
                words("correlation ", follows),
                f"A policy that maximises this reward learns to be {likes}.",
                "balance the pairs by length, or take longer and shorter answers as chosen alike",
            )
        ece, brier = stage.last(f"{prefix}ece"), stage.last(f"{prefix}brier")
        if _above(ece, trust.CALIBRATION_ERROR):
            yield Finding(
                stage.name,
                "The reward model is badly calibrated",
                words("calibration error ", ece),
                "How sure it is says little of how often it is right; wrong labels do that, and memorised ones.",
                "check labels (rlhf data inspect); train fewer epochs",
            )
        if ece and brier and trust.hardly_knows(brier.value, ece.value):
            yield Finding(
                stage.name,
                "The reward model hardly knows which answer is better",
                words("Brier score ", brier, ", where a coin has a quarter"),
                "It is about as sure as it is right, and neither is much: labels are noisy, pairs alike or few.",
                "check labels (rlhf data inspect), train on more pairs, or from a larger model",
            )


def labels_are_noisy(run: Run) -> Iterator[Finding]:
    for stage, prefix in _judged(run):
        sure = stage.last(f"{prefix}sure_accuracy", "percent")
        confidence, pairs = stage.last(f"{prefix}sure_confidence", "percent"), stage.last(f"{prefix}pairs", "count")
        if sure and confidence and pairs and trust.labels_are_doubtful(sure.value, confidence.value, pairs.value):
            yield Finding(
                stage.name,
                "Labels are probably wrong",
                words(
                    "of the fifth of the pairs that it is surest of (",
                    confidence,
                    "), only ",
                    sure,
                    " are labelled as it says",
                ),
                "It is surer than it is right: labels are flipped, or it is sure of what it cannot know.",
                "look at the pairs that it sees the other way round (rlhf data inspect --reward-model), and mend them",
            )


def memorises(run: Run) -> Iterator[Finding]:
    for stage in run.kinds("reward"):
        train, unseen = (
            _quarter(stage.series("accuracy"), "percent"),
            stage.told("metrics", "accuracy", style="percent"),
        )
        error = stage.told("metrics", "accuracy_stderr")
        if not (train and unseen and error):
            continue
        if train.number.value - unseen.value > max(MEMORISED, ERRORS * math.hypot(train.error, error.value)):
            yield Finding(
                stage.name,
                "The reward model memorises its pairs",
                words("accuracy ", train.number, " at the end of training, ", unseen, " on held-out pairs"),
                "It has learned these pairs, wrong labels included, more than what makes an answer better.",
                "train fewer epochs, at a lower train.lr, or on more pairs",
            )


def _judged(run: Run) -> Iterator[tuple[StageRun, str]]:
    """Stages that measured reward models, and what the names of the numbers begin with; each model once, where its own
    stage has measured it there."""
    known = {stage.name for stage in run.kinds("reward") if stage.told("metrics", "accuracy")}
    for stage in run.kinds("reward"):
        yield stage, ""
    for stage in run.kinds("evaluate"):
        for judge, field in (("reward", "reward_model"), ("held_out", "held_out_reward")):
            model = (stage.settings.get(field) or {}).get("stage")
            if model not in known and stage.last(f"{judge}_accuracy"):
                yield stage, f"{judge}_"


# ------------------------------------------------------------------------------------------------ losses and data


def overfits(run: Run) -> Iterator[Finding]:
    for stage in run.kinds("evaluate"):
        names = [f"{model}_{split}loss" for split in ("train_", "") for model in ("baseline", "policy")]
        seen_before, seen, unseen_before, unseen = (stage.last(name) for name in names)
        if not (seen_before and seen and unseen_before and unseen):
            continue
        train, held_out = (_error(stage, *names[i : i + 2]) for i in (0, 2))
        if seen_before.value - seen.value > train and unseen.value - unseen_before.value > held_out:
            yield Finding(
                stage.name,
                "It over-fits",
                words(
                    "loss rose on held-out demonstrations (",
                    unseen_before,
                    " to ",
                    unseen,
                    ") and fell on those beside them (",
                    seen_before,
                    " to ",
                    seen,
                    ")",
                ),
                "It learns these examples by heart.",
                "train fewer epochs, at a lower train.lr, with a smaller backend.r, or on more examples",
            )


def forgets(run: Run) -> Iterator[Finding]:
    for stage in run.kinds("evaluate"):
        for key in stage.measured.values:
            if not key.startswith("forgetting/") or key.endswith("_stderr"):
                continue
            lost, error = stage.last(key, "signed"), stage.last(f"{key}_stderr")
            if lost and error and lost.value > max(FORGOTTEN, ERRORS * error.value):
                data = key.removeprefix("forgetting/")
                is_general = data == "general_text"
                yield Finding(
                    stage.name,
                    f"Its loss on held-out {'general text' if is_general else data} rose",
                    words("by ", lost, " ± ", error, " nats a token"),
                    "Text of no task has become less likely: it has forgotten some of what it knew."
                    if is_general
                    else "Forgotten, or unlearned on purpose: preferences and rewards pull away from what it imitated.",
                    "raise rl.kl_coef or sft_coef, lower train.lr, or mix general text into the data (data.mix)",
                )


def rows_are_lost(run: Run) -> Iterator[Finding]:
    """Said once a stage, of the first of its rows that it holds for: training's before those held out."""
    for stage in run.stages:
        yield from {found.title: found for found in reversed([*_lost(stage)])}.values()


def _lost(stage: StageRun) -> Iterator[Finding]:
    for path, books in _books(stage.record.get("data", {})):
        block = path[0] if stage.kind == "evaluate" else "data"
        rows = stage.told("data", *path, "rows", style="count")
        for reason in books.get("dropped", {}):
            lost = stage.told("data", *path, "dropped", reason, style="count")
            if lost and rows and lost.value > DROPPED * rows.value:
                yield Finding(
                    stage.name,
                    "Many rows are dropped",
                    words(lost, " of ", rows, " rows: ", Name(reason)),
                    "What is left may be another kind of data than what you gave.",
                    f"rlhf data inspect lists them; raise {block}.max_length where they are too long",
                )
        tokens = books.get("tokens", {})
        if tokens.get("cut", 0) > DROPPED * sum(tokens.values()):
            cut = stage.told("data", *path, "tokens", "cut", style="count")
            yield Finding(
                stage.name,
                "Many tokens are cut off",
                words(cut, f" tokens do not fit into {block}.max_length"),
                "Prompts lose their beginning.",
                f"raise {block}.max_length",
            )


def _books(
    blocks: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Every count of rows, and where it stands: of training at the top, of an evaluation in each block of its data."""
    for name, part in blocks.items():
        if isinstance(part, Mapping):
            yield from [((*path, name), part)] if part.get("rows") else _books(part, (*path, name))


_RULES: tuple[Rule, ...] = (
    hacked,
    seen_by_the_reward_alone,
    judged_by_the_reward_alone,
    not_better,
    prompting_does_as_well,
    reward_is_doubtful,
    labels_are_noisy,
    memorises,
    chosen_falls,
    length_drifts,
    finishes_less,
    entropy_collapses,
    kl_passes,
    alike,
    refuses_otherwise,
    overfits,
    forgets,
    rows_are_lost,
    llm_is_unsure,
)
