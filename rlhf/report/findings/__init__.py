"""What may be wrong with a run: what was seen, what it means and what to do. Pure functions of a run, one a rule."""

from rlhf.report.findings import judges, losses, policy, reward
from rlhf.report.findings.finding import Finding, Rule
from rlhf.report.run import Run

__all__ = ["Finding", "findings"]


def findings(run: Run) -> list[Finding]:
    """All that the rules find, the gravest first."""
    return [found for rule in _RULES for found in rule(run)]


_RULES: tuple[Rule, ...] = (
    judges.hacked,
    judges.seen_by_the_reward_alone,
    judges.judged_by_the_reward_alone,
    judges.not_better,
    judges.prompting_does_as_well,
    reward.reward_is_doubtful,
    reward.memorises,
    policy.chosen_falls,
    policy.length_drifts,
    policy.finishes_less,
    policy.entropy_collapses,
    policy.kl_passes,
    policy.alike,
    policy.refuses_otherwise,
    losses.rises,
    losses.overfits,
    losses.forgets,
    losses.rows_are_lost,
    judges.llm_is_unsure,
)
