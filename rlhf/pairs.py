"""Policies from pairs: TRL's DPOTrainer on our tokens, and on it the losses that need no reference."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from trl.trainer.dpo_config import DPOConfig as TRLConfig
from trl.trainer.dpo_trainer import DPOTrainer

from rlhf import training
from rlhf.artifact import Artifact
from rlhf.config import TrainConfig, TrainingStage
from rlhf.data.chat import encode_preferences
from rlhf.forwards import logprobs_from_trunk
from rlhf.job import Job
from rlhf.tracking import Tracker
from rlhf.weights import Weights

# B pairs, T tokens


class PairTrainer(training.OnTokens, DPOTrainer):
    """DPOTrainer on our rows, with the reference's log-probabilities where a loss needs them."""


class Answers(NamedTuple):
    """What a loss without a reference is made of."""

    chosen_B: Tensor
    """Log-probability of each chosen answer, summed over its tokens."""
    rejected_B: Tensor
    chosen_mean_B: Tensor
    """The same a token."""
    rejected_mean_B: Tensor


Loss = Callable[[Answers], Tensor]


class _OwnLoss(PairTrainer):
    """A loss on the policy's log-probabilities alone, and the demonstrations' term beside it."""

    loss: Loss
    sft_coef: float

    def _compute_loss(self, model: Any, inputs: Mapping[str, Any], return_outputs: bool) -> Any:
        assert not return_outputs, "nothing here asks for logits"
        self.count_tokens(inputs)
        said_BT = inputs["completion_mask"]
        labels_BT = inputs["input_ids"].masked_fill(said_BT == 0, -100)
        words = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        logprob_BT = model(**words, labels=labels_BT, fused_lm_head=True, use_cache=False).log_probs
        sum_B, length_B = logprob_BT.sum(1), said_BT.sum(1)
        answers = Answers(*sum_B.chunk(2), *(sum_B / length_B).chunk(2))
        loss = self.loss(answers)
        nll = -answers.chosen_mean_B.mean()  # a mean of answers' means, so that it is the same in any micro-batches
        self._note(model, answers, nll)
        return loss + self.sft_coef * nll if self.sft_coef else loss

    @torch.no_grad()
    def _note(self, model: Any, answers: Answers, nll: Tensor) -> None:
        right_B = answers.chosen_mean_B > answers.rejected_mean_B
        found = {
            "logps/chosen": answers.chosen_B.mean(),
            "logps/rejected": answers.rejected_B.mean(),
            "logps_per_token/chosen": answers.chosen_mean_B.mean(),
            "logps_per_token/rejected": answers.rejected_mean_B.mean(),
            "accuracies": right_B.float().mean(),
            "nll": nll,
        }
        kept = self._metrics["train" if model.training else "eval"]
        for name, value in found.items():
            kept[name].append(float(value))


def arguments(config: TrainingStage, out: Path) -> dict[str, Any]:
    """What all pair stages tell the trainer: answers fit already, and a reference is in the rows or not needed."""
    return {**training.arguments(config, out), "max_length": None, "precompute_ref_log_probs": True}


def train(
    config: TrainingStage, inputs: Mapping[str, Weights], out: Path, tracker: Tracker, loss: Loss, sft_coef: float
) -> Artifact:
    """The program of a stage whose loss needs no reference: train on pairs; write the policy to `out/model`."""
    assert isinstance(config.train, TrainConfig)
    job = Job.start(config, inputs, "preferences", out)
    train, ledger = encode_preferences(job.split.train, job.chat, job.max_length, one_answer=True)
    held_out, held_out_ledger = encode_preferences(job.split.held_out, job.chat, job.max_length, one_answer=True)
    model = job.how.load(job.weights, job.chat)
    with training.trainable_kept(model):
        trainer = _OwnLoss(
            model=model,
            args=TRLConfig(**arguments(config, out)),
            train_dataset=training.training_set(train, ledger),
            eval_dataset=training.dataset(held_out),
            processing_class=job.chat.tokenizer,
        )
    trainer.loss, trainer.sft_coef = loss, sft_coef
    logprobs_from_trunk(job.role(model), config.train.gradient_checkpointing, in_pairs=True)
    metrics = training.run(trainer, tracker, out, partial(job.live, model))
    return job.finish(model, out, {"train": ledger, "held_out": held_out_ledger}, metrics)
