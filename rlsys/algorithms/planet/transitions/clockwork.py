"""Several cells that tick at different rates: each sees every τ-th frame, and holds its state in between.

    frame          0    1    2    3    4    5    6    7    8
    cell 0, τ = 1  x    x    x    x    x    x    x    x    x
    cell 1, τ = 4  x    =    =    =    x    =    =    =    x        = holds

Rose's fork of PlaNet (`cw_tau`), after Koutník et al. 2014, https://arxiv.org/abs/1402.3511. Which moment of a cell's
period comes next is a part of the state, so that acting and planning go on from where the clock stands. A slow cell
is told the actions since its last tick: the last one, as upstream, their mean, or all of them.

Shape legend: as in cell.py; P period of all cells together.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from rlsys.algorithms.planet.transitions.cell import Cell, CellState, Step, joined

_PHASE, _ACTIONS = "phase", "actions"


class Clockwork(Cell):
    """Cells as one; the tensors of its state are theirs side by side, and the clock."""

    def __init__(
        self,
        cells: Sequence[Cell],
        periods: Sequence[int],
        actions: Literal["last", "mean", "concat"],
        num_actions: int,
    ) -> None:
        """Takes cells, all with the same names in their states.

        Args:
          cells: of which the first ticks with every frame.
          periods: τ of each.
          actions: what a cell is told of the actions since its last tick; of "concat" each was built for τ actions.
          num_actions: A.
        """
        super().__init__()
        self.cells = nn.ModuleList(cells)
        self._listed = list(cells)
        self._periods, self._told, self._num_actions = tuple(periods), actions, num_actions
        self._num_remembered = 0 if actions == "last" else max(periods) - 1
        self.state_size = sum(cell.state_size for cell in cells)
        self.num_features = sum(cell.num_features for cell in cells)
        self.seen_size = sum(cell.seen_size for cell in cells)
        sizes = [{name: part.shape[-1] for name, part in cell.initial(1).items()} for cell in cells]
        self._sizes = {name: [size[name] for size in sizes] for name in sizes[0]}

    def initial(self, size: int) -> CellState:
        """See `Cell`; the first frame is one at which all tick."""
        state = dict(joined(cell.initial(size) for cell in self._listed))
        nothing = next(iter(state.values())).new_zeros
        state[_PHASE] = nothing(size, 1)
        state[_ACTIONS] = nothing(size, self._num_remembered * self._num_actions)
        return state

    def see(self, embedded: Tensor) -> Tensor:
        """See `Cell`."""
        return torch.cat([cell.see(embedded) for cell in self._listed], dim=-1)

    def imagine(self, state: CellState, action: Tensor, noise: Tensor) -> CellState:
        """See `Cell`."""
        told = self._tell(state, action)
        noises = torch.split(noise, [cell.state_size for cell in self._listed], dim=-1)
        after = [
            self._held(state, period, before, cell.imagine(before, actions, own))
            for cell, period, before, actions, own in zip(
                self._listed, self._periods, self.parts(state), told, noises, strict=True
            )
        ]
        return {**joined(after), **self._moved_on(state, action)}

    def observe(self, state: CellState, action: Tensor, seen: Tensor, noise: Tensor) -> Step:
        """See `Cell`; between its ticks a cell expects what it holds."""
        told = self._tell(state, action)
        noises = torch.split(noise, [cell.state_size for cell in self._listed], dim=-1)
        views = torch.split(seen, [cell.seen_size for cell in self._listed], dim=-1)
        steps = []
        for cell, period, before, actions, own, view in zip(
            self._listed, self._periods, self.parts(state), told, noises, views, strict=True
        ):
            step = cell.observe(before, actions, view, own)
            steps.append(Step(*(self._held(state, period, before, after) for after in step)))
        clock = self._moved_on(state, action)
        return Step(
            {**joined(step.prior for step in steps), **clock}, {**joined(step.posterior for step in steps), **clock}
        )

    def unroll(self, seen: Tensor, action: Tensor, noise: Tensor) -> Step:
        """See `Cell`; each cell is unrolled over its own frames, and repeated in between, prior and posterior.

        So the divergence of a cell counts as often as its state is held.
        """
        size, length = action.shape[:2]
        noises = torch.split(noise, [cell.state_size for cell in self._listed], dim=-1)
        views = torch.split(seen, [cell.seen_size for cell in self._listed], dim=-1)
        before = self._before(action)
        priors, posteriors = [], []
        for cell, period, own, view in zip(self._listed, self._periods, noises, views, strict=True):
            told = self._of_period(before, period)
            step = cell.unroll(view[:, ::period], told[:, ::period], own[::period])
            prior, posterior = (
                {name: part.repeat_interleave(period, dim=1)[:, :length] for name, part in states.items()}
                for states in step
            )
            priors.append(prior)
            posteriors.append(posterior)
        phase = torch.arange(1, length + 1, device=action.device) % math.lcm(*self._periods)
        clock = {
            _PHASE: phase.to(action.dtype).expand(size, length)[..., None],
            _ACTIONS: before[:, :, : self._num_remembered].flatten(start_dim=2),
        }
        return Step({**joined(priors), **clock}, {**joined(posteriors), **clock})

    def parts(self, state: CellState) -> list[CellState]:
        """Returns the states of the cells."""
        split = {name: torch.split(state[name], sizes, dim=-1) for name, sizes in self._sizes.items()}
        return [{name: parts[index] for name, parts in split.items()} for index in range(len(self._listed))]

    def _tell(self, state: CellState, action: Tensor) -> list[Tensor]:
        """Returns what each cell is told, `[B, A]` or, of "concat", `[B, τ A]`."""
        known = torch.cat([action, state[_ACTIONS]], dim=-1)
        known = known.reshape(*known.shape[:-1], -1, self._num_actions)
        return [self._of_period(known, period) for period in self._periods]

    def _of_period(self, known: Tensor, period: int) -> Tensor:
        """Returns what a cell is told of the last actions `[..., n, A]`, the newest first."""
        match self._told:
            case "last":
                return known[..., 0, :]
            case "mean":
                return known[..., :period, :].mean(dim=-2)
        return known[..., :period, :].flatten(start_dim=-2)

    def _before(self, action: Tensor) -> Tensor:
        """Returns the actions that led to each frame and to those before it, `[B, T, n, A]`, the newest first."""
        shifted = [
            torch.cat([torch.zeros_like(action[:, :back]), action[:, : action.shape[1] - back]], dim=1)
            for back in range(self._num_remembered + 1)
        ]
        return torch.stack(shifted, dim=2)

    def _held(self, state: CellState, period: int, before: CellState, after: CellState) -> CellState:
        """Returns the new state where the clock says so, and the old one elsewhere."""
        if period == 1:
            return after
        ticks = state[_PHASE] % period == 0
        return {name: torch.where(ticks, part, before[name]) for name, part in after.items()}

    def _moved_on(self, state: CellState, action: Tensor) -> dict[str, Tensor]:
        newest = torch.cat([action, state[_ACTIONS]], dim=-1)
        return {
            _PHASE: (state[_PHASE] + 1) % math.lcm(*self._periods),
            _ACTIONS: newest[..., : self._num_remembered * self._num_actions],
        }
