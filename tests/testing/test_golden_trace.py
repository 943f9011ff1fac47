"""A golden trace sees what changes, down to a hundredth of a setting, and says where."""

from dataclasses import replace
from typing import Any

import pytest

from rlsys.algorithms import muzero, ppo
from rlsys.api import Algorithm
from rlsys.testing.golden_trace import differences, make_trace


def with_settings(algorithm: Algorithm, **settings: Any) -> Algorithm:
    return replace(algorithm, debug={**algorithm.debug, **settings})


def test_a_training_is_the_same_each_time() -> None:
    assert make_trace(ppo.ALGORITHM) == make_trace(ppo.ALGORITHM)


@pytest.mark.parametrize(
    ("algorithm", "settings"),
    [
        (ppo.ALGORITHM, {"gae_gamma": 0.991}),
        (ppo.ALGORITHM, {"entropy_loss_coef": 0.0101}),
        (muzero.ALGORITHM, {"value_loss_weight": 1.001}),
    ],
)
def test_a_setting_that_is_off_by_little_is_seen(algorithm: Algorithm, settings: dict[str, Any]) -> None:
    golden = make_trace(algorithm)
    lines = differences(make_trace(with_settings(algorithm, **settings)), golden)
    assert lines
    assert all(", golden " in line for line in lines), lines


def test_names_that_come_and_go_are_named() -> None:
    assert differences({"a": 1, "b": 1.0}, {"b": 1.0, "c": 1}) == ["a is new", "c is gone"]
    assert differences({"a": [1, 2.0]}, {"a": [2, 2.00001]}) == ["a.0 = 1, golden 2"]
