"""Optimizers as a trainable part holds them: they take each step's learning rate, and remember as arrays."""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch.optim import Optimizer

from rlsys.nets.flat import FlatParameters, copied_arrays


class GradientStep(Protocol):
    """Changes parameters by their gradients."""

    def step(self, learning_rate: float) -> None:
        """Does one update."""

    def save(self) -> Mapping[str, Any]:
        """Returns what it remembers, name -> array or number."""

    def load(self, saved: Mapping[str, Any]) -> None:
        """Takes over what `save` of the same optimizer returned."""


class FlatOptimizer:
    """One of torch's optimizers, of all parameters as one vector."""

    def __init__(self, flat: FlatParameters, optimizer: Optimizer) -> None:
        """Takes an optimizer of `flat.vector` alone."""
        self._vector = flat.vector
        self._optimizer = optimizer

    def step(self, learning_rate: float) -> None:
        """See `GradientStep`."""
        self._optimizer.param_groups[0]["lr"] = learning_rate
        self._optimizer.step()

    def save(self) -> Mapping[str, Any]:
        """See `GradientStep`; empty before the first step."""
        state = self._optimizer.state[self._vector].items()
        return copied_arrays({name: value for name, value in state if value is not None})

    def load(self, saved: Mapping[str, Any]) -> None:
        """See `GradientStep`."""
        state = {"state": {0: {name: torch.tensor(value) for name, value in saved.items()}} if saved else {}}
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), **state})
