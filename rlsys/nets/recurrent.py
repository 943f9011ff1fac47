"""Recurrent cores: what stands between what a network sees and what it says, and remembers.

A core is used in two ways. `step` advances the memory by one observation, while acting. `unroll` goes over the rows of
unrolls that run on across episodes, while learning.

Shape legend: B sequences, T rows, D inputs, H outputs, N units.
"""

import abc
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor, nn


class Unrolled(NamedTuple):
    """What an unroll gives.

    Attributes:
      output: `[B, T, H]`.
      records: per layer what learning needs besides the graph; empty where it needs nothing.
    """

    output: Tensor
    records: tuple[Any, ...] = ()


class RecurrentCore(nn.Module, abc.ABC):
    """A core with memory.

    Attributes:
      num_inputs: D.
      num_outputs: H.
      state_sizes: name -> numbers per sequence in that part of the memory; zeros begin an episode.
    """

    num_inputs: int
    num_outputs: int
    state_sizes: Mapping[str, int]

    @abc.abstractmethod
    def step(self, input_BD: Tensor, state: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Returns outputs `[B, H]` and the memory after one row."""

    @abc.abstractmethod
    def unroll(self, input_BTD: Tensor, first_BT: Tensor, state: Mapping[str, Tensor]) -> Unrolled:
        """Goes over T rows.

        Args:
          input_BTD: inputs.
          first_BT: bool, True where a row begins an episode: the memory is forgotten before it.
          state: memory before row 0, name -> `[B, size]`.
        """
