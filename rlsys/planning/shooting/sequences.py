"""What sequences of actions are drawn from: normal numbers, or one of several actions at each step.

Hafner et al. 2019, appendix B, https://arxiv.org/abs/1811.04551, for numbers; Rose's fork of PlaNet for actions.
Shape legend: B environments, N candidates, K elites, H steps, A numbers of an action or actions to choose from.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from rlsys.planning.shooting.plan import Generator, exponential, normal

_TINY = 1e-6
"""Added to variances and to probabilities, so that nothing is ever ruled out."""


class Distribution(NamedTuple):
    """A distribution of sequences.

    Attributes:
      location: `[B, H, A]`, means or logits: all that a later plan can begin from.
      std: `[B, H, A]`, deviations; not read of discrete actions.
    """

    location: Tensor
    std: Tensor


class Sequences(Protocol):
    """A family of distributions.

    Attributes:
      name: of the location.
    """

    name: str

    def begin(self, location: Tensor) -> Distribution:
        """Returns the distribution that a plan begins from; zeros are the widest."""

    def draw(self, distribution: Distribution, count: int, generator: Generator) -> Tensor:
        """Returns `[B, count, H, A]` sequences."""

    def refit(self, distribution: Distribution, elites: Tensor, weight_BK: Tensor) -> Distribution:
        """Returns the distribution of `elites` `[B, K, H, A]`, whose weights sum to 1."""

    def likeliest(self, distribution: Distribution) -> Tensor:
        """Returns the sequence `[B, H, A]` that is the middle of a distribution."""


class NormalSequences:
    """Numbers that are drawn from normal distributions and clipped to [-1, 1]."""

    name = "mean"

    def __init__(
        self, initial_std: float = 1.0, min_std: float = 0.0, momentum: float = 0.0, mixing_HH: Tensor | None = None
    ) -> None:
        """Takes the first deviation, the least one, the share of the last belief that an iteration keeps, and noise.

        `mixing_HH` makes white noise along the horizon another (`coloured_noise`); None leaves it white.
        """
        self._initial_std = initial_std
        self._min_std = min_std
        self._momentum = momentum
        self._mixing_HH = mixing_HH

    def begin(self, location: Tensor) -> Distribution:
        """See `Sequences`."""
        return Distribution(location, torch.full_like(location, self._initial_std))

    def draw(self, distribution: Distribution, count: int, generator: Generator) -> Tensor:
        """See `Sequences`."""
        size, horizon, width = distribution.location.shape
        noise = normal((size, count, horizon, width), generator, distribution.location.device)
        if self._mixing_HH is not None:
            noise = torch.einsum("bnha,hg->bnga", noise, self._mixing_HH.to(noise.device))
        return torch.addcmul(distribution.location[:, None], distribution.std[:, None], noise).clamp_(-1.0, 1.0)

    def refit(self, distribution: Distribution, elites: Tensor, weight_BK: Tensor) -> Distribution:
        """See `Sequences`: the mean, and the root of the variance + 1e-6."""
        mean = torch.einsum("bk,bkha->bha", weight_BK, elites)
        variance = torch.einsum("bk,bkha->bha", weight_BK, (elites - mean[:, None]).square_())
        std = (variance + _TINY).sqrt_().clamp_(min=self._min_std)
        return Distribution(
            mean.lerp(distribution.location, self._momentum), std.lerp(distribution.std, self._momentum)
        )

    def likeliest(self, distribution: Distribution) -> Tensor:
        """See `Sequences`: the mean."""
        return distribution.location.clamp(-1.0, 1.0)


class CategoricalSequences:
    """One of A actions at each step, one-hot; steps are independent."""

    name = "logits"

    def __init__(self, momentum: float = 0.0, initial_uniform: float = 0.0) -> None:
        """Takes the share of the last belief that an iteration keeps, and that of uniform draws of the first one.

        Elites have agreed by the end of a plan. Who begins from their logits as they are draws the same sequences
        again, and never leaves them; of numbers only the means are begun from, and not how sure they were.
        """
        self._momentum, self._initial_uniform = momentum, initial_uniform

    def begin(self, location: Tensor) -> Distribution:
        """See `Sequences`."""
        if self._initial_uniform:
            uniform = torch.full_like(location, 1.0 / location.shape[-1])
            location = location.softmax(dim=-1).lerp(uniform, self._initial_uniform).log_()
        return Distribution(location, location)

    def draw(self, distribution: Distribution, count: int, generator: Generator) -> Tensor:
        """See `Sequences`; an action is the one whose exponential noise over its probability is the least."""
        logits = distribution.location[:, None]
        size, _, horizon, width = logits.shape
        noise = exponential((size, count, horizon, width), generator, logits.device)
        return _one_hot((logits - noise.log_()).argmax(dim=-1), width)

    def refit(self, distribution: Distribution, elites: Tensor, weight_BK: Tensor) -> Distribution:
        """See `Sequences`: the logarithm of how often each action was chosen + 1e-6."""
        chosen = torch.einsum("bk,bkha->bha", weight_BK, elites)
        if self._momentum:
            chosen = chosen.lerp(distribution.location.softmax(dim=-1), self._momentum)
        location = (chosen + _TINY).log_()
        return Distribution(location, location)

    def likeliest(self, distribution: Distribution) -> Tensor:
        """See `Sequences`: at each step the likeliest action, the first among equals."""
        return _one_hot(distribution.location.argmax(dim=-1), distribution.location.shape[-1])


def coloured_noise(horizon: int, exponent: float) -> Tensor:
    """Returns `[H, H]`: rows of H independent standard normal numbers times this are noise along the horizon.

    Its power at frequency f falls as f^-exponent, and every step's deviation is 1: Timmer and Koenig 1995, "On
    generating power law noise", which iCEM draws from. The mean, which has no frequency, has the power of the lowest.
    """
    frequency = torch.fft.rfftfreq(horizon, dtype=torch.float64)
    amplitude = frequency.clamp(min=1.0 / horizon) ** (-exponent / 2.0)
    real, imaginary = torch.diag(amplitude + 0j), torch.diag(amplitude * 1j)
    last = (horizon - 1) // 2  # a mean, and the highest frequency of an even number of steps, have one phase
    real[0] *= 2.0**0.5
    if horizon % 2 == 0:
        real[-1] *= 2.0**0.5
    rows: Tensor = torch.fft.irfft(torch.cat([real, imaginary[1 : last + 1]]), n=horizon)
    return (rows / rows.square().sum(dim=0).sqrt()).float()


def _one_hot(index: Tensor, width: int) -> Tensor:
    """Returns `[..., width]` float32; unlike torch's own it never looks at the numbers on the host."""
    zeros = torch.zeros((*index.shape, width), device=index.device)
    return zeros.scatter_(-1, index[..., None], 1.0)
