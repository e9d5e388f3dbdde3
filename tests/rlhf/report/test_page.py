"""The page of a run: each number can be followed to its file, nothing comes from outside, what others wrote is text."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rlhf.cli_reports import report_of
from rlhf.console import Screen
from rlhf.errors import ArtifactError
from rlhf.report.page import write
from tests.rlhf.report import runs
from tests.rlhf.report.tracing import Page, check_figures, check_names, check_numbers, check_text, look_up, resources


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Page, str]:
    run = runs.whole(tmp_path_factory.mktemp("runs") / "whole", tracking={"price_per_hour": 2.5})
    text = write(run)[0].read_text("utf-8")
    return run, Page(text), text


def test_every_number_is_what_stands_where_it_says(made: tuple[Path, Page, str]) -> None:
    run, page, _ = made
    assert check_numbers(page, [run]) > 300  # each sample has a dozen


def test_what_is_taken_for_their_words_stands_in_their_files(made: tuple[Path, Page, str]) -> None:
    run, page, text = made
    assert check_names(page, [run]) > 200
    with pytest.raises(AssertionError, match="7 of 9 failed"):
        check_names(Page(text.replace("<h2>Warnings</h2>", '<h2 class="named">7 of 9 failed</h2>')), [run])


def test_every_figure_is_what_stands_where_it_says(made: tuple[Path, Page, str]) -> None:
    run, page, _ = made
    assert check_figures(page, [run]) > 15


@pytest.mark.parametrize("finished", ["lora"], indirect=True)
def test_the_report_of_a_real_run_can_be_followed_too(finished: Any) -> None:
    _, folder, _ = finished
    run = folder / "lora" if (folder / "lora").is_dir() else next(folder.glob("*/recipe.lock.yaml")).parent
    page = Page(write(run, run.parent / "report.html")[0].read_text("utf-8"))
    assert check_numbers(page, [run]) > 50 and check_figures(page, [run]) > 5 and check_names(page, [run]) > 20


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("80.2 %", 0.8025),
        ("1,899", 1899),
        ("−0.65", -0.6489),
        ("−2.5\u202f%", -0.0247),
        ("1.50 GiB", 3 * 2**29),
        ("2 min", 110.25),
        ("1.79e−08", 1.788e-8),
        ("+0.21", 0.206),
    ],
)
def test_the_test_reads_what_the_page_writes(text: str, value: float) -> None:
    check_text(text, value)
    with pytest.raises(AssertionError):
        check_text(text, value * 1.4)


def test_a_number_without_a_source_or_with_another_value_is_found(made: tuple[Path, Page, str]) -> None:
    run, _, text = made
    with pytest.raises(AssertionError, match="does not say where it is from"):
        check_numbers(Page(text.replace("<h2>Warnings</h2>", "<h2>7 warnings</h2>")), [run])
    rate = look_up(run, "stages/evaluate/metrics.jsonl#/0/gold_win_rate")
    assert f'data-value="{rate!r}"' in text
    with pytest.raises(AssertionError):
        check_numbers(Page(text.replace(f'data-value="{rate!r}"', 'data-value="0.123"')), [run])
    rows = "stages/sft/metrics.jsonl#/4/data~1file~1rows"
    assert rows in text
    with pytest.raises(AssertionError, match=r"not from metrics.jsonl"):
        check_numbers(Page(text.replace(rows, "stages/sft/artifact.json#/data/file/rows")), [run])
    with pytest.raises(AssertionError):
        check_figures(Page(text.replace('"y":[0.4,0.8', '"y":[0.5,0.8')), [run])


def test_nothing_comes_from_outside_and_plotly_is_there_once(made: tuple[Path, Page, str]) -> None:
    _, page, text = made
    assert list(resources(page)) == []
    assert text.count("plotly.js v") == 1
    assert page.scripts == 2 + len(page.figures)  # what an answer says is none


def test_what_others_wrote_is_text(made: tuple[Path, Page, str]) -> None:
    _, page, text = made
    texts = [words for words, _ in page.texts]
    assert runs.NASTY in texts
    shown = " ".join(texts).replace('\\"', '"')  # of settings, as JSON
    assert [place for place in runs.PLACES if runs.nasty(place) not in shown] == []
    assert "<img src=x" not in text


def test_an_llm_prefers_what_it_prefers_in_both_orders(made: tuple[Path, Page, str]) -> None:
    _, page, _ = made
    told = [text for text, _ in page.texts if text.startswith("LLM prefers")]
    assert told[:5] == [f"LLM prefers: {whom}" for whom in ("after", "a tie", "before", "a tie", "after")]
    assert len(told) == 30


def test_it_says_what_a_person_asks_first(made: tuple[Path, Page, str]) -> None:
    _, page, _ = made
    words = " ".join(text for text, _ in page.texts)
    assert "ppo is better than sft" in words.replace("  ", " ")
    for wanted in ("The reward is being gamed", "base model", "ab" * 6, "cost", "Reliability of reward"):
        assert wanted in words
    marked = [f for f in page.figures if f["layout"].get("shapes")]
    assert [shape["x0"] for shape in marked[0]["layout"]["shapes"]] == [2]


RATED = {"win_rate": 0.8, "win_rate_low": 0.7, "win_rate_high": 0.9, "win_rate_ties": 0.0}


def evaluated(folder: Path, *numbers: dict[str, Any]) -> Page:
    """The page of a run whose evaluations, `look0` and so on, have measured these; its numbers are followed."""
    made = {}
    for i, some in enumerate(numbers):
        line = {"step": 0, "prompts": 50, **some}
        settings = {"policy": runs.of(f"policy{i}"), "baseline": runs.of("sft")}
        made[f"look{i}"] = runs.stage(
            folder, f"look{i}", "evaluate", [line], makes="evaluation", base=None, settings=settings
        )
    page = Page(write(runs.recipe(folder, made))[0].read_text("utf-8"))
    check_numbers(page, [folder])
    check_names(page, [folder])
    return page


def rated(*judges: str) -> dict[str, float]:
    return {f"{judge}_{name}": value for judge in judges for name, value in RATED.items()}


def said(page: Page) -> str:
    return " ".join(" ".join(text for text, _ in page.texts).split())


@pytest.mark.parametrize(("judges", "own"), [(["reward"], True), (["reward", "llm"], False)])
def test_a_win_to_its_own_reward_alone_is_not_called_better(tmp_path: Path, judges: list[str], own: bool) -> None:
    page = evaluated(tmp_path / "run", rated(*judges))
    (pill,) = [(text, around) for text, around in page.texts if around[-1][1].get("class") == "pill"]
    assert pill[0] == ("Better to its own reward" if own else "Better")
    card = next(tag["class"] for _, tag in pill[1] if "verdict" in tag.get("class", ""))
    assert ("better" in card.split()) != own
    assert ("Only the training reward judged it" in said(page)) == own


@pytest.mark.parametrize("first", [0, 1])
def test_the_headline_is_that_of_an_independent_judge_and_every_evaluation_is_shown(tmp_path: Path, first: int) -> None:
    numbers = [rated("gold"), rated("reward"), {"policy_tokens": 9.0}]
    page = said(evaluated(tmp_path / "run", *numbers[first:], *numbers[:first]))
    gold = 0 if first == 0 else 2
    assert f"policy{gold} is better than sft" in page
    assert f"Stage look{1 - first} Preferred to sft the training reward" in page


def test_an_evaluation_without_a_judge_is_told_to_name_one(tmp_path: Path) -> None:
    page = said(evaluated(tmp_path / "run", {"policy_tokens": 9.0, "baseline_tokens": 8.0}))
    assert "had no judge: name a rule , a held_out_reward or an llm_judge" in page
    assert "has finished in this run" not in page


def test_what_needs_no_judge_is_shown_without_one(tmp_path: Path) -> None:
    measured = {"policy_loss": 1.25, "policy_perplexity": 3.49, "kl": 2.5, "kl_stderr": 0.1, "loss/sft/dpo": 0.75}
    page = said(evaluated(tmp_path / "run", measured | {"policy_over_refusal": 0.2}))
    for shown in ("demonstrations, nats a token after 1.25", "perplexity", "3.49", "KL to before", "0.75", "20.0"):
        assert shown in page


def test_settings_name_files_and_no_folders(tmp_path: Path) -> None:
    settings = {"data": {"path": str(tmp_path / "mine" / "pairs.jsonl"), "max_length": 64}}
    text = write(runs.only(tmp_path / "run", "reward", [{"step": 1, "loss": 0.5}], settings))[0].read_text("utf-8")
    shown = text.split("<pre", 1)[1].split("</pre>")[0]
    assert "pairs.jsonl" in shown and str(tmp_path) not in shown


def test_a_watch_without_a_judge_is_not_drawn_as_one(tmp_path: Path) -> None:
    run = runs.whole(tmp_path / "run", watched=False)
    page = Page(write(run)[0].read_text("utf-8"))
    assert "Reward of held-out prompts" in said(page) and "No judge of its own looked on" in said(page)
    assert "a judge that it is not" not in said(page)
    assert check_figures(page, [run]) > 15


def test_it_is_fast_and_light(made: tuple[Path, Page, str]) -> None:
    run, _, _ = made
    start = time.process_time()
    write(run)
    assert time.process_time() - start < 2
    heavy = ("torch", "transformers", "pandas", "numpy", "wandb")
    code = f"import sys; from pathlib import Path; from rlhf.report.page import write; write(Path({str(run)!r})); "
    code += f"print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_run_that_was_stopped_has_a_report(tmp_path: Path) -> None:
    """One stage has finished, one has logged two lines and half of a third, one has not begun."""
    done = runs.stage(tmp_path / "half", "sft", "sft", [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}])
    begun = tmp_path / "half" / "stages" / ".ppo.partial"
    begun.mkdir()
    lines = [json.dumps({"step": s, "time": 1.0 * s, "score": 0.1 * s, "kl": 0.2 * s}) for s in (1, 2)]
    (begun / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 3, "sc']))
    later = {
        "ppo": {"stage": "ppo", "model": runs.of("sft")},
        "evaluate": {"stage": "evaluate", "policy": runs.of("ppo")},
    }
    run = runs.recipe(tmp_path / "half", {"sft": done, **later})
    page = Page(write(run)[0].read_text("utf-8"))
    words = " ".join(text for text, _ in page.texts)
    assert "unfinished" in words and "not run" in words and "Nothing says yet" in words
    assert check_figures(page, [run]) >= 3
    check_numbers(page, [run])


def test_a_damaged_artifact_is_told(tmp_path: Path) -> None:
    run = runs.only(tmp_path / "bad", "sft", [{"step": 1, "loss": 1.0}])
    path = run / "stages" / "sft" / "artifact.json"
    path.write_text(path.read_text().replace('"sft"', '"tfs"', 1))
    words = " ".join(text for text, _ in Page(write(run)[0].read_text("utf-8")).texts)
    assert "damaged" in words


def test_a_folder_of_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no recipe\.lock\.yaml.*runs/quickstart"):
        write(tmp_path)


def test_a_page_does_not_follow_a_link(tmp_path: Path) -> None:
    run, other = runs.only(tmp_path / "run", "sft", [{"step": 1, "loss": 1.0}]), tmp_path / "other"
    other.write_text("mine")
    (run / "report.html").symlink_to(other)
    write(run)
    assert other.read_text() == "mine" and not (run / "report.html").is_symlink()


def test_a_run_whose_report_fails_is_done_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report_of(tmp_path, Screen(quiet=True)) == {}
    assert "warning: the report could not be written" in capsys.readouterr().err


def test_a_run_ends_with_its_report_and_its_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = runs.whole(tmp_path / "whole")
    told = report_of(run, Screen(quiet=True))
    assert told["report"] == str(run / "report.html") and (run / "report.html").is_file()
    assert told["warnings"][0].keys() == {"stage", "title", "seen", "means", "do"}
    said = capsys.readouterr().err
    assert "warning: ppo: the reward is being gamed (after rollout 2" in said and "report: " in said
