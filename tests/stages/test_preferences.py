"""Policies from pairs and labels: the losses that TRL is handed, the reference that is kept, and what is refused."""

import errno
import json
import math
import os
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from rlhf import checkpoint, reference, training
from rlhf.artifact import Artifact
from rlhf.config import DataConfig
from rlhf.console import Screen
from rlhf.data.chat import encode_rated
from rlhf.errors import GuardError, RecipeError
from rlhf.job import Job
from rlhf.recipe import parse
from rlhf.runner import run
from rlhf.weights import find
from stages.dpo.config import DPOConfig
from stages.dpo.run import trl_losses
from stages.kto.config import KTOConfig
from stages.kto.run import _balance
from stages.kto.run import _with_reference as kto_rows
from tests.conftest import metrics_of, small_recipe

STAGE = {"name": "dpo", "model": "tiny", "data": "pairs.jsonl"}


def run_stage(folder: Path, stage: str, recipe: dict[str, Any] | None = None, **settings: Any) -> Artifact:
    raw = small_recipe(folder, "lora", **(recipe or {}))
    config = {**raw["stages"]["dpo"], "stage": stage, **settings}
    raw["stages"] = {"sft": raw["stages"]["sft"], "it": config}
    return run(parse(raw), folder, Screen(quiet=True))["it"]


# ------------------------------------------------------------------------------------------------ losses


@pytest.mark.parametrize("e", [0.1, 0.3])
def test_conservative_dpo_out_of_trls_losses(e: float) -> None:
    names, weights = trl_losses(DPOConfig(**STAGE, label_smoothing=e))
    margin = torch.tensor([-1.5, 0.0, 0.3, 2.0])
    right, flipped = -F.logsigmoid(margin), -F.logsigmoid(-margin)
    trl = {"sigmoid": right, "robust": ((1 - e) * right - e * flipped) / (1 - 2 * e)}
    found = sum(w * trl[name] for name, w in zip(names, weights, strict=True))
    torch.testing.assert_close(found, (1 - e) * right + e * flipped)


