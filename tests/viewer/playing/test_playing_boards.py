"""Playing a game with rules: illegal moves do nothing, and the policy answers, or moves when it is asked to."""

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


def make_player(config: BoardConfig, folder: Path) -> Player:
    spec = env_spec(config)
    keys = make_keys(spec)
    return Player(keys, Game(config, spec, None, 0, noop=keys.noop), None, Pilot(LastLegal()), folder=folder)


@pytest.fixture
def player(tmp_path: Path) -> Player:
    return make_player(CONFIG, tmp_path)


def moves(player: Player) -> list[int]:
    player.close()
    with np.load(f"{player.recorded[-1]}.npz") as arrays:
        found: list[int] = arrays["action"].tolist()
        return found


def by_policy(player: Player) -> list[bool]:
    with np.load(f"{player.recorded[-1]}.npz") as arrays:
        found: list[bool] = arrays["by_policy"].tolist()
        return found


def test_keys_move_where_that_is_legal_and_the_policy_answers(player: Player) -> None:
    assert player.status == "WAIT | you play first | step 0"
    step(player, "0")
    assert player.status == "real time | you play first | step 1", "it is the policy's turn"
    step(player, "4")  # not yours
    step(player, "0")  # taken
    step(player, "n")
    player.tick()
    assert player.status == "WAIT | you play first | step 4"
    assert ("N", "let the policy make this move") in player.legend
    assert moves(player) == [0, 8, 7, 6]
    assert by_policy(player) == [False, True, True, True]


def test_who_begins_changes_with_each_game(player: Player) -> None:
    press(player, "return")
    assert player.status.endswith("you play second | step 0")
    player.tick()
    step(player, "0")
    assert moves(player) == [8, 0]


def test_whoever_plays_against_another_is_not_answered_by_the_policy(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"opponent": "random"})
    player = make_player(config, tmp_path)
    step(player, "4")
    player.tick()
    assert player.status == "WAIT | you play | step 1"


def test_in_real_time_nothing_moves_by_itself_but_the_policy(player: Player) -> None:
    press(player, "c")
    for _ in range(5):
        player.tick()
    step(player, "3")
    for _ in range(5):
        player.tick()
    assert moves(player) == [3, 8]


def test_the_policy_plays_to_the_end(player: Player) -> None:
    press(player, "p")
    for _ in range(9):
        player.tick()
    assert moves(player) == [8, 7, 6, 5, 4, 3, 2], "the first to move has the row of 2, 4 and 6"
