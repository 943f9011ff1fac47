"""Numbers in units of their own mean and deviation, over all that a run has learned from.

Andrychowicz et al. 2021, section 3.3, https://arxiv.org/abs/2006.05990: observations and values that are normalised so
learn faster, or at all. What is remembered are buffers of the network: they are published, checkpointed and exported
with its weights, so all who act and judge with the same weights see the same numbers.

Shape legend: F features, N rows.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_EPSILON = 1e-8
_MOST_DEVIATIONS = 10.0


class RunningMoments(nn.Module):
    """Mean and variance of all rows so far; 0 and 1 before the first.

    Attributes:
      mean, variance: `[F]` float32.
      count: `[1]`, rows so far, of one rank.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("variance", torch.ones(num_features))
        self.register_buffer("count", torch.zeros(1, dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        """Returns `[..., F]` float32, normalised and clamped to ten deviations."""
        return ((x.float() - self.mean) / self.deviation).clamp(-_MOST_DEVIATIONS, _MOST_DEVIATIONS)

    @property
    def deviation(self) -> Tensor:
        """`[F]`."""
        return (self.variance + _EPSILON).sqrt()

    def denormalize(self, x: Tensor) -> Tensor:
        """Returns `[...]` in the original units, of a single feature."""
        return x * self.deviation + self.mean

    @torch.no_grad()
    def update(self, x_NF: Tensor, average: Callable[[list[Any]], None]) -> None:
        """Adds rows of all ranks. Chan, Golub and LeVeque 1979: the moments of two sets of rows give those of both.

        Args:
          x_NF: this rank's rows, as they are; `[N]` of a single feature.
          average: of tensors over the ranks.
        """
        x_NF = x_NF.double().reshape(len(x_NF), -1)
        sums = torch.stack([torch.ones_like(x_NF), x_NF, x_NF.square()]).sum(dim=1)
        average([sums])
        (added, mean, square), before = (sums[0], *(sums[1:] / sums[0])), self.count.double()
        total, change = before + added, mean - self.mean
        spread = (square - mean.square()).clamp_min(0.0) * added + change.square() * before * added / total
        self.variance.copy_((self.variance * before + spread) / total)
        self.mean.add_(change * added / total)
        self.count.add_(added[:1].round().to(torch.int64))