def test_losses_and_their_weights() -> None:
    assert trl_losses(DPOConfig(**STAGE)) == (["sigmoid"], [1.0])
    mixed = DPOConfig(**STAGE, loss={"sigmoid": 0.8, "bco_pair": 0.2}, sft_coef=0.5)
    assert trl_losses(mixed) == (["sigmoid", "bco_pair", "sft"], [0.8, 0.2, 0.5])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"loss": "ipo", "label_smoothing": 0.1}, "loss 'ipo' does not read label_smoothing"),
        ({"loss": "exo_pair"}, "needs label_smoothing above 0"),
        ({"loss": {}}, "name at least one loss"),
        ({"loss": "robust"}, "loss 'robust' without label_smoothing is 'sigmoid'"),
        ({"loss": "aot", "train": {"micro_batch_size": 1}}, "loss 'aot' sorts a micro-batch"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        DPOConfig(**STAGE, **settings)


EVERY = ["sigmoid_norm", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "aot",
         "aot_unpaired", "apo_zero", "apo_down", "discopop"]  # fmt: skip


def test_every_loss_trains_from_the_reference(tmp_path: Path) -> None:
    """All in one run: the parent is made once. Each starts at its reference, which the guard has seen."""
    raw = small_recipe(tmp_path, "lora")
    pairs = raw["stages"]["dpo"]
    smooth = {"robust": 0.1, "exo_pair": 0.1, "aot": 0.1}
    stages = {
        name: {**pairs, "stage": "dpo", "loss": name, "label_smoothing": smooth.get(name, 0.0), "sft_coef": 0.1}
        for name in EVERY
    }
    raw["stages"] = {"sft": raw["stages"]["sft"], **stages}
    made = run(parse(raw), tmp_path, Screen(quiet=True))
    for name in EVERY:
        first, *_, last = [line for line in metrics_of(made[name].folder) if "loss" in line]
        assert abs(first["rewards/chosen"]) < 1e-5 and abs(first["rewards/rejected"]) < 1e-5, name
        assert math.isfinite(last["loss"]) and last["loss"] != first["loss"], name


def test_without_a_reference_there_is_no_guard(tmp_path: Path) -> None:
    first = metrics_of(run_stage(tmp_path, "dpo", reference_free=True).folder)[0]
    assert first["rewards/chosen"] < -0.1  # beta times a log-probability


def test_orpo_simpo_and_cpo_start_at_the_losses_by_hand(tmp_path: Path) -> None:
    """Before the first step, from the log-probabilities they log; one row in a batch, so that means are that
    row's. Each counts the same tokens of the same rows."""
    train = {"batch_size": 1, "max_steps": 2, "lr": 1e-3, "log_every": 1}
    raw = small_recipe(tmp_path, "lora")
    pairs = {**raw["stages"]["dpo"], "train": train}
    stages = {name: {**pairs, "stage": name} for name in ("orpo", "simpo", "cpo", "dpo", "reward")}
    raw["stages"] = {"sft": raw["stages"]["sft"], **stages}
    made = run(parse(raw), tmp_path, Screen(quiet=True))
    tokens = {name: [line.get("num_tokens") for line in metrics_of(made[name].folder)[:2]] for name in stages}
    assert 0 < tokens["dpo"][0] < tokens["dpo"][1]  # which TRL counts
    assert tokens == dict.fromkeys(stages, tokens["dpo"])
    line = {name: metrics_of(made[name].folder)[0] for name in ("orpo", "simpo", "cpo")}
    said = line["orpo"]
    mean = {side: said[f"logps_per_token/{side}"] for side in ("chosen", "rejected")}
    assert said["nll"] == pytest.approx(-mean["chosen"], abs=1e-5)
    odds = {side: m - math.log(-math.expm1(m)) for side, m in mean.items()}
    expected = said["nll"] + 0.1 * math.log1p(math.exp(odds["rejected"] - odds["chosen"]))
    assert said["loss"] == pytest.approx(expected, abs=1e-4)
    margin = 2.0 * (mean["chosen"] - mean["rejected"]) - 1.0
    assert line["simpo"]["loss"] == pytest.approx(math.log1p(math.exp(-margin)), abs=1e-4)
    apart = 0.1 * (said["logps/chosen"] - said["logps/rejected"])
    assert line["cpo"]["loss"] == pytest.approx(math.log1p(math.exp(-apart)) + said["nll"], abs=1e-4)


# ------------------------------------------------------------------------------------------------ the reference


def test_the_reference_is_read_once_and_kept_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLHF_CACHE", str(tmp_path / "cache"))
    run_stage(tmp_path, "dpo")
    kept = sorted((tmp_path / "cache" / "reference").glob("*.sealed"))
    assert len(kept) == 2  # of the rows to train on, and of those held out
    monkeypatch.setattr(reference.evaluate, "answer_logprobs", lambda *_: pytest.fail("was read again"))
    run_stage(tmp_path, "dpo", beta=0.5)
    monkeypatch.undo()
    monkeypatch.setenv("RLHF_CACHE", str(tmp_path / "cache"))
    run_stage(tmp_path, "dpo", model="tiny")  # another parent
    assert len(list((tmp_path / "cache" / "reference").glob("*.sealed"))) == 4


def test_a_kept_reference_of_another_model_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLHF_CACHE", str(tmp_path / "cache"))
    run_stage(tmp_path, "dpo")
    for path in (tmp_path / "cache" / "reference").glob("*.sealed"):
        known = reference._read(path)
        assert known is not None
        reference._keep(path, known + 0.5)
    with pytest.raises(GuardError, match="the reference is not the policy's parent"):
        run_stage(tmp_path, "dpo", beta=0.5)


@pytest.mark.parametrize(("beta", "off", "stops"), [(5.0, 1e-6, False), (0.01, 1e-4, True)])
def test_a_wrong_reference_shows_whatever_beta_is(beta: float, off: float, stops: bool) -> None:
    """Rounding of a long answer times a large beta is none; a token's difference times a small one is."""
    answers = [[0] * 300]
    guard = training.StartsAtReference.of("fp32", beta, answers)
    said = {"loss": 0.7, "rewards/chosen": beta * 300 * off, "rewards/rejected": 0.0}
    with pytest.raises(GuardError) if stops else nullcontext():
        guard.on_log(None, SimpleNamespace(global_step=1), None, said)


@pytest.mark.parametrize(
    ("said", "in_pairs", "stops"),
    [
        ({}, True, True),
        ({"rewards/chosen": 0.0}, True, True),
        ({"rewards/chosen": 0.0}, False, False),  # a batch of good answers alone
        ({}, False, True),
        ({"rewards/chosen": 0.0, "rewards/rejected": math.nan}, True, True),
    ],
    ids=str,
)
def test_a_trainer_that_does_not_say_where_it_starts_is_stopped(
    said: dict[str, float], in_pairs: bool, stops: bool
) -> None:
    guard, first = training.StartsAtReference.of("fp32", 0.1, [[0]], in_pairs), SimpleNamespace(global_step=1)
    guard.on_train_begin(None, SimpleNamespace(global_step=0), None)
    with pytest.raises(GuardError):
        guard.on_train_end(None, first, None)
    with pytest.raises(GuardError) if stops else nullcontext():
        guard.on_log(None, first, None, {"loss": 0.7, **said})
        guard.on_train_end(None, first, None)
    guard.on_train_begin(None, first, None)
    guard.on_train_end(None, first, None)  # what goes on is asked otherwise


@pytest.mark.parametrize("who", ["the reference", "the model"])
def test_a_resumed_stage_whose_models_are_not_what_they_were_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    train = {"batch_size": 8, "max_steps": 3, "lr": 1e-3, "checkpoint_every": 1}
    finish = Job.finish

    def killed(job: Job, *given: Any) -> Artifact:
        if job.config.name == "it":
            raise KeyboardInterrupt
        return finish(job, *given)

    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(Job, "finish", killed)
        run_stage(tmp_path, "dpo", train=train)
    if who == "the reference":
        logprobs = reference.logprobs
        monkeypatch.setattr(reference, "logprobs", lambda *given: [value - 1 for value in logprobs(*given)])
    else:
        monkeypatch.setattr(checkpoint, "copy_into", lambda *_: None)
    with pytest.raises(GuardError, match=f"{who} is .* away from what it was"):
        run_stage(tmp_path, "dpo", train=train)


def test_the_reference_is_read_without_dropout(tmp_path: Path) -> None:
    """Also by a trunk that is transformers' own, which would drop out in training mode."""
    how = {"kind": "lora", "r": 4, "dora": True, "dropout": 0.5}
    made = run_stage(tmp_path, "dpo", {"backend": how})
    assert abs(metrics_of(made.folder)[0]["rewards/chosen"]) < 1e-5


def test_new_tokens_are_part_of_what_a_reference_is_known_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLHF_CACHE", str(tmp_path / "cache"))
    run_stage(tmp_path, "dpo")
    run_stage(tmp_path, "dpo", new_tokens=["<think>"])
    assert len(list((tmp_path / "cache" / "reference").glob("*.sealed"))) == 4


def test_a_damaged_cache_is_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is cut short, and one of as many finite numbers of which one is another."""
    monkeypatch.setenv("RLHF_CACHE", str(tmp_path / "cache"))
    first = run_stage(tmp_path, "dpo")
    cut, changed = sorted((tmp_path / "cache" / "reference").glob("*.sealed"), key=lambda path: path.stat().st_size)
    cut.write_bytes(cut.read_bytes()[:40])
    content = changed.read_bytes()
    changed.write_bytes(content[:-6] + bytes([content[-6] ^ 1]) + content[-5:])
    again = run_stage(tmp_path, "dpo", beta=0.5)
    assert metrics_of(again.folder)[0]["logps/chosen"] == metrics_of(first.folder)[0]["logps/chosen"]


def test_a_cache_that_cannot_be_written_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("RLHF_CACHE", str(tmp_path / "file"))
    assert run_stage(tmp_path, "dpo").metrics["steps"] == 3
    assert "cannot be kept (Not a directory)" in capsys.readouterr().err.replace("\n", " ")


def test_a_full_cache_disk_is_told_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RLHF_CACHE", str(tmp_path / "cache"))
    put = reference.disk.put

    def full(path: Path, content: Any) -> None:
        if path.suffix == ".sealed":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        put(path, content)

    monkeypatch.setattr(reference.disk, "put", full)
    assert run_stage(tmp_path, "dpo").metrics["steps"] == 3
    assert "cannot be kept (No space left on device)" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("how", ["size", "threads", "type", "device"])
def test_what_changes_the_bits_of_a_reference_changes_its_name(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another batch size, number of threads, type or device sums in another order."""
    weights = SimpleNamespace(adapters=[], identity="same")
    chat = SimpleNamespace(tokenizer=[], new_ids=[])

    def key(size: int = 4, dtype: torch.dtype = torch.float32, device: str = "cpu") -> str:
        backend = SimpleNamespace(dtype=dtype, device=torch.device(device), quantisation=lambda _: "")
        return reference._key(SimpleNamespace(weights=weights, chat=chat, how=backend), [([1], [2])], size)  # type: ignore[arg-type]

    first = key()
    assert key() == first
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a device")
    if how == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 97)
    other = {"size": {"size": 8}, "threads": {}, "type": {"dtype": torch.bfloat16}, "device": {"device": "cuda"}}[how]
    assert key(**other) != first  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ kto


