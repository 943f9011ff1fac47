"""The recurrent state-space model: a belief that a GRU remembers, and a stochastic state that is drawn beside it.

    x_t = relu(W1 [z_{t-1}, a_{t-1}])        h_t = GRU(x_t, h_{t-1})
    prior      N(μ, σ) from relu(W2 h_t)            without `future_rnn` from relu(W2 x_t), as upstream's first release
    posterior  N(μ', σ') from relu(W3 [h_t, e_t])

Hafner et al. 2019, section 3.1, https://arxiv.org/abs/1811.04551. What does not depend on the state before is computed
for all frames at once. Shape legend: as in cell.py.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from rlsys.algorithms.planet.transitions.cell import Cell, CellState, Gaussian, Sizes, Step, dense


class RSSM(Cell):
    """The cell of PlaNet."""

    def __init__(
        self, sizes: Sizes, *, future_rnn: bool = True, mean_only: bool = False, min_stddev: float = 0.1
    ) -> None:
        """Builds it.

        Args:
          sizes: of states and layers.
          future_rnn: the prior sees the belief at t; else only what went into it.
          mean_only: states are their means: nothing is drawn.
          min_stddev: smallest deviation.
        """
        super().__init__()
        self.state_size, self._belief_size = sizes.state, sizes.belief
        self.num_features = sizes.state + sizes.belief
        self.seen_size = sizes.hidden
        self._future_rnn = future_rnn
        self.input = dense(sizes.state + sizes.action, sizes.hidden)
        self.belief = _gru(sizes.hidden, sizes.belief)
        self.prior_hidden = dense(sizes.belief if future_rnn else sizes.hidden, sizes.hidden)
        self.prior = Gaussian(sizes.hidden, sizes.state, min_stddev, mean_only=mean_only)
        num_inputs = sizes.belief + sizes.embedding
        self.seen_hidden = dense(sizes.embedding, sizes.hidden, of_inputs=num_inputs)
        self.belief_hidden = dense(sizes.belief, sizes.hidden, bias=False, of_inputs=num_inputs)
        self.posterior = Gaussian(sizes.hidden, sizes.state, min_stddev, mean_only=mean_only)

    def initial(self, size: int) -> CellState:
        """See `Cell`."""
        nothing = self.input.weight.new_zeros
        shapes = dict.fromkeys(("mean", "stddev", "sample"), self.state_size) | {"belief": self._belief_size}
        return {name: nothing(size, count) for name, count in shapes.items()}

    def see(self, embedded: Tensor) -> Tensor:
        """See `Cell`: the share of the posterior's hidden layer."""
        seen: Tensor = self.seen_hidden(embedded)
        return seen

    def imagine(self, state: CellState, action: Tensor, noise: Tensor) -> CellState:
        """See `Cell`."""
        inner, belief = self._move(state, action)
        mean, stddev = self._expected(inner, belief)
        return {"mean": mean, "stddev": stddev, "sample": self.prior.draw(mean, stddev, noise), "belief": belief}

    def observe(self, state: CellState, action: Tensor, seen: Tensor, noise: Tensor) -> Step:
        """See `Cell`."""
        inner, belief = self._move(state, action)
        mean, stddev = self._expected(inner, belief)
        prior = {"mean": mean, "stddev": stddev, "sample": mean, "belief": belief}
        return Step(prior, self._corrected(belief, seen, noise))

    def unroll(self, seen: Tensor, action: Tensor, noise: Tensor) -> Step:
        """See `Cell`; priors are computed for all frames at once."""
        state, inners, posteriors = self.initial(len(seen)), [], []
        for seen_B, action_BA, noise_BS in zip(seen.unbind(1), action.unbind(1), noise, strict=True):
            inner, belief = self._move(state, action_BA)
            state = self._corrected(belief, seen_B, noise_BS)
            inners.append(inner)
            posteriors.append(state)
        posterior = {name: torch.stack([state[name] for state in posteriors], dim=1) for name in state}
        mean, stddev = self._expected(torch.stack(inners, dim=1), posterior["belief"])
        return Step({"mean": mean, "stddev": stddev, "sample": mean, "belief": posterior["belief"]}, posterior)

    def _move(self, state: CellState, action: Tensor) -> tuple[Tensor, Tensor]:
        """Returns x `[B, hidden]`, and the belief `[B, D]` that comes of it."""
        inner = functional.relu(self.input(torch.cat([state["sample"], action], dim=-1)))
        return inner, self.belief(inner, state["belief"])

    def _expected(self, inner: Tensor, belief: Tensor) -> tuple[Tensor, Tensor]:
        """Returns mean and deviation of the prior, `[..., S]`."""
        hidden = functional.relu(self.prior_hidden(belief if self._future_rnn else inner))
        expected: tuple[Tensor, Tensor] = self.prior(hidden)
        return expected

    def _corrected(self, belief: Tensor, seen: Tensor, noise: Tensor) -> CellState:
        """Returns the posterior."""
        mean, stddev = self.posterior(functional.relu(self.belief_hidden(belief) + seen))
        return {"mean": mean, "stddev": stddev, "sample": self.posterior.draw(mean, stddev, noise), "belief": belief}


def _gru(num_inputs: int, size: int) -> nn.GRUCell:
    """Returns a GRU whose gates begin as TensorFlow's: nearly open, so that it remembers and reads at once."""
    cell = nn.GRUCell(num_inputs, size)
    bound = (6.0 / (num_inputs + 2 * size)) ** 0.5
    for weight in (cell.weight_ih, cell.weight_hh):
        nn.init.uniform_(weight, -bound, bound)
    nn.init.zeros_(cell.bias_hh)
    nn.init.zeros_(cell.bias_ih)
    with torch.no_grad():
        cell.bias_ih[: 2 * size] = 1.0
    return cell
