"""Reinforcement learning from a reward: PPO, RLOO, GRPO and REINFORCE++, one explicit loop for all (loop.py).

They differ in the advantage estimator and in whether there is a critic. Details and their sources: Huang et al. 2024,
"The N Implementation Details of RLHF with PPO".
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator

from rlhf import checkpoint, gate, rules, text
from rlhf.artifact import Artifact
from rlhf.data.chat import encode_prompts
from rlhf.data.records import Prompt
from rlhf.errors import GuardError, RecipeError
from rlhf.job import Job, check_some_left
from rlhf.reward_model import RewardModel
from rlhf.rewards import EndpointReward, Reward, RoleReward, RuleReward, TextReward, WeightedSum
from rlhf.tracking import Tracker
from rlhf.trunk import Roles
from rlhf.trunk import load as load_roles
from rlhf.weights import Weights
from stages.ppo.config import PPOConfig
from stages.ppo.loop import Loop, sampling_of
from stages.ppo.watch import Watch


def run(config: PPOConfig, inputs: Mapping[str, Weights], out: Path, tracker: Tracker) -> Artifact:
    """Train the policy; write it to `out/model`."""
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    if accelerator.num_processes > 1:
        raise RecipeError("the RL stage runs on one process; start the recipe without a launcher")
    job = Job.start(config, inputs, "prompts", accelerator.device)
    models = {_short(where): inputs[where] for where, source in config.judges.items() if source.model is not None}
    most = _prompt_room(config, [job.weights, *models.values()])
    records, prompts, ledger = encode_prompts(job.split.train, job.chat, most)
    check_some_left(len(prompts), ledger)
    trained_on = {name: weights for name, weights in models.items() if name != _short("watch.judge")}
    critic = config.rl.critic if config.rl.estimator == "gae" else None
    roles = load_roles(job.how, job.weights, trained_on, job.chat, critic, config.train.freeze_layers, models)
    sources = _Sources(config, models, roles, job)
    reward = WeightedSum(
        {_short(w): (sources.reward(w), source.weight) for w, source in config.sources.items()},
        config.rl.missing_stop_score,
    )
    loop = Loop(config, roles, reward, job.chat, accelerator, _watch(config, job, reward, sources, most))
    state = checkpoint.load(out)
    if state is not None:
        loop.restore(state, out)
        tracker.screen.say(f"  going on after rollout {loop.done} of {loop.updates}")
    tracker.rewind(loop.done if state is not None else -1)
    if state is None and config.gate != "off":
        _look_at_reward(config, trained_on, loop, records, prompts, tracker)
    metrics = loop.train(records, prompts, tracker, out)
    return job.finish(roles.policy.model, out, {"train": ledger}, metrics)


def _prompt_room(config: PPOConfig, readers: Sequence[Weights]) -> int:
    """Most tokens of a prompt that the policy and all judges can read to the end of its answer."""
    ends = {weights.called or weights.name: text.positions(weights) or math.inf for weights in readers}
    shortest = min(ends, key=lambda name: ends[name])
    room = ends[shortest] - config.rollout.max_new_tokens - 1  # a judge reads an end too
    if room < 8:
        raise RecipeError(
            f"stage '{config.name}': rollout.max_new_tokens leaves no room for a prompt in '{shortest}', which reads "
            f"{ends[shortest]:.0f} tokens"
        )
    return int(min(config.data.max_length, room))


def _short(where: str) -> str:
    """Name of a source from the field that names it, as an adapter may be called."""
    return where.removeprefix("rewards.").replace(".", "-")


def _look_at_reward(
    config: PPOConfig,
    judges: Mapping[str, Weights],
    loop: Loop,
    records: Sequence[Prompt],
    prompts: Sequence[list[int]],
    tracker: Tracker,
) -> None:
    """Say, or refuse to go on, when the reward looks easily gamed. Leaves the random state as it was."""
    signs = [f"{name}: {sign}" for name, judge in judges.items() for sign in gate.training_signs(judge.metrics)]
    before = checkpoint.random_state()
    rollout = loop.rollout(prompts[:_PROBED])
    checkpoint.set_random_state(before)
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


@dataclass
class _Sources:
    """Makes what scores responses of what the recipe says does."""

    config: PPOConfig
    judges: Mapping[str, Weights]
    roles: Roles
    job: Job

    def reward(self, where: str) -> Reward:
        """What the source in a field of the recipe stands for."""
        source, name = self.config.judges[where], _short(where)
        chat, size = self.job.chat, self.config.micro_batch_size
        if source.rule is not None:
            return RuleReward(rules.load(source.rule), chat)
        if source.url is not None:
            return EndpointReward(source.url, chat, source.timeout_s)
        if name in self.roles.rewards:
            return RoleReward(self.roles.rewards[name], size, chat.stop_ids[0])
        return TextReward(RewardModel.load(self.judges[name], self.config.precision, size, self.job.how), chat)


def _watch(config: PPOConfig, job: Job, reward: Reward, sources: _Sources, most: int) -> Watch | None:
    """What looks at held-out prompts, when asked for. Raises DataError when none is left of them."""
    if config.watch is None:
        return None
    records, prompts, ledger = encode_prompts(job.split.held_out, job.chat, most)
    records, prompts = records[: config.watch.prompts], prompts[: config.watch.prompts]
    check_some_left(len(prompts), ledger, "held-out prompt for `watch`")
    other = config.watch.judge
    judge = WeightedSum({"judge": (sources.reward("watch.judge"), other.weight)}) if other else reward
    return Watch(config.watch, records, prompts, reward, judge, sampling_of(config.rollout), config.seed, [])
