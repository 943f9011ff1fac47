"""PPO's learner."""

import numpy as np
import pytest
from support.ppo_batches import SMALL, OneBatch, make_batch, make_learner

from rlsys.errors import WorkerError


def test_what_is_not_finite_is_named_and_changes_nothing() -> None:
    batch = make_batch(SMALL)
    batch.reward[1, 1] = np.nan
    learner = make_learner(SMALL)
    before = learner.weights()
    with pytest.raises(WorkerError, match="reward from replay holds nan or inf at learner step 0"):
        learner.step(OneBatch(batch))
    assert all(np.array_equal(before[name], array) for name, array in learner.weights().items())
