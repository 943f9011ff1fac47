"""Several environments stepped in lockstep, so that a policy acts once for all of them.

Shape legend: E environments.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np

from rlsys.config import EnvConfig
from rlsys.envs import snapshot
from rlsys.envs.make import make, spec
from rlsys.envs.wrappers import NEW_GAME
from rlsys.errors import EnvError
from rlsys.types import Array


@dataclass(frozen=True)
class GameResult:
    """A whole game, all lives of it.

    Attributes:
      environment: index of the environment that it was played in.
      episode_return: sum of the raw rewards.
      length_env_steps: steps, those that wrappers took after a reset (NOOP, FIRE) included.
      length_frames: `length_env_steps * EnvSpec.frames_per_step`.
    """

    environment: int
    episode_return: float
    length_env_steps: int
    length_frames: int


@dataclass
class StepResult:
    """What one step of E environments led to.

    Attributes:
      observation: `[E, *policy_observation]` after the step and before any reset: of an ended episode, the last one.
        The next step overwrites it.
      reward: `[E]` float32, what to learn from.
      raw_reward: `[E]` float32, unclipped.
      terminated: `[E]` bool, the episode ended and so does the return.
      truncated: `[E]` bool, the episode was cut short; never together with `terminated`.
      action: `[E, *action]`, what was executed (with avoid_repeat it can differ from what was asked for).
      games: whole games that ended with this step.
    """

    observation: Array
    reward: Array
    raw_reward: Array
    terminated: Array
    truncated: Array
    action: Array
    games: list[GameResult] = field(default_factory=list)

    @property
    def first(self) -> Array:
        """`[E]` bool: `BatchedEnv.observation` begins a new episode here."""
        return np.asarray(self.terminated | self.truncated)


class BatchedEnv:
    """E environments of one configuration in one process; ended episodes begin again within the same step.

    Attributes:
      spec: what an algorithm may know of one of them.
      num_environments: E.
      observation: `[E, *policy_observation]`, where each environment is now. It belongs to this object and changes with
        each step: copy what must be kept.
      can_snapshot: whether `save` and `load` continue running games.

    Raises:
      EnvError: an environment cannot be made, raises, or leaves its contract.
    """

    def __init__(self, config: EnvConfig, seeds: Sequence[int], *, training: bool = True) -> None:
        self.spec = spec(config)
        self.num_environments = len(seeds)
        self._envs = [make(config, seed, training=training) for seed in seeds]
        self._finished_games = [env.get_wrapper_attr("finished_games") for env in self._envs]
        self._action_space = self._envs[0].action_space
        self.can_snapshot = snapshot.can_snapshot(self._envs[0])
        policy_observation = self.spec.policy_observation
        self.observation = np.zeros((len(seeds), *policy_observation.shape), policy_observation.dtype)
        self._last_observation = np.zeros_like(self.observation)
        self.reset_all()

    def reset_all(self) -> None:
        """Begins a new game in each environment; games that were running leave no result."""
        for index, env in enumerate(self._envs):
            self._reset(index, env, NEW_GAME)
        self._check_finite(self.observation, "an observation after a reset")

    def step(self, action: Array) -> StepResult:
        """Steps each environment once and begins ended episodes again.

        Args:
          action: `[E, *action]`.
        """
        self._check_action(action)
        size = self.num_environments
        result = StepResult(
            observation=self._last_observation,
            reward=np.zeros(size, np.float32),
            raw_reward=np.zeros(size, np.float32),
            terminated=np.zeros(size, np.bool_),
            truncated=np.zeros(size, np.bool_),
            action=np.array(action, self.spec.action.dtype),
        )
        for index, env in enumerate(self._envs):
            self._step(index, env, result)
        self._check_finite(result.observation, "an observation")
        self._check_finite(self.observation, "an observation after a reset")
        self._check_finite(result.reward, "a reward")
        return result

    def save(self) -> dict[str, Any]:
        """Returns where each environment is: arrays and JSON scalars; of simulators without snapshots, too little."""
        states = [snapshot.get_state(env) for env in self._envs] if self.can_snapshot else []
        return {
            "num_environments": self.num_environments,
            "environments": states,
            "observation": self.observation.copy(),
        }

    def load(self, saved: Mapping[str, Any]) -> Array:
        """Continues from what `save` returned; environments that cannot begin a new game.

        Returns:
          `[E]` bool, which environments continue their games.

        Raises:
          EnvError: it was saved with another number of environments, or another configuration.
        """
        if saved["num_environments"] != self.num_environments:
            raise EnvError(
                f"the snapshot has {saved['num_environments']} environments, here are {self.num_environments}; they "
                "must agree. Set runtime.environments_per_worker as it was."
            )
        if not (self.can_snapshot and saved["environments"]):
            self.reset_all()
            return np.zeros(self.num_environments, np.bool_)
        for env, state in zip(self._envs, saved["environments"], strict=True):
            snapshot.set_state(env, state)
        self.observation[:] = saved["observation"]
        return np.ones(self.num_environments, np.bool_)

    def close(self) -> None:
        """Frees the simulators."""
        for env in self._envs:
            env.close()  # type: ignore[no-untyped-call]

    def _step(self, index: int, env: gymnasium.Env, result: StepResult) -> None:
        action = result.action[index]
        try:
            observation, reward, terminated, truncated, info = env.step(action if action.ndim else int(action))
        except Exception as error:
            raise self._failure(index, f"raised {type(error).__name__} in step: {error}") from error
        self._put(result.observation, index, observation)
        result.reward[index] = reward
        result.raw_reward[index] = info["raw_reward"]
        result.action[index] = info.get("action", action)
        if terminated or truncated:
            result.terminated[index] = terminated
            result.truncated[index] = truncated and not terminated
            self._reset(index, env, None)
            result.games.extend(self._take_games(index))
        else:
            self.observation[index] = result.observation[index]

    def _reset(self, index: int, env: gymnasium.Env, options: dict[str, Any] | None) -> None:
        try:
            observation, _ = env.reset(options=options)
        except Exception as error:
            raise self._failure(index, f"raised {type(error).__name__} in reset: {error}") from error
        self._put(self.observation, index, observation)

    def _take_games(self, index: int) -> list[GameResult]:
        finished = self._finished_games[index]
        games = [
            GameResult(index, episode_return, steps, steps * self.spec.frames_per_step)
            for episode_return, steps in finished
        ]
        finished.clear()
        return games

    def _put(self, array_E: Array, index: int, observation: Any) -> None:
        observation = np.asarray(observation)
        if observation.shape != array_E.shape[1:] or observation.dtype != array_E.dtype:
            found = f"{observation.dtype} {observation.shape}"
            raise self._failure(index, f"observed {found}; its space says {array_E.dtype} {array_E.shape[1:]}")
        array_E[index] = observation

    def _check_action(self, action: Array) -> None:
        expected = (self.num_environments, *self.spec.action.shape)
        if action.shape != expected:
            raise EnvError(
                f"actions have shape {action.shape}; '{self.spec.id}' here takes {expected}. Correct the policy."
            )
        space = self._action_space
        if isinstance(space, gymnasium.spaces.Box):
            allowed = np.logical_and(action >= space.low, action <= space.high).reshape(len(action), -1).all(axis=1)
        else:
            allowed = np.logical_and(action >= 0, action < self.spec.num_actions) & (action == np.trunc(action))
        if not allowed.all():
            index = int(np.flatnonzero(~allowed)[0])
            raise self._failure(index, f"got action {action[index]}, which is not in {space}", "Correct the policy")

    def _check_finite(self, array_E: Array, what: str) -> None:
        if array_E.dtype.kind == "f" and not np.isfinite(array_E).all():
            finite = np.isfinite(array_E).reshape(len(array_E), -1).all(axis=1)
            index = int(np.flatnonzero(~finite)[0])
            raise self._failure(index, f"returned {what} that is not finite: {array_E[index]}")

    def _failure(self, index: int, what: str, way_out: str = "Correct the environment") -> EnvError:
        return EnvError(f"environment {index} ('{self.spec.id}') {' '.join(what.split())}. {way_out}.")
