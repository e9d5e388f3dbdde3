"""The `rlhf` command. Thin: parses words, calls one function, prints. Imports nothing heavy before it is needed."""

import json
import shlex
import signal
import sys
import traceback
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rlhf import cli_data, cli_label, cli_models, cli_plan, cli_reports, cli_runs
from rlhf.cli_shared import AsJson, Model
from rlhf.streams import outlive_readers, stop_signals

if TYPE_CHECKING:
    from rlhf.artifact import Artifact
    from rlhf.recipe import Recipe

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Alignment by fine-tuning: SFT, reward models, PPO and DPO on one frozen trunk.",
)

app.add_typer(cli_data.app, name="data")
for other in (cli_plan, cli_runs, cli_reports, cli_label, cli_models):
    app.add_typer(other.app)

Out = Annotated[Path, typer.Option("--out", help="Folder that holds the run folders.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Run finished stages again.")]
Words = Annotated[
    list[str] | None, typer.Argument(metavar="[RECIPE] [KEY=VALUE]...", help="A recipe, and settings to change.")
]


def main() -> None:
    """Entry point: what a user caused is one clear line and exit code 2 (4 when a guard stopped the run)."""
    from rlhf.errors import RLHFError
    from rlhf.privacy import masked, no_unasked_traffic

    no_unasked_traffic()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # what a terminal cannot show stands there as its number
    for number in stop_signals():  # how a scheduler stops a job, and a terminal that is closed: as Ctrl-C does
        signal.signal(number, signal.default_int_handler)
    try:
        app()
    except RLHFError as error:
        _fail(str(error), error.exit_code)
    except SystemExit as leaving:  # typer's own: 130 for an interrupt, 2 for words it does not know
        if leaving.code == 130:
            _fail("interrupted; run the same command again: it goes on from what is finished", 3)
        if leaving.code and "--json" in sys.argv:
            _fail("the command's words are wrong; see above", 2)
        raise
    except Exception as error:
        if why := _not_ours(error):
            _fail(why, 2)
        print(masked(traceback.format_exc()), file=sys.stderr, end="")
        sys.exit(1)


def _not_ours(error: BaseException) -> str:
    """What a path or a disk of the user's did not allow, with its name where it is known; empty for a bug of ours."""
    from rlhf import disk
    from rlhf.resources import is_installed

    path = getattr(error, "filename", None)
    if isinstance(path, str | Path) and is_installed(Path(path)):
        return ""
    where = f"{path}: " if path else ""
    if reason := disk.refused(error):
        return f"{where}the disk does not do what is asked of it ({reason}); make room there, or take another disk"
    reason = disk.unreachable(error)
    told = where or f"{error}: "
    return f"{told}cannot be read or written ({reason}); name another path, or mend this one" if reason else ""


def _fail(words: str, exit_code: int) -> None:
    """Say what went wrong, to a machine too where one listens, and leave."""
    from rlhf.privacy import masked
    from rlhf.visible import visible

    words = visible(masked(words))
    print(words if exit_code == 3 else f"error: {words}", file=sys.stderr)
    if "--json" in sys.argv:
        print(json.dumps({"error": words, "exit_code": exit_code}))
    sys.exit(exit_code)


