"""Recipes: what is refused, where the error points, and what it suggests."""

import json
from pathlib import Path

import pytest

from rlhf.errors import RecipeError
from rlhf.recipe import load, parse
from rlhf.recipe.overrides import apply_override
from rlhf.recipe.schema import schema

GOOD = """\
name: test
model: tiny
stages:
  sft:
    data: {path: sft.jsonl}
    train: {lr: 1e-5}
  reward:
    model: {stage: sft}
    data: {path: pairs.jsonl}
  ppo:
    model: {stage: sft}
    reward_model: {stage: reward}
    data: {path: prompts.jsonl}
"""


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load(path, overrides)
    return str(caught.value)


def test_a_good_recipe_resolves_and_parses_again_to_itself(write_recipe) -> None:
    recipe = load(write_recipe(GOOD))
    assert list(recipe.stages) == ["sft", "reward", "ppo"]
    assert recipe.stages["sft"].train.lr == 1e-5
    again = parse(json.loads(json.dumps(recipe.resolved())))
    assert again.stages == recipe.stages


def test_paths_are_relative_to_the_recipe(write_recipe) -> None:
    path = write_recipe(GOOD)
    assert load(path).stages["sft"].data.path == path.parent / "sft.jsonl"


def test_overrides_reach_a_stage_by_its_name(write_recipe) -> None:
    recipe = load(write_recipe(GOOD), ["ppo.rl.kl_coef=0.02", "seed=3", "sft.train.lr=1e-4"])
    assert recipe.stages["ppo"].rl.kl_coef == 0.02
    assert recipe.stages["sft"].train.lr == 1e-4
    assert {stage.seed for stage in recipe.stages.values()} == {3}


def test_a_changed_backend_drops_what_it_does_not_have_and_says_so(write_recipe) -> None:
    path = write_recipe(GOOD.replace("model: tiny", "model: tiny\nbackend: {kind: lora, r: 8, alpha: 16}", 1))
    recipe = load(path, ["backend.kind=full"])
    assert recipe.stages["sft"].backend.kind == "full"
    assert recipe.notes == ["backend.kind=full leaves out r, alpha, which full does not have"]
    assert load(path, ["backend.kind=qlora"]).stages["ppo"].backend.r == 8


