"""Episodes of one environment while it is collected from, for those who look at them later."""

import time

import numpy as np

from rlsys.envs.vector import BatchedEnv, StepResult
from rlsys.types import Array, EpisodeRecord
from rlsys.viewer.frames import MOST_KEPT, PackedFrames

_EVERY_S = 30.0
"""After so long the newest episode is handed over; before that, one that is better than all before it."""


class EpisodeTap:
    """Follows the first of some environments from its next episode on, and hands over a few of its episodes.

    One of more than `MOST_KEPT` decisions is left out.
    """

    def __init__(self, env: BatchedEnv) -> None:
        self._env = env
        self._newest: EpisodeRecord | None = None
        self._best = -np.inf
        self._best_waits = False
        self._due = 0.0
        self._frames: PackedFrames | None = None  # the first may be within an episode

    def step(self, result: StepResult) -> None:
        """Takes what the environments have just done."""
        is_over = bool(result.terminated[0] or result.truncated[0])
        if self._frames is not None and len(self._frames) <= MOST_KEPT:
            self._follow(self._frames, result)
        elif self._frames is not None:
            self._frames = None
        if is_over:
            self._begin()

    def take(self) -> list[EpisodeRecord]:
        """Returns the newest episode where one is due, or else none."""
        now = time.monotonic()
        if self._newest is None or not (self._best_waits or now >= self._due):
            return []
        episode, self._newest = self._newest, None
        self._best_waits, self._due = False, now + _EVERY_S
        return [episode]

    def _follow(self, frames: PackedFrames, result: StepResult) -> None:
        self._actions.append(np.array(result.action[0]))
        self._rewards.append(float(result.raw_reward[0]))
        frames.append(self._single(result.observation[0]))
        if result.terminated[0] or result.truncated[0]:
            self._end(frames, terminated=bool(result.terminated[0]))

    def _begin(self) -> None:
        self._frames = PackedFrames()
        self._actions: list[Array] = []
        self._rewards: list[float] = []
        self._frames.append(self._single(self._env.observation[0]))

    def _end(self, frames: PackedFrames, *, terminated: bool) -> None:
        episode_return = sum(self._rewards)
        is_better = episode_return > self._best
        if self._best_waits and not is_better:
            return
        self._best, self._best_waits = max(self._best, episode_return), is_better
        ended = np.zeros(len(self._rewards), np.bool_)
        ended[-1] = terminated
        reward = np.array(self._rewards, np.float32)
        self._newest = EpisodeRecord(frames.array(), np.stack(self._actions), reward, ended)

    def _single(self, observation: Array) -> Array:
        """Returns the newest frame of a stack."""
        return observation[-1] if self._env.spec.num_stack > 1 else observation