def _print_version(wanted: bool) -> None:
    if wanted:
        from rlhf import __version__

        print(f"rlhf {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None: ...


# ------------------------------------------------------------------------------------------------ recipes


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="A .yaml file, or the name of a shipped recipe such as quickstart.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change.")] = None,
    out: Out = Path("runs"),
    fresh: Fresh = False,
    fit: Annotated[bool, typer.Option("--fit", help="Set micro-batches and checkpointing to what fits here.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run a recipe; what is done and unchanged is skipped."""
    from rlhf.recipe import load

    asked = load(recipe, overrides or [])
    if fit:
        from rlhf.plan import devices
        from rlhf.plan.plan import fitted

        asked, said = fitted(asked, devices.here())
        print("\n".join(said) or "all stages fit as they are", file=sys.stderr)
    _run(asked, out, fresh, as_json)


@app.command()
def check(
    recipe: Annotated[str, typer.Argument(help="A .yaml file, or the name of a shipped recipe.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Settings to change.")] = None,
    as_json: AsJson = False,
) -> None:
    """Validate a recipe before anything is loaded.

    Every key, value, file and reference; what is wrong is named with its line.
    """
    from rlhf.privacy import masked
    from rlhf.recipe import load

    checked = load(recipe, overrides or [])
    for note in checked.notes:
        print(masked(f"note: {note}"))
    for name, stage in checked.stages.items():
        sources = ", ".join(f"{k}: {r.stage or r.name}" for k, (r, _) in stage.references().items())
        print(f"{name:<12} {stage.stage:<10} → {stage.makes:<11} from {masked(sources)}")
    print(f"{checked.name}: {len(checked.stages)} stages, all valid")
    if as_json:
        print(json.dumps({"recipe": checked.name, "valid": True, "config": masked(checked.resolved())}))


def _single_stage(kind: str, what: str) -> None:
    """Add the command that runs one kind of stage, from a recipe or from flags."""

    def command(
        words: Words = None,
        model: Annotated[str | None, typer.Option(help="Model to start from.")] = None,
        data: Annotated[Path | None, typer.Option(help="File of examples.")] = None,
        backend: Annotated[str | None, typer.Option(help="full, lora or qlora.")] = None,
        reward_model: Annotated[
            str | None, typer.Option(hidden=kind not in ("ppo", "sample"), help="What scores responses.")
        ] = None,
        name: Annotated[str | None, typer.Option(help="Name of the run folder.")] = None,
        out: Out = Path("runs"),
        fresh: Fresh = False,
        as_json: AsJson = False,
    ) -> None:
        from rlhf.recipe import load, one_stage

        words = words or []
        overrides = [word for word in words if "=" in word]
        recipes = [word for word in words if "=" not in word]
        flags = {"model": model, "data": data and {"path": str(data)}, "reward_model": reward_model}
        flags["backend"] = backend and {"kind": backend}
        given = {key: value for key, value in flags.items() if value is not None}
        if len(recipes) > 1:
            raise typer.BadParameter(f"more than one recipe: {' '.join(recipes)}")
        if recipes and given:
            raise typer.BadParameter("give a recipe or --model and --data, not both; change a recipe with key=value")
        if recipes:
            recipe = load(recipes[0], [*overrides, *([f"name={name}"] if name else [])])
            _run(recipe, out, fresh, as_json, only=kind)
        else:
            _run(one_stage(kind, given, overrides, name or kind), out, fresh, as_json)

    command.__doc__ = f"{what} From a recipe, or from --model and --data."
    app.command(kind)(command)


_single_stage("sft", "Supervised fine-tuning only.")
_single_stage("reward", "Train just a reward model.")
_single_stage("dpo", "Direct preference optimisation only.")
_single_stage("kto", "Kahneman–Tversky optimisation only.")
_single_stage("orpo", "Odds ratio preference optimisation only.")
_single_stage("simpo", "Simple preference optimisation only.")
_single_stage("cpo", "Contrastive preference optimisation only.")
_single_stage("sample", "Draw and score a policy's own answers.")
_single_stage("ppo", "Reinforcement learning only.")


@app.command("eval")
def evaluate(
    model: Model,
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Further settings.")] = None,
    prompts: Annotated[Path | None, typer.Option(help="File of prompts to answer.")] = None,
    preferences: Annotated[Path | None, typer.Option(help="File of pairs, to measure reward models on.")] = None,
    demonstrations: Annotated[Path | None, typer.Option(help="File of examples, to measure the loss on.")] = None,
    refusals: Annotated[Path | None, typer.Option(help="File of prompts labelled safe or unsafe.")] = None,
    general_text: Annotated[Path | None, typer.Option(help="File of text that is not to be forgotten.")] = None,
    baseline: Annotated[str | None, typer.Option(help="Policy to compare with; left out: MODEL's parent.")] = None,
    reward_model: Annotated[str | None, typer.Option(help="Judge of answers; left out: MODEL's own.")] = None,
    held_out_reward: Annotated[str | None, typer.Option(help="Reward model that MODEL never saw.")] = None,
    system: Annotated[str | None, typer.Option(help="Compare with the base that is told this.")] = None,
    judge: Annotated[str | None, typer.Option(metavar="URL", help="An LLM that judges: http://host/v1.")] = None,
    judge_model: Annotated[str | None, typer.Option(help="Its name there.")] = None,
    judge_token_env: Annotated[str | None, typer.Option(help="Environment variable with its token.")] = None,
    name: Annotated[str, typer.Option(help="Name of the run folder.")] = "eval",
    out: Out = Path("runs"),
    fresh: Fresh = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate a policy or a reward model: is it better, by how much, what did it forget?

    As the stage `evaluate` does in a recipe. Files are held out as a whole.
    """
    from rlhf.ancestry import relatives
    from rlhf.recipe import one_stage
    from rlhf.weights import named

    weights = named(model)
    files = {"prompts": prompts, "preferences": preferences, "demonstrations": demonstrations}
    files |= {"refusals": refusals, "general_text": general_text}
    llm = {"url": judge, "model": judge_model, "token_env": judge_token_env}
    flags = {
        **{field: file and {"path": str(file), "eval_fraction": 1} for field, file in files.items()},
        "baseline": baseline,
        "reward_model": reward_model,
        "held_out_reward": held_out_reward,
        "prompted": system and {"system": system},
        "llm_judge": {key: value for key, value in llm.items() if value is not None} or None,
    }
    given: dict[str, Any] = {key: value for key, value in flags.items() if value is not None}
    if weights.scores and reward_model:
        raise typer.BadParameter("MODEL is a reward model itself; name the other one by --held-out-reward")
    if not weights.scores and prompts and weights.folder is not None:
        given = relatives(weights.folder) | given
    given["reward_model" if weights.scores else "policy"] = model
    _run(one_stage("evaluate", given, overrides or [], name), out, fresh, as_json)


def _run(recipe: "Recipe", out: Path, fresh: bool, as_json: bool, only: str | None = None) -> None:
    from rlhf.console import Screen
    from rlhf.runner import run as run_recipe

    outlive_readers()
    screen = Screen(quiet=as_json)
    done = run_recipe(recipe, out, screen, fresh=fresh, only=only)
    folder = out / recipe.name
    policies = [name for name, made in done.items() if made.makes == "policy"]
    told = cli_reports.report_of(folder, screen)
    screen.say(f"run folder: {folder}")
    if policies:
        screen.say(f"talk to it: rlhf chat {shlex.quote(f'{folder}/stages/{policies[-1]}')}")
    if as_json:
        print(json.dumps(_result(recipe, folder, done) | told))


def _result(recipe: "Recipe", folder: Path, done: "dict[str, Artifact]") -> dict[str, Any]:
    stages = {
        name: {
            "kind": made.stage,
            "makes": made.makes,
            "hash": made.hash,
            "artifact": str(made.folder),
            "metrics": made.metrics,
        }
        for name, made in done.items()
    }
    evaluation = next((made.metrics for made in reversed(done.values()) if made.makes == "evaluation"), None)
    return {"recipe": recipe.name, "folder": str(folder), "stages": stages, "evaluation": evaluation}


# ------------------------------------------------------------------------------------------------ about


@app.command()
def registry(as_json: AsJson = False) -> None:
    """Model families and named models."""
    from dataclasses import asdict

    from rlhf.registry import FAMILIES, MODELS

    print(f"{'name':<26}{'parameters':>11}  {'licence':<18}where")
    for name, named in MODELS.items():
        print(f"{name:<26}{named.parameters:>10.3g}B  {named.licence:<18}{named.hub_id or 'embedded'}")
    print(f"\nfamilies: {', '.join(family.name for family in FAMILIES)}; others work with generic defaults")
    if as_json:
        models = {name: asdict(named) for name, named in MODELS.items()}
        print(json.dumps({"models": models, "families": [family.name for family in FAMILIES]}))


@app.command()
def schema(
    out: Annotated[Path | None, typer.Option("--out", help="Write to a file instead of the screen.")] = None,
    as_json: AsJson = False,
) -> None:
    """JSON schema of recipes, for completion in editors."""
    from rlhf.recipe.schema import schema as recipe_schema

    whole = recipe_schema()
    if out is None:
        print(json.dumps(whole, indent=None if as_json else 2))
        return
    out.write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({"schema": str(out)}) if as_json else f"wrote {out}")


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """What this machine offers.

    Versions, devices, disk, and which keys are set.
    """
    from rlhf.doctor import examine

    findings = examine()
    for name, value in findings.items():
        print(f"{name:<14} {value}")
    if as_json:
        print(json.dumps(findings))


if __name__ == "__main__":
    main()
