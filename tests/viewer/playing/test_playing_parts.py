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
from rlsys.evaluation.agents.random_policy import RandomPolicy
from rlsys.testing.environments import NestedEnv, PartsEnv
from rlsys.testing.worlds import RecurrentWorld
from rlsys.viewer.playing.game import Game, ImaginedGame
from rlsys.viewer.playing.keys import make_keys
from rlsys.viewer.playing.player import Pilot, Player
from rlsys.viewer.screen import KeyEvent


class PadEnv(PartsEnv):
    """The first of two choices is the target."""

    action_space = MultiDiscrete([3, 2])

    def _reward(self, action: Any) -> float:
        return super()._reward(action[0])


class BlankEnv(NestedEnv):
    """It fails to draw itself."""

    def render(self) -> Any:
        raise RuntimeError("no screen")


gymnasium.register("tests/Pad-v0", entry_point=PadEnv)
gymnasium.register("tests/Blank-v0", entry_point=BlankEnv)
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


@pytest.mark.parametrize(("env_id", "draws"), [("Pendulum-v1", True), ("Taxi-v3", True), ("tests/Blank-v0", False)])
def test_what_is_no_picture_is_shown_as_bars_beside_how_the_game_draws_itself(
    env_id: str, draws: bool, tmp_path: Path
) -> None:
    config = EnvConfig(id=env_id)
    spec = env_spec(config)
    keys, world = make_keys(spec), RecurrentWorld(spec)
    game, imagined = Game(config, spec, world, 0, noop=keys.noop), ImaginedGame(world, spec, 0)
    player = Player(keys, game, imagined, Pilot(RandomPolicy(PolicyContext(None, spec, 0))), folder=tmp_path)
    player.key(KeyEvent("n", True))
    player.tick()
    columns = 3 + draws
    assert player.picture.shape[1] == columns * 4 * 96 + (columns - 1) * 6
    if draws:
        assert len(np.unique(player.picture[-4 * 96 :, -4 * 96 :].reshape(-1, 3), axis=0)) > 3, "it is drawn"
    player.close()
    with np.load(f"{player.recorded[0]}.npz", allow_pickle=False) as arrays:
        assert arrays["observation"].shape == arrays["model_observation"].shape == (2, *spec.observation.shape)
