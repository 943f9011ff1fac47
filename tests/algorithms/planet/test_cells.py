"""Transition models: each unrolled as its definition steps, and what their options are known to do."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from rlsys.algorithms.planet.transitions.cell import Cell, CellState, Sizes
from rlsys.algorithms.planet.transitions.clockwork import Clockwork
from rlsys.algorithms.planet.transitions.moving_average import MovingAverage
from rlsys.algorithms.planet.transitions.rssm import RSSM
from rlsys.algorithms.planet.transitions.ssm import SSM
from rlsys.algorithms.planet.transitions.time_agnostic import TimeAgnostic

ACTION, EMBEDDED = 2, 6
SIZES = Sizes(ACTION, EMBEDDED, state=3, belief=5, hidden=7)
WIDE = Sizes(3 * ACTION, EMBEDDED, state=4, belief=6, hidden=7)
CELLS: dict[str, Callable[[], Cell]] = {
    "rssm": lambda: RSSM(SIZES),
    "rssm of the first release": lambda: RSSM(SIZES, future_rnn=False),
    "rssm of means": lambda: RSSM(SIZES, mean_only=True),
    "ssm": lambda: SSM(SIZES),
    "moving average": lambda: MovingAverage(RSSM(SIZES), RSSM(SIZES), 0.25),
    "clockwork, last": lambda: Clockwork([RSSM(SIZES), RSSM(SIZES)], [1, 3], "last", ACTION),
    "clockwork, mean": lambda: Clockwork([RSSM(SIZES), SSM_LIKE(), RSSM(SIZES)], [1, 3, 4], "mean", ACTION),
    "time-agnostic": lambda: TimeAgnostic(RSSM(SIZES), RSSM(SIZES)),
    "clockwork, concat": lambda: Clockwork([RSSM(SIZES), RSSM(WIDE)], [1, 3], "concat", ACTION),
}


def SSM_LIKE() -> Cell:  # noqa: N802 - a cell of other sizes
    return RSSM(Sizes(ACTION, EMBEDDED, state=4, belief=6, hidden=8))


def window(cell: Cell, size: int = 4, length: int = 14) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    embedded = torch.randn(size, length, EMBEDDED, generator=generator)
    action = torch.randn(size, length, ACTION, generator=generator)
    return cell.see(embedded), action, torch.randn(length, size, cell.state_size, generator=generator)


def assert_equal(ours: CellState, theirs: CellState) -> None:
    assert ours.keys() == theirs.keys()
    for name, part in ours.items():
        torch.testing.assert_close(part, theirs[name], msg=name)


@pytest.fixture(params=CELLS)
def cell(request: pytest.FixtureRequest) -> Cell:
    torch.manual_seed(0)
    return CELLS[request.param]()


def test_a_window_is_unrolled_as_it_is_stepped_through(cell: Cell) -> None:
    seen, action, noise = window(cell)
    unrolled, stepped = cell.unroll(seen, action, noise), Cell.unroll(cell, seen, action, noise)
    assert_equal(unrolled.posterior, stepped.posterior)
    if not isinstance(cell, Clockwork):  # a held cell repeats its prior when unrolled
        assert_equal(unrolled.prior, stepped.prior)
    assert cell.features(unrolled.posterior).shape == (4, 14, cell.num_features)


def test_what_is_expected_is_what_is_imagined_without_seeing(cell: Cell) -> None:
    seen, action, noise = window(cell)
    state = cell.unroll(seen, action, noise).posterior
    for frame in range(5):
        before = {name: part[:, frame] for name, part in state.items()}
        expected = cell.observe(before, action[:, 3], seen[:, 3], noise[3]).prior
        assert_equal(cell.imagine(before, action[:, 3], torch.zeros_like(noise[3])), expected)


def test_states_have_the_names_and_sizes_of_the_initial_one(cell: Cell) -> None:
    seen, action, noise = window(cell)
    shapes = {name: part.shape for name, part in cell.initial(4).items()}
    step = cell.observe(cell.initial(4), action[:, 0], seen[:, 0], noise[0])
    for state in (*step, cell.imagine(step.posterior, action[:, 1], noise[1])):
        assert {name: part.shape for name, part in state.items()} == shapes
    assert all(not part.any() for part in cell.initial(4).values())


def test_the_recurrent_cell_is_its_definition() -> None:
    torch.manual_seed(0)
    cell = RSSM(SIZES, min_stddev=0.2)
    seen, action, noise = window(cell)
    state = cell.unroll(seen, action, noise).posterior
    before = {name: part[:, 6] for name, part in state.items()}
    inner = functional.relu(cell.input(torch.cat([before["sample"], action[:, 7]], dim=1)))
    reset_update_new = cell.belief.weight_ih @ inner.T + cell.belief.bias_ih[:, None]
    remembered = cell.belief.weight_hh @ before["belief"].T + cell.belief.bias_hh[:, None]
    parts = [part.T for part in (*reset_update_new.chunk(3), *remembered.chunk(3))]
    reset, update = torch.sigmoid(parts[0] + parts[3]), torch.sigmoid(parts[1] + parts[4])
    belief = (1 - update) * torch.tanh(parts[2] + reset * parts[5]) + update * before["belief"]
    prior = functional.relu(cell.prior_hidden(belief))
    posterior = functional.relu(cell.belief_hidden(belief) + seen[:, 7])
    step = cell.observe(before, action[:, 7], seen[:, 7], noise[7])
    torch.testing.assert_close(step.prior["mean"], cell.prior.mean(prior))
    torch.testing.assert_close(step.prior["stddev"], functional.softplus(cell.prior.stddev(prior)) + 0.2)
    mean, stddev = cell.posterior.mean(posterior), functional.softplus(cell.posterior.stddev(posterior)) + 0.2
    torch.testing.assert_close(step.posterior["sample"], mean + stddev * noise[7])


def test_the_prior_of_the_first_release_does_not_know_what_was_remembered() -> None:
    torch.manual_seed(0)
    for future_rnn in (False, True):
        cell = RSSM(SIZES, future_rnn=future_rnn)
        state = cell.initial(1)
        other = {**state, "belief": torch.ones_like(state["belief"])}
        action, noise = torch.ones(1, ACTION), torch.zeros(1, cell.state_size)
        means = [cell.imagine(begun, action, noise)["mean"] for begun in (state, other)]
        assert torch.equal(*means) != future_rnn


def test_the_stochastic_cell_is_its_definition() -> None:
    torch.manual_seed(0)
    cell = SSM(SIZES)
    seen, action, noise = window(cell)
    before = {name: part[:, 6] for name, part in cell.unroll(seen, action, noise).posterior.items()}
    step = cell.observe(before, action[:, 7], seen[:, 7], noise[7])
    expected = cell.prior(functional.relu(cell.input(torch.cat([before["sample"], action[:, 7]], dim=1))))
    torch.testing.assert_close(step.prior["mean"], expected[0])
    hidden = functional.relu(cell.prior_hidden(torch.cat(expected, dim=1)) + seen[:, 7])
    torch.testing.assert_close(step.posterior["mean"], cell.posterior.mean(hidden))
    assert torch.equal(cell.features(step.posterior), step.posterior["sample"])


def test_means_alone_draw_nothing() -> None:
    torch.manual_seed(0)
    cell = RSSM(SIZES, mean_only=True)
    state = cell.unroll(*window(cell)).posterior
    assert torch.equal(state["sample"], state["mean"])


def halves(state: CellState, cell: Cell) -> list[CellState]:
    sizes = {name: part.shape[-1] for name, part in cell.initial(1).items()}
    return [
        {name: part[..., : sizes[name]] for name, part in state.items()},
        {name: part[..., sizes[name] :] for name, part in state.items()},
    ]


def test_a_moving_average_of_all_that_is_new_is_two_cells() -> None:
    torch.manual_seed(0)
    slow, fast = RSSM(SIZES), SSM_LIKE()
    both = MovingAverage(slow, fast, 1.0)
    seen, action, noise = window(both)
    found = halves(both.unroll(seen, action, noise).posterior, slow)
    apart = [
        slow.unroll(seen[..., :7], action, noise[..., :3]).posterior,
        fast.unroll(seen[..., 7:], action, noise[..., 3:]).posterior,
    ]
    for ours, theirs in zip(found, apart, strict=True):
        assert_equal(ours, theirs)


def test_a_moving_average_of_nothing_new_never_moves() -> None:
    torch.manual_seed(0)
    both = MovingAverage(RSSM(SIZES), RSSM(SIZES), 0.0)
    slow, fast = halves(both.unroll(*window(both)).posterior, both.slow)
    assert not any(part.any() for part in slow.values())
    assert fast["mean"].any()


def test_the_slow_part_is_its_old_and_its_new_state_mixed_and_the_cells_know_nothing_of_each_other() -> None:
    torch.manual_seed(0)
    both = MovingAverage(RSSM(SIZES), RSSM(SIZES), 0.25)
    seen, action, noise = window(both)
    before = {name: part[:, 6] for name, part in both.unroll(seen, action, noise).posterior.items()}
    step = both.observe(before, action[:, 7], seen[:, 7], noise[7])
    old = halves(before, both.slow)[0]
    new = both.slow.observe(old, action[:, 7], seen[:, 7, :7], noise[7, :, :3]).posterior
    for name, part in halves(step.posterior, both.slow)[0].items():
        torch.testing.assert_close(part, 0.75 * old[name] + 0.25 * new[name])


def test_a_clockwork_whose_cells_all_tick_is_its_cells() -> None:
    torch.manual_seed(0)
    cells = [RSSM(SIZES), SSM_LIKE()]
    both = Clockwork(cells, [1, 1], "last", ACTION)
    seen, action, noise = window(both)
    found = both.parts(both.unroll(seen, action, noise).posterior)
    first = cells[0].unroll(seen[..., :7], action, noise[..., :3]).posterior
    second = cells[1].unroll(seen[..., 7:], action, noise[..., 3:]).posterior
    for ours, theirs in zip(found, (first, second), strict=True):
        assert_equal(ours, theirs)


def test_a_slow_cell_sees_every_third_frame_and_holds_its_state_in_between() -> None:
    torch.manual_seed(0)
    cells = [RSSM(SIZES), RSSM(SIZES)]
    both = Clockwork(cells, [1, 3], "last", ACTION)
    seen, action, noise = window(both)
    states = both.unroll(seen, action, noise)
    alone = cells[1].unroll(seen[:, ::3, 7:], action[:, ::3], noise[::3, :, 3:])
    for ours, theirs in zip(states, alone, strict=True):
        slow = both.parts(ours)[1]
        for frame in range(14):
            for name, part in theirs.items():
                assert torch.equal(slow[name][:, frame], part[:, frame // 3])


@pytest.mark.parametrize("told", ["last", "mean", "concat"])
def test_a_slow_cell_is_told_the_actions_since_its_last_tick(told: str) -> None:
    torch.manual_seed(0)
    own = WIDE if told == "concat" else SIZES
    both = Clockwork([RSSM(SIZES), RSSM(own)], [1, 3], told, ACTION)  # type: ignore[arg-type]
    seen, action, noise = window(both)
    at_the_end = []
    for row in range(7):  # the tick at frame 6 knows of actions 4, 5 and 6
        changed = action.clone()
        changed[:, row] += 1.0
        slow = both.parts(both.unroll(seen, changed, noise).posterior)[1]
        same = both.parts(both.unroll(seen, action, noise).posterior)[1]
        at_the_end.append(not torch.equal(slow["mean"][:, 6], same["mean"][:, 6]))
    assert at_the_end == ([True, False, False, True, False, False, True] if told == "last" else [True] * 7)


def test_the_clock_is_a_part_of_the_state_and_goes_on_in_imagination() -> None:
    torch.manual_seed(0)
    both = Clockwork([RSSM(SIZES), RSSM(SIZES)], [1, 3], "last", ACTION)
    seen, action, noise = window(both)
    state: CellState = {name: part[:, 4] for name, part in both.unroll(seen, action, noise).posterior.items()}
    moved = []
    for step in range(5):  # frames 5 to 9, of which 6 and 9 are ticks
        after = both.imagine(state, action[:, step], noise[step])
        moved.append(not torch.equal(both.parts(after)[1]["mean"], both.parts(state)[1]["mean"]))
        state = after
    assert moved == [False, True, False, False, True]


def test_sizes_are_those_of_the_paper() -> None:
    assert sum(parameter.numel() for parameter in RSSM(Sizes(6, 1024)).parameters()) == 557_920


def test_every_part_of_a_cell_is_trained(cell: Cell) -> None:
    generator = torch.Generator().manual_seed(1)
    embedded = torch.randn(4, 14, EMBEDDED, generator=generator)
    _, action, noise = window(cell)
    states = cell.unroll(cell.see(embedded), action, noise)
    sum(part.square().sum() for part in itertools.chain(*(state.values() for state in states))).backward()  # type: ignore[union-attr]
    untrained = {name for name, parameter in cell.named_parameters() if parameter.grad is None}
    assert untrained == set()
