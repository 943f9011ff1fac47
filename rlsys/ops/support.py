"""Scalars as distributions over integer atoms, and back.

Schrittwieser et al. 2020, appendix F, https://arxiv.org/abs/1911.08265.
Shape legend: N atoms low, low + 1, …, high.
"""

import torch
from torch import Tensor


def two_hot(x: Tensor, low: int, high: int) -> Tensor:
    """Returns `[..., N]`: the probabilities of the two atoms around each scalar whose mean is that scalar.

    Args:
      x: scalars of any shape; those outside [low, high] are moved to the nearer end.
      low: first atom.
      high: last atom.
    """
    position = x.clamp(low, high) - low
    lower = position.floor().clamp(max=high - low - 1)
    share = (position - lower).unsqueeze(-1)
    index = lower.long().unsqueeze(-1)
    probabilities = position.new_zeros((*x.shape, high - low + 1))
    return probabilities.scatter_(-1, index, 1.0 - share).scatter_(-1, index + 1, share)


def support_mean(logits: Tensor, low: int) -> Tensor:
    """Returns `[...]`, the means of the distributions softmax(`logits`) over the atoms from `low` on.

    Args:
      logits: `[..., N]`.
      low: first atom.
    """
    atoms = torch.arange(low, low + logits.shape[-1], dtype=logits.dtype, device=logits.device)
    return torch.softmax(logits, dim=-1) @ atoms
