"""What a TRL trainer calls instead of a model's own forward pass: the trunk, on which no padded token passes a layer.

Families that `Decoder` does not know keep their own. Rows are padded on the right; where they are in pairs, those of
the second half answer the same prompts as those of the first, which are read once.
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


def scores_from_trunk(judge: Role, checkpointing: bool, in_pairs: bool = False) -> None:
    """Have a trainer that calls the judge's model get its scores from the judge's trunk, with their gradients."""
    if not isinstance(judge.trunk, Decoder):
        return

    def forward(input_ids: Tensor, attention_mask: Tensor, **_: Any) -> SequenceClassifierOutput:
        with torch.autocast(input_ids.device.type, enabled=False):  # the trunk knows its precision
            scores_BK = judge.all_scores(_packed(input_ids, attention_mask, in_pairs), checkpointing)
        return SequenceClassifierOutput(logits=scores_BK)  # type: ignore[arg-type]

    judge.model.forward = forward


def logprobs_from_trunk(policy: Role, checkpointing: bool, in_pairs: bool = False) -> None:
    """Have a trainer that calls the policy's model with `labels` get log-probabilities from the policy's trunk.

    As TRL's fused head gives them: one for each token but the first of a row, 0 where the label is -100.
    """
    if not isinstance(policy.trunk, Decoder):
        return

    def forward(input_ids: Tensor, attention_mask: Tensor, labels: Tensor, **_: Any) -> FusedCausalLMOutput:
        batch, labelled_BT = _packed(input_ids, attention_mask, in_pairs), labels[:, 1:] != -100
        followed_R = F.pad(labelled_BT, (0, 1))[attention_mask.bool()]  # by a labelled token
        with torch.autocast(input_ids.device.type, enabled=False):
            hidden_MD = policy.hidden(batch, batch.token_R[followed_R], checkpointing)
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


def _packed(ids_BT: Tensor, mask_BT: Tensor, in_pairs: bool) -> Packed:
    """Rows without their padding."""
    lengths = mask_BT.sum(1).tolist()
    rows = [row[:length] for row, length in zip(ids_BT.tolist(), lengths, strict=True)]
    lenders = [i % (len(rows) // 2) for i in range(len(rows))] if in_pairs else ()
    return Packed.of(rows, lengths, ids_BT.device, lenders)
