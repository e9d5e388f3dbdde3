"""ORPO: the chosen answers' negative log-likelihood, and the odds ratio of both answers (Hong et al. 2024, eq. 6)."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from rlhf import pairs
from rlhf.artifact import Artifact
from rlhf.rl import preferences
from rlhf.tracking import Tracker
from rlhf.weights import Weights
from stages.orpo.config import ORPOConfig


def run(config: ORPOConfig, inputs: Mapping[str, Weights], out: Path, tracker: Tracker) -> Artifact:
    """Train on pairs; write the policy to `out/model`."""

    def loss(answers: pairs.Answers) -> Tensor:
        return config.odds_coef * preferences.orpo(answers.chosen_mean_B, answers.rejected_mean_B)

    return pairs.train(config, inputs, out, tracker, loss, sft_coef=1.0)
