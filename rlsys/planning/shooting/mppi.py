"""Model predictive path integral control: elites count by the softmax of their returns.

Williams et al. 2017, "Information theoretic MPC", https://arxiv.org/abs/1707.02342, which lets all candidates count and
leaves the deviation as it is; with elites and a deviation that is refitted, as TD-MPC has it: Hansen et al. 2022,
https://arxiv.org/abs/2203.04955, algorithm 1. Of discrete actions the same weights make the probabilities.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from rlsys.planning.shooting.cem import CEM

_LOWEST = -1e30
"""Stands for returns that are not numbers; finite still when it is divided."""


@dataclass(frozen=True)
class MPPI(CEM):
    """CEM with weights.

    Attributes:
      temperature: λ > 0; where it is high all elites count alike, where it is low the best one counts.
    """

    temperature: float = 2.0

    def _weight(self, returns_BK: Tensor) -> Tensor:
        # softmax((R - max R) / λ); where none of an environment's returns is a number, all count alike
        return torch.softmax(returns_BK.nan_to_num(nan=_LOWEST) / self.temperature, dim=1)
