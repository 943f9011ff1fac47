"""Our environments as a gymnasium vector environment, the way that RLlib's runners step them.

RLlib wants an ended episode to begin again with the *next* step, whose action is ignored (gymnasium's NEXT_STEP), while
`BatchedEnv` begins it within the same step; so the environments are stepped here. They are those of `rlsys.envs.make`
with all their wrappers, and none of RLlib's: frames are skipped and stacked once.

Shape legend: E environments, H height, W width, C channels.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from rlsys.config import EnvConfig
from rlsys.envs.make import env_spec, make
from rlsys.envs.step import GameResult, action_of
from rlsys.envs.tasks import each_task
from rlsys.envs.wrappers import Environment
from rlsys.types import Array, EnvSpec

View = Callable[[Any], Array]
"""Turns an environment's observation into what RLlib's networks take."""


class RllibVectorEnv(VectorEnv[Array, Array, Array]):
    """E environments of one configuration; made by the first `reset` with a seed, from which each has its own.

    Pictures are `[H, W, C]` uint8, frames of a stack and colours one after the other in C; all else is one vector of
    float32, rescaled by `env.state_range` where `env.norm_states` says so.
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 - gymnasium's own field

    def __init__(self, config: EnvConfig, num_envs: int) -> None:
        self._config = config
        self._frames_per_step = 1.0
        self.num_envs = num_envs
        described = env_spec(config)
        self._frames_per_step = described.frames_per_step
        self.single_observation_space, self._view = view(described)
        self.single_action_space = self._make_all([0])[0].action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._envs: list[Environment] = []
        self._ended_E = np.zeros(num_envs, np.bool_)
        self._games: list[GameResult] = []

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Begins a new game in each environment."""
        if seed is not None or not self._envs:
            self._close_all()
            entropy = [value or 0 for value in seed] if isinstance(seed, list) else seed or 0
            self._envs = self._make_all(np.random.SeedSequence(entropy).generate_state(self.num_envs).tolist())
        self._ended_E[:] = False
        return self._batch([env.begin_game()[0] for env in self._envs]), {}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Steps each environment once; those whose episode ended with the last step begin the next one instead."""
        observations: list[Any] = []
        reward_E = np.zeros(self.num_envs, np.float32)
        terminated_E = np.zeros(self.num_envs, np.bool_)
        truncated_E = np.zeros(self.num_envs, np.bool_)
        for index, env in enumerate(self._envs):
            if self._ended_E[index]:
                observation, _ = env.reset()
            else:
                observation, reward, terminated, truncated, _ = env.step(action_of(actions, index))
                reward_E[index], terminated_E[index] = float(reward), terminated
                truncated_E[index] = truncated and not terminated
            observations.append(observation)
            self._take_games(index, env)
        self._ended_E = terminated_E | truncated_E
        return self._batch(observations), reward_E, terminated_E, truncated_E, {}

    def take_games(self) -> list[GameResult]:
        """Returns the whole games that have ended since the last call."""
        games, self._games = self._games, []
        return games

    def close_extras(self, **kwargs: Any) -> None:
        """Frees the simulators."""
        self._close_all()

    def _make_all(self, seeds: list[int]) -> list[Environment]:
        played = each_task(self._config)
        return [make(played[index % len(played)], seed) for index, seed in enumerate(seeds)]

    def _close_all(self) -> None:
        for env in self._envs:
            env.close()
        self._envs = []

    def _batch(self, observations: list[Any]) -> Array:
        """Returns a new array: RLlib keeps parts of it as they are."""
        return np.stack([self._view(observation) for observation in observations])

    def _take_games(self, index: int, env: Environment) -> None:
        finished = env.record.finished_games
        for episode_return, steps in finished:
            self._games.append(GameResult(index, episode_return, steps, round(steps * self._frames_per_step)))
        finished.clear()


def view(env: EnvSpec) -> tuple[Box, View]:
    """Returns the space of one observation for RLlib's networks, and how to get there from ours."""
    shape, dtype = env.policy_observation.shape, env.policy_observation.dtype
    if is_picture(env):
        height, width = shape[-2:]
        channels = int(np.prod(shape[:-2], dtype=np.int64))
        return (
            Box(0, 255, (height, width, channels), np.uint8),
            lambda frames: np.moveaxis(np.asarray(frames, dtype).reshape(channels, height, width), 0, -1),
        )
    low, high = (np.asarray(bounds, np.float32) for bounds in (env.observation_low, env.observation_high))

    def as_vector(observation: Any) -> Array:
        values = np.asarray(observation, np.float32)
        return ((values - low) / (high - low) if low.size else values).reshape(-1)

    size = int(np.prod(shape, dtype=np.int64))
    return Box(-np.inf, np.inf, (size,), np.float32), as_vector


def is_picture(env: EnvSpec) -> bool:
    """Returns whether a frame is one of pixels, in grey or colour."""
    return env.observation.dtype == "uint8" and len(env.observation.shape) >= 2
