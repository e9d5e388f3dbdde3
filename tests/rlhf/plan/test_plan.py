"""What a recipe is said to need: of stages and backends, of devices, and what it is made to fit by."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks import rules
from benchmarks.common import RESULTS, ROOT
from rlhf import cli, registry
from rlhf.config import LoRA, QLoRA
from rlhf.config.demand import Demand
from rlhf.errors import FitError, RecipeError
from rlhf.fit import set_train
from rlhf.plan import devices
from rlhf.plan.devices import Device, named
from rlhf.plan.lengths import Batch, lengths
from rlhf.plan.memory import LOGIT_ROWS, Setup, need
from rlhf.plan.plan import SPARE, fitted, plan
from rlhf.plan.shape import shape_of
from rlhf.recipe import load, parse
from rlhf.resources import resource
from tests.conftest import small_recipe

GPU_RUNS = json.loads((RESULTS / "gpu-ppo.json").read_text("utf-8"))["arms"]
MEASURED = [name for name, arm in GPU_RUNS.items() if "options" in arm]


@pytest.mark.parametrize("name", MEASURED)
def test_what_was_measured_on_a_card_is_foretold(name: str) -> None:
    """PPO at the shape of Llama 3 8B: within 8 %."""
    arm = GPU_RUNS[name]
    asked, both = arm["options"], arm["options"]["prompt"] + arm["options"]["response"]
    demand = Demand("prompts", copies=1, judges=("reward",), drawn=asked["rollouts"], new_tokens=asked["response"])
    setup = Setup(
        shape_of(registry.MODELS["llama-3.1-8b"].config),
        {"lora": LoRA(), "qlora": QLoRA()}[asked["backend"]],
        "bf16",
        demand,
        named("h200"),
        Batch(asked["micro_tokens"], asked["micro_tokens"], asked["micro_tokens"] // both * asked["response"]),
        accumulates=asked["rollouts"] * both > asked["micro_tokens"],
        checkpointing=not asked["no_checkpointing"],
        judging_adapters=1,
        drawn=Batch(asked["rollouts"] * both, asked["rollouts"] * both, asked["rollouts"] * asked["response"]),
    )
    parts = need(setup)
    of_tensors = sum(parts.values()) - parts["libraries"]  # PyTorch counts its own
    assert of_tensors / 1e9 == pytest.approx(arm["peak_gb"], rel=0.08)


def test_every_stage_is_planned_under_every_backend() -> None:
    made = plan(load("quickstart"), named("h100"), price=2.0)
    assert [stage.name for stage in made.stages] == list(load("quickstart").stages)
    for stage in made.stages[:-1]:
        assert {one.backend for one in (stage.own, *stage.others)} == {"full", "lora", "qlora"}
        peaks = {one.backend: one.peak for one in (stage.own, *stage.others)}
        assert peaks["qlora"] < peaks["lora"] < peaks["full"]
    assert made.fits and made.seconds is not None and made.seconds > 0


def test_a_plan_is_told_to_machines(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.app, ["plan", "quickstart", "--gpu", "24GB", "--price", "2.5", "--json"])
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["device"] == {"name": "a card of 24 GB", "bytes": 24e9} and told["seconds"] is None
    assert told["stages"]["ppo"]["bytes"] == sum(told["stages"]["ppo"]["memory"].values())
    assert told["stages"]["ppo"]["backends"].keys() == {"full", "lora", "qlora"}


def test_logits_exist_for_as_many_rows_as_are_reckoned_with() -> None:
    from rlhf.lm_head import ROWS

    assert LOGIT_ROWS == ROWS


# ------------------------------------------------------------------------------------------------ fitting


def of_model(name: str, **train: Any) -> dict[str, Any]:
    """DPO on pairs of 1,024 tokens each side, which are not here to be read."""
    data = {"hub": "some/pairs", "max_length": 1024}
    return {"name": "large", "model": name, "precision": "bf16", "stages": {"dpo": {"data": data, "train": train}}}


def test_a_stage_that_does_not_fit_is_given_smaller_micro_batches() -> None:
    recipe = parse(of_model("llama-3.1-8b", batch_size=64))
    before = plan(recipe, named("40GB")).stages[0]
    assert not before.own.fits and before.then is not None and before.then.fits
    after, said = fitted(recipe, named("40GB"))
    train = after.stages["dpo"].train  # type: ignore[attr-defined]
    assert 64 % train.micro_batch_size == 0 and train.micro_batch_size < 64 and train.batch_size == 64
    assert said == [f"dpo: train.micro_batch_size {train.micro_batch_size}, for a card of 40 GB"]
    assert plan(after, named("40GB")).stages[0].own.fits
    assert fitted(after, named("40GB")) == (after, [])


def test_activations_are_computed_again_where_one_example_is_too_much() -> None:
    recipe = parse(of_model("llama-3.1-8b", batch_size=1))
    small = Device("small", plan(recipe, named("h100")).stages[0].own.peak)  # and some is to be spared
    after, said = fitted(recipe, small)
    assert after.stages["dpo"].train.gradient_checkpointing  # type: ignore[attr-defined]
    assert said == ["dpo: train.gradient_checkpointing true, for small"]


def test_where_no_setting_helps_another_backend_is_named() -> None:
    recipe = parse({**of_model("llama-3.1-8b"), "backend": "full"})
    with pytest.raises(FitError, match=r"dpo fits with dpo\.backend\.kind=lora .*, and under full with no micro-batch"):
        fitted(recipe, named("40GB"))
    with pytest.raises(FitError, match="dpo fits under no backend: take a smaller model"):
        fitted(recipe, named("4GB"))


def test_a_loss_that_reads_its_micro_batch_is_left_its_size() -> None:
    recipe = parse(of_model("llama-3.1-8b", batch_size=16))
    recipe.stages["dpo"] = recipe.stages["dpo"].model_copy(update={"sft_coef": 1.0})
    made = plan(recipe, named("24GB")).stages[0]
    assert "micro_batch_size" not in made.settings


def test_run_fit_trains_with_what_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = small_recipe(tmp_path, "lora")
    raw["stages"] = {"sft": raw["stages"]["sft"]}
    raw["stages"]["sft"]["train"] |= {"max_steps": 1, "batch_size": 4}
    recipe = parse(raw)
    halved = set_train(recipe.stages["sft"], {"micro_batch_size": 2})
    enough = plan(replace(recipe, stages={"sft": halved}), Device("any", 1e9)).stages[0].own.peak / SPARE
    monkeypatch.setattr(devices, "here", lambda: Device("tight", enough))
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(raw))
    done = CliRunner().invoke(cli.app, ["run", str(path), "--fit", "--out", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    assert "sft: train.micro_batch_size" in done.stderr
    locked = (tmp_path / raw["name"] / "recipe.lock.yaml").read_text()
    assert "micro_batch_size: 2" in locked


# ------------------------------------------------------------------------------------------------ devices, lengths


@pytest.mark.parametrize(
    ("said", "name", "size"),
    [("NVIDIA GeForce RTX 4090", "rtx4090", 24e9), ("H100", "h100", 80e9), ("a100-40gb", "a100-40gb", 40e9),
     ("24GB", "a card of 24 GB", 24e9), ("16 GiB", "a card of 16 GiB", 2**34)],
)  # fmt: skip
def test_cards_are_known_by_name_and_by_memory(said: str, name: str, size: float) -> None:
    assert (named(said).name, named(said).memory) == (name, size)


def test_a_card_that_nobody_knows_is_asked_for_its_memory() -> None:
    with pytest.raises(RecipeError, match=r"no card of that name is known; give its memory, such as 24GB"):
        named("voodoo2")


def test_the_driver_is_asked_which_card_is_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = devices.here()
    assert (found.name, found.rate) == ("NVIDIA H100 80GB HBM3", named("h100").rate)
    assert found.memory == 81559 * 2**20
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert devices.here().is_cpu


def test_lengths_are_those_of_the_tokenizer() -> None:
    from transformers import AutoTokenizer

    base = resource("data_samples/tiny_base")
    stage = load("quickstart").stages["sft"]
    found = lengths(stage.data, "demonstrations", base / "tokenizer.json", 512)  # type: ignore[attr-defined]
    from rlhf.data.load import load as records

    split = records(stage.data, "demonstrations")  # type: ignore[attr-defined]
    assert found.rows == len(split.train)
    tokenizer = AutoTokenizer.from_pretrained(base)
    true = [len(tokenizer.apply_chat_template(one.messages, return_dict=False)) for one in split.train]
    assert found.mean(512) == pytest.approx(sum(true) / len(true), rel=0.05)


def test_an_architecture_that_is_not_known_is_told() -> None:
    with pytest.raises(RecipeError, match="architecture 'mamba': its size cannot be told"):
        shape_of({"model_type": "mamba"})


@pytest.mark.parametrize("name", [name for name, model in registry.MODELS.items() if model.config])
def test_the_sizes_in_the_registry_are_the_models(name: str) -> None:
    model = registry.MODELS[name]
    assert shape_of(model.config).parameters / 1e9 == pytest.approx(model.parameters, rel=5e-3)


def test_planning_imports_nothing_heavy() -> None:
    import subprocess
    import sys

    code = "from rlhf import cli, plan; import sys; cli.app(['plan', 'quickstart'], standalone_mode=False); "
    code += "print([m for m in ('torch', 'transformers', 'datasets') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_rules_of_thumb_in_the_docs_are_those_computed() -> None:
    told = (ROOT / "docs" / "plan.md").read_text("utf-8")
    assert "\n".join(rules.rows()) in told


def test_moments_in_8_bit_take_a_quarter() -> None:
    taken = {}
    for name in ("adamw", "adamw_8bit"):
        recipe = parse({**of_model("llama-3.1-8b", optimizer=name), "backend": "lora"})
        taken[name] = plan(recipe, named("h100")).stages[0].own.memory["optimizer"]
    assert taken["adamw_8bit"] == pytest.approx(taken["adamw"] / 4, rel=0.02)
