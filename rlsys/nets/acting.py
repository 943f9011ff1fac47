"""What policies have in common that draw actions from a distribution whose parameters one network says."""

from collections.abc import Mapping
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from rlsys.api import Policy, PolicyContext, Saved
from rlsys.nets.distributions.distribution import ActionDistribution
from rlsys.nets.flat import module_arrays, share_arrays
from rlsys.nets.precision import autocast
from rlsys.nets.transfer import to_device
from rlsys.types import Array, Weights

Network = TypeVar("Network", bound=nn.Module)


class NetworkPolicy(Policy, Generic[Network]):
    """Holds a network and one random stream; `set_weights` must come before `act`."""

    def __init__(
        self, context: PolicyContext, network: Network, distribution: ActionDistribution, precision: str
    ) -> None:
        """Takes a network with any weights, what its parameters are of, and the numbers in its products."""
        self._device = torch.device(context.device)
        self._network = network.to(self._device).eval()
        self._distribution = distribution
        self._precision = autocast(precision, self._device)
        self._rng = np.random.default_rng(context.seed)
        self._has_weights = False

    def set_weights(self, weights: Weights) -> None:
        """Acts with the arrays as they are; on another device, with a copy."""
        self._has_weights = True
        share_arrays(self._network, weights.arrays)

    def weights(self) -> Mapping[str, Array]:
        """See `Policy`."""
        return module_arrays(self._network) if self._has_weights else {}

    def save(self) -> Saved:
        """Returns the random state."""
        return {"rng": self._rng.bit_generator.state}

    def load(self, saved: Saved) -> None:
        """Takes over the random state."""
        self._rng.bit_generator.state = saved["rng"]

    def draw(self, parameters_BP: Array, temperature: float) -> Array:
        """Draws from the network's distribution at a temperature; what is likeliest at temperature 0."""
        return self._distribution.draw(parameters_BP, self._rng, temperature)

    def to_device(self, array: Array) -> Tensor:
        """Returns an array where the network is."""
        return to_device(array, self._device)
