"""How a reward is foretold: as one of three signs, or as how much it is.

Shape legend: C classes of a sign, or atoms.
"""

from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from rlsys.algorithms.iris.scalars import TwoHot
from rlsys.algorithms.iris.world_models.drawing import draw


class RewardCode(Protocol):
    """What logits say of rewards.

    Attributes:
      size: C.
    """

    size: int

    def loss(self, logits: Tensor, reward: Tensor) -> Tensor:
        """Returns cross entropies `[...]` of logits `[..., C]` and rewards `[...]`."""

    def draw(self, logits: Tensor, generator: torch.Generator | None) -> Tensor:
        """Returns rewards `[...]` for logits `[..., C]`."""

    def is_right(self, logits: Tensor, reward: Tensor) -> Tensor:
        """Tells `[...]` whether the likeliest class is that of the reward."""


class Sign:
    """Classes of -1, 0 and 1, of which one is drawn (Micheli et al. 2023)."""

    size = 3

    def loss(self, logits: Tensor, reward: Tensor) -> Tensor:
        """See `RewardCode`."""
        labels = self._labels(reward)
        return functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none").view(labels.shape)

    def draw(self, logits: Tensor, generator: torch.Generator | None) -> Tensor:
        """See `RewardCode`."""
        return draw(logits, generator).float() - 1.0

    def is_right(self, logits: Tensor, reward: Tensor) -> Tensor:
        """See `RewardCode`."""
        return logits.argmax(-1) == self._labels(reward)

    @staticmethod
    def _labels(reward: Tensor) -> Tensor:
        return reward.sign().long() + 1


class TwoHotReward(TwoHot):
    """How much it is; nothing is drawn."""

    def draw(self, logits: Tensor, generator: torch.Generator | None) -> Tensor:
        """See `RewardCode`."""
        return self.mean(logits)


def make_reward_code(kind: Literal["sign", "two_hot"]) -> RewardCode:
    """Returns what a setting names."""
    return Sign() if kind == "sign" else TwoHotReward()
