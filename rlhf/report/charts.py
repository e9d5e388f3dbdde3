"""Figures for plotly, as plain values. Colours are names of the page's CSS variables; each trace's `meta` says what
file it is read from and what its x and y are."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlhf.measures.pairs import reliability
from rlhf.measures.policies import CALLED, SIDES
from rlhf.report.findings.judges import best_look
from rlhf.report.number import Name, Words, words
from rlhf.report.run import Line, Run, Series, StageRun, pointer

Trace = dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """A figure with what it shows in words."""

    title: str | Words
    says: str
    figure: dict[str, Any]
    wide: bool = False


def _chart(
    title: str | Words, says: str, traces: Sequence[Trace], x: str, y: str, wide: bool = False, **layout: Any
) -> Chart:
    axes = {"xaxis": {"title": {"text": x}}, "yaxis": {"title": {"text": y}}}
    for name, axis in axes.items():
        axis |= layout.pop(name, {})
    return Chart(title, says, {"data": list(traces), "layout": {**axes, **layout}}, wide)


# ------------------------------------------------------------------------------------------------ traces


def _line(series: Series, name: str, colour: str, dots: bool = False, **more: Any) -> Trace:
    """A curve, its name at its end."""
    few = dots or len(series.lines) < 3
    return {
        "type": "scatter",
        "mode": "lines+markers" if few else "lines",
        "x": series.xs,
        "y": series.ys,
        "name": name,
        "line": {"color": colour, "width": 2.25},
        "marker": {"color": colour, "size": 6},
        "hovertemplate": "%{x}: %{y:.3f}<extra>%{fullData.name}</extra>",
        "meta": _from(series.file, series.lines, x=[series.x], y=[series.key]),
        **more,
    }


def _from(file: str, lines: Sequence[Line], **axes: Sequence[str]) -> dict[str, Any]:
    """Where a trace's numbers stand: lines of a file, and a pointer into each for either axis."""
    return {"file": file, "lines": [line.at for line in lines], **{axis: pointer(*path) for axis, path in axes.items()}}


# ------------------------------------------------------------------------------------------------ curves of a stage

_TRAIN, _HELD_OUT, _POLICY, _BEFORE, _REWARD, _JUDGE = (
    "--c-train",
    "--c-held",
    "--c-policy",
    "--c-before",
    "--c-reward",
    "--c-judge",
)

_PANELS: tuple[tuple[str, str, str, Mapping[str, tuple[str, str]]], ...] = (
    ("Loss", "nats", "What is minimised.", {"loss": ("training", _TRAIN), "eval_loss": ("held out", _HELD_OUT)}),
    (
        "Next tokens guessed",
        "share",
        "Tokens of the answers that the model would have said.",
        {"mean_token_accuracy": ("training", _TRAIN), "eval_mean_token_accuracy": ("held out", _HELD_OUT)},
    ),
    (
        "Pairs ranked rightly",
        "share",
        "One half is chance.",
        {"accuracy": ("training", _TRAIN), "accuracies": ("training", _TRAIN)},
    ),
    ("Margin", "score", "Chosen less rejected.", {"margin": ("training", _TRAIN)}),
    (
        "Pairs ranked rightly",
        "share",
        "By the implicit reward; one half is chance.",
        {"rewards/accuracies": ("training", _TRAIN), "eval_rewards/accuracies": ("held out", _HELD_OUT)},
    ),
    (
        "Implicit reward",
        "beta × nats",
        "How much likelier than under the reference.",
        {"rewards/chosen": ("chosen", _POLICY), "rewards/rejected": ("rejected", _BEFORE)},
    ),
    (
        "Log-probability of answers",
        "nats an answer",
        "Both may fall while their margin grows.",
        {"logps/chosen": ("chosen", _POLICY), "logps/rejected": ("rejected", _BEFORE)},
    ),
    ("Score", "reward", "Mean of each rollout, by what the policy is trained on.", {"score": ("score", _REWARD)}),
    ("KL to the reference", "nats an answer", "How far the policy has moved.", {"kl": ("KL", _POLICY)}),
    ("Length", "tokens", "Mean of each rollout.", {"response_length": ("length", _POLICY)}),
    ("Answers that end", "share", "Not cut at max_new_tokens.", {"finished": ("finished", _POLICY)}),
    ("Entropy", "nats a token", "What is left to choose from.", {"entropy": ("entropy", _POLICY)}),
)
_SHARES = {"share"}


