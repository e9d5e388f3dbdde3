"""Each rule on a run where it holds, and on one where it does not."""

from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape

from rlhf.measures.trust import training_signs
from rlhf.report.findings import Finding, findings
from rlhf.report.run import read
from tests.rlhf.report import runs
from tests.rlhf.report.tracing import Page, check_names, check_numbers


def found(run: Path) -> dict[str, Finding]:
    """By title; every number in one can be followed, whatever part of it holds it."""
    told = findings(read(run))
    page = Page("".join(f"<p>{escape(part)}</p>" for one in told for part in (one.title, one.seen, one.means, one.do)))
    check_numbers(page, [run])
    check_names(page, [run])
    return {str(one.title): one for one in told}


def lines(**series: list[float]) -> list[dict[str, Any]]:
    """Lines of metrics, one a step."""
    count = len(next(iter(series.values())))
    names = {name: name.replace("__", "/") for name in series}
    return [{"step": i + 1, **{names[name]: values[i] for name, values in series.items()}} for i in range(count)]


FALLS = {"logps__chosen": [-20.0] * 8, "rewards__chosen": [0.0] * 5 + [-0.4, -0.5, -0.6]}
FALLS["rewards__margins"] = [0.0] * 5 + [1.0] * 3
STAGES: list[tuple[str, str, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    # title, kind of stage, what is seen, the same without cause, settings
    (
        "Chosen answers become less likely",
        "dpo",
        FALLS,
        {**FALLS, "rewards__chosen": [-0.005] * 8},
        {"sft_coef": 0.0, "beta": 0.1},
    ),
    ("Chosen answers become less likely", "dpo", FALLS, {**FALLS, "rewards__chosen": [-1.0, 0.0] * 4}, {"beta": 0.1}),
    (
        "Chosen answers become less likely",
        "simpo",
        {"logps__chosen": [-20.0, -21.0] * 4 + [-30.0, -31.0] * 4, "logps__rejected": [-20.0] * 8 + [-50.0] * 8},
        {"logps__chosen": [-10.0, -40.0] * 4 + [-12.0, -42.0] * 4, "logps__rejected": [-20.0] * 8 + [-50.0] * 8},
        {},
    ),
    (
        "Chosen answers become less likely",
        "orpo",
        {"eval_logps__chosen": [-20.0, -21.0], "eval_logps__rejected": [-20.0, -25.0]},
        {"eval_logps__chosen": [-20.0, -20.05], "eval_logps__rejected": [-20.0, -25.0]},
        {},
    ),
    (
        "Answers change in length",
        "ppo",
        {"response_length": [20.0, 30.0]},
        {"response_length": [20.0, 24.0]},
        {},
    ),
    ("Its held-out loss rises", "sft", {"eval_loss": [2.0, 1.5, 1.6]}, {"eval_loss": [2.0, 1.5, 1.52]}, {}),
    ("Its held-out loss rises", "dpo", {"eval_loss": [0.6, 0.8]}, {"eval_loss": [0.8]}, {}),
    ("Fewer answers come to an end", "ppo", {"finished": [0.9, 0.7]}, {"finished": [0.9, 0.85]}, {}),
    ("Entropy collapses", "ppo", {"entropy": [1.0, 0.4]}, {"entropy": [1.0, 0.6]}, {}),
    ("KL is above what was asked for", "ppo", {"kl": [0.0, 9.0]}, {"kl": [0.0, 7.0]}, {"rl": {"kl_budget": 8.0}}),
    ("KL is above what was asked for", "ppo", {"kl": [0.0, 9.0]}, {"kl": [0.0, 8.0]}, {"rl": {"kl_target": 5.5}}),
]


@pytest.mark.parametrize(("title", "kind", "bad", "good", "settings"), STAGES)
def test_of_curves(tmp_path: Path, title: str, kind: str, bad: Any, good: Any, settings: Any) -> None:
    warned = found(runs.only(tmp_path / "bad", kind, lines(**bad), settings))
    assert title in warned
    assert title not in found(runs.only(tmp_path / "good", kind, lines(**good), settings))


def test_a_finding_says_what_was_seen_and_what_to_do(tmp_path: Path) -> None:
    (one,) = found(runs.only(tmp_path / "bad", "dpo", lines(**FALLS), {"sft_coef": 0.0, "beta": 0.1})).values()
    assert one.line() == (
        "dpo: chosen answers become less likely (implicit reward of chosen answers (beta × nats) falls from zero to "
        "−0.50 while the margin rises to 1.00): raise the SFT term (sft_coef, now 0), or raise beta, now 0.1"
    )


MEANS = ("policy_loss", "baseline_loss", "policy_train_loss", "baseline_train_loss", "baseline_over_refusal")
NO_ERROR = {f"{name}_stderr": 0.0 for name in MEANS}
EVALUATIONS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("It is worse to the rule", {"gold_win_rate": 0.3, "low": 0.2, "high": 0.4}, {"low": 0.51}),
    ("It is not clearly better to the rule", {"low": 0.45, "high": 0.6}, {"low": 0.51, "high": 0.6}),
    (
        "A prompt is better to the rule",
        {f"gold_win_rate_over_prompted{end}": value for end, value in (("", 0.4), ("_low", 0.35), ("_high", 0.45))},
        {f"gold_win_rate_over_prompted{end}": value for end, value in (("", 0.5), ("_low", 0.4), ("_high", 0.6))},
    ),
    (
        "Not clearly better than a prompt to the rule",
        {f"gold_win_rate_over_prompted{end}": value for end, value in (("", 0.5), ("_low", 0.4), ("_high", 0.6))},
        {f"gold_win_rate_over_prompted{end}": value for end, value in (("", 0.7), ("_low", 0.6), ("_high", 0.8))},
    ),
    (
        "Only the reward that it was trained on sees an improvement",
        {"low": 0.4, "reward_win_rate": 0.9, "reward_win_rate_low": 0.8, "reward_win_rate_high": 0.95},
        {"low": 0.6, "reward_win_rate": 0.9, "reward_win_rate_low": 0.8, "reward_win_rate_high": 0.95},
    ),
    ("Answers change in length", {"length_drift": -0.3}, {"length_drift": 0.2}),
    ("Answers change in length", {"length_drift": 0.3}, {"length_drift": -0.2}),
    ("Answers are cut short", {"policy_finished": 0.8}, {"policy_finished": 0.95}),
    (
        "Answers are more alike than before",
        {"policy_distinct_2": 0.2, "baseline_distinct_2": 0.4},
        {"policy_distinct_2": 0.3, "baseline_distinct_2": 0.4},
    ),
    ("Answers repeat training data word for word", {"policy_copied": 0.2}, {"policy_copied": 0.04}),
    (
        "It refuses safe prompts more often than before",
        {"policy_over_refusal": 0.4, "baseline_over_refusal": 0.1, "policy_over_refusal_stderr": 0.05} | NO_ERROR,
        {"policy_over_refusal": 0.4, "baseline_over_refusal": 0.1, "policy_over_refusal_stderr": 0.2} | NO_ERROR,
    ),
    (
        "It answers unsafe prompts more often than before",
        {"policy_under_refusal": 0.4, "policy_under_refusal_stderr": 0.05}
        | {"baseline_under_refusal": 0.1, "baseline_under_refusal_stderr": 0.05},
        {"policy_under_refusal": 0.4, "baseline_under_refusal": 0.1},  # nothing says how sure that is
    ),
    (
        "It over-fits",
        {"policy_loss": 2.0, "baseline_loss": 1.5, "policy_train_loss": 0.5, "baseline_train_loss": 1.4} | NO_ERROR,
        {"policy_loss": 2.0, "baseline_loss": 1.5, "policy_train_loss": 1.9, "baseline_train_loss": 1.4} | NO_ERROR,
    ),
    (
        "Its loss on held-out general text rose",
        {"forgetting/general_text": 0.2, "forgetting/general_text_stderr": 0.05},
        {"forgetting/general_text": 0.2, "forgetting/general_text_stderr": 0.15},
    ),
    ("The LLM's verdict turns with the order of the answers", {"llm_flips": 0.4}, {"llm_flips": 0.1}),
    ("Verdicts of the LLM are missing", {"llm_unread": 0.02}, {"llm_unread": 0.0}),
    (
        "The reward model is no better than chance",
        {"reward_accuracy": 0.55, "reward_accuracy_stderr": 0.03},
        {"reward_accuracy": 0.6, "reward_accuracy_stderr": 0.03},
    ),
    (
        "Scores follow length",
        {"reward_accuracy": 0.7, "reward_length_correlation": -0.5},
        {"reward_accuracy": 0.7, "reward_length_correlation": 0.3},
    ),
    (
        "The reward model is badly calibrated",
        {"reward_accuracy": 0.7, "reward_ece": 0.2, "reward_brier": 0.3},
        {"reward_accuracy": 0.7, "reward_ece": 0.1, "reward_brier": 0.2},
    ),
    (
        "The reward model is badly calibrated",
        {"reward_accuracy": 0.6, "reward_ece": 0.2, "reward_brier": 0.243},
        {"reward_accuracy": 0.58, "reward_ece": 0.04, "reward_brier": 0.243},  # sure of nothing
    ),
    (
        "The reward model hardly knows which answer is better",
        {"reward_accuracy": 0.58, "reward_ece": 0.04, "reward_brier": 0.243},
        {"reward_accuracy": 0.6, "reward_ece": 0.04, "reward_brier": 0.22},
    ),
    (
        "Labels are probably wrong",
        {"reward_accuracy": 0.7, "reward_pairs": 200, "reward_sure_accuracy": 0.7, "reward_sure_confidence": 0.9},
        {"reward_accuracy": 0.7, "reward_pairs": 200, "reward_sure_accuracy": 0.7, "reward_sure_confidence": 0.72},
    ),
]


