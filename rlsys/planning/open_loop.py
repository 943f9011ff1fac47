"""What a world model says would come of what was really done: the open-loop predictions that it is judged by.

Shape legend: N windows, R rows of real history, T steps that are foretold.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlsys.api import World, WorldState


class Foretold(NamedTuple):
    """What a model foretold.

    Attributes:
      observation: `[N, T, *frame]`.
      reward: `[N, T]`.
    """

    observation: Tensor
    reward: Tensor


def foretell(
    world: World,
    observation: Tensor,
    action: Tensor,
    generator: Any | None = None,
    observe: Callable[[WorldState], Tensor] | None = None,
) -> Foretold:
    """Begins a world from real frames, and does in it what was really done.

    Args:
      world: the model.
      observation: `[N, R, *frame]`.
      action: `[N, R - 1 + T, *action]`: those between the frames, and those after them.
      generator: of what the model draws.
      observe: shows one array of a state; None for what the world shows.
    """
    observe = observe or world.observe
    known = observation.shape[1] - 1
    state = world.begin(observation, action[:, :known])
    frames, rewards = [], []
    for done in action[:, known:].unbind(dim=1):
        state, step = world.step(state, done, generator)
        frames.append(observe(state))
        rewards.append(step.reward)
    return Foretold(torch.stack(frames, dim=1), torch.stack(rewards, dim=1))
