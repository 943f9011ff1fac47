"""Where dreams begin: after what really happened at the beginning of a few episodes."""

from collections.abc import Iterator

import torch

from rlsys.api import World, WorldState, traceable
from rlsys.config import EnvConfig
from rlsys.types import EnvSpec
from rlsys.viewer.playing.game import Game
from rlsys.viewer.playing.keys import make_keys


def starts(world: World, config: EnvConfig, env: EnvSpec, seed: int, count: int) -> Iterator[WorldState]:
    """Yields states of one copy, from which a step can be made.

    Args:
      world: that begins.
      config: the run's environment.
      env: its spec.
      seed: of the episodes.
      count: how many.

    Raises:
      EnvError: the environment cannot be made.
    """
    game = Game(config, env, world, seed, noop=make_keys(env).noop)
    try:
        for _ in range(count):
            game.reset(new_game=True)
            observation, action = (torch.from_numpy(array) for array in game.history())
            state = world.begin(observation, action)
            renew = traceable(world).renew
            yield state if renew is None else renew(state)
    finally:
        game.close()
