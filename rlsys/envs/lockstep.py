"""A simulator of many environments as a batch: frame stacks, clipped rewards and games, all at once.

Shape legend: E environments, S frames of a stack.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from rlsys.config import EnvConfig
from rlsys.envs.simulator import Simulator
from rlsys.envs.step import GameResult, StepResult
from rlsys.errors import EnvError
from rlsys.types import Array, EnvSpec


class Lockstep:
    """Does for a simulator what `rlsys.envs.make` puts around single environments; the same comes out.

    Attributes:
      can_snapshot: whether `set_state` continues games.
      observation: `[E, *policy_observation]`, where each environment is now.
    """

    def __init__(self, simulator: Simulator, config: EnvConfig, spec: EnvSpec) -> None:
        self.can_snapshot = simulator.can_snapshot
        self._simulator = simulator
        self._clip = config.clip_rewards
        self._frames_per_step = spec.frames_per_step
        self._action_dtype = spec.action.dtype
        self._stacked = spec.num_stack > 1
        if self._stacked:
            shape = (simulator.size, *spec.policy_observation.shape)
            self.observation = np.zeros(shape, spec.policy_observation.dtype)
            self._last_observation = np.zeros_like(self.observation)
        else:
            self.observation = simulator.observation
        self._return_E = np.zeros(simulator.size, np.float64)
        self._steps_E = np.zeros(simulator.size, np.int64)

    def reset(self) -> None:
        """Begins a new game in each environment; games that were running leave no result."""
        self._simulator.reset()
        self._return_E[:] = 0.0
        self._steps_E[:] = 0
        if self._stacked:
            self.observation[:] = self._simulator.observation[:, None]

    def step(self, action_E: Array) -> StepResult:
        """Steps each environment once and begins ended episodes again."""
        raw_reward, terminated, truncated = self._simulator.step(action_E)
        self._return_E += raw_reward
        self._steps_E += 1
        ended = np.flatnonzero(terminated | truncated)
        if self._stacked:
            self._push(ended)
        return StepResult(
            observation=self._last_observation if self._stacked else self._simulator.last_observation,
            reward=np.sign(raw_reward) if self._clip else raw_reward.copy(),
            raw_reward=raw_reward,
            terminated=terminated,
            truncated=truncated,
            action=np.array(action_E, self._action_dtype),
            games=self._take_games(ended) if ended.size else [],
        )

    def get_state(self) -> dict[str, Any]:
        """Returns simulator, scores and stacks."""
        return {
            "simulator": self._simulator.get_state(),
            "return": self._return_E.copy(),
            "steps": self._steps_E.copy(),
            "observation": self.observation.copy(),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continues from what `get_state` returned.

        Raises:
          EnvError: it was saved by environments that step one by one, or by others.
        """
        if "simulator" not in state:
            raise EnvError(
                "the snapshot is of environments that step one by one; these step at once. Load it with the "
                "configuration it was saved with."
            )
        self._simulator.set_state(state["simulator"])
        self._return_E[:] = state["return"]
        self._steps_E[:] = state["steps"]
        self.observation[:] = state["observation"]

    def close(self) -> None:
        """Frees the simulator."""
        self._simulator.close()

    def _push(self, ended: Array) -> None:
        self._last_observation[:, :-1] = self.observation[:, 1:]
        self._last_observation[:, -1] = self._simulator.last_observation
        self.observation[:] = self._last_observation
        self.observation[ended] = self._simulator.observation[ended, None]

    def _take_games(self, ended: Array) -> list[GameResult]:
        scores = zip(ended.tolist(), self._return_E[ended].tolist(), self._steps_E[ended].tolist(), strict=True)
        games = [GameResult(row, total, steps, round(steps * self._frames_per_step)) for row, total, steps in scores]
        self._return_E[ended] = 0.0
        self._steps_E[ended] = 0
        return games
