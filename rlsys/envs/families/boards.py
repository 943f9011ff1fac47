"""Board games for two from OpenSpiel: `openspiel/connect_four`, `openspiel/tic_tac_toe`, `openspiel/go` and others.

Those of its games that need nothing but a board: two players take turns and see everything, nothing is left to chance,
and one wins what the other loses. `env.kwargs` are parameters of a game, such as {board_size: 5} of openspiel/go.

    "observation"   `[C + 1, H, W]` float32: C planes that OpenSpiel shows whoever is to move, and one of who that is;
                    of games where either side plays alike, planes of own stones are always the same ones
    "action_mask"   `[A]` int8: which moves are legal
    reward          of whoever has moved: mostly 1 for a win, and 0 for a draw and for every other move

env.opponent = self     the policy moves for both; a return tells who has won the game only by who has moved last
               random   it plays against uniformly random moves, and begins every other game; of evaluations, whose
                        every game has an environment and a seed of its own, those of even seeds
               one_ply  the same against one who wins with the next move where that can be, and else moves at random
               mcts     the same against a search by random playouts, of which each move takes env.opponent_simulations

Lanctot et al. 2019, https://arxiv.org/abs/1908.09453.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import cv2
import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from rlsys.config import EnvConfig
from rlsys.config.quantities import Count
from rlsys.envs.families.moves import Moves
from rlsys.envs.family import Family
from rlsys.envs.kwargs import refused
from rlsys.envs.snapshot import Restorable
from rlsys.envs.wrappers import Reset, Step, limited
from rlsys.errors import EnvError, did_you_mean
from rlsys.types import Array

_PREFIX = "openspiel/"
_USUAL = ("connect_four", "tic_tac_toe", "othello", "go", "hex", "breakthrough", "gomoku")
_STONES = {"connect_four": (0, 1), "tic_tac_toe": (2, 1), "go": (0, 1)}
"""Planes of the first and of the second player's stones, where a position with the sides changed is the same one and
OpenSpiel does not show it so: what is learned as one player is known as the other, too."""
_CELL, _INK, _PAPER = 24, (32, 32, 32), (236, 226, 200)
_EXPLORATION, _MEMORY_MB = 2.0, 256


class BoardConfig(EnvConfig):
    """Whom the policy plays against."""

    opponent: Literal["self", "random", "one_ply", "mcts"] = "self"
    """Who makes every other move: the policy itself, or somebody that is no part of it."""
    opponent_simulations: Count = 1_000
    """Playouts per move of opponent = mcts."""


class BoardGame(gymnasium.Env, Restorable):
    """A game of OpenSpiel's, shown to whoever is to move.

    Attributes:
      max_steps: decisions after which it is over at the latest.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 2}  # noqa: RUF012 - as gymnasium declares it

    def __init__(self, config: BoardConfig, game: Any, seed: int, render_mode: str | None = None) -> None:
        """Takes a game that `_load` has found to be one for this."""
        channels, *board = game.observation_tensor_shape()
        self.render_mode = render_mode
        self.observation_space = Box(-np.inf, np.inf, (channels + 1, *board), np.float32)
        self.action_space = Discrete(game.num_distinct_actions())
        decisions = 1 if config.opponent == "self" else 2
        self.max_steps: int = -(-game.max_game_length() // decisions)
        self._game, self._state = game, game.new_initial_state()
        self._opponent, self._simulations = config.opponent, config.opponent_simulations
        self.np_random = np.random.default_rng(seed)
        self._side = 1 - seed % 2  # the first game begins as the other
        self._stones = _STONES.get(game.get_type().short_name)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Begins a game; against an opponent as first in the first game of an even seed, and then by turns."""
        super().reset(seed=seed)
        self._side = seed % 2 if seed is not None else 1 - self._side
        self._state = self._game.new_initial_state()
        if self._opponent != "self" and self._side == 1:
            self._answer()
        return self._observation(), self._info()

    def step(self, action: Any) -> Step:
        """Makes a move and, against an opponent, lets that answer."""
        state, mover = self._state, self._state.current_player()
        state.apply_action(int(action))
        reward = state.rewards()[mover]
        if self._opponent != "self" and not state.is_terminal():
            self._answer()
            reward += state.rewards()[mover]
        return self._observation(), float(reward), state.is_terminal(), False, self._info()

    def render(self) -> Array:  # type: ignore[override]
        """Draws the position as OpenSpiel writes it, a cell for each letter."""
        lines = [line.rstrip() for line in str(self._state).splitlines() if line.strip()]
        width = max(map(len, lines))
        picture = np.full((len(lines) * _CELL, width * _CELL, 3), _PAPER, np.uint8)
        for row, line in enumerate(lines):
            for column, letter in enumerate(line):
                place = column * _CELL + _CELL // 4, (row + 1) * _CELL - _CELL // 4
                cv2.putText(picture, letter, place, cv2.FONT_HERSHEY_SIMPLEX, _CELL / 36, _INK, 1, cv2.LINE_AA)
        return picture

    def get_state(self) -> dict[str, Any]:
        """Returns the moves so far, the policy's side and the random state."""
        return {
            "moves": np.array(self._state.history(), np.int64),
            "side": self._side,
            "np_random": self.np_random.bit_generator.state,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Makes the moves again."""
        self._state = self._game.new_initial_state()
        for move in state["moves"]:
            self._state.apply_action(int(move))
        self._side = state["side"]
        self.np_random.bit_generator.state = state["np_random"]

    def _observation(self) -> Array:
        shape: tuple[int, ...] = self.observation_space.shape or ()
        observation = np.empty(shape, np.float32)
        player = self._to_move()
        observation[:-1] = np.reshape(self._state.observation_tensor(player), observation[:-1].shape)
        if player == 1 and self._stones is not None:
            observation[list(self._stones)] = observation[list(self._stones[::-1])]
        observation[-1] = player
        return observation

    def _info(self) -> dict[str, Any]:
        info: dict[str, Any] = {"action_mask": np.array(self._state.legal_actions_mask(self._to_move()), np.int8)}
        return {**info, "player": self._to_move()} if self._opponent == "self" else info

    def _to_move(self) -> int:
        """Returns who is to move, or would be if the game were not over."""
        state = self._state
        return len(state.history()) % 2 if state.is_terminal() else state.current_player()

    def _answer(self) -> None:
        """Lets the opponent move."""
        state, legal = self._state, self._state.legal_actions()
        player = state.current_player()
        match self._opponent:
            case "one_ply":
                winning = [
                    move for move in legal if state.child(move).is_terminal() and _won(state.child(move), player)
                ]
                move = self.np_random.choice(winning or legal)
            case "mcts":
                move = self._bot().step(state)
            case _:
                move = self.np_random.choice(legal)
        state.apply_action(int(move))

    def _bot(self) -> Any:
        """Returns a player for one move: its draws depend on nothing but the environment's."""
        import pyspiel  # noqa: PLC0415 - optional

        seed = int(self.np_random.integers(2**31))
        playouts = pyspiel.RandomRolloutEvaluator(1, seed)
        return pyspiel.MCTSBot(
            self._game, playouts, _EXPLORATION, self._simulations, _MEMORY_MB, solve=True, seed=seed, verbose=False
        )


def _won(state: Any, player: int) -> bool:
    return bool(state.returns()[player] > 0)


def _load(config: BoardConfig) -> Any:
    import pyspiel  # noqa: PLC0415 - optional

    name = config.id.removeprefix(_PREFIX)
    if name not in pyspiel.registered_names():
        raise EnvError(f"OpenSpiel has no game '{name}'.{did_you_mean(name, pyspiel.registered_names())}")
    try:
        game = pyspiel.load_game(name, config.kwargs)
    except Exception as error:
        raise (refused(config, error) if config.kwargs else _no_board(config)) from error
    kind = game.get_type()
    is_board = (
        kind.dynamics == pyspiel.GameType.Dynamics.SEQUENTIAL
        and kind.chance_mode == pyspiel.GameType.ChanceMode.DETERMINISTIC
        and kind.information == pyspiel.GameType.Information.PERFECT_INFORMATION
        and kind.utility == pyspiel.GameType.Utility.ZERO_SUM
        and kind.provides_observation_tensor
        and game.num_players() == 2
        and len(game.observation_tensor_shape()) == 3
    )
    if not is_board:
        raise _no_board(config)
    return game


def _no_board(config: BoardConfig) -> EnvError:
    return EnvError(
        f"'{config.id}' is no board game for two who move by turns, see everything and leave nothing to chance; only "
        f"such are supported. Choose another, such as {_PREFIX}{_USUAL[0]}."
    )


def _make(config: BoardConfig, seed: int, render_mode: str | None) -> tuple[gymnasium.Env, int]:
    env, frames = limited(BoardGame(config, _load(config), seed, render_mode), config)
    return Moves(env, config), frames


def _ids() -> Sequence[str]:
    return [f"{_PREFIX}{name}" for name in _USUAL]


BOARDS = Family(
    "board games",
    lambda name: name.startswith(_PREFIX),
    _ids,
    _make,
    BoardConfig,
    takes_kwargs=True,
    package="pyspiel",
    how_to_install="Install rlsys[boards]",
)
