"""What acts in SimPLe."""

import numpy as np
from algorithms.simple.small_learners import CATCH, SMALL, make_learner

from rlsys.algorithms.simple import ALGORITHM
from rlsys.api import PolicyContext
from rlsys.types import Weights


def test_acting_is_ppos_at_the_temperature_of_evaluations() -> None:
    config = SMALL.model_copy(update={"eval_temperature": 0.0})
    policy = ALGORITHM.make_policy(PolicyContext(config, CATCH, seed=0))
    policy.set_weights(Weights(0, 0, make_learner().weights()))
    observation = np.random.default_rng(0).integers(0, 256, (6, 4, 20, 16), dtype=np.uint8)
    assert np.array_equal(
        policy.act(observation, {}, explore=False).action, policy.act(observation, {}, explore=False).action
    )
