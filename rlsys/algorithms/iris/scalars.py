"""How a number is foretold: as it is, or as a distribution over atoms on a logarithmic scale.

Shape legend: C numbers that a head says.
"""

from typing import Literal, Protocol

from torch import Tensor
from torch.nn import functional

from rlsys.ops.losses import cross_entropy
from rlsys.ops.support import support_mean, two_hot
from rlsys.ops.value_transform import symexp, symlog

_HIGHEST, _ATOMS_PER_UNIT = 40, 4
"""The last atom, and atoms per unit of the logarithmic scale: numbers up to e^10 - 1 = 22,025."""


class Scalar(Protocol):
    """What a head says of a number.

    Attributes:
      size: C.
    """

    size: int

    def loss(self, said: Tensor, number: Tensor) -> Tensor:
        """Returns losses `[...]` of what is said, `[..., C]`, of numbers `[...]`."""

    def mean(self, said: Tensor) -> Tensor:
        """Returns the numbers `[...]` that `[..., C]` says."""


class Plain:
    """The number itself, by squared errors."""

    size = 1

    def loss(self, said: Tensor, number: Tensor) -> Tensor:
        """See `Scalar`."""
        return functional.mse_loss(self.mean(said), number, reduction="none")

    def mean(self, said: Tensor) -> Tensor:
        """See `Scalar`."""
        return said.float().squeeze(-1)


class TwoHot:
    """Atoms on a logarithmic scale, whose mean is the number (Hafner et al. 2023, section 2)."""

    size = 2 * _HIGHEST + 1

    def loss(self, said: Tensor, number: Tensor) -> Tensor:
        """See `Scalar`."""
        return cross_entropy(said.float(), self._target(number))

    def mean(self, said: Tensor) -> Tensor:
        """See `Scalar`."""
        return symexp(support_mean(said.float(), -_HIGHEST) / _ATOMS_PER_UNIT)

    def is_right(self, said: Tensor, number: Tensor) -> Tensor:
        """Tells `[...]` whether the likeliest atom is that of the number."""
        return said.argmax(-1) == self._target(number).argmax(-1)

    @staticmethod
    def _target(number: Tensor) -> Tensor:
        return two_hot(symlog(number.float()) * _ATOMS_PER_UNIT, -_HIGHEST, _HIGHEST)


def make_scalar(kind: Literal["scalar", "two_hot"]) -> Scalar:
    """Returns what a setting names."""
    return TwoHot() if kind == "two_hot" else Plain()