def curves(stage: StageRun) -> Iterator[Chart]:
    """What a stage logged on its way; not what it logged only once."""
    steps = "rollout" if stage.kind == "ppo" else "step"
    for title, unit, says, keys in _PANELS:
        if title in ("Entropy",) and stage.kind != "ppo":
            continue
        found = [(stage.series(key), name, colour) for key, (name, colour) in keys.items()]
        found = [one for one in found if one[0].lines]
        if not found or len(found[0][0].lines) < 2:
            continue
        axis = {"tickformat": ".0%"} if unit in _SHARES else {}
        traces = [_line(*one) for one in found]
        yield _chart(title, says, traces, steps, "" if unit in _SHARES else unit, yaxis=axis)


# ------------------------------------------------------------------------------------------------ the reward model


def reliabilities(stage: StageRun, names: Mapping[str, str]) -> Iterator[Chart]:
    """How often each judge is right, by how sure it is (Guo et al. 2017, fig. 1)."""
    rows = stage.rows("pairs.jsonl")
    for judge, name in names.items():
        own = [line.values for line in rows if line.values["judge"] == judge]
        if not own:
            continue
        bins = reliability(own)
        meta = {"file": f"{stage.where}/pairs.jsonl", "measure": "reliability", "judge": judge}
        errors = [math.sqrt(one.accuracy * (1 - one.accuracy) / one.pairs) for one in bins]
        trace = {
            "type": "scatter",
            "mode": "lines+markers",
            "x": [one.confidence for one in bins],
            "y": [one.accuracy for one in bins],
            "error_y": {"type": "data", "array": errors, "color": _REWARD, "thickness": 1.25, "width": 0},
            "customdata": [one.pairs for one in bins],
            "name": name,
            "line": {"color": _REWARD, "width": 2.25},
            "marker": {"color": _REWARD, "size": [5 + 22 * math.sqrt(one.pairs / len(own)) for one in bins]},
            "hovertemplate": "sure %{x:.0%}, right %{y:.0%}, %{customdata} pairs<extra></extra>",
            "meta": meta,
        }
        even = {
            "type": "scatter",
            "mode": "lines",
            "x": [0.5, 1],
            "y": [0.5, 1],
            "name": "calibrated",
            "line": {"color": "--line-strong", "width": 1.5, "dash": "dot"},
            "hoverinfo": "skip",
            "meta": {"constant": "a calibrated model is right as often as it is sure"},
        }
        share = {"tickformat": ".0%"}
        yield _chart(
            words("Reliability of ", Name(name)),
            "How often it is right, by how sure it is. Larger dots have more pairs, bars are standard errors; below "
            "the dotted line it is too sure.",
            [even, trace],
            "sure",
            "right",
            xaxis={**share, "range": [0.48, 1.02]},
            yaxis={
                **share,
                "range": [min(0.4, *(a - e for a, e in zip(trace["y"], errors, strict=True))) - 0.02, 1.06],
            },
        )


def slices(stage: StageRun, judge: str) -> Iterator[Chart]:
    """Accuracy by length and by margin, as they were logged."""
    titles = {
        "length": ("Accuracy by length", "fifths of the pairs, by how much longer the chosen answer is"),
        "margin": ("Accuracy by margin", "tenths of the pairs, by how far apart the scores are"),
    }
    line = stage.measured
    for what, (title, order) in titles.items():
        prefix = f"{judge}_accuracy/{what}/"
        keys = [key for key in line.values if key.startswith(prefix)]
        if not keys:
            continue
        trace = {
            "type": "bar",
            "x": [int(key.removeprefix(prefix)) for key in keys],
            "y": [line.values[key] for key in keys],
            "marker": {"color": _REWARD},
            "hovertemplate": "%{y:.0%}<extra></extra>",
            "name": "right",
            "meta": {"file": stage.metrics_file, "lines": [line.at], "keys": keys},
        }
        axis = {"showticklabels": False, "showgrid": False}
        yield _chart(
            title,
            f"{order.capitalize()}, the least first.",
            [trace],
            f"{what} →",
            "",
            xaxis=axis,
            yaxis={"tickformat": ".0%", "range": [0, 1.02]},
        )


# ------------------------------------------------------------------------------------------------ reward, KL and judges


def frontier_charts(stage: StageRun) -> Iterator[Chart]:
    """What reward costs in KL, and whether the held-out judge follows."""
    score = stage.series("score", x="kl")
    looks = {name: stage.series(f"heldout/{name}") for name in ("reward", "judge")}
    if len(score.lines) > 1:
        trace = _line(score, "rollouts", _REWARD, dots=True)
        says = "One dot a rollout, joined in their order: what each nat away from the reference buys."
        yield _chart("Reward versus KL", says, [trace], "KL to the reference, nats an answer", "reward")

    if len(looks["judge"].lines) < 2:
        return
    if not has_judge(stage):
        traces = [_line(looks["reward"], "reward", _REWARD, dots=True)]
        says = "The same held-out prompts at each look, by what the policy is trained on."
        yield _chart("Reward of held-out prompts", says, traces, "rollout", "reward")
    else:
        yield _parting(stage, looks["reward"], looks["judge"])


