"""The simulated environment as a world: it is the learner's, and another game's is refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.simple_learners import CATCH, SMALL, Collected, make_learner

from rlsys.algorithms.simple import ALGORITHM
from rlsys.api import WorldContext
from rlsys.errors import CheckpointError
from rlsys.types import ArraySpec


def test_the_world_is_what_the_learner_has_learned() -> None:
    learner, replay = make_learner(), Collected()
    for _ in range(4):
        learner.step(replay)
    world = ALGORITHM.make_world(WorldContext(SMALL, CATCH, learner.save()["world"], seed=3, num_environments=2))
    rng = np.random.default_rng(0)
    history = rng.integers(0, 256, (2, world.num_context, 20, 16), dtype=np.uint8)
    assert np.array_equal(world.begin(history, np.zeros((2, 3), np.int64)), history[:, -1])
    torch.manual_seed(7)
    learner._simulated.begin(torch.from_numpy(history)[:, :, None])
    expected, reward = learner._simulated.step(torch.tensor([1, 2]))
    torch.manual_seed(7)
    frame, rewards, ended = world.step(np.array([1, 2]))
    assert np.array_equal(frame, expected.numpy()[:, 0])
    assert np.array_equal(rewards, reward.numpy())
    assert not ended.any()


def test_a_world_model_for_another_size_is_refused() -> None:
    saved = make_learner().save()["world"]
    other = replace(CATCH, id="other", observation=ArraySpec((3, 20, 16), "uint8"))
    with pytest.raises(CheckpointError, match=r"made for another game, frame size or model than 'other'"):
        ALGORITHM.make_world(WorldContext(SMALL, other, saved, seed=0))


@pytest.mark.parametrize("saved", [None, {}, {"parameters": None}, {"parameters": {"pixels.weight": 1.0}}])
def test_what_is_no_world_model_is_refused(saved: Any) -> None:
    with pytest.raises(CheckpointError, match=r"is missing, here it has to be"):
        ALGORITHM.make_world(WorldContext(SMALL, CATCH, saved, seed=0))
    with pytest.raises(CheckpointError, match=r"is missing, here it has to be"):
        make_learner()._world_updates.load_world(saved)
