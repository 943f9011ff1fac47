"""Returns of old windows: how many rewards they have, and that a training's own ages decide about them."""

from typing import Any

import numpy as np
import pytest
import torch
from support.fake_replay import ENV, FakeReplay

from rlsys.algorithms.muzero import ALGORITHM
from rlsys.algorithms.muzero.config import MuZeroConfig
from rlsys.algorithms.muzero.efficientzero.reach import return_lengths
from rlsys.algorithms.muzero.learner import MuZeroLearner
from rlsys.algorithms.muzero.requirements import ROOT_VALUE
from rlsys.algorithms.muzero.scalars import value_code
from rlsys.api import LearnerContext
from rlsys.testing.contract import check_algorithm
from rlsys.types import Array

AGES = np.array([0, 9, 10, 19, 20, 29, 30, 1_000])
SMALL: dict[str, Any] = {"batch_size": 8, "num_unroll_steps": 2, "td_steps": 3, "stored_before_train": 16}


def lengths(learner_step: int = 0, **options: Any) -> Array | None:
    return return_lengths(MuZeroConfig.model_validate({"td_steps": 3, **options}), AGES, learner_step)


def test_returns_lose_a_reward_with_each_so_many_decisions_but_not_the_last() -> None:
    found = lengths(auto_td_steps=10)
    assert found is not None and found.tolist() == [3, 3, 2, 2, 1, 1, 1, 1]


def test_from_some_update_on_only_the_newest_have_returns() -> None:
    mixed = {"mixed_value_after": 5, "mixed_value_newest": 20}
    assert lengths(4, **mixed) is None
    after = lengths(5, **mixed)
    assert after is not None and after.tolist() == [3, 3, 3, 3, 0, 0, 0, 0]
    both = lengths(5, **mixed, auto_td_steps=10)
    assert both is not None and both.tolist() == [3, 3, 2, 2, 0, 0, 0, 0]
    early = lengths(4, **mixed, auto_td_steps=10)
    assert early is not None and early.tolist() == [3, 3, 2, 2, 1, 1, 1, 1]


def test_without_either_ages_do_not_matter() -> None:
    assert lengths(10_000) is None


def test_the_learner_takes_ages_from_its_batch() -> None:
    options = {"auto_td_steps": 10, "mixed_value_after": 0, "mixed_value_newest": 20, "alpha": 1.0, "epsilon": 1e-6}
    config = MuZeroConfig.model_validate({**SMALL, **options})
    learner, replay = MuZeroLearner(LearnerContext(config, ENV, seed=0)), FakeReplay()
    windows = replay.windows
    windows.age = np.resize(AGES, 64)
    network = learner._model.network
    with torch.no_grad():
        state = network.represent(torch.tensor(windows.observation[:8, 0]))
        predicted = value_code(config).decode(network.predict(state).value)
    metrics = learner.step(replay)
    assert metrics["learner/td_steps"] == pytest.approx(np.mean([3, 3, 2, 2, 0, 0, 0, 0]))
    [(_, priority_B)] = replay.updates
    for b, num_steps in enumerate([3, 3, 2, 2, 0, 0, 0, 0]):
        due = sum(config.discount**j * windows.reward[b, j] for j in range(num_steps))
        due += config.discount**num_steps * windows.extras[ROOT_VALUE][b, num_steps]
        assert priority_B[b] == pytest.approx(abs(float(predicted[b]) - due), rel=1e-3, abs=1e-4)


def test_it_keeps_the_contract() -> None:
    options = {"auto_td_steps": 20, "reanalyse_fraction": 0.5, "mixed_value_after": 2, "mixed_value_newest": 30}
    check_algorithm(ALGORITHM, MuZeroConfig.model_validate({**ALGORITHM.debug, **options}))