def has_judge(stage: StageRun) -> bool:
    """Whether something that the policy is not trained on looks on; without `watch.judge`, its reward does."""
    return bool((stage.settings.get("watch") or {}).get("judge"))


def _parting(stage: StageRun, proxy: Series, judge: Series) -> Chart:
    """Both scores of the looks at held-out prompts, one above the other; the point of over-optimisation is marked."""
    errors = [line.values.get("heldout/judge_stderr", 0.0) for line in judge.lines]
    traces = [
        _line(proxy, "reward", _REWARD, dots=True),
        _line(judge, "judge", _JUDGE, dots=True, yaxis="y2")
        | {"error_y": {"type": "data", "array": errors, "color": _JUDGE, "thickness": 1.25, "width": 0}},
    ]
    traces[1]["meta"]["error"] = pointer("heldout/judge_stderr")
    best = best_look(stage)
    shapes, notes = [], []
    if best is not None:
        late = best.step > judge.xs[-1] / 2
        shapes = [
            {
                "type": "line",
                "xref": "x",
                "yref": "paper",
                "x0": best.step,
                "x1": best.step,
                "y0": 0,
                "y1": 1,
                "line": {"color": "--bad", "width": 1.5, "dash": "dash"},
            }
        ]
        notes = [
            {
                "text": "over-optimised from here →",
                "x": best.step,
                "xanchor": "right" if late else "left",
                "xshift": -6 if late else 6,
                "yref": "paper",
                "y": 0.5,
                "showarrow": False,
                "font": {"color": "--bad"},
                "bgcolor": "--card",
            }
        ]
    says = "The same held-out prompts at each look: above what the policy is trained on, below a judge that it is not."
    chart = _chart(
        "Reward and held-out judge",
        says,
        traces,
        "rollout",
        "reward",
        shapes=shapes,
        annotations=notes,
        xaxis={"anchor": "y2"},
        yaxis={"domain": [0.54, 1]},
    )
    chart.figure["layout"]["yaxis2"] = {"title": {"text": "judge"}, "domain": [0, 0.46]}
    return chart


# ------------------------------------------------------------------------------------------------ answers


def lengths(stage: StageRun) -> Chart | None:
    """How long answers are, before and after."""
    rows = stage.rows("samples.jsonl")
    sides = [side for side in SIDES if rows and side in rows[0].values]
    if not sides:
        return None
    longest = max(line.values[side]["tokens"] for line in rows for side in sides)
    size = max(1, math.ceil(longest / 32))
    colours = {"baseline": _BEFORE, "prompted": _TRAIN, "policy": _POLICY}
    traces, axes = [], {}
    for i, side in enumerate(sides):
        number = str(i + 1) if i else ""
        traces.append(
            {
                "type": "histogram",
                "x": [line.values[side]["tokens"] for line in rows],
                "yaxis": f"y{number}",
                "name": CALLED[side],
                "marker": {"color": colours[side]},
                "xbins": {"start": 0, "end": longest + size, "size": size},
                "hovertemplate": "%{x} tokens: %{y} answers<extra>%{fullData.name}</extra>",
                "meta": _from(f"{stage.where}/samples.jsonl", rows, x=[side, "tokens"]),
            }
        )
        low = 1 - (i + 1) / len(sides)
        axes[f"yaxis{number}"] = {
            "title": {"text": CALLED[side]},
            "domain": [low + 0.03, low + 1 / len(sides) - 0.03],
            "nticks": 3,
            "matches": "y" if i else None,
        }
    says = "Tokens of the answers to held-out prompts, the stop token included: how many answers are how long."
    chart = _chart(
        "Length of answers", says, traces, "tokens", "", xaxis={"anchor": axes and list(traces)[-1]["yaxis"]}
    )
    chart.figure["layout"] |= axes
    return chart


def overlaid(
    runs: Mapping[str, Run], key: Callable[[StageRun], Series], title: str, says: str, x: str, y: str
) -> Chart | None:
    """One curve of each run's last RL stage that has it."""
    palette = ("--c-policy", "--c-judge", "--c-reward", "--c-train", "--c-held", "--c-before")
    traces = []
    for i, (name, run) in enumerate(runs.items()):
        found = [series for stage in run.kinds("ppo") if len((series := key(stage)).lines) > 1]
        if found:
            trace = _line(found[-1], name, palette[i % len(palette)], dots=True)
            trace["meta"]["run"] = i
            traces.append(trace)
    return _chart(title, says, traces, x, y, wide=True, showlegend=True) if traces else None
