"""The runner: what is done is kept, what is torn is done again, and no stage starts from a stale parent."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rlhf import progress, runner
from rlhf.artifact import FILE, Artifact, read, write
from rlhf.console import Screen
from rlhf.errors import ArtifactError, GuardError, RecipeError
from rlhf.recipe import parse
from rlhf.runner import run, stage_hash
from tests.conftest import small_recipe


def short(folder: Path, **train: Any) -> dict[str, Any]:
    """SFT and reward, one step each."""
    raw = small_recipe(folder, "lora")
    raw["stages"] = {name: raw["stages"][name] for name in ("sft", "reward")}
    for stage in raw["stages"].values():
        stage["train"] |= {"max_steps": 1, **train}
    return raw


def go(folder: Path, only: str | None = None, **train: Any) -> dict[str, Artifact]:
    return run(parse(short(folder, **train)), folder, Screen(quiet=True), only=only)


def written(made: Artifact) -> int:
    return (made.folder / FILE).stat().st_mtime_ns


def test_one_stage_starts_from_parents_that_ran_as_the_recipe_says(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="starts from 'sft', which has not run with these settings: rlhf run lora"):
        go(tmp_path, only="reward")
    sft = go(tmp_path, only="sft")["sft"]
    assert go(tmp_path, only="reward")["reward"].parents == {"model": sft.hash}
    with pytest.raises(ArtifactError, match="which has not run with these settings"):
        go(tmp_path, only="reward", lr=3e-4)


def test_a_stage_stopped_just_before_its_last_rename_is_taken_over(tmp_path: Path) -> None:
    first = go(tmp_path)
    home = first["sft"].folder
    home.rename(home.with_name(".sft.partial"))
    again = go(tmp_path)
    assert written(again["sft"]) == written(first["sft"]) and again["sft"].folder == home


def test_a_kill_while_the_settings_were_written_leaves_nothing(tmp_path: Path) -> None:
    left = tmp_path / "lora" / f".{progress.SETTINGS}.7.partial"
    left.parent.mkdir()
    left.write_text("stages:")
    go(tmp_path, only="sft")
    assert not left.exists() and (tmp_path / "lora" / progress.SETTINGS).is_file()


def test_a_torn_stage_is_run_again(tmp_path: Path) -> None:
    first = go(tmp_path)
    (first["sft"].folder / FILE).write_text('{"format": 1')
    again = go(tmp_path)
    assert again["sft"].hash == first["sft"].hash
    assert written(again["reward"]) == written(first["reward"])


def test_a_whole_model_that_was_damaged_is_made_again(tmp_path: Path) -> None:
    """Of the same size, and of bytes that are numbers as well."""
    raw = short(tmp_path)
    raw["backend"], raw["stages"] = {"kind": "full"}, {"sft": raw["stages"]["sft"]}
    made = run(parse(raw), tmp_path, Screen(quiet=True))["sft"]
    weights = made.model / "model.safetensors"
    whole, blob = weights.read_bytes(), bytearray(weights.read_bytes())
    blob[-1] ^= 1
    weights.write_bytes(blob)
    again = run(parse(raw), tmp_path, Screen(quiet=True))["sft"]
    assert again.base == made.base and weights.read_bytes() == whole


def test_a_record_that_trusts_code_that_the_recipe_does_not_is_no_record(tmp_path: Path) -> None:
    made = go(tmp_path, only="sft")["sft"]
    assert made.base is not None
    write(replace(made, base=replace(made.base, trust_remote_code=True)), made.folder)
    again = go(tmp_path, only="sft")["sft"]
    assert again.base == made.base and read(made.folder).base == made.base


def test_a_secret_is_masked_where_settings_are_written_and_counts_all_the_same(tmp_path: Path) -> None:
    raw = short(tmp_path)
    raw["stages"] = {"sft": raw["stages"]["sft"]}
    raw["description"] = "after https://me:a-password@host/?key=a-key"
    run(parse(raw), tmp_path, Screen(quiet=True))
    locked = (tmp_path / "lora" / "recipe.lock.yaml").read_text()
    assert "https://***@host/?key=***" in locked and "a-password" not in locked and "a-key" not in locked
    rewards = {"mine": {"url": "http://host/?key=a-key"}}
    ppo = {"model": "tiny", "rewards": rewards, "data": raw["stages"]["sft"]["data"]}
    one = parse({**raw, "stages": {"ppo": ppo}}).stages["ppo"]
    other = parse({**raw, "stages": {"ppo": {**ppo, "rewards": {"mine": {"url": "http://host/?key=b-key"}}}}})
    assert stage_hash(one, {}) != stage_hash(other.stages["ppo"], {})


def test_a_stage_whose_adapter_was_damaged_is_run_again_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reward = go(tmp_path)["reward"]
    path = reward.model / "adapter_model.safetensors"
    right = path.read_bytes()
    path.write_bytes(right[:-1] + bytes([right[-1] ^ 1]))
    again = go(tmp_path)
    assert path.read_bytes() == right and again["reward"].hash == reward.hash
    assert "is not what the stage wrote there: it runs again" in capsys.readouterr().err.replace("\n", " ")


def test_models_from_outside_are_found_before_the_first_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = short(tmp_path)
    raw["stages"]["evaluate"] = {"policy": {"stage": "sft"}, "baseline": "someone/not-there"}
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ArtifactError, match="'someone/not-there' could not be fetched"):
        run(parse(raw), tmp_path, Screen(quiet=True))
    assert not (tmp_path / "lora" / "stages" / "sft").exists()


def test_a_policy_from_another_run_is_no_reward_model(tmp_path: Path) -> None:
    """Known when the recipe is checked: the artifact says what it is."""
    sft = go(tmp_path, only="sft")["sft"]
    raw = short(tmp_path)
    raw["stages"]["evaluate"] = {"policy": {"stage": "sft"}, "reward_model": str(sft.folder), "preferences": {}}
    raw["stages"]["evaluate"]["preferences"] = raw["stages"]["reward"]["data"]
    with pytest.raises(RecipeError, match=r"reward_model names '.*sft', which is a policy, not a reward"):
        parse(raw)


def test_the_same_recipe_makes_the_same_weights(tmp_path: Path) -> None:
    one, two = (run(parse(short(tmp_path)), tmp_path / name, Screen(quiet=True)) for name in ("one", "two"))
    for name in one:
        for file in one[name].model.glob("*.safetensors"):
            assert file.read_bytes() == (two[name].model / file.name).read_bytes(), file


def test_a_run_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    recipe = parse(short(tmp_path))
    (tmp_path / "taken").touch()
    with pytest.raises(RecipeError, match="name another with --out"):
        run(recipe, tmp_path / "taken", Screen(quiet=True))


def test_two_runs_in_one_folder_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import stages.sft.run as sft

    inner: list[str] = []

    def second(*_: Any) -> Artifact:
        with pytest.raises(RecipeError, match="another run is at work here"):
            go(tmp_path)
        inner.append("refused")
        raise RecipeError("enough")

    monkeypatch.setattr(sft, "run", second)
    with pytest.raises(RecipeError, match="enough"):
        go(tmp_path)
    assert inner == ["refused"]


def test_an_edited_rule_is_another_stage(tmp_path: Path) -> None:
    """Files count by content wherever they are named, inside `rewards` too."""
    rule = tmp_path / "rule.py"
    raw = small_recipe(tmp_path, "lora")
    rewards = {"mine": {"rule": {"file": str(rule), "trust_code": True}}}
    raw["stages"] = {"ppo": {**raw["stages"]["ppo"], "model": "tiny", "reward_model": None, "rewards": rewards}}
    keys = []
    for value in ("1.0", "1.0", "2.0"):
        rule.write_text(f"def score(messages, response):\n    return {value}\n")
        keys.append(stage_hash(parse(raw).stages["ppo"], {}))
    assert keys[0] == keys[1] != keys[2]


def test_another_version_of_a_hub_dataset_is_another_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = short(tmp_path)
    raw["stages"]["sft"]["data"] = {"mix": [{"hub": "a/b"}, {"path": raw["stages"]["sft"]["data"]["path"]}]}
    stage, keys = parse(raw).stages["sft"], []
    for held in ("of Monday", "of Monday", "of Tuesday"):
        monkeypatch.setattr("rlhf.data.files.hub_hash", lambda source, held=held: f"{source.hub} {held}")
        keys.append(stage_hash(stage, {}))
    assert keys[0] == keys[1] != keys[2]


def test_rules_of_stages_that_are_left_out_do_not_run(tmp_path: Path) -> None:
    (tmp_path / "rule.py").write_text("raise SystemExit\ndef score(messages, response): ...\n")
    raw = short(tmp_path)
    raw["stages"]["ppo"] = {
        "rewards": {"mine": {"rule": {"file": str(tmp_path / "rule.py"), "trust_code": True}}},
        "data": raw["stages"]["sft"]["data"],
    }
    assert list(run(parse(raw), tmp_path, Screen(quiet=True), only="sft")) == ["sft"]


def test_an_edit_anywhere_in_our_code_is_another_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mend of a loss or of how models are loaded must not leave what was made without it as unchanged."""
    deep = tmp_path / "some_package" / "rl" / "losses.py"
    deep.parent.mkdir(parents=True)
    (tmp_path / "some_package" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    hashes = []
    for source in ("x = 1", "x = 1", "x = 2"):
        deep.write_text(source)
        hashes.append(runner.code_hash.__wrapped__("some_package"))
    assert hashes[0] == hashes[1] != hashes[2]
    key = stage_hash(parse(short(tmp_path)).stages["sft"], {})
    monkeypatch.setattr(runner, "code_hash", lambda package: "edited" if package == "rlhf" else hashes[0])
    assert stage_hash(parse(short(tmp_path)).stages["sft"], {}) != key


def test_a_rule_that_does_not_run_is_told_before_the_first_stage(tmp_path: Path) -> None:
    (tmp_path / "rule.py").write_text("import nowhere_to_be_found\ndef score(messages, response): ...\n")
    raw = short(tmp_path)
    raw["stages"]["ppo"] = {
        "rewards": {"mine": {"rule": {"file": str(tmp_path / "rule.py"), "trust_code": True}}},
        "data": raw["stages"]["sft"]["data"],
    }
    with pytest.raises(RecipeError, match=r"rule\.py does not run: ModuleNotFoundError"):
        run(parse(raw), tmp_path, Screen(quiet=True))
    assert not (tmp_path / "lora" / "stages" / "sft").exists()


def test_nothing_held_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = short(tmp_path)
    del raw["stages"]["reward"]
    raw["stages"]["sft"]["data"]["eval_fraction"] = 0
    run(parse(raw), tmp_path, Screen(quiet=True))
    assert "no row is held out" in capsys.readouterr().err


def test_a_stage_that_fails_leaves_word_until_it_runs_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Artifact:
        raise GuardError("the loss is not finite")

    with monkeypatch.context() as broken, pytest.raises(GuardError):
        broken.setattr("stages.sft.run.run", fail)
        go(tmp_path, only="sft")
    first = progress.read(tmp_path / "lora").stages[0]
    assert (first.state, first.why) == ("failed", "the loss is not finite")
    made = go(tmp_path, only="sft")["sft"]
    assert progress.read(tmp_path / "lora").stages[0].state == "done" and not (made.folder / progress.FAILED).exists()
