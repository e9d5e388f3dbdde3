"""What a TRL trainer calls instead of a model's own forward pass: the trunk, on which no padded token passes a layer.

Families that `Decoder` does not know keep their own.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import SequenceClassifierOutput
from trl.trainer.utils import FusedCausalLMOutput

from rlhf.decoder import Decoder
from rlhf.packing import Packed
from rlhf.trunk import Role


def scores_from_trunk(judge: Role, checkpointing: bool) -> None:
    """Have a trainer that calls the judge's model get its scores from the judge's trunk, with their gradients."""
    if not isinstance(judge.trunk, Decoder):
        return

    def forward(input_ids: Tensor, attention_mask: Tensor, **_: Any) -> SequenceClassifierOutput:
        lengths = tuple(attention_mask.sum(1).tolist())
        with torch.autocast(input_ids.device.type, enabled=False):  # the trunk knows its precision
            scores_BK = judge.all_scores(Packed(input_ids[attention_mask.bool()], lengths, lengths), checkpointing)
        return SequenceClassifierOutput(logits=scores_BK)  # type: ignore[arg-type]

    judge.model.forward = forward


def logprobs_from_trunk(policy: Role, checkpointing: bool) -> None:
    """Have a trainer that calls the policy's model with `labels` get log-probabilities from the policy's trunk.

    As TRL's fused head gives them: one for each token but the first of a row, 0 where the label is -100. Rows are a
    prompt without labels, an answer with them, and padding.
    """
    if not isinstance(policy.trunk, Decoder):
        return

    def forward(input_ids: Tensor, attention_mask: Tensor, labels: Tensor, **_: Any) -> FusedCausalLMOutput:
        labelled_BT = labels != -100
        lengths, starts = (tuple(t.tolist()) for t in (attention_mask.sum(1), labelled_BT.int().argmax(1)))
        with torch.autocast(input_ids.device.type, enabled=False):
            said = policy.said(Packed(input_ids[attention_mask.bool()], lengths, starts), checkpointing)
        place_BT = labelled_BT[:, 1:]

        def table(value_M: Tensor) -> Tensor:
            return value_M.new_zeros(place_BT.shape).masked_scatter(place_BT, value_M)

        return FusedCausalLMOutput(
            log_probs=table(said.logprob_N),  # type: ignore[arg-type]
            entropy=table(said.entropy_N),  # type: ignore[arg-type]
            mean_logits=table(said.mean_logit_N),  # type: ignore[arg-type]
            is_top1=table(said.is_top_N),  # type: ignore[arg-type]
        )

    policy.model.forward = forward
