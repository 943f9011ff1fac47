"""Scalars as distributions over integer atoms, and back.

Schrittwieser et al. 2020, appendix F, https://arxiv.org/abs/1911.08265.
Shape legend: N atoms low, low + 1, …, high.
"""

import torch
from torch import Tensor


def two_hot(x: Tensor, low: int, high: int) -> Tensor:
    """Returns `[..., N]`: for each scalar the probabilities of the two atoms around it that have it as their mean.

        p_i = max(0, 1 - |x - atom_i|)

    Args:
      x: scalars of any shape; those outside [low, high] are moved to the nearer end.
      low: first atom.
      high: last atom.
    """
    atoms = torch.arange(low, high + 1, dtype=x.dtype, device=x.device)
    distance = (x.clamp(low, high).unsqueeze(-1) - atoms).abs()
    return (1.0 - distance).clamp_min(0.0)


def support_mean(logits: Tensor, low: int) -> Tensor:
    """Returns `[...]`, the means of the distributions softmax(`logits`) over the atoms from `low` on.

    Args:
      logits: `[..., N]`.
      low: first atom.
    """
    atoms = torch.arange(low, low + logits.shape[-1], dtype=logits.dtype, device=logits.device)
    return torch.softmax(logits, dim=-1) @ atoms
