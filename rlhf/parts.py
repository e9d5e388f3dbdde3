"""Parts of a model, whatever wraps it."""

from typing import Any

import torch
from torch import nn

from rlhf.errors import ArtifactError
from rlhf.lm_head import LMHead

Adapter = tuple[str, ...]
"""What makes a model one of its roles: the names of adapters on it that add up, none for the plain base."""


def decoder(model: nn.Module) -> nn.Module:
    """The trunk without any head: token ids in, hidden states out."""
    whole = bare(model)
    return getattr(whole, whole.base_model_prefix, whole)


def score_head(model: nn.Module) -> nn.Linear | None:
    head = getattr(bare(model), "score", None)
    return head if isinstance(head, nn.Linear) else None


def put_score_head(model: nn.Module, head: nn.Linear) -> None:
    """Give a reward model another head."""
    bare(model).score = head


def lm_head(model: nn.Module, adapter: Adapter | None = None) -> LMHead:
    """The head of a language model, as `check_lm_head` has found it to be; with the rows of new tokens that a role's
    adapters have."""
    config, layer = bare(model).config.get_text_config(), bare(model).get_output_embeddings()
    weight = matrix(layer)
    if (rows := new_rows(layer, adapter)) is not None:
        weight = weight.index_copy(0, rows[0], rows[1].to(weight.dtype))
    bias = getattr(layer, "bias", None)
    return LMHead(weight, bias, getattr(config, "final_logit_softcapping", None))


def embedded(layer: nn.Module, ids_N: torch.Tensor, adapter: Adapter | None) -> torch.Tensor:
    """Token embeddings as a role has them, (N, D)."""
    rows = new_rows(layer, adapter)
    if rows is None:
        return nn.functional.embedding(ids_N, matrix(layer))
    id_K, row_KD = rows
    x_ND = nn.functional.embedding(ids_N, matrix(layer))
    is_NK = ids_N[:, None] == id_K
    return torch.where(is_NK.any(1, keepdim=True), row_KD[is_NK.int().argmax(1)].to(x_ND.dtype), x_ND)


def new_rows(layer: nn.Module, adapter: Adapter | None) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Ids and rows of the tokens that a role's adapters have added to an embedding or a head, (K,) and (K, D)."""
    tokens = getattr(layer, "token_adapter", None)
    names = [name for name in adapter or () if tokens is not None and name in tokens.trainable_tokens_delta]
    if tokens is None or not names:
        return None
    ids_K = torch.tensor([i for name in names for i in tokens.token_indices[name]], device=matrix(layer).device)
    return ids_K, torch.cat([tokens.trainable_tokens_delta[name] for name in names])


@torch.no_grad()
def check_lm_head(model: nn.Module) -> None:
    """Raise ArtifactError where logits are made in a way that is not known here, such as scaled: not believed, but
    measured on a few tokens."""
    plain, size = bare(model), len(matrix(bare(model).get_input_embeddings()))
    ids_BT = torch.tensor([[(7 * i + 3) % size for i in range(5)]], device=next(plain.parameters()).device)
    theirs_NV = plain(input_ids=ids_BT, use_cache=False).logits[0].float()
    hidden_ND = decoder(plain)(input_ids=ids_BT, use_cache=False).last_hidden_state[0]
    ours_NV, _ = lm_head(plain).logits(hidden_ND, 1.0)
    if not (ours_NV - theirs_NV).abs().max() <= 0.05 * theirs_NV.abs().max():
        raise ArtifactError(
            f"architecture '{plain.config.model_type}' makes its logits in a way that rlhf does not know: they are not "
            "its head's product with the last hidden state"
        )


def bare(model: nn.Module) -> Any:
    """The transformers model inside a PEFT or DDP wrapper."""
    model = unwrapped(model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model  # type: ignore[operator]


def unwrapped(model: nn.Module) -> Any:
    return getattr(model, "module", model)


def matrix(layer: Any) -> nn.Parameter:
    """The weight of an embedding or a linear layer, without what adapters add to it."""
    tokens = getattr(layer, "token_adapter", None)
    return (layer if tokens is None else tokens.get_base_layer()).weight
