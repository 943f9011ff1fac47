"""Catch: a ball falls, and a paddle on the ground shall be under it. Small enough to learn a model of it on a CPU.

    `catch`: 10 rows of 8 cells, each 2×2 pixels, white on black

        . . o . . . . .      the ball falls a row per step, from a random cell at the top
        . . . . . . . .
        . . . = = = . .      LEFT and RIGHT move the paddle, three cells wide, by a cell

A ball that reaches the ground gives +1 on the paddle and -1 elsewhere; the next one appears at the top with the next
step, so one thing cannot be foretold: where. A game of 100 steps is truncated: ten balls.

    the best that can be done       10
    uniformly random actions        -2.5      three of eight cells are covered: -0.25 per ball

Mnih et al. 2014, section 4.2, https://arxiv.org/abs/1406.6247, and bsuite's catch, Osband et al. 2020,
https://arxiv.org/abs/1908.03568, where a game is one ball. Shape legend: E environments.
"""

from collections.abc import Sequence

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from rlsys.config import EnvConfig
from rlsys.envs.family import Family
from rlsys.envs.simulator import ArraySimulator, Simulator, SimulatorEnv
from rlsys.types import Array

_ID = "catch"
_ROWS, _COLUMNS, _CELL = 10, 8, 2
_STEPS = 100
_ENLARGED = 16


class Catches(ArraySimulator):
    """E games. Observes `[20, 16]` uint8."""

    action_meanings: tuple[str, ...] = ("NOOP", "LEFT", "RIGHT")

    def __init__(self, seeds: Sequence[int], max_steps: int) -> None:
        space = Box(0, 255, (_ROWS * _CELL, _COLUMNS * _CELL), np.uint8)
        super().__init__(_ID, seeds, space, Discrete(3), max_steps)
        self._ball = np.zeros((self.size, 2), np.int64)  # row and column
        self._paddle = np.zeros(self.size, np.int64)  # column of its middle

    def _begin(self, rows: Array) -> None:
        self._paddle[rows] = _COLUMNS // 2
        self._throw(rows)

    def _throw(self, rows: Array) -> None:
        self._ball[rows, 0] = 0
        for row in rows.tolist():
            self._ball[row, 1] = self.rng[row].integers(_COLUMNS)

    def _advance(self, action_E: Array) -> tuple[Array, Array]:
        self._paddle += np.array([0, -1, 1])[action_E]
        np.clip(self._paddle, 1, _COLUMNS - 2, out=self._paddle)
        has_landed = self._ball[:, 0] == _ROWS - 1
        self._throw(has_landed.nonzero()[0])
        self._ball[~has_landed, 0] += 1
        lands = self._ball[:, 0] == _ROWS - 1
        caught = np.abs(self._ball[:, 1] - self._paddle) <= 1
        reward = np.where(lands, np.where(caught, 1.0, -1.0), 0.0).astype(np.float32)
        return reward, np.zeros(self.size, np.bool_)

    def _observe(self, out: Array) -> None:
        board = np.zeros((self.size, _ROWS, _COLUMNS), np.uint8)
        every = np.arange(self.size)
        for shift in (-1, 0, 1):
            board[every, _ROWS - 1, self._paddle + shift] = 128
        board[every, self._ball[:, 0], self._ball[:, 1]] = 255
        out[:] = board.repeat(_CELL, axis=1).repeat(_CELL, axis=2)

    def _arrays(self) -> dict[str, Array]:
        return {"ball": self._ball, "paddle": self._paddle}

    def render(self) -> Array:
        """Draws the first game, enlarged."""
        picture = np.zeros((self.size, _ROWS * _CELL, _COLUMNS * _CELL), np.uint8)
        self._observe(picture)
        enlarged: Array = picture[0].repeat(_ENLARGED, axis=0).repeat(_ENLARGED, axis=1)
        return enlarged[..., None].repeat(3, axis=2)


def _make_simulator(config: EnvConfig, seeds: Sequence[int]) -> Simulator:
    return Catches(seeds, config.max_episode_steps or _STEPS)


def _make(config: EnvConfig, seed: int, render_mode: str | None) -> tuple[gymnasium.Env, int]:
    return SimulatorEnv(_make_simulator(config, [seed]), seed, render_mode), 1


CATCH = Family("catch", lambda name: name == _ID, lambda: [_ID], _make, EnvConfig, _make_simulator)
