"""Schedules as functions of the learner step."""

import pytest

from rlsys.algorithms.muzero import schedules
from rlsys.algorithms.muzero.config import MuZeroConfig


def test_the_learning_rate_reaches_its_factor_after_the_decay_steps() -> None:
    config = MuZeroConfig(lr_scheduler="MuZeroLR", lr_init=1.0, lr_decay_rate=0.01, lr_decay_steps=200)
    rates = [schedules.learning_rate(config, step) for step in (0, 100, 200, 400)]
    assert rates == pytest.approx([1.0, 0.1, 0.01, 0.0001])


def test_the_exponential_schedule_goes_down_in_stairs() -> None:
    config = MuZeroConfig(lr_scheduler="ExponentialLR", lr_init=1.0, lr_decay_rate=0.5, lr_decay_steps=10)
    rates = [schedules.learning_rate(config, step) for step in (0, 9, 10, 19, 20)]
    assert rates == [1.0, 1.0, 0.5, 0.5, 0.25]


def test_warming_up_is_linear_and_then_constant() -> None:
    config = MuZeroConfig(lr_scheduler="WarmUpLR", lr_init=2.0, lr_warmup_steps=4)
    upstreams = [0.5, 0.5, 1.0, 1.5, 2.0, 2.0]  # set at the beginning, and by each update for the next one
    assert [schedules.learning_rate(config, step) for step in range(6)] == upstreams


def test_without_a_schedule_the_learning_rate_is_constant() -> None:
    assert {schedules.learning_rate(MuZeroConfig(lr_init=0.1), step) for step in range(0, 10**6, 10**5)} == {0.1}


def test_beta_grows_to_one() -> None:
    config = MuZeroConfig(beta=0.4, beta_increment_per_sampling=0.1)
    assert [schedules.beta(config, step) for step in (0, 2, 5, 60)] == pytest.approx([0.5, 0.7, 1.0, 1.0])
    assert schedules.beta(MuZeroConfig(), 0) == 1.0


def test_temperatures_change_after_their_last_step() -> None:
    config = MuZeroConfig(visit_softmax_temperatures=(1.0, 0.5, 0.25), visit_softmax_steps=(10, 20))
    found = [schedules.visit_temperature(config, step) for step in (0, 10, 11, 20, 21, 10**6)]
    assert found == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
