"""A T-maze: a cue at the start of a corridor says which way to turn at its end.

    `tmaze-20`: a corridor of 20 cells

        cue   corridor      left
        [L] [ ] … [ ] [T] <      the agent begins on the cue, 20 steps before the junction T
                            right

The cue (left or right, each with chance 1/2) is visible in the first cell alone. FORWARD walks; LEFT and RIGHT turn at
the junction, which ends the episode with +1 where the cue said so and -1 elsewhere. Walking into a wall (turning in the
corridor, FORWARD at the junction) costs 0.1 and the agent stays. An episode of 10 (length + 1) steps is truncated.

What is seen at the junction does not depend on the cue. With N the length:

    the best that memory can do     1                    N steps forward, then the right turn
    the best without memory         0                    straight ahead, then any turn: chance
    uniformly random actions        -0.1 (2 N + 1/2)     two bumps per cell and half a one at the junction, then chance

(the last where no episode is truncated, which is rare). The task and its bumps are those of Bakker 2002,
https://papers.neurips.cc/paper/2001/hash/a38b16173474ba8b1a95bcbc30d3b8a5-Abstract.html; rewards there are 4 and -0.1,
and there is a way back. Shape legend: E environments.
"""

import re
from collections.abc import Sequence

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from rlsys.config import EnvConfig
from rlsys.envs.family import Family
from rlsys.envs.simulator import ArraySimulator, Simulator, SimulatorEnv
from rlsys.types import Array

FORWARD, LEFT, RIGHT = 0, 1, 2
"""Actions of the T-maze."""

_BUMP = -0.1
_STEPS_PER_CELL = 10
_CELL = 8
_GROUND, _CUE, _AGENT = (200, 200, 200), (60, 160, 60), (200, 60, 60)
_PATTERN = re.compile(r"tmaze-([1-9][0-9]{0,5})")


class TMazes(ArraySimulator):
    """E T-mazes. Observes four bits as float32: cue left, cue right, corridor, junction; exactly one is set."""

    action_meanings: tuple[str, ...] = ("FORWARD", "LEFT", "RIGHT")

    def __init__(self, name: str, seeds: Sequence[int], length: int, max_steps: int) -> None:
        super().__init__(name, seeds, Box(0.0, 1.0, (4,), np.float32), Discrete(3), max_steps)
        self._length = length
        self._position = np.zeros(self.size, np.int64)
        self._cue = np.zeros(self.size, np.int64)
        self._bits = np.eye(4, dtype=np.float32)

    def _begin(self, rows: Array) -> None:
        self._position[rows] = 0
        for row in rows.tolist():
            self._cue[row] = self.rng[row].integers(2)

    def _advance(self, action_E: Array) -> tuple[Array, Array]:
        at_junction = self._position == self._length
        forward = action_E == FORWARD
        turned = at_junction & ~forward
        walked = forward & ~at_junction
        right_way = action_E - LEFT == self._cue
        reward = np.where(turned, np.where(right_way, 1.0, -1.0), np.where(walked, 0.0, _BUMP)).astype(np.float32)
        self._position += walked
        return reward, turned

    def _observe(self, out: Array) -> None:
        place = np.where(self._position == self._length, 3, 2)
        out[:] = self._bits[np.where(self._position == 0, self._cue, place)]

    def _arrays(self) -> dict[str, Array]:
        return {"position": self._position, "cue": self._cue}

    def render(self) -> Array:
        """Draws the first maze from above, with its cue as long as the agent sees it."""
        maze = np.zeros((3, self._length + 1, 3), np.uint8)
        maze[1] = maze[:, -1] = _GROUND
        position = int(self._position[0])
        if position == 0:
            maze[2 * int(self._cue[0]), 0] = _CUE
        maze[1, position] = _AGENT
        return maze.repeat(_CELL, axis=0).repeat(_CELL, axis=1)


def _length(name: str) -> int:
    match = _PATTERN.fullmatch(name)
    assert match, name
    return int(match[1])


def _make_simulator(config: EnvConfig, seeds: Sequence[int]) -> Simulator:
    length = _length(config.id)
    return TMazes(config.id, seeds, length, config.max_episode_steps or _STEPS_PER_CELL * (length + 1))


def _make(config: EnvConfig, seed: int, render_mode: str | None) -> tuple[gymnasium.Env, int]:
    return SimulatorEnv(_make_simulator(config, [seed]), seed, render_mode), 1


TMAZE = Family(
    "T-mazes",
    lambda name: _PATTERN.fullmatch(name) is not None,
    lambda: ["tmaze-5", "tmaze-10", "tmaze-20", "tmaze-50", "tmaze-100"],
    _make,
    EnvConfig,
    _make_simulator,
)
