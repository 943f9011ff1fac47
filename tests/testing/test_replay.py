"""Replays of tests: a table that remembers, batches once more, and nothing."""

import numpy as np
import pytest

from rlsys.api import ReplayNotReady
from rlsys.testing.algorithm import CHECKING
from rlsys.testing.replay import NeverReady, RepeatedReplay
from rlsys.testing.requirement import ContractError
from rlsys.testing.training import Training
from rlsys.types import Batch


@pytest.fixture
def batches() -> list[Batch]:
    training = Training(CHECKING)
    training.publish()
    training.update()
    return training.ranks[0].replay.batches


def test_batches_are_given_out_once_more_and_only_as_they_were_asked_for(batches: list[Batch]) -> None:
    replay = RepeatedReplay(batches)
    assert replay.sample(16, 5) is batches[0]
    replay.update_priorities(np.arange(2), np.ones(2))
    assert [priorities.tolist() for _, priorities in replay.priorities] == [[1.0, 1.0]]
    with pytest.raises(ContractError, match="samples as often as the one that was saved"):
        replay.sample(16, 5)
    with pytest.raises(ContractError, match="it asks for 8 items, not for 16"):
        RepeatedReplay(batches).sample(8, 5)


def test_nothing_is_never_ready_and_has_no_priorities() -> None:
    with pytest.raises(ReplayNotReady):
        NeverReady().sample(1, 1)
    with pytest.raises(ContractError, match="priorities are of what was sampled"):
        NeverReady().update_priorities(np.zeros(1), np.zeros(1))
