"""A world model against what happened: by numbers that were put there."""

from typing import Any

import pytest
import torch
from torch import Tensor

from rlsys.algorithms.iris.actor_critic import Recalled
from rlsys.algorithms.iris.comparison import compare, imagined_episodes
from rlsys.algorithms.iris.imagination import Dream
from rlsys.api import WorldState, WorldStep

NUM, KNOWN, STEPS = 6, 2, 10


class Foresight:
    """A world in which each frame is the last one and 3, each reward 1."""

    min_context, max_context = 1, KNOWN
    device = torch.device("cpu")

    def begin(self, observation: Tensor, action: Tensor) -> WorldState:
        assert observation.shape[1] == KNOWN and action.shape == (NUM, KNOWN - 1)
        return {"frame": observation[:, -1]}

    def step(self, state: WorldState, action: Tensor, generator: Any = None) -> tuple[WorldState, WorldStep]:
        return {"frame": state["frame"] + 3}, WorldStep(torch.ones(len(action)), torch.zeros(len(action)))

    def observe(self, state: WorldState) -> Tensor:
        return state["frame"]


def test_errors_are_compared_as_far_as_there_is_something() -> None:
    steps = torch.arange(KNOWN + STEPS)
    frame = (5 * steps).to(torch.uint8).view(1, -1, 1, 1).expand(NUM, -1, 3, 2)
    reward = torch.zeros(NUM, KNOWN - 1 + STEPS)
    reward[:2] = 1.0
    metrics, films = compare(Foresight(), frame, torch.zeros(NUM, KNOWN - 1 + STEPS), reward)
    assert metrics == pytest.approx(
        {
            "world/frame_error_at_1": 2.0,
            "world/copy_error_at_1": 5.0,
            "world/reward_error_at_1": 4 / 6,
            "world/frame_error_at_10": 20.0,
            "world/copy_error_at_10": 50.0,
            "world/reward_error_at_10": 4 / 6,
        }
    )
    assert len(films) == 4
    assert films[0].observation[:, 0, 0].tolist() == [5 * step for step in range(KNOWN, KNOWN + STEPS)]
    assert films[0].model_observation[:, 0, 0].tolist() == [5 + 3 * (step + 1) for step in range(STEPS)]
    assert films[3].reward.tolist() == [0.0] * STEPS and films[3].model_reward.tolist() == [1.0] * STEPS


def test_an_imagined_episode_ends_with_its_first_end() -> None:
    reward = torch.tensor([[1.0, 2.0, 4.0], [1.0, 1.0, 1.0]])
    ends = torch.tensor([[False, True, True], [False, False, False]])
    frames, nothing = torch.arange(2 * 4 * 4).view(2, 4, 1, 2, 2) / 255, torch.zeros(2, 3)
    dream = Dream(frames, Recalled(nothing, nothing), torch.arange(6).view(2, 3), reward, ends)
    metrics, (first, second) = imagined_episodes(dream, (2, 2))
    assert metrics == {"imagination/episode_return": 3.0, "imagination/episode_length": 2.5}
    assert first.action.tolist() == [0, 1] and first.terminated.tolist() == [False, True]
    assert first.episode_return == 3.0 and first.observation.shape == (3, 2, 2)
    assert second.observation[-1].tolist() == [[28, 29], [30, 31]]
    assert second.terminated.tolist() == [False] * 3 and second.observation.shape == (4, 2, 2)
