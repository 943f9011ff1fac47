"""How a reward is foretold: as one of three signs, or as how much it is.

Shape legend: C classes of a sign, or atoms.
"""

from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from rlsys.algorithms.iris.world_models.drawing import draw
from rlsys.ops.losses import cross_entropy
from rlsys.ops.support import support_mean, two_hot
from rlsys.ops.value_transform import symexp, symlog

_HIGHEST, _ATOMS_PER_UNIT = 40, 4
"""The last atom, and atoms per unit of the logarithmic scale: rewards up to e^10 - 1 = 22,025."""


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


class TwoHot:
    """Atoms on a logarithmic scale, whose mean is the reward (Hafner et al. 2023, section 2)."""

    size = 2 * _HIGHEST + 1

    def loss(self, logits: Tensor, reward: Tensor) -> Tensor:
        """See `RewardCode`."""
        return cross_entropy(logits.float(), self._target(reward))

    def draw(self, logits: Tensor, generator: torch.Generator | None) -> Tensor:
        """See `RewardCode`; nothing is drawn."""
        return symexp(support_mean(logits.float(), -_HIGHEST) / _ATOMS_PER_UNIT)

    def is_right(self, logits: Tensor, reward: Tensor) -> Tensor:
        """See `RewardCode`."""
        return logits.argmax(-1) == self._target(reward).argmax(-1)

    @staticmethod
    def _target(reward: Tensor) -> Tensor:
        return two_hot(symlog(reward.float()) * _ATOMS_PER_UNIT, -_HIGHEST, _HIGHEST)


def make_reward_code(kind: Literal["sign", "two_hot"]) -> RewardCode:
    """Returns what a setting names."""
    return Sign() if kind == "sign" else TwoHot()