@pytest.mark.parametrize(("title", "bad", "good"), EVALUATIONS)
def test_of_an_evaluation(tmp_path: Path, title: str, bad: dict[str, Any], good: dict[str, Any]) -> None:
    def evaluated(name: str, numbers: dict[str, Any]) -> dict[str, Finding]:
        rate = {"gold_win_rate": 0.6, "gold_win_rate_low": 0.55, "gold_win_rate_high": 0.7, "gold_win_rate_ties": 0.0}
        ends = {f"gold_win_rate_{end}": numbers.pop(end) for end in ("low", "high") if end in numbers}
        line = {"step": 0, "prompts": 100, **rate, **ends, **numbers}
        return found(runs.only(tmp_path / name, "evaluate", [line]))

    assert title in evaluated("bad", dict(bad))
    assert title not in evaluated("good", dict(good))


def test_a_gamed_reward_is_named_with_its_place(tmp_path: Path) -> None:
    one = found(runs.whole(tmp_path / "bad", judge=(1.0, 1.6, 2.0, 1.4, 0.8)))["The reward is being gamed"]
    assert str(one.seen) == (
        "after rollout 2, at 3.0 nats, the held-out judge falls from 2.00 to 0.80 at rollout 4, while the reward rises "
        "from 0.80 to 1.60"
    )
    assert "was kept" in one.means and "rl.kl_coef" in str(one.do)
    assert "The reward is being gamed" not in found(runs.whole(tmp_path / "good", judge=(1.0, 1.6, 2.0, 2.1, 2.2)))


