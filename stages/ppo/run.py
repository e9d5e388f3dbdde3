"""Reinforcement learning from a reward: PPO, RLOO, GRPO and REINFORCE++, one explicit loop for all (loop.py).

They differ in the advantage estimator and in whether there is a critic. Details and their sources: Huang et al. 2024,
"The N Implementation Details of RLHF with PPO".
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator

from rlhf import checkpoint, gate, text
from rlhf.artifact import Artifact
from rlhf.data.chat import encode_prompts
from rlhf.data.records import Prompt
from rlhf.errors import GuardError, RecipeError
from rlhf.job import Job, check_some_left
from rlhf.measures.trust import training_signs
from rlhf.memory import spent_on
from rlhf.rewards import Reward, WeightedSum
from rlhf.roles import load as load_roles
from rlhf.rollout import Sampling
from rlhf.sources import Sources, model_names, short
from rlhf.tracking import Tracker
from rlhf.weights import Weights
from stages.ppo.config import PPOConfig
from stages.ppo.loop import Loop
from stages.ppo.samples import SHOWN, Samples
from stages.ppo.watch import Watch


def run(config: PPOConfig, inputs: Mapping[str, Weights], out: Path, tracker: Tracker) -> Artifact:
    """Train the policy; write it to `out/model`."""
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    if accelerator.num_processes > 1:
        raise RecipeError("the RL stage runs on one process; start the recipe without a launcher")
    job = Job.start(config, inputs, "prompts", out, accelerator.device)
    models = {short(where): weights for where, weights in inputs.items() if where != "model"}
    room = text.prompt_room(config.name, inputs.values(), config.data.max_length, config.rollout.max_new_tokens)
    records, prompts, ledger = encode_prompts(job.split.train, job.chat, room)
    check_some_left(len(prompts), ledger)
    watching = {name for where, source in config.judges.items() for name in model_names(where, source)}
    watching -= {name for where, source in config.sources.items() for name in model_names(where, source)}
    trained_on = {name: weights for name, weights in models.items() if name not in watching}
    critic = config.rl.critic if config.rl.estimator == "gae" else None
    roles = load_roles(job.how, job.weights, trained_on, job.chat, critic, config.train.freeze_layers, models)
    sources = Sources(models, roles.rewards, job.chat, job.how, config.precision, config.micro_batch_size)
    reward = WeightedSum(
        {short(w): (sources.reward(w, source), source.weight) for w, source in config.sources.items()},
        config.rl.missing_stop_score,
    )
    watch = _watch(config, job, reward, sources, room)
    samples = Samples(records[:SHOWN], prompts[:SHOWN], Sampling.of(config.rollout), config.seed)
    probed = [ids for ids in prompts if len(ids) > 1][:_COMPARED]
    loop = Loop(config, roles, reward, job.chat, accelerator, watch, samples, probed)
    begun = checkpoint.newest(out, tracker.screen.say)
    if begun is not None:
        loop.restore(begun, out)
        tracker.screen.say(f"  going on after rollout {loop.done} of {loop.updates}")
    tracker.rewind(begun.step if begun is not None else -1)
    with spent_on("batch"):
        if begun is None and config.gate != "off":
            _look_at_reward(config, trained_on, loop, records, prompts, tracker)
        metrics = loop.train(records, prompts, tracker, out)
    return job.finish(roles.policy.model, out, {"train": ledger}, metrics)


def _look_at_reward(
    config: PPOConfig,
    judges: Mapping[str, Weights],
    loop: Loop,
    records: Sequence[Prompt],
    prompts: Sequence[list[int]],
    tracker: Tracker,
) -> None:
    """Say, or refuse to go on, when the reward looks easily gamed. Leaves the random state as it was."""
    signs = [f"{name}: {sign}" for name, judge in judges.items() for sign in training_signs(judge.metrics)]
    with checkpoint.aside():
        rollout = loop.rollout(prompts[:_PROBED])
    finished = int(rollout.finished_B.sum())
    if config.rl.missing_stop_score is not None and finished < len(rollout) / 10:
        signs.append(
            f"{finished} of {len(rollout)} answers finished, and the others get rl.missing_stop_score, from which "
            "nothing is learned of what they say: raise rollout.max_new_tokens, or set rl.missing_stop_score: null"
        )
    found, metrics = gate.probe_signs(loop.reward, records[:_PROBED], rollout, loop.chat)
    tracker.log(metrics, 0)
    if signs + found and config.gate == "refuse":
        raise GuardError("the reward looks easily gamed: " + "; ".join(signs + found))
    if len(rollout) > 1 and metrics["gate/score_std"] == 0:  # where success is rare, no sign of being gamed
        found.append(f"all of {len(rollout)} answers score alike, and from such scores nothing is learned")
    for sign in signs + found:
        tracker.screen.say(f"  warning: {sign}")


_PROBED = 32
"""Prompts on which the reward is looked at."""
_COMPARED = 4
"""Prompts on which policy and reference are compared with what they were at a checkpoint."""


def _watch(config: PPOConfig, job: Job, reward: Reward, sources: Sources, room: int) -> Watch | None:
    """What looks at held-out prompts, when asked for. Raises DataError when none is left of them."""
    if config.watch is None:
        return None
    records, prompts, ledger = encode_prompts(job.split.held_out, job.chat, room)
    records, prompts = records[: config.watch.prompts], prompts[: config.watch.prompts]
    check_some_left(len(prompts), ledger, "held-out prompt for `watch`")
    other = config.watch.judge
    judge = WeightedSum({"judge": (sources.reward("watch.judge", other), other.weight)}) if other else reward
    drawn = Sampling.of(config.rollout)
    return Watch(config.watch, records, prompts, reward, judge, drawn, config.seed, config.micro_batch_size)
