"""n-step returns against the sum that defines them."""

import numpy as np
import pytest

from rlsys.ops.returns import n_step_returns, returns_of_lengths


@pytest.mark.parametrize("discount", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("num_steps", [0, 1, 3, 40])
def test_returns_equal_the_naive_sum(discount: float, num_steps: int) -> None:
    rng = np.random.default_rng(0)
    num_returns = 4
    reward = rng.normal(size=(3, num_returns + num_steps)).astype(np.float32)
    value = rng.normal(size=(3, num_returns + num_steps)).astype(np.float32)
    found = n_step_returns(reward, value, num_returns=num_returns, num_steps=num_steps, discount=discount)
    for b in range(3):
        for k in range(num_returns):
            expected = sum(discount**j * float(reward[b, k + j]) for j in range(num_steps))
            expected += discount**num_steps * float(value[b, k + num_steps])
            assert found[b, k] == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_each_row_can_have_a_length_of_its_own() -> None:
    rng = np.random.default_rng(1)
    reward, value, length_B = rng.normal(size=(6, 8)), rng.normal(size=(6, 8)), np.array([4, 0, 1, 4, 2, 0])
    found = returns_of_lengths(reward, value, length_B, 3, 0.9)
    for row, length in enumerate(length_B.tolist()):
        alone = reward[row : row + 1], value[row : row + 1]
        due = n_step_returns(*alone, num_returns=3, num_steps=length, discount=0.9)[0]
        np.testing.assert_allclose(found[row], due, rtol=1e-12)


def test_the_arrays_are_left_alone() -> None:
    reward, value = np.ones((1, 5)), np.ones((1, 5))
    n_step_returns(reward, value, num_returns=2, num_steps=3, discount=0.5)
    assert reward.min() == value.min() == reward.max() == value.max() == 1.0
