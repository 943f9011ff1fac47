"""Playing a game with rules: illegal moves do nothing, and the policy moves when it is asked to."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from viewer.playing.tapping import press, step

from rlsys.api import Decision, Policy
from rlsys.envs.families.boards import BoardConfig
from rlsys.envs.make import env_spec
from rlsys.types import State, Weights
from rlsys.viewer.playing.game import Game
from rlsys.viewer.playing.keys import make_keys
from rlsys.viewer.playing.player import Pilot, Player

CONFIG = BoardConfig(id="openspiel/tic_tac_toe")


class LastLegal(Policy):
    """Takes the last cell that is free."""

    def initial_state(self, batch_size: int) -> State:
        return {}

    def act(self, observation: np.ndarray, state: State, *, explore: bool) -> Decision:
        return Decision(8 - observation["action_mask"][:, ::-1].argmax(axis=1), state)

    def set_weights(self, weights: Weights) -> None:
        """Has none."""

    def weights(self) -> Mapping[str, np.ndarray]:
        return {}


@pytest.fixture
def player(tmp_path: Path) -> Player:
    spec = env_spec(CONFIG)
    keys = make_keys(spec)
    return Player(keys, Game(CONFIG, spec, None, 0, noop=keys.noop), None, Pilot(LastLegal()), folder=tmp_path)


def moves(player: Player) -> list[int]:
    player.close()
    with np.load(f"{player.recorded[-1]}.npz") as arrays:
        found: list[int] = arrays["action"].tolist()
        return found


def test_keys_move_where_that_is_legal_and_n_asks_the_policy(player: Player) -> None:
    step(player, "0")
    step(player, "0")  # taken
    step(player, "n")
    step(player, "n")
    step(player, "4")
    assert player.status == "WAIT | you play | step 4"
    assert ("N", "let the policy make this move") in player.legend
    assert moves(player) == [0, 8, 7, 4]


def test_in_real_time_nothing_moves_by_itself(player: Player) -> None:
    press(player, "c")
    for _ in range(5):
        player.tick()
    step(player, "3")
    assert moves(player) == [3]


def test_the_policy_plays_to_the_end(player: Player) -> None:
    press(player, "p")
    for _ in range(9):
        player.tick()
    assert moves(player) == [8, 7, 6, 5, 4, 3, 2], "the first to move has the row of 2, 4 and 6"
