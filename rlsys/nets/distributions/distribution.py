"""What every distribution over actions can do, for who acts and for who learns.

Shape legend: B environments, P parameters.
"""

import abc

import numpy as np
import torch
from torch import Tensor

from rlsys.types import Array


class ActionDistribution(abc.ABC):
    """A family of distributions over the actions of one environment; P numbers, which a network says, are one of them.

    What is drawn is what probabilities are of, and what is learned from; `action` makes of it what the environment is
    given. Only where actions are numbers do the two differ.
    """

    @abc.abstractmethod
    def log_probability(self, parameters: Tensor, drawn: Tensor) -> Tensor:
        """Returns `[...]`: log π of what was drawn.

        Args:
          parameters: `[..., P]`.
          drawn: `[..., *drawn]`.
        """

    def acting_log_probability(self, parameters_BP: Array, drawn: Array) -> Array:
        """Returns `[B]` float32, the same for who acts."""
        found: Array = self.log_probability(torch.from_numpy(parameters_BP), torch.from_numpy(drawn)).numpy()
        return found

    @abc.abstractmethod
    def entropy(self, parameters: Tensor) -> Tensor:
        """Returns `[...]` of `[..., P]`."""

    @abc.abstractmethod
    def draw(self, parameters_BP: Array, rng: np.random.Generator, temperature: float) -> Array:
        """Draws `[B, *drawn]` from the distribution whose log probabilities are divided by a temperature.

        At temperature 0 it is what is likeliest, and nothing is taken from the generator.
        """

    def action(self, drawn: Array) -> Array:
        """Returns `[B, *action]`, as the environment takes it."""
        return drawn