def rated(good: int, bad: int) -> list[dict[str, Any]]:
    return [{"numbers": {"label": 1.0}}] * good + [{"numbers": {"label": 0.0}}] * bad


def test_good_and_bad_weigh_alike() -> None:
    assert _balance(rated(10, 10)) == 1.0
    assert _balance(rated(10, 20)) == 2.0
    assert _balance(rated(1, 100)) == 4.0  # at most


def test_kto_needs_both_kinds(tmp_path: Path) -> None:
    from rlhf.errors import DataError

    rows = "\n".join(f'{{"prompt": "q{i}", "completion": "a{i}", "label": true}}' for i in range(20))
    (tmp_path / "good.jsonl").write_text(rows)
    with pytest.raises(DataError, match="answers to train on are good; KTO learns from both kinds"):
        run_stage(tmp_path, "kto", data={"path": str(tmp_path / "good.jsonl"), "max_length": 64})


def test_kto_on_unpaired_answers(tmp_path: Path) -> None:
    rows = "\n".join(
        f'{{"prompt": "question {i}", "completion": "answer {i}", "label": {str(i % 3 == 0).lower()}}}'
        for i in range(40)
    )
    (tmp_path / "rated.jsonl").write_text(rows)
    made = run_stage(tmp_path, "kto", data={"path": str(tmp_path / "rated.jsonl"), "max_length": 64})
    first = metrics_of(made.folder)[0]
    weight = made.metrics["desirable_weight"]
    assert weight > 1.2 and abs(first["kl"]) < 1e-4
    assert made.data["train"]["used"] == made.data["file"]["used"]
    assert 0.5 * min(weight, 1.0) - 1e-4 <= first["loss"] <= 0.5 * weight + 1e-4  # a half of each row's weight


