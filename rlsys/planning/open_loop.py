"""What a world model says would come of what was really done, by which it is judged, and what it makes of frames.

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


def reconstruct(
    world: World, observation: Tensor, action: Tensor, observe: Callable[[WorldState], Tensor] | None = None
) -> Tensor:
    """Returns what a world shows of real frames right after it was begun from them, `[N, T, *frame]`.

    Args:
      world: the model; of what came before each frame it is given as much as it takes.
      observation: `[N, R - 1 + T, *frame]`, with R = `min_context`.
      action: `[N, R - 2 + T, *action]`, those between the frames.
      observe: as in `foretell`.
    """
    observe = observe or world.observe
    frames = []
    for end in range(world.min_context, observation.shape[1] + 1):
        first = max(0, end - world.max_context)
        frames.append(observe(world.begin(observation[:, first:end], action[:, first : end - 1])))
    return torch.stack(frames, dim=1)
