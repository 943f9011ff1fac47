"""How actions are written for policy, dynamics and environment."""

import dataclasses

import numpy as np
import pytest
from support.fake_replay import BOX, ENV

from rlsys.algorithms.muzero.actions import action_code
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.types import ArraySpec


def test_discrete_actions_are_themselves() -> None:
    code = action_code(MuZeroConfig(), ENV)
    assert (code.policy_shape, code.input_size, code.is_numbers) == ((3,), 3, False)
    assert code.values.tolist() == [0.0, 1.0, 2.0]
    assert code.executed(np.array([[2], [0]])).tolist() == [2, 0]
    action = np.array([[2, 0, 1]])
    assert code.inputs(action) is action
    drawn = code.random_inputs(np.random.default_rng(0), (900, 2))
    assert drawn.shape == (900, 2) and np.bincount(drawn.ravel()).min() > 500


@pytest.mark.parametrize("bins", [2, 3, 7])
def test_numbers_go_from_bound_to_bound_and_back_to_what_dynamics_read(bins: int) -> None:
    code = action_code(MuZeroConfig(action_bins=bins), BOX)
    assert (code.policy_shape, code.input_size, code.is_numbers) == ((2, bins), 2, True)
    choice_BD = np.stack([np.arange(bins), np.arange(bins)[::-1]], axis=1)
    action = code.executed(choice_BD)
    assert action.shape == (bins, 2) and action.dtype == np.float32
    np.testing.assert_array_equal(action[[0, -1]], [[-2.0, 1.0], [2.0, 0.0]])
    np.testing.assert_allclose(np.diff(action[:, 0]), 4.0 / (bins - 1), rtol=1e-6)
    np.testing.assert_allclose(code.inputs(action), code.values[choice_BD], atol=1e-6)


def test_numbers_of_any_shape_and_type_are_flattened() -> None:
    env = dataclasses.replace(
        BOX, action=ArraySpec((2, 2), "uint8"), action_low=(0.0,) * 4, action_high=(255.0, 255.0, 4.0, 1.0)
    )
    code = action_code(MuZeroConfig(action_bins=5), env)
    action = code.executed(np.array([[0, 1, 2, 3], [4, 4, 4, 4]]))
    assert action.dtype == np.uint8
    np.testing.assert_array_equal(action, [[[0, 64], [2, 1]], [[255, 255], [4, 1]]])
    assert code.inputs(np.stack([action] * 3)).shape == (3, 2, 4)
    np.testing.assert_array_equal(code.inputs(action)[1], [1.0, 1.0, 1.0, 1.0])


def test_no_number_is_beyond_its_bounds_by_rounding() -> None:
    low, high = np.float32(-0.1), np.float32(0.7)
    env = dataclasses.replace(BOX, action_low=(float(low),) * 2, action_high=(float(high),) * 2)
    code = action_code(MuZeroConfig(action_bins=11), env)
    action = code.executed(np.repeat(np.arange(11)[:, None], 2, axis=1))
    assert (action.min(), action.max()) == (low, high)


def test_every_action_has_a_name() -> None:
    code = action_code(MuZeroConfig(action_bins=3), BOX)
    assert code.names(np.array([[0, 1], [2, 2]])) == ["-2, 0.5", "2, 1"]
    assert action_code(MuZeroConfig(), ENV).names(np.array([[2]])) == ["2"]
    named = dataclasses.replace(ENV, action_meanings=("left", "stay", "right"))
    assert action_code(MuZeroConfig(), named).names(np.array([[2], [0]])) == ["right", "left"]


def test_random_numbers_take_all_values() -> None:
    code = action_code(MuZeroConfig(), BOX)
    drawn = code.random_inputs(np.random.default_rng(0), (100, 3))
    assert drawn.shape == (100, 3, 2) and drawn.dtype == np.float32
    assert set(np.unique(drawn)) == set(code.values)
