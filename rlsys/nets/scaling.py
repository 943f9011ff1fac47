"""Bringing numbers into [0, 1]: hidden states by their own range, observations by a given one, or that of a byte."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from rlsys.types import EnvSpec

MIN_SPAN = 1e-5
"""Least span that is scaled up to 1: a constant input becomes 0, not NaN."""


def min_max_scale(x: Tensor) -> Tensor:
    """Returns (x - min) / max(max - min, MIN_SPAN) along axis 1: features, or the channels of each pixel.

    Schrittwieser et al. 2020, appendix G, https://arxiv.org/abs/1911.08265: hidden states then have the range of the
    actions that are attached to them.

    Args:
      x: `[B, F, ...]`.
    """
    low, high = torch.aminmax(x, dim=1, keepdim=True)
    return (x - low) / (high - low).clamp_min(MIN_SPAN)


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


class ObservationInput(nn.Module):
    """Makes of raw observations what a body computes with: vectors, or images with all frames of a stack as channels.

    Images are laid out channels last, which halves the time of convolutions on CPUs, too, and are rounded at once where
    products will be: a byte has no more bits than bfloat16 keeps.
    """

    def __init__(self, env: EnvSpec, *, is_image: bool) -> None:
        super().__init__()
        self._is_image = is_image
        self._has_bounds = bool(env.observation_low)
        self._rescale = RescaleObservation(env.observation_low, env.observation_high)

    def forward(self, observation: Tensor) -> Tensor:
        """Returns `[B, F]`, or `[B, C, H, W]` in [0, 1], for `[B, ...]`."""
        if not self._is_image:
            vector: Tensor = self._rescale(observation)
            return vector.flatten(start_dim=1)
        x = observation.flatten(start_dim=1, end_dim=-3) if observation.dim() > 3 else observation.unsqueeze(1)
        x = x.contiguous(memory_format=torch.channels_last)
        if self._has_bounds:
            rescaled: Tensor = self._rescale(x)
            return rescaled
        rounded = torch.is_autocast_enabled(x.device.type)
        return x.to(torch.get_autocast_dtype(x.device.type) if rounded else torch.float32).mul_(1.0 / 255.0)
