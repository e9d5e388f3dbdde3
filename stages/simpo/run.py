"""SimPO: the mean log-probability of each answer is its reward (Meng et al. 2024, eq. 6)."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from rlhf import pairs
from rlhf.artifact import Artifact
from rlhf.rl import preferences
from rlhf.tracking import Tracker
from rlhf.weights import Weights
from stages.simpo.config import SimPOConfig


def run(config: SimPOConfig, inputs: Mapping[str, Weights], out: Path, tracker: Tracker) -> Artifact:
    """Train on pairs; write the policy to `out/model`."""

    def loss(answers: pairs.Answers) -> Tensor:
        chosen_B, rejected_B = answers.chosen_mean_B, answers.rejected_mean_B
        return preferences.simpo(chosen_B, rejected_B, config.beta, config.gamma, config.label_smoothing)

    return pairs.train(config, inputs, out, tracker, loss, config.sft_coef)
