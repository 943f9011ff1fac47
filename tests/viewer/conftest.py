"""Players of the game of the dot."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlsys.api import Policy, PolicyContext
from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec
from rlsys.testing.worlds import DotsConfig, DotWorld, RightPolicy
from rlsys.viewer.playing.game import Game, ImaginedGame, Reconstruction
from rlsys.viewer.playing.keys import make_keys
from rlsys.viewer.playing.player import Pilot, Player

MakePlayer = Callable[..., Player]


@pytest.fixture
def make_player(tmp_path: Path) -> MakePlayer:
    """Returns a function that makes a player; its model is right for `error_after` steps."""

    def make(
        error_after: int = 1_000_000,
        num_context: int = 4,
        num_stack: int = 1,
        clip_rewards: bool = False,
        policy: Policy | None = None,
        has_model: bool = True,
        reconstructs: bool = False,
        **options: Any,
    ) -> Player:
        config = EnvConfig(id="rlsys/Dot-v0", stack_states=num_stack, clip_rewards=clip_rewards)
        env = env_spec(config)
        keys = make_keys(env)
        world = DotWorld(error_after=error_after, min_context=num_context)
        return Player(
            keys,
            Game(config, env, world, 0, noop=keys.noop, draws=reconstructs),
            ImaginedGame(world, env, 0) if has_model else None,
            Pilot(policy or RightPolicy(PolicyContext(DotsConfig(), env, 0))),
            folder=tmp_path,
            reconstruction=Reconstruction(world, env) if reconstructs else None,
            **options,
        )

    return make