def test_an_override_names_a_file_relative_to_the_working_directory(write_recipe, tmp_path, monkeypatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.jsonl").write_text("{}")
    monkeypatch.chdir(tmp_path / "elsewhere")
    recipe = load(write_recipe(GOOD), ["sft.data.path=mine.jsonl"])
    assert recipe.stages["sft"].data.path == tmp_path / "elsewhere" / "mine.jsonl"


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("lr: 1e-5", "lrr: 1e-5", ":6:13: sft.train.lrr", "did you mean 'lr'?"),
        ("lr: 1e-5", "lr: fast", ":6:13: sft.train.lr", "fast"),
        ("lr: 1e-5", "lr: -1", ":6:13: sft.train.lr", "greater than 0"),
        ("lr: 1e-5", "batch_size: 0", ":6:13: sft.train.batch_size", "greater than or equal to 1"),
        ("model: tiny", "modle: tiny", ":2:1: modle", "did you mean 'model'?"),
        ("  reward:\n", "  rewrad:\n", ":7:3", "did you mean 'reward'?"),
        ("{path: pairs.jsonl}", "{path: a, hub: b}", ":9:5: reward.data", "exactly one of `path`"),
        (
            "reward_model: {stage: reward}",
            "reward_model: {stage: sft}",
            ":12:5",
            "which makes a policy; stages before it that make a reward: 'reward'",
        ),
        ("reward_model: {stage: reward}", "reward_model: {stage: rewards}", ":12:5", "did you mean 'reward'?"),
        ("reward_model: {stage: reward}", "reward_model: {stage: ppo}", ":12:5", "itself"),
        (
            "    model: {stage: sft}\n    data: {path: pairs",
            "    model: {stage: ppo}\n    data: {path: pairs",
            ":8:5",
            "runs after it",
        ),
        (
            "    data: {path: prompts.jsonl}",
            "    data: {path: prompts.jsonl}\n    template: llama3",
            ":14:5",
            "would format text with template 'llama3'",
        ),
        (
            "    data: {path: pairs.jsonl}",
            "    data: {path: prompts.jsonl}\n    backend: {kind: lora, r: 4, dora: true}",
            ":8:5",
            "DoRA's do not add up",
        ),
        (
            "    data: {path: prompts.jsonl}",
            "    data: {path: prompts.jsonl}\n    rl: {estimator: rloo}",
            ":14:5: ppo.rl",
            "set rl.group to 2 or more",
        ),
        (
            "    data: {path: prompts.jsonl}",
            "    data: {path: prompts.jsonl}\n    rl: {estimator: reinforce++, lam: 0.9}",
            ":14:5: ppo.rl",
            "lam does nothing under estimator 'reinforce++'",
        ),
        (
            "    data: {path: prompts.jsonl}",
            "    data: {path: prompts.jsonl}\n    rl: {estimator: grpo, group: 2, gamma: 0.9}",
            ":14:5: ppo.rl",
            "gamma does nothing under estimator 'grpo'",
        ),
        (
            "    data: {path: prompts.jsonl}",
            "    data: {path: prompts.jsonl}\n    rl: {kl_horizon: 100}",
            ":14:5: ppo.rl",
            "kl_horizon does nothing without kl_target",
        ),
        (
            "    data: {path: prompts.jsonl}",
            "    data: {path: prompts.jsonl}\n    rl: {kl_target: 6, kl_horizon: 12}",
            ":10:3: ppo",
            "rl.kl_horizon must be above 12.8",
        ),
        (
            "    data: {path: prompts.jsonl}",
            "    data: {path: prompts.jsonl}\n    rl: {estimator: reinforce++, whiten_rewards: true}",
            ":14:5: ppo.rl",
            "whiten_rewards would pay for length under 'reinforce++'",
        ),
        (
            "    data: {path: prompts.jsonl}",
            "    data: {path: prompts.jsonl}\n    rewards: {r: {rule: {file: r.py, trust_code: true}, timeout_s: 9}}",
            ":14:15: ppo.rewards.r",
            "timeout_s does nothing without a `url`",
        ),
        (
            "    data: {path: prompts.jsonl}",
            "    data: {path: prompts.jsonl}\n    rl: {estimator: reinforce++}\n    train: {value_lr: 1e-3}",
            ":10:3: ppo",
            "train.value_lr does nothing under estimator 'reinforce++'",
        ),
        (
            "    data: {path: prompts.jsonl}",
            "    data: {path: prompts.jsonl}\n    watch: {patience: 2}",
            ":14:5: ppo.watch",
            "name a `judge` of its own",
        ),
        (
            "    data: {path: prompts.jsonl}",
            "    data: {path: prompts.jsonl}\n    watch: {judge: {url: 'http://localhost', weight: 0}}",
            ":14:5: ppo.watch",
            "a judge of weight 0 likes every policy the same",
        ),
        (
            "    data: {path: prompts.jsonl}",
            "    data: {path: prompts.jsonl}\n    rewards: {reward_model: {url: 'http://localhost'}}",
            ":10:3: ppo",
            "may not be called reward_model",
        ),
        ("  sft:\n", "  sft:\n    backend: {kind: lora, rank: 3}\n", ":5:27: sft.backend.rank", "unknown key"),
        ("  sft:\n", "  sft:\n    backend: {kind: lorra}\n", ":5:15: sft.backend.kind", "did you mean 'lora'?"),
    ],
)
def test_errors_name_the_place_and_what_would_work(write_recipe, old, new, place, words) -> None:
    assert old in GOOD
    path = write_recipe(GOOD.replace(old, new, 1))
    message = refused(path)
    assert f"{path}{place}" in message
    assert words in message