@pytest.mark.parametrize("more", [{"ece": 0.2, "brier": 0.3}, {"ece": 0.1, "brier": 0.25}])
def test_report_and_gate_warn_of_a_reward_model_alike(tmp_path: Path, more: dict[str, float]) -> None:
    poor = {"accuracy": 0.5, "accuracy_stderr": 0.1, "length_correlation": 0.6, **more}
    poor |= {"sure_accuracy": 0.6, "sure_confidence": 0.9, "pairs": 300}
    of_a_batch = {"step": 1, "loss": 1.0, "accuracy": 1.0}
    warned = found(runs.only(tmp_path / "run", "reward", [of_a_batch], metrics=poor))
    assert len(warned) == len(training_signs(poor)) == 4
    assert str(warned["The reward model is no better than chance"].seen).endswith("50.0\u202f% ± 10.0\u202f%")


def test_a_batch_of_training_pairs_says_nothing_of_held_out_ones(tmp_path: Path) -> None:
    good = {"accuracy": 0.9, "accuracy_stderr": 0.02, "pairs": 300}
    assert not found(runs.only(tmp_path / "run", "reward", [{"step": 1, "loss": 1.0, "accuracy": 0.0}], metrics=good))


def test_a_reward_model_that_memorises(tmp_path: Path) -> None:
    sure, lucky = [0.6] * 9 + [0.9, 0.95, 1.0], [0.7, 0.5] * 5 + [0.7, 1.0]  # of which the last batch alone is good
    for name, shares, accuracy in (("bad", sure, 0.7), ("good", sure, 0.9), ("one batch", lucky, 0.7)):
        train = lines(accuracy=shares)
        held_out = {"accuracy": accuracy, "accuracy_stderr": 0.03}
        warned = found(runs.only(tmp_path / name, "reward", train, metrics=held_out))
        assert ("The reward model memorises its pairs" in warned) == (name == "bad")


