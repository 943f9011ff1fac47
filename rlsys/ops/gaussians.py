"""Gaussians with independent numbers, in closed form. Shape legend: S numbers of one Gaussian."""

import math
from typing import Any

import torch
from torch import Tensor

LOG_NORMALISER = 0.5 * math.log(2.0 * math.pi)
"""-log density of a number at the mean, for a deviation of 1."""


def divergence(mean: Tensor, stddev: Tensor, other_mean: Tensor, other_stddev: Tensor) -> Tensor:
    """Returns KL(N(mean, stddev²) ‖ N(other_mean, other_stddev²)), summed over the last axis: `[...]` of `[..., S]`."""
    difference = (stddev.square() + (mean - other_mean).square()) / (2.0 * other_stddev.square())
    divergence_S = (other_stddev / stddev).log() + difference - 0.5
    return divergence_S.sum(dim=-1)


def divergence_from_standard(mean: Tensor, stddev: Tensor) -> Tensor:
    """Returns KL(N(mean, stddev²) ‖ N(0, 1)), likewise."""
    divergence_S = 0.5 * (stddev.square() + mean.square() - 1.0) - stddev.log()
    return divergence_S.sum(dim=-1)


def unit_negative_log_density(mean: Tensor, value: Tensor, num_axes: int) -> Tensor:
    """Returns -log N(value; mean, 1), summed over the last axes: `[...]` of `[..., *axes]`; no gradient for values."""
    half: Tensor = _HalfSquares.apply(mean, value.detach(), num_axes)  # type: ignore[no-untyped-call]
    return half + LOG_NORMALISER * math.prod(mean.shape[mean.dim() - num_axes :])


class _HalfSquares(torch.autograd.Function):
    """Half the squared differences, summed; pictures are passed over three times, by PyTorch's own ops ten."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, value: Tensor, num_axes: int) -> Tensor:
        """Returns `[...]` of two `[..., *axes]`."""
        difference = mean - value
        ctx.save_for_backward(difference)
        ctx.num_axes = num_axes
        axes = tuple(range(-num_axes, 0))
        return 0.5 * (torch.linalg.vector_norm(difference, dim=axes) if axes else difference).square()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """Returns the gradient of the means."""
        (difference,) = ctx.saved_tensors
        return difference * grads[0].reshape(*grads[0].shape, *[1] * ctx.num_axes), None, None
