"""Latent overshooting: what the prior says of t + d from the posterior of t - 1, several steps ahead, uncorrected.

Hafner et al. 2019, section 4, https://arxiv.org/abs/1811.04551. Column t of distance d is of frame t + d:

    distance 0   p(z_0 | –)    p(z_1 | q_0)   p(z_2 | q_1)        what the cell expects anyway: not computed here
    distance 1   p(z_1 | –)    p(z_2 | q_0)   p(z_3 | q_1)
    distance 2   p(z_2 | –)    p(z_3 | q_0)      ·                 beyond the window: masked

Shape legend: B batch, T frames, D distances, A numbers of an action, S of a stochastic state.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from rlsys.algorithms.planet.transitions.cell import Cell, CellState


def overshoot(
    cell: Cell, posterior: CellState, action: Tensor, amount: int, generator: torch.Generator | None = None
) -> list[CellState]:
    """Rolls the prior from every posterior of a window.

    Args:
      cell: the transition model.
      posterior: `[B, T, n]` of a window that begins from nothing.
      action: `[B, T, A]`, which led to each frame.
      amount: D, at least 1.
      generator: of what is drawn on the way.

    Returns:
      One state `[B, T - d, n]` per distance d = 1 … D, as far as d < T: column t is of frame t + d.
    """
    size, length = action.shape[:2]
    begun = cell.initial(size)
    state: CellState = {
        name: torch.cat([begun[name][:, None], part[:, :-1]], dim=1) for name, part in posterior.items()
    }
    states = list[CellState]()
    for distance in range(min(amount, length - 1) + 1):
        columns = length - distance
        flat = {name: part[:, :columns].flatten(end_dim=1) for name, part in state.items()}
        noise = torch.randn(
            size * columns, cell.state_size, device=action.device, dtype=action.dtype, generator=generator
        )
        moved = cell.imagine(flat, action[:, distance:].flatten(end_dim=1), noise)
        state = {name: part.view(size, columns, -1) for name, part in moved.items()}
        if distance:
            states.append(state)
    return states


def later(parts: Mapping[str, Tensor], distance: int) -> dict[str, Tensor]:
    """Returns what column t of a distance is compared with: `[B, T - d, n]` of `[B, T, n]`."""
    return {name: part[:, distance:] for name, part in parts.items()}