def test_missing_files_are_named_before_anything_runs(write_recipe) -> None:
    path = write_recipe(GOOD.replace("{path: pairs.jsonl}", "{path: pairs.json}"))
    message = refused(path)
    assert f"{path}:9:12: reward.data.path: no file" in message
    assert "did you mean 'pairs.jsonl'?" in message


def test_a_template_file_is_relative_to_the_recipe(write_recipe) -> None:
    path = write_recipe(GOOD.replace("model: tiny", "model: tiny\ntemplate: mine.jinja", 1))
    assert "no file" in refused(path)
    (path.parent / "mine.jinja").write_text("{{ messages }}")
    assert load(path).stages["ppo"].template == path.parent / "mine.jinja"


def test_one_file_is_split_alike_by_every_stage(write_recipe) -> None:
    text = GOOD.replace("{path: pairs.jsonl}", "{path: sft.jsonl, eval_fraction: 0.2}")
    assert "what one holds out the other trains on" in refused(write_recipe(text))
    assert load(write_recipe(text), ["sft.data.eval_fraction=0.2"]).stages["reward"].data.eval_fraction == 0.2


def test_duplicate_keys_are_refused(write_recipe) -> None:
    message = refused(write_recipe(GOOD.replace("model: tiny", "model: tiny\nmodel: gpt2", 1)))
    assert ":3:" in message and "duplicate key" in message


def test_broken_yaml_names_its_line(write_recipe) -> None:
    assert "recipe.yaml:2:" in refused(write_recipe("name: test\nstages: {sft: [}\n"))


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words\n"])
def test_a_recipe_is_a_mapping(write_recipe, text) -> None:
    assert "mapping" in refused(write_recipe(text))


def test_a_backend_without_its_kind_is_the_recipes(write_recipe) -> None:
    path = write_recipe(GOOD.replace("model: tiny", "model: tiny\nbackend: {kind: qlora, r: 8}", 1))
    stage = load(path, ["ppo.backend.r=4", "sft.backend.dropout=0.1"]).stages
    assert (stage["ppo"].backend.kind, stage["ppo"].backend.r) == ("qlora", 4)
    assert (stage["sft"].backend.r, stage["sft"].backend.dropout, stage["reward"].backend.r) == (8, 0.1, 8)
    plain = load(write_recipe(GOOD), ["backend.r=4"]).stages["sft"].backend
    assert (plain.kind, plain.r) == ("lora", 4)


def test_what_is_no_parent_is_told_and_not_followed(write_recipe) -> None:
    """A stage that names itself or a later one, whose shape another stage would ask for."""
    more = "  last:\n    stage: dpo\n    model: {stage: again}\n    data: {path: pairs.jsonl}\n"
    again = "  again:\n    stage: dpo\n    model: {stage: sft}\n    data: {path: pairs.jsonl}\n"
    path = write_recipe(GOOD + again + more)
    assert "stages before it that make a policy" in refused(path, "again.model.stage=again")
    assert "which runs after it" in refused(path, "again.model.stage=last")


@pytest.mark.parametrize("tokens", ['[""]', '[" "]', '["<a>", "<a>"]', '[" <a>"]'])
def test_new_tokens_that_are_none_are_refused(write_recipe, tokens: str) -> None:
    assert "new_tokens" in refused(write_recipe(GOOD), f"sft.new_tokens={tokens}")


def test_overrides_that_name_nothing(write_recipe) -> None:
    path = write_recipe(GOOD)
    assert "did you mean 'ppo'?" in refused(path, "pppo.rl.kl_coef=1")
    assert "expected key=value" in refused(path, "ppo.rl.kl_coef")
    assert "unknown key; did you mean 'kl_coef'?" in refused(path, "ppo.rl.kl_cof=1")


def test_unknown_recipe_names_suggest_shipped_ones() -> None:
    with pytest.raises(RecipeError, match="did you mean 'quickstart'"):
        load("quikstart")


def test_apply_override_refuses_to_reach_through_a_number() -> None:
    with pytest.raises(RecipeError, match="is not a block"):
        apply_override({"name": "x", "seed": 3, "stages": {}}, "seed.x=1", [])


