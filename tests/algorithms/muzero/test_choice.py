"""Plans of several actions: how they are followed, replaced row by row, and told."""

import numpy as np
from support.fake_replay import ENV

from rlsys.algorithms.muzero.actions import action_code
from rlsys.algorithms.muzero.choice import Choice
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.requirements import ROOT_VALUE, VISITS


def make_choice(seed: int, batch_size: int = 4, num_steps: int = 3) -> Choice:
    rng = np.random.default_rng(seed)
    return Choice(
        action=rng.integers(0, 5, (batch_size, num_steps, 1)),
        reward=rng.normal(size=(batch_size, num_steps)),
        visit_probabilities=rng.dirichlet(np.ones(5), size=batch_size),
        root_value=rng.normal(size=batch_size),
        network_value=rng.normal(size=batch_size),
        depth=rng.integers(1, 9, batch_size),
    )


def test_a_plan_is_followed_to_its_end() -> None:
    begun = make_choice(0)
    left = begun
    for step in range(3):
        assert np.array_equal(left.action[:, 0], begun.action[:, step])
        assert np.array_equal(left.reward[:, 0], begun.reward[:, step])
        left = left.after_one_action()
    none = Choice.none_yet(4, action_code(MuZeroConfig(), ENV), 3)
    assert np.array_equal(left.action, none.action)
    assert (left.action == -1).all()
    assert left.is_over.all() and not begun.is_over.any()


def test_new_plans_replace_the_rows_that_are_over_and_leave_the_others() -> None:
    old, new, rows = make_choice(1), make_choice(2, batch_size=2), np.array([3, 1])
    before = {name: values.copy() for name, values in old.state.items()}
    merged = old.with_rows(rows, new)
    for name, values in merged.state.items():
        assert np.array_equal(values[rows], new.state[name])
        assert np.array_equal(values[[0, 2]], before[name][[0, 2]])
        assert np.array_equal(old.state[name], before[name]), "the old plans are not changed"


def test_replay_keeps_the_search_in_single_precision() -> None:
    choice = make_choice(3)
    stored = choice.stored_extras()
    assert stored.keys() == {VISITS, ROOT_VALUE}
    assert all(array.dtype == np.float32 for array in stored.values())
    assert np.array_equal(stored[VISITS], choice.visit_probabilities.astype(np.float32))
