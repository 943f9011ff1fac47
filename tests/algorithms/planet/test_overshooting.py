"""What the prior says several steps ahead, against one rollout after the other."""

import pytest
import torch

from rlsys.algorithms.planet.overshooting import later, overshoot
from rlsys.algorithms.planet.transitions.cell import CellState, Sizes
from rlsys.algorithms.planet.transitions.clockwork import Clockwork
from rlsys.algorithms.planet.transitions.rssm import RSSM

SIZES = Sizes(2, 6, state=3, belief=5, hidden=7)
LENGTH = 6


@pytest.mark.parametrize("amount", [1, 3, 20])
@pytest.mark.parametrize("is_clockwork", [False, True])
def test_each_column_is_the_open_loop_rollout_from_the_posterior_before_it(amount: int, is_clockwork: bool) -> None:
    torch.manual_seed(0)
    one = RSSM(SIZES, mean_only=True)
    cell = Clockwork([one, RSSM(SIZES, mean_only=True)], [1, 3], "mean", 2) if is_clockwork else one
    action, embedded = torch.randn(4, LENGTH, 2), torch.randn(4, LENGTH, 6)
    posterior = cell.unroll(cell.see(embedded), action, torch.zeros(LENGTH, 4, cell.state_size)).posterior
    table = overshoot(cell, posterior, action, amount)
    assert len(table) == min(amount, LENGTH - 1)
    for distance, states in enumerate(table, 1):
        for column in range(LENGTH - distance):
            state: CellState = (
                {name: part[:, column - 1] for name, part in posterior.items()} if column else cell.initial(4)
            )
            for frame in range(column, column + distance + 1):
                state = cell.imagine(state, action[:, frame], torch.zeros(4, cell.state_size))
            for name, part in state.items():
                torch.testing.assert_close(states[name][:, column], part, msg=f"{name}, {distance}, {column}")


def test_columns_are_compared_with_what_came_so_many_frames_later() -> None:
    letters = torch.arange(6)[None, :, None]  # A to F
    assert later({"": letters}, 2)[""][0, :, 0].tolist() == [2, 3, 4, 5]


def test_gradients_reach_the_prior_through_all_distances() -> None:
    torch.manual_seed(0)
    cell = RSSM(SIZES)
    action = torch.randn(4, LENGTH, 2)
    seen = cell.see(torch.randn(4, LENGTH, 6))
    posterior = cell.unroll(seen, action, torch.randn(LENGTH, 4, 3)).posterior
    held = {name: part.detach() for name, part in posterior.items()}
    overshoot(cell, held, action, 3)[-1]["mean"].sum().backward()  # type: ignore[no-untyped-call]
    assert cell.prior.mean.weight.grad is not None and cell.prior.mean.weight.grad.any()
    assert cell.posterior.mean.weight.grad is None
