"""Losses per element; callers weight and average them."""

from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Returns `[...]`: -sum_i target_i log softmax(logits)_i.

    Args:
      logits: `[..., N]`.
      target: `[..., N]`, no gradient flows into it. Need not sum to 1: an all-zero target costs nothing and pulls
        nowhere.
    """
    return -(target.detach() * functional.log_softmax(logits, dim=-1)).sum(dim=-1)
