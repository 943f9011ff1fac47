"""A world model as a gymnasium vector environment, so that whatever acts in environments can act in imagination.

Shape legend: N copies, R rows of real history, K frames of a stack.
"""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from rlsys.api import World
from rlsys.errors import EnvError
from rlsys.types import Array, ArraySpec, EnvSpec

Begin = Callable[[np.random.Generator, int], tuple[Array, Array]]
"""(random generator, N) -> real history to begin from: frames `[N, R, *frame]` and actions `[N, R - 1, *action]`."""


def latest(frames: Array, count: int, axis: int = 0) -> Array:
    """Returns the last `count` frames along an axis, the oldest repeated in front where there are fewer."""
    missing = max(0, count - frames.shape[axis])
    last = np.take(frames, range(max(0, frames.shape[axis] - count), frames.shape[axis]), axis)
    return np.concatenate([np.repeat(np.take(last, [0], axis), missing, axis), last], axis) if missing else last


class ImaginedEnv(VectorEnv):
    """N episodes in a world model, begun together and stepped together.

    A model begins all its copies at once, so nothing resets by itself (`AutoresetMode.DISABLED`): a copy whose episode
    is over stays where it ended, with rewards of 0, until `reset` begins all of them again.
    """

    def __init__(self, world: World, spec: EnvSpec, begin: Begin | None = None, max_steps: int | None = None) -> None:
        """Makes spaces as a policy of the environment expects them.

        Args:
          world: the model.
          spec: of the real environment; observations are stacked as it says.
          begin: draws what episodes begin from, where a reset does not bring it along.
          max_steps: steps after which episodes are truncated; None never does it.
        """
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.DISABLED}
        self.num_envs = world.num_environments
        self.single_observation_space = _space(spec.policy_observation)
        self.single_action_space = Discrete(spec.num_actions) if spec.num_actions else _space(spec.action)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._world = world
        self._spec = spec
        self._begin = begin
        self._max_steps = max_steps
        self._steps = 0
        self._frames = np.zeros((self.num_envs, spec.num_stack, *spec.observation.shape), spec.observation.dtype)
        self._terminated = np.zeros(self.num_envs, np.bool_)
        self._truncated = np.ones(self.num_envs, np.bool_)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:
        """Begins all episodes anew.

        Args:
          seed: of the draws of what they begin from.
          options: "observation" `[N, R, *frame]` and "action" `[N, R - 1, *action]`: begin from these. A "reset_mask"
            must hold for all copies.

        Raises:
          EnvError: there is nothing to begin from, it has other shapes, or only some copies are to begin.
        """
        assert seed is None or isinstance(seed, int), "one generator draws for all copies"
        super().reset(seed=seed)
        observation, action = self._history(options or {})
        self._check("observation", observation, (self._world.num_context, *self._spec.observation.shape))
        self._check("action", action, (self._world.num_context - 1, *self._spec.action.shape))
        frame = self._world.begin(observation, action)
        self._frames = latest(observation, self._spec.num_stack, axis=1).astype(self._spec.observation.dtype)
        self._frames[:, -1] = frame
        self._steps = 0
        self._terminated = np.zeros(self.num_envs, np.bool_)
        self._truncated = np.zeros(self.num_envs, np.bool_)
        return self._observation(), {}

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Predicts one step of each episode; those that are over stay as they are."""
        running = ~(self._terminated | self._truncated)
        assert running.any(), "all episodes are over: reset first"
        frame, reward, over = self._world.step(np.asarray(actions, self._spec.action.dtype))
        moved = np.concatenate([self._frames[:, 1:], frame[:, None]], axis=1)
        self._frames[running] = moved[running]
        self._steps += 1
        self._terminated |= running & over
        if self._steps == self._max_steps:
            self._truncated |= running & ~over
        reward = np.where(running, reward, 0.0).astype(np.float32)
        return self._observation(), reward, self._terminated.copy(), self._truncated.copy(), {}

    def _history(self, options: dict[str, Any]) -> tuple[Array, Array]:
        if not np.all(options.get("reset_mask", True)):
            raise EnvError(
                f"reset_mask = {options['reset_mask']}; a world model begins all copies at once. Leave it out."
            )
        if "observation" in options and "action" in options:
            return np.asarray(options["observation"]), np.asarray(options["action"])
        if self._begin is None:
            raise EnvError(
                "an imagined episode has nothing to begin from; reset takes options 'observation' and 'action'. "
                "Give both, or make the environment with begin=."
            )
        return self._begin(self.np_random, self.num_envs)

    def _check(self, name: str, array: Array, shape: tuple[int, ...]) -> None:
        expected = (self.num_envs, *shape)
        if array.shape != expected:
            raise EnvError(
                f"{name} to begin from has shape {array.shape}; this world model takes {expected}. Correct it."
            )

    def _observation(self) -> Array:
        return self._frames.copy() if self._spec.num_stack > 1 else self._frames[:, 0].copy()


def _space(spec: ArraySpec) -> gymnasium.Space:
    if spec.dtype == "uint8":
        return Box(0, 255, spec.shape, np.uint8)
    return Box(-np.inf, np.inf, spec.shape, np.dtype(spec.dtype).type)
