"""2048: tiles slide together on a board and equal ones merge; where the next tile appears is left to chance.

    `2048`      4×4 cells, or others by env.kwargs, as {size: 3}

        . 2 . 2              LEFT:  4 . . .     two tiles of 2 are one of 4, which is the reward; then a tile appears in
        4 2 2 .                     4 4 . .     a random empty cell, 2 in nine cases of ten, else 4

Of a row of tiles that could merge several ways, those merge first towards which it slides, and each but once in a move.
A move that changes nothing is illegal: nothing appears, and the reward is 0. A game in which nothing is legal is over;
one of 10,000 steps is truncated.

    "observation"   `[L, N, N]` uint8: plane e is 1 where a tile is 2^e, and plane 0 where there is none; no tile of N×N
                    cells can be larger than 2^(N² + 1), so that L = N² + 2
    "action_mask"   `[4]` int8: which moves are legal

    uniformly random legal moves    1,079 on 4×4 cells, 178 on 3×3

Cirulli 2014, https://github.com/gabrielecirulli/2048. Shape legend: E environments, N cells of a side, L planes.
"""

from collections.abc import Sequence

import cv2
import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

from rlsys.api.masks import ACTION_MASK, OBSERVATION
from rlsys.config import EnvConfig
from rlsys.envs.family import Family
from rlsys.envs.kwargs import check_kwargs
from rlsys.envs.simulator import ArraySimulator, Simulator, SimulatorEnv
from rlsys.errors import EnvError
from rlsys.types import Array

_ID = "2048"
_SMALLEST, _LARGEST = 2, 6
_STEPS = 10_000
_FOURS = 0.1
_CELL, _INK, _PAPER = 48, (32, 32, 32), (236, 226, 200)


class Tiles(ArraySimulator):
    """E games. Observes named parts; see above."""

    action_meanings: tuple[str, ...] = ("LEFT", "RIGHT", "UP", "DOWN")

    def __init__(self, seeds: Sequence[int], size: int, max_steps: int) -> None:
        num_planes = size * size + 2
        space = Dict(
            [
                (OBSERVATION, Box(0, 1, (num_planes, size, size), np.uint8)),
                (ACTION_MASK, Box(0, 1, (4,), np.int8)),
            ]
        )
        super().__init__(_ID, seeds, space, Discrete(4), max_steps)
        self._planes = np.arange(num_planes)[:, None, None]
        self._board = np.zeros((self.size, size, size), np.int64)  # exponents of the tiles, 0 for empty cells
        self._slid_board = np.full_like(self._board, -1)
        self._slid: tuple[Array, Array]

    def _begin(self, rows: Array) -> None:
        self._board[rows] = 0
        self._add_tiles(rows)
        self._add_tiles(rows)

    def _add_tiles(self, rows: Array) -> None:
        for row in rows.tolist():
            rng, cells = self.rng[row], self._board[row].reshape(-1)
            empty = np.flatnonzero(cells == 0)
            cells[empty[rng.integers(empty.size)]] = 2 if rng.random() < _FOURS else 1

    def _advance(self, action_E: Array) -> tuple[Array, Array]:
        moved, reward = self._slides()
        every = np.arange(self.size)
        after = moved[action_E, every]
        has_changed = (after != self._board).any(axis=(1, 2))
        self._board[:] = after
        self._add_tiles(has_changed.nonzero()[0])
        return reward[action_E, every].astype(np.float32), ~self._legal().any(axis=1)

    def _legal(self) -> Array:
        """Returns `[E, 4]` bool."""
        legal: Array = (self._slides()[0] != self._board).any(axis=(2, 3)).T
        return legal

    def _slides(self) -> tuple[Array, Array]:
        """Returns what `slide` does, once for each board."""
        if not np.array_equal(self._board, self._slid_board):
            self._slid, self._slid_board = slide(self._board), self._board.copy()
        return self._slid

    def _observe(self, out: Array) -> None:
        out[OBSERVATION] = self._board[:, None] == self._planes
        out[ACTION_MASK] = self._legal()

    def _arrays(self) -> dict[str, Array]:
        return {"board": self._board}

    def render(self) -> Array:
        """Draws the first game."""
        side = self._board.shape[1]
        picture = np.full((side * _CELL, side * _CELL, 3), _PAPER, np.uint8)
        for row, column in np.ndindex(side, side):
            corner = column * _CELL, row * _CELL
            cv2.rectangle(picture, corner, (corner[0] + _CELL, corner[1] + _CELL), _INK, 1)
            exponent = int(self._board[0, row, column])
            text = str(2**exponent) if exponent else ""
            scale = min(0.8, 2.4 / max(len(text), 1))
            place = corner[0] + 6, corner[1] + _CELL * 5 // 8
            cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, _INK, 1, cv2.LINE_AA)
        return picture


def slide(board: Array) -> tuple[Array, Array]:
    """Moves tiles in all four directions.

    Args:
      board: `[E, N, N]` exponents, 0 for empty cells.

    Returns:
      `[4, E, N, N]` where they are then, before a new one appears, and `[4, E]` the sums of tiles that merged; left,
      right, up and down.
    """
    upright = board.swapaxes(1, 2)
    lines = np.stack([board, board[..., ::-1], upright, upright[..., ::-1]])
    lines = _closed_up(lines)
    merged = np.zeros_like(lines, np.bool_)
    for cell in range(lines.shape[-1] - 1):
        merged[..., cell] = (lines[..., cell] > 0) & (lines[..., cell] == lines[..., cell + 1])
        lines[..., cell] += merged[..., cell]
        lines[..., cell + 1] *= ~merged[..., cell]
    reward = np.where(merged, 2**lines, 0).sum(axis=(2, 3))
    left, right, up, down = _closed_up(lines)
    return np.stack([left, right[..., ::-1], up.swapaxes(1, 2), down[..., ::-1].swapaxes(1, 2)]), reward


def _closed_up(lines: Array) -> Array:
    """Returns lines `[..., N]` without gaps before tiles."""
    order = np.argsort(lines == 0, axis=-1, kind="stable")
    return np.take_along_axis(lines, order, axis=-1)


def _make_simulator(config: EnvConfig, seeds: Sequence[int]) -> Simulator:
    check_kwargs(config, Tiles, ours=("seeds", "max_steps"))
    size = config.kwargs.get("size", 4)
    if not isinstance(size, int) or isinstance(size, bool) or not _SMALLEST <= size <= _LARGEST:
        raise EnvError(
            f"env.kwargs.size = {size!r} with '{_ID}'; a side has {_SMALLEST} to {_LARGEST} cells. Choose one of these."
        )
    return Tiles(seeds, size, config.max_episode_steps or _STEPS)


def _make(config: EnvConfig, seed: int, render_mode: str | None) -> tuple[gymnasium.Env, int]:
    return SimulatorEnv(_make_simulator(config, [seed]), seed, render_mode), 1


TILES = Family(_ID, lambda name: name == _ID, lambda: [_ID], _make, EnvConfig, _make_simulator, takes_kwargs=True)
