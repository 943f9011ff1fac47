"""Gaussians over actions that are numbers (Box): clipped to their bounds, or squashed between them by a tanh.

Schulman et al. 2017, https://arxiv.org/abs/1707.06347, draw from a Gaussian with deviations that are learned for all
observations; what is drawn is clipped by who steps the environment, and probabilities are of what was drawn before
that (Huang et al. 2022, "Handling of action clipping to valid range and storage"). Haarnoja et al. 2018, appendix C,
https://arxiv.org/abs/1801.01290, squash with a tanh, whose slope belongs to the density. Andrychowicz et al. 2021,
https://arxiv.org/abs/2006.05990, compare both.

Numbers are drawn in units in which finite bounds are -1 and 1, so a network's means and deviations are of the same size
whatever the environment's units are. Parameters are n means and the logarithms of n deviations.

Shape legend: B environments, n numbers of an action, P = 2 n, K nodes of a quadrature.
"""

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rlsys.nets.distributions.distribution import ActionDistribution
from rlsys.types import Array, EnvSpec

_LOG_2PI = math.log(2.0 * math.pi)
_LOWEST, _HIGHEST = -5.0, 2.0
"""Logarithms of the smallest and the largest deviation."""
_HEAD_GAIN = 0.01
"""Of the last layer, so that the first actions hardly depend on what is seen; Andrychowicz et al. 2021, section 3.2."""
_NODES, _SHARES = np.polynomial.hermite.hermgauss(24)  # type: ignore[no-untyped-call]


class Gaussian(ActionDistribution):
    """Independent Gaussians of all numbers; actions are clipped to their bounds, where there are any."""

    def __init__(self, env: EnvSpec) -> None:
        """Takes shape, dtype and bounds of an environment's actions."""
        self._spec = env.action
        self._low, self._high = np.array(env.action_low, np.float64), np.array(env.action_high, np.float64)
        is_bounded = np.isfinite(self._low) & np.isfinite(self._high)
        low, high = np.where(is_bounded, self._low, -1.0), np.where(is_bounded, self._high, 1.0)
        self._middle, self._scale = (low + high) / 2.0, (high - low) / 2.0

    def log_probability(self, parameters: Tensor, drawn: Tensor) -> Tensor:
        """See `ActionDistribution`; the density of what was drawn, in its own units."""
        mean, log_std = parameters.chunk(2, dim=-1)
        error = (drawn - mean) * (-log_std).exp()
        return (-0.5 * (error.square() + _LOG_2PI) - log_std).sum(dim=-1)

    def entropy(self, parameters: Tensor) -> Tensor:
        """See `ActionDistribution`."""
        _, log_std = parameters.chunk(2, dim=-1)
        return (log_std + 0.5 * (1.0 + _LOG_2PI)).sum(dim=-1)

    def draw(self, parameters_BP: Array, rng: np.random.Generator, temperature: float) -> Array:
        """See `ActionDistribution`; float32, any numbers. A temperature multiplies variances."""
        mean_Bn, log_std_Bn = np.split(parameters_BP, 2, axis=1)
        if temperature == 0.0:
            return mean_Bn
        noise_Bn = rng.standard_normal(mean_Bn.shape, np.float32)
        drawn_Bn: Array = mean_Bn + np.exp(log_std_Bn) * noise_Bn * np.float32(math.sqrt(temperature))
        return drawn_Bn

    def action(self, drawn: Array) -> Array:
        """See `ActionDistribution`."""
        action_Bn = (self._middle + self._scale * self._bounded(drawn)).clip(self._low, self._high)
        action: Array = action_Bn.astype(self._spec.dtype).reshape(len(drawn), *self._spec.shape)
        return action

    def _bounded(self, drawn: Array) -> Array:
        return drawn


class TanhGaussian(Gaussian):
    """Gaussians whose numbers a tanh brings between bounds, all of them finite.

    What is likeliest is taken to be the tanh of the mean, which is the median of the actions.
    """

    def log_probability(self, parameters: Tensor, drawn: Tensor) -> Tensor:
        """See `ActionDistribution`; the density of the tanh of what was drawn."""
        return super().log_probability(parameters, drawn) - _log_slope(drawn).sum(dim=-1)

    def entropy(self, parameters: Tensor) -> Tensor:
        """See `ActionDistribution`: that of the Gaussian, and the expected logarithm of the tanh's slope.

        The latter has no closed form; Gauss and Hermite's quadrature gives it to four digits, and its gradient, without
        drawing anything.
        """
        mean, log_std = parameters.unsqueeze(-1).chunk(2, dim=-2)
        at = mean + log_std.exp() * math.sqrt(2.0) * parameters.new_tensor(_NODES)
        expected = (_log_slope(at) * parameters.new_tensor(_SHARES / math.sqrt(math.pi))).sum(dim=-1)
        return super().entropy(parameters) + expected.sum(dim=-1)

    def _bounded(self, drawn: Array) -> Array:
        return np.tanh(drawn.astype(np.float64))


class GaussianHead(nn.Linear):
    """Says means and logarithms of deviations; the latter are predicted, or parameters of their own.

    Attributes:
      log_std: `[n]` where they are parameters, else None.
    """

    def __init__(self, num_features: int, num_numbers: int, *, predicts_std: bool, init_std: float) -> None:
        """Begins with means about 0, and one deviation for all."""
        super().__init__(num_features, num_numbers * (2 if predicts_std else 1))
        nn.init.orthogonal_(self.weight, gain=_HEAD_GAIN)
        nn.init.zeros_(self.bias)
        log_std = torch.full((num_numbers,), math.log(init_std))
        self.log_std = None if predicts_std else nn.Parameter(log_std)
        if predicts_std:
            with torch.no_grad():
                self.bias[num_numbers:] = log_std

    def forward(self, features: Tensor) -> Tensor:
        """Returns `[..., P]`."""
        said = super().forward(features)
        mean, log_std = said.chunk(2, dim=-1) if self.log_std is None else (said, self.log_std.expand_as(said))
        return torch.cat([mean, log_std.clamp(_LOWEST, _HIGHEST)], dim=-1)


def _log_slope(x: Tensor) -> Tensor:
    """Returns log(1 - tanh²(x)), finite for any x."""
    return 2.0 * (math.log(2.0) - x - functional.softplus(-2.0 * x))
