"""The purely stochastic state-space model: nothing is remembered but what is drawn.

    prior      N(μ, σ) from relu(W1 [z_{t-1}, a_{t-1}])
    posterior  N(μ', σ') from relu(W2 [μ, σ, e_t])

Hafner et al. 2019, section 3.1, https://arxiv.org/abs/1811.04551. Shape legend: as in cell.py.
"""

import torch
from torch import Tensor
from torch.nn import functional

from rlsys.algorithms.planet.transitions.cell import Cell, CellState, Gaussian, Sizes, Step, dense


class SSM(Cell):
    """A cell without a belief."""

    def __init__(self, sizes: Sizes, *, mean_only: bool = False, min_stddev: float = 0.1) -> None:
        """Builds it; `sizes.belief` is not used, and of the rest see `RSSM`."""
        super().__init__()
        self.state_size = self.num_features = sizes.state
        self.seen_size = sizes.hidden
        self.input = dense(sizes.state + sizes.action, sizes.hidden)
        self.prior = Gaussian(sizes.hidden, sizes.state, min_stddev, mean_only=mean_only)
        num_inputs = 2 * sizes.state + sizes.embedding
        self.seen_hidden = dense(sizes.embedding, sizes.hidden, of_inputs=num_inputs)
        self.prior_hidden = dense(2 * sizes.state, sizes.hidden, bias=False, of_inputs=num_inputs)
        self.posterior = Gaussian(sizes.hidden, sizes.state, min_stddev, mean_only=mean_only)

    def initial(self, size: int) -> CellState:
        """See `Cell`."""
        return {name: self.input.weight.new_zeros(size, self.state_size) for name in ("mean", "stddev", "sample")}

    def see(self, embedded: Tensor) -> Tensor:
        """See `Cell`: the share of the posterior's hidden layer."""
        seen: Tensor = self.seen_hidden(embedded)
        return seen

    def imagine(self, state: CellState, action: Tensor, noise: Tensor) -> CellState:
        """See `Cell`."""
        mean, stddev = self.prior(functional.relu(self.input(torch.cat([state["sample"], action], dim=-1))))
        return {"mean": mean, "stddev": stddev, "sample": self.prior.draw(mean, stddev, noise)}

    def observe(self, state: CellState, action: Tensor, seen: Tensor, noise: Tensor) -> Step:
        """See `Cell`."""
        prior = self.imagine(state, action, torch.zeros_like(noise))
        expected = torch.cat([prior["mean"], prior["stddev"]], dim=-1)
        mean, stddev = self.posterior(functional.relu(self.prior_hidden(expected) + seen))
        return Step(prior, {"mean": mean, "stddev": stddev, "sample": self.posterior.draw(mean, stddev, noise)})

    def features(self, state: CellState) -> Tensor:
        """See `Cell`: what was drawn."""
        return state["sample"]
