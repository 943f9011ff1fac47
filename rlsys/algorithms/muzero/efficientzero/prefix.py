"""Value prefixes: sums of rewards since a window began are foretold, instead of each reward.

    prefix_k = r_{m} + … + r_{k-1}          m = N ⌊(k − 1) / N⌋, the step at which the window of step k began

without a discount. An LSTM reads what the reward head makes of each imagined step, and begins anew every N steps, in
training and in a search alike. The reward of a step is the difference of two prefixes, or the first prefix of a window.
That a reward comes is easier to tell than at which of a few steps. Ye et al. 2021, section 4.2,
https://arxiv.org/abs/2111.00210.

Shape legend: B states, K steps, F numbers that the LSTM reads of a step, R size of what is said of a prefix, U units,
M = 2 U + 2 numbers that are remembered: hidden state, cell, prefix, steps of the window.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from rlsys.nets.lstm import LSTMCore
from rlsys.types import Array

_MOST_UNITS = 512
_HEAD_SIZE = 32


class ValuePrefix(nn.Module):
    """What comes after the reward head: an LSTM, and what says a prefix by its output.

    It computes in float32, whatever is around it: differences of what is almost equal do not bear rounding.

    Attributes:
      memory_size: M.
    """

    def __init__(self, num_inputs: int, num_outputs: int, window: int) -> None:
        """Takes F, R and N; no reward is foretold at first."""
        super().__init__()
        units = min(num_inputs, _MOST_UNITS)
        self._window, self._units = window, units
        self.memory_size = 2 * units + 2
        self.core = LSTMCore(num_inputs, units)
        out = nn.Linear(_HEAD_SIZE, num_outputs)
        nn.init.zeros_(out.weight)
        nn.init.zeros_(out.bias)
        self.head = nn.Sequential(
            nn.BatchNorm1d(units),
            nn.ReLU(),
            nn.Linear(units, _HEAD_SIZE),
            nn.BatchNorm1d(_HEAD_SIZE),
            nn.ReLU(),
            out,
        )

    def unroll(self, features_KBF: Tensor) -> Tensor:
        """Returns what is said of the prefix after each of K steps, from the first of a window on, `[K, B, R]`."""
        num_steps, size = features_KBF.shape[:2]
        with _without_autocast(features_KBF):
            begins_BK = torch.arange(num_steps, device=features_KBF.device).expand(size, -1) % self._window == 0
            nothing_BU = features_KBF.new_zeros(size, self._units, dtype=torch.float32)
            memory = {"hidden": nothing_BU, "cell": nothing_BU}
            output_BKU = self.core.unroll(features_KBF.float().transpose(0, 1), begins_BK, memory).output
            said: Tensor = self.head(output_BKU.transpose(0, 1).flatten(end_dim=1))
        return said.view(num_steps, size, -1)

    def begin(self, state: Tensor) -> Tensor:
        """Returns the memory where a window begins, `[B, M]`, beside states `[B, ...]`."""
        return state.new_zeros(len(state), self.memory_size, dtype=torch.float32)

    def step(self, features_BF: Tensor, memory_BM: Tensor, decode: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Goes on by one imagined step.

        Args:
          features_BF: of the step.
          memory_BM: what `begin`, or the step before, returned.
          decode: returns the prefixes `[B]` that outputs `[B, R]` say.

        Returns:
          The reward of the step `[B]`, and the memory after it: where a window ends that of the next one's begin.
        """
        with _without_autocast(features_BF):
            hidden_BU, cell_BU, before_B1, steps_B1 = torch.split(memory_BM, [self._units, self._units, 1, 1], dim=1)
            output_BU, state = self.core.step(features_BF.float(), {"hidden": hidden_BU, "cell": cell_BU})
            prefix_B1 = decode(self.head(output_BU))[:, None]
        steps_B1 = steps_B1 + 1.0
        after_BM = torch.cat([state["hidden"], state["cell"], prefix_B1, steps_B1], dim=1)
        return (prefix_B1 - before_B1)[:, 0], after_BM.masked_fill(steps_B1 >= self._window, 0.0)


def prefixes(reward_BK: Array, window: int) -> Array:
    """Returns `[B, K]`: the sums of rewards since their windows of so many steps began."""
    step_K = np.arange(reward_BK.shape[1])
    is_summed_KK = (step_K[:, None] <= step_K) & (step_K[:, None] // window == step_K // window)
    sums_BK: Array = reward_BK @ is_summed_KK.astype(reward_BK.dtype)
    return sums_BK


def _without_autocast(tensor: Tensor) -> torch.autocast:
    return torch.autocast(tensor.device.type, enabled=False)
