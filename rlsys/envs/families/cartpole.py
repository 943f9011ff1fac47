"""CartPole, many poles at once: gymnasium's equations on arrays, bit by bit the same numbers.

Barto, Sutton and Anderson 1983, https://doi.org/10.1109/TSMC.1983.6313077. Shape legend: E environments.
"""

from collections.abc import Sequence

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.spaces import Box

from rlsys.envs.simulator import ArraySimulator
from rlsys.types import Array

_BEGIN = 0.05


class CartPoles(ArraySimulator):
    """E poles. The state is float64 as in gymnasium; observations are float32."""

    def __init__(self, name: str, seeds: Sequence[int], max_steps: int) -> None:
        self._game = CartPoleEnv(render_mode="rgb_array")  # its constants, its spaces and its picture
        space = self._game.observation_space
        assert isinstance(space, Box)
        super().__init__(name, seeds, space, self._game.action_space, max_steps)
        self._state = np.zeros((4, self.size))
        for rng in self.rng:
            rng.uniform(size=4)  # gymnasium seeds by a reset, whose episode nobody plays

    def _begin(self, rows: Array) -> None:
        for row in rows.tolist():
            self._state[:, row] = self.rng[row].uniform(-_BEGIN, _BEGIN, 4)

    def _advance(self, action_E: Array) -> tuple[Array, Array]:
        game = self._game
        x, x_dot, theta, theta_dot = self._state
        force = np.where(action_E == 1, game.force_mag, -game.force_mag)
        cos, sin = np.cos(theta), np.sin(theta)
        push = (force + game.polemass_length * np.square(theta_dot) * sin) / game.total_mass
        theta_acc = (game.gravity * sin - cos * push) / (
            game.length * (4.0 / 3.0 - game.masspole * np.square(cos) / game.total_mass)
        )
        x_acc = push - game.polemass_length * theta_acc * cos / game.total_mass
        x += game.tau * x_dot
        x_dot += game.tau * x_acc
        theta += game.tau * theta_dot
        theta_dot += game.tau * theta_acc
        fell = (np.abs(x) > game.x_threshold) | (np.abs(theta) > game.theta_threshold_radians)
        return np.ones(self.size, np.float32), fell

    def _observe(self, out: Array) -> None:
        out[:] = self._state.T

    def _arrays(self) -> dict[str, Array]:
        return {"state": self._state}

    def render(self) -> Array:
        """Draws the first pole."""
        self._game.state = self._state[:, 0].copy()
        return np.asarray(self._game.render())  # type: ignore[no-untyped-call]
