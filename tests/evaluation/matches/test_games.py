"""Games of two policies: sides, beginnings and results."""

from collections.abc import Mapping

import numpy as np
import pytest

from rlsys.api import Decision, Policy
from rlsys.envs.families.boards import BoardConfig
from rlsys.errors import ConfigError
from rlsys.evaluation.matches.games import play_match
from rlsys.types import State, Weights

BOARD = BoardConfig(id="openspiel/tic_tac_toe")
OPENING = 2


class Legal(Policy):
    """Takes the first or the last cell that is free, and remembers how often it has moved."""

    def __init__(self, *, last: bool = False) -> None:
        self._last = last
        self.begun: list[tuple[int, ...]] = []

    def initial_state(self, batch_size: int) -> State:
        return {"moves": np.zeros(batch_size, np.int64)}

    def act(self, observation: np.ndarray, state: State, *, explore: bool) -> Decision:
        assert not explore
        assert len(set(state["moves"].tolist())) == 1 and len(observation) == len(state["moves"])
        mask_BA = observation["action_mask"]
        taken = [tuple(np.flatnonzero(row == 0).tolist()) for row in mask_BA]
        self.begun += [cells for cells in taken if len(cells) == OPENING]
        chosen = 8 - mask_BA[:, ::-1].argmax(axis=1) if self._last else mask_BA.argmax(axis=1)
        return Decision(chosen, {"moves": state["moves"] + 1})

    def set_weights(self, weights: Weights) -> None:
        """Has none."""

    def weights(self) -> Mapping[str, np.ndarray]:
        return {}


def test_who_begins_wins_where_both_play_alike_from_an_empty_board() -> None:
    assert play_match(Legal(), Legal(), BOARD, 6, seed=0, opening_moves=0).tolist() == [1.0, 0.0] * 3


def test_beginnings_are_by_chance_and_each_is_played_from_both_sides() -> None:
    first, second = Legal(), Legal(last=True)
    scores = play_match(first, second, BOARD, 40, seed=3)
    assert first.begun == second.begun, "the games that one begins are those that the other begins"
    assert len(first.begun) == 20 and len(set(first.begun)) > 10
    assert set(scores.tolist()) <= {0.0, 0.5, 1.0} and 0 < scores.mean() < 1
    np.testing.assert_array_equal(play_match(Legal(), Legal(last=True), BOARD, 40, seed=3), scores)
    swapped = play_match(Legal(last=True), Legal(), BOARD, 40, seed=3)
    np.testing.assert_array_equal(swapped[0::2], 1 - scores[1::2])


def test_an_odd_beginning_is_gone_on_with_by_the_other() -> None:
    scores = play_match(Legal(), Legal(), BOARD, 2, seed=1, opening_moves=1)
    assert scores[0] == 1 - scores[1]


def test_beginnings_that_end_games_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"opening_moves = 9 with 'openspiel/tic_tac_toe'.*Lower opening_moves"):
        play_match(Legal(), Legal(), BOARD, 2, seed=0, opening_moves=9)
