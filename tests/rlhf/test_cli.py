"""The command: fast where nothing is computed, clear where something is wrong, JSON where a machine asks."""

import errno
import json
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from safetensors import SafetensorError
from typer.testing import CliRunner

from rlhf import cli
from rlhf.cli import app
from rlhf.errors import DataError
from rlhf.recipe.config import stage_kinds
from tests.conftest import SHOP, head

HEAVY = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate", "wandb")


def rlhf(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "rlhf", *words], capture_output=True, text=True, cwd=cwd, check=False)


@pytest.mark.parametrize(
    "words", [["--help"], ["check", "quickstart"], ["registry"], ["schema", "--json"], ["status", "."]]
)
def test_light_commands_import_nothing_heavy(words: list[str]) -> None:
    code = f"import sys; sys.argv = ['rlhf', *{words!r}]\nfrom rlhf.cli import main\n"
    code += "try: main()\nexcept SystemExit: pass\n"
    code += f"found = [m for m in {HEAVY!r} if m in sys.modules]\nassert not found, found"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_help_names_every_command() -> None:
    shown = rlhf("--help").stdout
    for name in (
        "run",
        "check",
        *(stage_kinds().keys() - {"evaluate"}),
        "report",
        "compare",
        "eval",
        "score",
        "chat",
        "export",
        "status",
        "watch",
        "label",
        "failures",
        "registry",
        "schema",
        "doctor",
    ):
        assert f"  {name} " in shown


def test_check_as_json_is_the_last_line() -> None:
    last = json.loads(rlhf("check", "quickstart", "--json").stdout.splitlines()[-1])
    assert last["valid"] and list(last["config"]["stages"]) == ["sft", "reward", "ppo", "evaluate"]


def test_a_users_mistake_is_one_clear_line_and_exit_code_2(tmp_path: Path) -> None:
    done = rlhf("check", "quickstart", "ppo.rl.kl_cof=1")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "did you mean 'kl_coef'?" in done.stderr


