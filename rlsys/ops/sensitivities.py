"""What real-time recurrent learning keeps of a recurrence, whatever the cell: sensitivities, and derivatives of steps.

Shape legend: R rows of a table, B unrolls, T rows of an unroll.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor


@dataclass
class SensitivityTable:
    """∂state/∂θ of R sequences: a dataclass of tensors `[R, …]`, one per parameter; zeros begin an episode."""

    def named(self) -> dict[str, Tensor]:
        """Returns name of the parameter -> its sensitivities."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def tensors(self) -> tuple[Tensor, ...]:
        """Returns all tensors, in the order of the fields."""
        return tuple(self.named().values())

    def clone(self) -> Self:
        """Returns a copy."""
        return type(self)(*(tensor.clone() for tensor in self.tensors()))

    def clear(self, rows: Iterable[int]) -> None:
        """Forgets the history of some rows, in place."""
        for row in rows:
            for tensor in self.tensors():
                tensor[row].zero_()

    def grown(self, size: int) -> Self:
        """Returns a table of `size` rows that begins with this one's."""
        larger = [tensor.new_zeros(size, *tensor.shape[1:]) for tensor in self.tensors()]
        for new, old in zip(larger, self.tensors(), strict=True):
            new[: len(old)] = old
        return type(self)(*larger)


@dataclass
class StepDerivatives:
    """What each step did to the state: a dataclass of tensors `[T, B, …]`."""

    def before(self, row: int) -> Self:
        """Returns those of the rows before one."""
        return type(self)(*(getattr(self, field.name)[:row] for field in fields(self)))

    def of(self, members: Sequence[int]) -> Self:
        """Returns those of some of the unrolls."""
        return type(self)(*(getattr(self, field.name)[:, list(members)] for field in fields(self)))


def without_negligible(carry: Tensor) -> Tensor:
    """Makes zero what has shrunk to nothing: products with denormal numbers take a CPU a hundred times as long."""
    number = torch.finfo(carry.dtype)
    return torch.nn.functional.hardshrink(carry, number.tiny / number.eps)
