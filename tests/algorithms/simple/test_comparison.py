"""A world model against held-out episodes: by numbers that were put there."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rlsys.algorithms.simple.comparison import compare
from rlsys.api import WorldState, WorldStep

NUM, LENGTH = 6, 4


class Foresight:
    """A world in which each frame is the last one and 3, each reward 1."""

    min_context = max_context = 4
    device = torch.device("cpu")

    def begin(self, observation: Tensor, action: Tensor) -> WorldState:
        assert action.shape == (NUM, 3)
        self.actions: list[Tensor] = []
        return {"frame": observation[:, -1]}

    def step(self, state: WorldState, action: Tensor, generator: Any = None) -> tuple[WorldState, WorldStep]:
        self.actions.append(action)
        return {"frame": state["frame"] + 3}, WorldStep(torch.ones(len(action)), torch.zeros(len(action)))

    def observe(self, state: WorldState) -> Tensor:
        return state["frame"]


def episodes() -> tuple[Tensor, Tensor, Tensor]:
    """Frames grow by 5 a step; row b's first b rewards after the context are 1, its others 0."""
    steps = torch.arange(4 + LENGTH)
    frame = (5 * steps).to(torch.uint8).view(1, -1, 1, 1).expand(NUM, -1, 3, 2)
    action = 10 * torch.arange(NUM).view(-1, 1) + steps[:-1]
    reward = ((steps[:-1] - 3 >= 0) & (steps[:-1] - 3 < torch.arange(NUM).view(-1, 1))).float()
    return frame, action, reward


def test_errors_and_sums_of_rewards_are_compared_after_each_share() -> None:
    metrics, _ = compare(Foresight(), [episodes()] * 2, (0.5, 1.0), num_shown=0)
    assert metrics == pytest.approx(
        {
            "world/reward_accuracy_at_1": 5 / 6,
            "world/frame_error_at_1": 2.0,
            "world/copy_error_at_1": 5.0,
            "world/reward_accuracy_at_2": 4 / 6,
            "world/frame_error_at_2": 4.0,
            "world/copy_error_at_2": 10.0,
            "world/reward_accuracy_at_4": 2 / 6,
            "world/frame_error_at_4": 8.0,
            "world/copy_error_at_4": 20.0,
        }
    )


def test_the_model_repeats_what_was_really_done_after_its_four_frames() -> None:
    world = Foresight()
    compare(world, [episodes()], (1.0,), num_shown=0)
    assert torch.equal(torch.stack(world.actions, dim=1), episodes()[1][:, 3:])


def test_what_is_shown_are_rollouts_of_the_first_batch() -> None:
    other = episodes()
    _, shown = compare(Foresight(), [episodes(), tuple(2 * part for part in other)], (1.0,), num_shown=2)  # type: ignore[list-item]
    assert len(shown) == 2
    stretch = shown[1]
    assert stretch.observation[:, 0, 0].tolist() == [20, 25, 30, 35]
    assert stretch.model_observation[:, 0, 0].tolist() == [18, 21, 24, 27]
    assert stretch.reward.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert np.array_equal(stretch.model_reward, np.ones(4))