def test_kto_sets_no_row_beyond_the_room(tmp_path: Path) -> None:
    """Neither an answer to a long prompt that belongs to a short one, nor the user's words in an answer."""
    short, long = "a", "where is my lamp " * 4
    talk = [{"role": role, "content": text} for role, text in (("assistant", "b"), ("user", "c"), ("assistant", "d"))]
    rows: list[dict[str, Any]] = [{"prompt": short, "completion": long, "label": True}] * 10
    rows += [{"prompt": long, "completion": f"no {i}", "label": False} for i in range(20)]
    rows += [{"chosen": [{"role": "user", "content": "a"}, *talk], "rejected": [{"role": "user", "content": "a"},
              {"role": "assistant", "content": "e"}]}]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    raw = small_recipe(tmp_path, "lora")
    data = DataConfig.model_validate({"path": tmp_path / "rows.jsonl", "max_length": 48, "eval_fraction": 0})
    config = KTOConfig.model_validate({"name": "kto", "model": "tiny", "data": data, "backend": raw["backend"]})
    job = Job.start(config, {"model": find(config.model, {})}, "labels", tmp_path)
    encoded, ledger = encode_rated(job.split.train, job.chat, job.max_length)
    assert ledger["dropped"] == {"parts before the last turn": 1}
    model = job.how.load(job.weights, job.chat)
    tracker = SimpleNamespace(screen=Screen(quiet=True))
    found = kto_rows(config, job, job.role(model), encoded, tracker)  # type: ignore[arg-type]
    assert max(len(row["prompt_ids"]) + len(row["KL_completion_ids"]) for row in found) <= 48


def test_kto_of_single_rows_is_refused(tmp_path: Path) -> None:
    raw = small_recipe(tmp_path, "lora")
    raw["stages"] = {
        "kto": {**raw["stages"]["dpo"], "model": "tiny", "train": {"batch_size": 4, "micro_batch_size": 1}}
    }
    with pytest.raises(RecipeError, match="micro_batch_size must be 2 or more"):
        parse(raw)
