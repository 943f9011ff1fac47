"""Bringing numbers into [0, 1]: hidden states by their own range, observations by a given one."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def min_max_scale(x: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Returns (x - min) / (max - min + epsilon) along axis 1: features, or the channels of each pixel.

    Schrittwieser et al. 2020, appendix G, https://arxiv.org/abs/1911.08265: hidden states then have the range of the
    actions that are attached to them.

    Args:
      x: `[B, F, ...]`.
      epsilon: keeps a constant input finite (it becomes 0).
    """
    low, high = torch.aminmax(x, dim=1, keepdim=True)
    return (x - low) / (high - low + epsilon)


class RescaleObservation(nn.Module):
    """Casts to float32 and maps [low, high] to [0, 1]; without bounds it only casts.

    The bounds are constants, not parameters: they are no part of a checkpoint.
    """

    low: Tensor
    scale: Tensor

    def __init__(self, low: Sequence[float], high: Sequence[float]) -> None:
        """Takes one pair of bounds, or one per feature of the last axis; empty for none."""
        super().__init__()
        self._has_bounds = len(low) > 0
        low_F, high_F = torch.tensor(low, dtype=torch.float32), torch.tensor(high, dtype=torch.float32)
        self.register_buffer("low", low_F, persistent=False)
        self.register_buffer("scale", 1.0 / (high_F - low_F), persistent=False)

    def forward(self, observation: Tensor) -> Tensor:
        """Returns float32 of the same shape."""
        observation = observation.float()
        return (observation - self.low) * self.scale if self._has_bounds else observation