def leaving(error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of a command that raises this, and what it says."""

    def raising() -> None:
        raise error

    monkeypatch.setattr(cli, "app", raising)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as left:
        cli.main()
    return int(left.value.code or 0), capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (PermissionError(errno.EACCES, "x", "data/pairs.jsonl"), "data/pairs.jsonl: cannot be read or written (Perm"),
        (FileNotFoundError(errno.ENOENT, "x", "gone.jsonl"), "gone.jsonl: cannot be read or written (No such file"),
        (OSError(errno.EROFS, "x", "runs/a"), "runs/a: the disk does not do what is asked of it (Read-only"),
        (OSError(errno.ENOSPC, "x"), "the disk does not do what is asked of it (No space left on device); make room"),
        (SafetensorError("I/O error: Input/output error (os error 5)"), "asked of it (Input/output error)"),
        (Exception("Permission denied (os error 13)"), "Permission denied (os error 13): cannot be read or written"),
    ],
    ids=repr,
)
def test_what_a_path_or_a_disk_does_not_allow_is_one_line_and_exit_code_2(
    error: Exception, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = leaving(error, monkeypatch, capsys)
    assert code == 2 and said.startswith("error: ") and says in said and said.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        OSError(errno.EBADF, "x"),
        FileNotFoundError(errno.ENOENT, "x", str(Path(cli.__file__).parent / "y")),
    ],
    ids=repr,
)
def test_a_bug_of_ours_is_exit_code_1(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = leaving(error, monkeypatch, capsys)
    assert code == 1 and "Traceback" in said


def test_half_a_character_in_a_name_is_shown_by_its_number(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(r'{"prompt": "q", "chosen": "a", "rejected": "b", "\ud83d": 1}')
    for words in (["check", "--json"], ["inspect", "--json", "--html", "x.html"]):
        done = rlhf("data", *words, "x.jsonl", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1])["ledger"]["unread"] == {"\ud83d": 1}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    done = rlhf("reward", "--model", "tiny", "--data", "nowhere.jsonl", "--out", str(tmp_path))
    assert done.returncode == 2
    assert "nowhere.jsonl" in done.stderr and "Traceback" not in done.stderr


def test_just_a_reward_model_then_the_same_scores_in_every_process(tmp_path: Path) -> None:
    """`rlhf reward` from flags, `rlhf score` twice in fresh processes."""
    pairs = head(SHOP / "preferences.jsonl", 24, tmp_path / "pairs.jsonl")
    flags = ["--model", "tiny", "--data", str(pairs), "--name", "judge", "--out", str(tmp_path / "runs")]
    done = rlhf("reward", *flags, "train.max_steps=2", "data.max_length=160", "--json")
    assert done.returncode == 0, done.stderr
    stage = json.loads(done.stdout.splitlines()[-1])["stages"]["reward"]
    assert stage["makes"] == "reward"
    texts = head(SHOP / "sft.jsonl", 5, tmp_path / "texts.jsonl")
    first, second = (rlhf("score", stage["artifact"], str(texts), "--json") for _ in range(2))
    assert first.returncode == 0, first.stderr
    scores = json.loads(first.stdout.splitlines()[-1])["scores"]
    assert len(scores) == 5 and len(set(scores)) == 5
    assert scores == json.loads(second.stdout.splitlines()[-1])["scores"]

    done = rlhf("score", stage["artifact"], str(pairs), "--json")  # pairs: both sides
    *lines, last = map(json.loads, done.stdout.splitlines())
    assert [line["where"].rpartition(":")[2] for line in lines] == [str(i) for i in range(1, 25)]
    assert [line["chosen_score"] for line in lines] == last["chosen_scores"]
    assert last["accuracy"] == sum(one["chosen_score"] > one["rejected_score"] for one in lines) / 24
    assert "of 24 pairs" in done.stderr
    labelled = SHOP.parent / "formats" / "kto.jsonl"
    kto = rlhf("score", stage["artifact"], str(labelled), "--json")  # answers called bad too
    assert len(json.loads(kto.stdout.splitlines()[-1])["scores"]) == len(labelled.read_text().splitlines())


def test_equal_scores_count_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an evaluation."""

    class Judge:
        def score(self, talks: list) -> list[float]:
            return [1.0, 1.0, 2.0, 1.0]

        def attributes(self, talks: list) -> list[dict]:
            return [{}] * len(talks)

        def disagreement(self, talks: list) -> None:
            return None

    monkeypatch.setattr("rlhf.cli_models.ready", lambda model: model)
    monkeypatch.setattr("rlhf.reward_model.RewardModel.load", lambda *_, **__: Judge())
    pairs = head(SHOP / "preferences.jsonl", 2, tmp_path / "pairs.jsonl")
    done = CliRunner().invoke(app, ["score", "a-judge", str(pairs), "--json"])
    assert json.loads(done.stdout.splitlines()[-1])["accuracy"] == 0.75
    assert "75.0% of 2 pairs, equals counted half (50.0%)" in done.stderr


@pytest.mark.parametrize("finished", ["lora"], indirect=True)
def test_a_finished_stage_is_compared_with_what_it_came_from(finished, tmp_path: Path) -> None:
    """Its parent and its reward model are known by its lineage; a reward model is known by its head."""
    _, _, made = finished
    asked = ["--prompts", str(head(SHOP / "heldout_prompts.jsonl", 3, tmp_path / "asks.jsonl")), "--system", "Be kind."]
    small = ["max_new_tokens=4", "forgetting=false", "--out", str(tmp_path), "--json"]
    done = CliRunner().invoke(app, ["eval", str(made["ppo"].folder), *asked, *small], catch_exceptions=False)
    found = json.loads(done.stdout.splitlines()[-1])["evaluation"]
    assert found["prompts"] == 3 and {"reward_win_rate", "reward_win_rate_over_prompted", "kl"} <= found.keys()

    pairs = ["--preferences", str(head(SHOP / "heldout_preferences.jsonl", 4, tmp_path / "pairs.jsonl"))]
    done = CliRunner().invoke(app, ["eval", str(made["reward"].folder), *pairs, *small], catch_exceptions=False)
    assert json.loads(done.stdout.splitlines()[-1])["evaluation"]["reward_pairs"] == 4
    with pytest.raises(DataError, match="nothing to measure"):
        CliRunner().invoke(app, ["eval", "tiny", *small], catch_exceptions=False)


def test_errors_are_told_to_machines_too() -> None:
    done = rlhf("check", "quickstart", "ppo.x=1", "--json")
    assert done.returncode == 2
    assert "unknown key" in json.loads(done.stdout.splitlines()[-1])["error"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_is_a_word_and_exit_code_3(tmp_path, how: signal.Signals) -> None:
    """Ctrl-C, and how a scheduler stops a job."""
    words = [sys.executable, "-m", "rlhf", "run", "quickstart", "--out", str(tmp_path)]
    heeds = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    going = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heeds)
    assert going.stdout is not None
    while "▶ sft" not in going.stdout.readline():
        assert going.poll() is None
    going.send_signal(how)
    _, told = going.communicate(timeout=60)
    assert going.returncode == 3
    assert "run the same command again" in told


def test_version() -> None:
    assert rlhf("--version").stdout.startswith("rlhf 0.")
