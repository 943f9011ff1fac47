"""A second cell beside the model's own, which foretells some later frame rather than the next one.

Jayaraman et al. 2019, "Time-agnostic prediction", https://arxiv.org/abs/1808.07784, as in Rose's fork (`tap_cell`). It
sees what the first cell sees, and its state is a part of the whole; heads see the first cell alone.

Shape legend: as in cell.py.
"""

import torch
from torch import Tensor

from rlsys.algorithms.planet.transitions.cell import Cell, CellState, Step

_PREFIX = "later/"


class TimeAgnostic(Cell):
    """Two cells with states of the same sizes as one."""

    def __init__(self, main: Cell, later: Cell) -> None:
        """Takes the model's own cell, and the one that foretells."""
        super().__init__()
        self.main, self.later = main, later
        self.state_size = main.state_size + later.state_size
        self.num_features = main.num_features
        self.seen_size = main.seen_size + later.seen_size

    def initial(self, size: int) -> CellState:
        """See `Cell`."""
        return _both(self.main.initial(size), self.later.initial(size))

    def see(self, embedded: Tensor) -> Tensor:
        """See `Cell`."""
        return torch.cat([self.main.see(embedded), self.later.see(embedded)], dim=-1)

    def imagine(self, state: CellState, action: Tensor, noise: Tensor) -> CellState:
        """See `Cell`."""
        noises = noise.tensor_split((self.main.state_size,), dim=-1)
        own, other = self.parts(state)
        return _both(self.main.imagine(own, action, noises[0]), self.later.imagine(other, action, noises[1]))

    def observe(self, state: CellState, action: Tensor, seen: Tensor, noise: Tensor) -> Step:
        """See `Cell`."""
        noises = noise.tensor_split((self.main.state_size,), dim=-1)
        views = seen.tensor_split((self.main.seen_size,), dim=-1)
        own, other = self.parts(state)
        first = self.main.observe(own, action, views[0], noises[0])
        second = self.later.observe(other, action, views[1], noises[1])
        return Step(*(_both(*pair) for pair in zip(first, second, strict=True)))

    def unroll(self, seen: Tensor, action: Tensor, noise: Tensor) -> Step:
        """See `Cell`."""
        noises = noise.tensor_split((self.main.state_size,), dim=-1)
        views = seen.tensor_split((self.main.seen_size,), dim=-1)
        first = self.main.unroll(views[0], action, noises[0])
        second = self.later.unroll(views[1], action, noises[1])
        return Step(*(_both(*pair) for pair in zip(first, second, strict=True)))

    def features(self, state: CellState) -> Tensor:
        """See `Cell`."""
        return self.main.features(state)

    def parts(self, state: CellState) -> tuple[CellState, CellState]:
        """Returns the states of both cells."""
        own = {name: part for name, part in state.items() if not name.startswith(_PREFIX)}
        return own, {name.removeprefix(_PREFIX): part for name, part in state.items() if name.startswith(_PREFIX)}


def _both(own: CellState, other: CellState) -> CellState:
    return {**own, **{_PREFIX + name: part for name, part in other.items()}}
