"""Playing where a picture is one of several named parts, and several choices are made at once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import MultiDiscrete

from rlsys.api import PolicyContext, WorldState, WorldStep
from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec
from rlsys.errors import EnvError
from rlsys.evaluation.random_policy import RandomPolicy
from rlsys.testing.environments import PartsEnv
from rlsys.viewer.game import Game, ImaginedGame
from rlsys.viewer.keys import make_keys
from rlsys.viewer.player import Pilot, Player, check_observation
from rlsys.viewer.screen import KeyEvent


class PadEnv(PartsEnv):
    """The first of two choices is the target."""

    action_space = MultiDiscrete([3, 2])

    def _reward(self, action: Any) -> float:
        return super()._reward(action[0])


gymnasium.register("tests/Pad-v0", entry_point=PadEnv)
CONFIG = EnvConfig(id="tests/Pad-v0", stack_states=2)


class StillWorld:
    """A model in which everything stays as it is, and the second choice is rewarded."""

    device = torch.device("cpu")
    min_context = max_context = 1

    def begin(self, observation: Mapping[str, torch.Tensor], action: torch.Tensor) -> WorldState:
        return {name: part[:, -1].clone() for name, part in observation.items()}

    def step(self, state: WorldState, action: torch.Tensor, generator: Any = None) -> tuple[WorldState, WorldStep]:
        return state, WorldStep(action[:, 1].float(), torch.zeros(len(action), dtype=torch.bool))

    def observe(self, state: WorldState) -> Mapping[str, torch.Tensor]:
        return state


def test_the_picture_among_the_parts_is_shown_and_all_parts_are_recorded(tmp_path: Path) -> None:
    spec = env_spec(CONFIG)
    check_observation(spec)
    keys, world = make_keys(spec), StillWorld()
    game, imagined = Game(CONFIG, spec, world, 0, noop=keys.noop), ImaginedGame(world, spec, 0)
    player = Player(keys, game, imagined, Pilot(RandomPolicy(PolicyContext(None, spec, 0))), folder=tmp_path)
    first = player.picture
    for held in (["2", "3"], ["3"], ["p"], []):
        for is_down in (True, False):
            for key in held:
                player.key(KeyEvent(key, is_down))
        player.tick()
    assert not np.array_equal(player.picture, first)
    player.close()
    with np.load(f"{player.recorded[0]}.npz", allow_pickle=False) as arrays:
        assert arrays["action"][:2].tolist() == [[2, 1], [0, 1]] and arrays["action"].shape == (4, 2)
        assert arrays["observation"].dtype == spec.observation.dtype and len(arrays["observation"]) == 5
        assert arrays["observation"]["picture"].any() and arrays["observation"]["clock"][:, 1].all()
        assert (arrays["model_observation"] == arrays["model_observation"][0]).all()
        assert arrays["model_reward"][:2].tolist() == [1.0, 1.0]


def test_what_has_no_picture_among_its_parts_is_refused() -> None:
    with pytest.raises(EnvError, match=r"'rlsys/Nested-v0' observes Dict\(arm/angle: float32 \(2,\).*Use --watch"):
        check_observation(env_spec(EnvConfig(id="rlsys/Nested-v0")))
