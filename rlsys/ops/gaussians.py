"""Gaussians with independent numbers, in closed form. Shape legend: S numbers of one Gaussian."""

import math

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
    """Returns -log N(value; mean, 1), summed over the last axes: `[...]` of `[..., *axes]`."""
    squared = 0.5 * (value - mean).square() + LOG_NORMALISER
    return squared.flatten(start_dim=squared.dim() - num_axes).sum(dim=-1) if num_axes else squared
