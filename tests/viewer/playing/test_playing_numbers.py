"""Playing where actions are numbers and the model remembers: keys, pilot and recordings."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box
from viewer.playing.tapping import step

from rlsys.api import Decision, Policy
from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec
from rlsys.testing.worlds import DotEnv, RecurrentWorld
from rlsys.types import State, Weights
from rlsys.viewer.playing.game import Game, ImaginedGame
from rlsys.viewer.playing.keys import make_keys
from rlsys.viewer.playing.player import Pilot, Player


class GlideEnv(DotEnv):
    """The dot moves by as many rows and columns as two numbers say, down and right."""

    action_space = Box(-2.0, 2.0, (2,), np.float32)  # type: ignore[assignment]

    def step(self, action: Any) -> Any:
        """Changes what it was given, as some environments do."""
        names = ["DOWN" if action[0] > 0 else "UP", "RIGHT" if action[1] > 0 else "LEFT"]
        results = [super(GlideEnv, self).step(self.get_action_meanings().index(name)) for name in names]
        action[:] = 0.0
        return results[-1]


gymnasium.register("tests/Glide-v0", entry_point=GlideEnv)
CONFIG = EnvConfig(id="tests/Glide-v0")


class Summing(Policy):
    """Remembers the sum of all actions of its episode, and how many there were; does half of the last sum."""

    def initial_state(self, batch_size: int) -> State:
        return {"sum": np.zeros((batch_size, 2), np.float32), "count": np.zeros(batch_size, np.int64)}

    def act(self, observation: np.ndarray, state: State, *, explore: bool) -> Decision:
        return Decision(state["sum"] / 2, state)

    def after_step(self, state: State, action: np.ndarray, reward: np.ndarray) -> State:
        return {"sum": state["sum"] + action, "count": state["count"] + 1}

    def set_weights(self, weights: Weights) -> None:
        raise AssertionError("it needs none")

    def weights(self) -> Mapping[str, np.ndarray]:
        return {}


@pytest.fixture
def make_player(tmp_path: Path) -> Callable[..., Player]:
    def make(**options: Any) -> Player:
        spec = replace(env_spec(CONFIG), action_low=(-2.0, -2.0), action_high=(2.0, 2.0))
        keys, world = make_keys(spec), RecurrentWorld(spec)
        game, imagined = Game(CONFIG, spec, world, 0, noop=keys.noop), ImaginedGame(world, spec, 0)
        return Player(keys, game, imagined, Pilot(Summing()), folder=tmp_path, **options)

    return make


def recorded(player: Player) -> dict[str, np.ndarray]:
    player.close()
    with np.load(f"{player.recorded[-1]}.npz") as arrays:
        return dict(arrays)


def test_numbers_are_moved_kept_shown_and_recorded(make_player: Callable[..., Player]) -> None:
    player = make_player()
    assert player.status == "WAIT | you play | step 0 | +0.00 +0.00"
    step(player, "right")
    step(player, "right", "up")
    player.tick()
    assert player.status == "WAIT | you play | step 2 | +0.80 +0.40", "time stands still"
    step(player, "n")
    step(player, "space")
    arrays = recorded(player)
    expected = [[0.4, 0.0], [0.8, 0.4], [0.8, 0.4], [0.0, 0.0]]
    assert arrays["action"].dtype == np.float32
    assert np.allclose(arrays["action"], expected)
    assert arrays["observation"].shape == arrays["model_observation"].shape == (5, 30, 40)


def test_a_new_episode_begins_with_the_numbers_put_back(make_player: Callable[..., Player]) -> None:
    player = make_player()
    step(player, "right")
    step(player, "r")
    assert player.status == "WAIT | you play | step 0 | +0.00 +0.00 | recorded played-0001"
    step(player, "n")
    assert recorded(player)["action"].tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("shows_game", [True, False])
def test_a_policy_with_memory_takes_over_in_mid_episode(make_player: Callable[..., Player], shows_game: bool) -> None:
    player = make_player(shows_game=shows_game)
    step(player, "right")
    step(player, "right", "up")
    step(player, "p", "left")
    assert player.status == "real time | the policy plays | step 3 | +0.60 +0.20"
    step(player, "p", "left")
    arrays = recorded(player)
    assert np.allclose(arrays["action"], [[0.4, 0.0], [0.8, 0.4], [0.6, 0.2], [0.4, 0.4]])
    assert arrays["by_policy"].tolist() == [False, False, True, False]


def test_the_model_begins_anew_from_as_much_history_as_it_can_make_use_of(make_player: Callable[..., Player]) -> None:
    player = make_player()
    given: list[tuple[int, ...]] = []
    begin = RecurrentWorld.begin

    def watched(world: RecurrentWorld, observation: Any, action: Any) -> Any:
        given.append((*observation.shape[:2], *action.shape[1:]))
        return begin(world, observation, action)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecurrentWorld, "begin", watched)
        for _ in range(8):
            step(player, "right")
            step(player, "x")
    player.close()
    assert given[:3] == [(1, 2, 1, 2), (1, 3, 2, 2), (1, 4, 3, 2)]
    assert given[-1] == (1, 6, 5, 2)
