"""Two-hot distributions over integer atoms."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlsys.ops.support import support_mean, two_hot


def naive_two_hot(x: float, low: int, high: int) -> list[float]:
    x = min(max(x, low), high)
    probabilities = [0.0] * (high - low + 1)
    below = math.floor(x)
    probabilities[below - low] += 1.0 - (x - below)
    if x > below:
        probabilities[below + 1 - low] += x - below
    return probabilities


@given(st.floats(-20, 20), st.integers(-15, 3), st.integers(1, 20))
def test_two_hot_equals_the_definition(x: float, low: int, width: int) -> None:
    found = two_hot(torch.tensor(x, dtype=torch.float64), low, low + width)
    assert found.tolist() == pytest.approx(naive_two_hot(x, low, low + width), abs=1e-12)


def test_the_mean_of_a_two_hot_distribution_is_the_number() -> None:
    x = torch.linspace(-15.0, 15.0, 243, dtype=torch.float64).reshape(3, -1, 1)
    found = support_mean(two_hot(x, -15, 15).clamp_min(1e-300).log(), -15)
    torch.testing.assert_close(found, x, rtol=0.0, atol=1e-5)


def test_numbers_beyond_the_support_become_its_ends() -> None:
    found = two_hot(torch.tensor([-100.0, 100.0]), -2, 3)
    assert found[0].tolist() == [1, 0, 0, 0, 0, 0]
    assert found[1].tolist() == [0, 0, 0, 0, 0, 1]


def test_not_a_number_stays_visible_after_the_round_trip() -> None:
    assert support_mean(two_hot(torch.tensor([math.nan]), -2, 2), -2).isnan().all()