def test_schema_knows_every_stage_and_carries_docstrings() -> None:
    whole = schema()
    assert set(whole["properties"]["stages"]["properties"]) >= {"sft", "reward", "dpo", "ppo", "evaluate"}
    assert "KL to the reference" in whole["$defs"]["RLConfig"]["properties"]["kl_coef"]["description"]


def test_shipped_schema_is_current() -> None:
    shipped = Path(__file__).parents[2] / "recipes" / "schema.json"
    assert json.loads(shipped.read_text()) == schema(), "write it again: rlhf schema --out recipes/schema.json"


SHARED = """\
name: test
model: tiny
data: {hub: some/set, subset: part}
stages:
  sft: {}
  dpo: {model: {stage: sft}, data: {max_length: 64}}
  evaluate: {policy: {stage: dpo}, prompts: {path: prompts.jsonl}}
"""


def test_data_named_once_serves_every_stage(write_recipe, tmp_path) -> None:
    path = write_recipe(SHARED)
    stages = load(path).stages
    assert (stages["sft"].data.hub, stages["sft"].data.subset) == ("some/set", "part")
    assert (stages["dpo"].data.hub, stages["dpo"].data.max_length) == ("some/set", 64)
    assert stages["evaluate"].prompts.hub is None  # it has a source of its own
    assert stages["evaluate"].preferences is None  # optional blocks stay out


def test_an_overridden_source_replaces_the_other_kind(write_recipe, tmp_path) -> None:
    (tmp_path / "mine.jsonl").write_text("{}")
    stages = load(write_recipe(SHARED), [f"data.path={tmp_path / 'mine.jsonl'}"]).stages
    assert stages["sft"].data.path == tmp_path / "mine.jsonl"
    assert (stages["sft"].data.hub, stages["sft"].data.subset) == (None, None)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("sft.train.lr=abc", "sft.train.lr: a number is needed"),
        ("sft.train.lr={full: x, lora: 1}", r"sft.train.lr.full: .*got \"x\"$"),
        ("sft.train.lr=inf", "sft.train.lr: a finite number is needed"),
        ("backend.kind=qlroa", "backend.kind: there is no 'qlroa'; did you mean 'qlora'"),
        ("sft.backend={kind: lora, q: 1}", "sft.backend.q: unknown key; known: alpha"),
        ("sft.data=5", "sft.data: a block of settings is needed"),
        ("sft.data.path=sft.json", "sft.data.path: no file .*; did you mean 'sft.jsonl'"),
        ("sft.data.path='*.csv'", r"sft.data.path: .*\*.csv fits no file that can be read"),
        ("sft.template=nowhere", "no chat template 'nowhere'"),
        ("precision=fp8", "precision: must be 'fp32' or 'bf16'"),
        ("ppo.rewards={short: {rule: {file: gone.py, trust_code: true}}}", "ppo.rewards.short.rule.file: no file"),
    ],
)
def test_an_override_that_is_wrong_is_named_once(write_recipe, tmp_path, monkeypatch, override, words) -> None:
    path = write_recipe(GOOD)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match=words) as caught:
        load(path, [override])
    assert str(caught.value).startswith(f"override '{override}': ")
    assert len(str(caught.value).splitlines()) == 1


def test_a_file_alone_is_a_data_block(write_recipe, tmp_path) -> None:
    long = "data: {path: sft.jsonl}"
    assert long in GOOD
    short = load(write_recipe(GOOD.replace(long, "data: sft.jsonl")))
    assert short.stages["sft"].data.path == tmp_path / "sft.jsonl"


def test_a_file_alone_serves_every_stage(write_recipe, tmp_path) -> None:
    stages = load(write_recipe(SHARED.replace("{hub: some/set, subset: part}", "sft.jsonl"))).stages
    assert stages["sft"].data.path == stages["dpo"].data.path == tmp_path / "sft.jsonl"


def test_a_name_is_never_taken_for_a_path(write_recipe, tmp_path, monkeypatch) -> None:
    path = write_recipe(GOOD)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.run").mkdir()
    assert load(path, ["name=my.run"]).name == "my.run"
