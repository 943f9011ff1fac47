"""Two cells side by side, of which one moves slowly: of its state only a share becomes new with each step.

    slow_t = (1 - α) slow_{t-1} + α cell(slow_{t-1}, …)        of all tensors of the state, also of what was drawn
    fast_t = cell'(fast_{t-1}, …)

Rose's fork of PlaNet (`model: rssm_ma`). The cells know nothing of each other but through the heads that see both.
Averaged deviations are not those of averaged draws, so the divergence is of what the state says, not of how it came.

Shape legend: as in cell.py.
"""

from torch import Tensor

from rlsys.algorithms.planet.transitions.cell import Cell, CellState, Step, joined


class MovingAverage(Cell):
    """A slow and a fast cell as one; every tensor of its state is [slow | fast]."""

    def __init__(self, slow: Cell, fast: Cell, alpha: float) -> None:
        """Takes two cells with the same names in their states, and α of the slow one."""
        super().__init__()
        self.slow, self.fast = slow, fast
        self._alpha = alpha
        self.state_size = slow.state_size + fast.state_size
        self.num_features = slow.num_features + fast.num_features
        self.seen_size = slow.seen_size + fast.seen_size
        self._sizes = {name: part.shape[-1] for name, part in slow.initial(1).items()}

    def initial(self, size: int) -> CellState:
        """See `Cell`."""
        return joined([self.slow.initial(size), self.fast.initial(size)])

    def see(self, embedded: Tensor) -> Tensor:
        """See `Cell`."""
        return joined([{"": self.slow.see(embedded)}, {"": self.fast.see(embedded)}])[""]

    def imagine(self, state: CellState, action: Tensor, noise: Tensor) -> CellState:
        """See `Cell`."""
        slow, fast = self._split(state)
        slow_noise, fast_noise = noise.tensor_split((self.slow.state_size,), dim=-1)
        after = self._averaged(slow, self.slow.imagine(slow, action, slow_noise))
        return joined([after, self.fast.imagine(fast, action, fast_noise)])

    def observe(self, state: CellState, action: Tensor, seen: Tensor, noise: Tensor) -> Step:
        """See `Cell`."""
        slow, fast = self._split(state)
        slow_noise, fast_noise = noise.tensor_split((self.slow.state_size,), dim=-1)
        slow_seen, fast_seen = seen.tensor_split((self.slow.seen_size,), dim=-1)
        slow_step = self.slow.observe(slow, action, slow_seen, slow_noise)
        fast_step = self.fast.observe(fast, action, fast_seen, fast_noise)
        return Step(
            joined([self._averaged(slow, slow_step.prior), fast_step.prior]),
            joined([self._averaged(slow, slow_step.posterior), fast_step.posterior]),
        )

    def _split(self, state: CellState) -> tuple[CellState, CellState]:
        halves = {name: part.tensor_split((self._sizes[name],), dim=-1) for name, part in state.items()}
        return {name: slow for name, (slow, _) in halves.items()}, {name: fast for name, (_, fast) in halves.items()}

    def _averaged(self, before: CellState, after: CellState) -> CellState:
        return {name: before[name].lerp(part, self._alpha) for name, part in after.items()}
