"""CPO: both answers against each other, without a reference (Xu et al. 2024, eq. 6)."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from rlhf import pairs
from rlhf.artifact import Artifact
from rlhf.rl import preferences
from rlhf.tracking import Tracker
from rlhf.weights import Weights
from stages.cpo.config import CPOConfig


def run(config: CPOConfig, inputs: Mapping[str, Weights], out: Path, tracker: Tracker) -> Artifact:
    """Train on pairs; write the policy to `out/model`."""

    def loss(answers: pairs.Answers) -> Tensor:
        if config.loss == "hinge":
            return preferences.hinge(answers.chosen_B, answers.rejected_B, config.beta)
        if config.loss == "ipo":
            return preferences.ipo(answers.chosen_mean_B, answers.rejected_mean_B, config.beta)
        return preferences.cpo(answers.chosen_B, answers.rejected_B, config.beta, config.label_smoothing)

    return pairs.train(config, inputs, out, tracker, loss, config.sft_coef)
