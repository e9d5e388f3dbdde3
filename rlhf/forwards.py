"""What a TRL trainer calls instead of a model's own forward pass: the trunk, on which no padded token passes a layer.

Families that `Decoder` does not know keep their own.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.modeling_outputs import SequenceClassifierOutput
from trl.trainer.utils import FusedCausalLMOutput

from rlhf.decoder import Decoder
from rlhf.lm_head import said
from rlhf.packing import Packed
from rlhf.roles import Role


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

    As TRL's fused head gives them: one for each token but the first of a row, 0 where the label is -100. Rows are
    padded on the right.
    """
    if not isinstance(policy.trunk, Decoder):
        return

    def forward(input_ids: Tensor, attention_mask: Tensor, labels: Tensor, **_: Any) -> FusedCausalLMOutput:
        here_BT, lengths = attention_mask.bool(), tuple(attention_mask.sum(1).tolist())
        labelled_BT = labels[:, 1:] != -100
        before_M = F.pad(labelled_BT, (0, 1))[here_BT].nonzero()[:, 0]  # tokens that a labelled one follows
        with torch.autocast(input_ids.device.type, enabled=False):
            hidden_MD = policy.hidden(Packed(input_ids[here_BT], lengths, lengths), before_M, checkpointing)
            found = said(hidden_MD, policy.lm_head, labels[:, 1:][labelled_BT])

        def table(value_M: Tensor) -> Tensor:
            return value_M.new_zeros(labelled_BT.shape).masked_scatter(labelled_BT, value_M)

        return FusedCausalLMOutput(
            log_probs=table(found.logprob_N),  # type: ignore[arg-type]
            entropy=table(found.entropy_N),  # type: ignore[arg-type]
            mean_logits=table(found.mean_logit_N),  # type: ignore[arg-type]
            is_top1=table(found.is_top_N),  # type: ignore[arg-type]
            label_mask=labelled_BT,  # type: ignore[arg-type]
        )

    policy.model.forward = forward