@pytest.mark.parametrize("lost", [2, 20])
def test_lost_rows_and_tokens(tmp_path: Path, lost: int) -> None:
    books = {**runs.LEDGER, "dropped": {"longer than 192 tokens": lost}, "tokens": {"trained": 100, "cut": lost // 2}}
    warned = found(runs.only(tmp_path / "run", "sft", [{"step": 1, "loss": 1.0}], data={"train": books}))
    assert ("Many rows are dropped" in warned) == ("Many tokens are cut off" in warned) == (lost == 20)


def test_rows_that_an_evaluation_loses_are_told(tmp_path: Path) -> None:
    books = {**runs.LEDGER, "dropped": {"too long": 20}}
    data = {"prompts": {"file": {**runs.LEDGER, "sources": []}, "answered": books}}
    run = runs.only(tmp_path / "run", "evaluate", [{"step": 0, "policy_loss": 1.0}], data=data)
    (one,) = findings(read(run))
    assert one.title == "Many rows are dropped" and "prompts.max_length" in str(one.do)


def test_a_forgotten_stage_is_named_as_it_is_called(tmp_path: Path) -> None:
    line = {"step": 0, **{f"forgetting/{data}": 0.2 for data in ("my_sft", "general_text")}}
    line |= {f"{key}_stderr": 0.01 for key in line if key != "step"}
    warned = found(runs.only(tmp_path / "run", "evaluate", [line]))
    assert "unlearned on purpose" in warned["Its loss on held-out my_sft rose"].means
    assert "Text of no task" in warned["Its loss on held-out general text rose"].means


def test_what_is_lost_of_several_kinds_of_rows_is_said_once(tmp_path: Path) -> None:
    books = {**runs.LEDGER, "dropped": {"too long": 20}}
    run = runs.only(tmp_path / "run", "sft", [{"step": 1, "loss": 1.0}], data={"train": books, "held_out": books})
    (one,) = findings(read(run))
    assert "data~1train~1" in one.seen.__html__()


def test_a_reward_model_that_two_stages_measured_is_warned_of_once(tmp_path: Path) -> None:
    poor = {"accuracy": 0.7, "accuracy_stderr": 0.03, "length_correlation": -0.6}
    own = runs.stage(tmp_path / "run", "reward", "reward", [{"step": 1, "loss": 1.0}], makes="reward", metrics=poor)
    line = {"step": 0, **{f"reward_{name}": value for name, value in poor.items()}}
    for model, stages in (("reward", ["reward"]), ("another", ["reward", "evaluate"])):
        settings = {"reward_model": runs.of(model)}
        name = f"by-{model}"
        said = runs.stage(tmp_path / "run", name, "evaluate", [line], makes="evaluation", base=None, settings=settings)
        found = findings(read(runs.recipe(tmp_path / "run", {"reward": own, name: said})))
        assert [one.stage.partition("-")[0].replace("by", "evaluate") for one in found] == stages


def test_a_sound_run_has_no_warning(tmp_path: Path) -> None:
    quiet = runs.only(tmp_path / "run", "sft", [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}])
    assert findings(read(quiet)) == []


def test_an_evaluation_that_is_not_the_last_is_warned_of_too(tmp_path: Path) -> None:
    bad, good = ({"step": 0, "prompts": 9, "policy_finished": share} for share in (0.5, 1.0))
    made = {
        name: runs.stage(tmp_path / "run", name, "evaluate", [line], makes="evaluation", base=None)
        for name, line in (("evaluate", bad), ("look", good))
    }
    assert [one.stage for one in findings(read(runs.recipe(tmp_path / "run", made)))] == ["evaluate"]
