"""What a cell that foretells some later frame is trained by, and how a planner doubts what it did not foretell.

Jayaraman et al. 2019, https://arxiv.org/abs/1808.07784: of the frames to come only the one that is foretold best
counts, so that the moments are learned which are sure to be passed, such as bottlenecks. Rose's fork of PlaNet plans
with it: a state that the second cell would not expect earns less.

Shape legend: B windows, T frames, N copies, n numbers of what is seen, S of a stochastic state.
"""

import torch
from torch import Tensor

from rlsys.ops.gaussians import LOG_NORMALISER

_MARGIN = 0.1
"""Keeps the fork's divergence finite."""


def best_later(foretold: Tensor, value: Tensor, is_frame: Tensor, horizon: int) -> Tensor:
    """Returns how unlikely the likeliest of the next frames is, averaged over frames that have a next one.

    min over b < a <= b + horizon of -log N(value_a; foretold_b, 1); no picture is compared twice: ‖x‖² + ‖y‖² - 2 x·y.

    Args:
      foretold: `[B, T, n]`, by each frame b.
      value: `[B, T, n]`, what came at each frame a.
      is_frame: `[B, T]`, 0 for frames that there are not.
      horizon: frames ahead that count.
    """
    squared = value.square().sum(dim=-1)[:, None, :] + foretold.square().sum(dim=-1)[:, :, None]
    unlikely = 0.5 * (squared - 2.0 * foretold @ value.transpose(1, 2)) + value.shape[-1] * LOG_NORMALISER
    frame = torch.arange(value.shape[1], device=value.device)
    ahead = frame[None, :] - frame[:, None]
    counts = ((ahead > 0) & (ahead <= horizon)) & (is_frame[:, None, :] > 0) & (is_frame[:, :, None] > 0)
    best = torch.where(counts, unlikely, torch.inf).amin(dim=2)
    has_later = counts.any(dim=2)
    return torch.where(has_later, best, 0.0).sum() / has_later.sum().clamp_min(1)


def doubt(mean: Tensor, stddev: Tensor, later_mean: Tensor, later_stddev: Tensor) -> Tensor:
    """Returns the fork's measure of how far states are from what was foretold, `[N]` in (-1, 1).

    2 sigmoid(KL) - 1, where the divergence of the two `[N, S]` Gaussians is averaged over numbers, and kept finite.
    """
    narrow = (later_stddev / (stddev + _MARGIN) + _MARGIN).log().mean(dim=-1)
    wide = ((stddev.square() + (mean - later_mean).square()) / (2.0 * later_stddev.square() + _MARGIN)).mean(dim=-1)
    return 2.0 * torch.sigmoid(narrow + wide - 0.5) - 1.0
