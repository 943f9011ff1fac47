"""gymnasium environments as a batch: stepped one after another.

Not in threads: ALE's emulator holds the interpreter's lock while it steps, and two thirds to three quarters of a
decision in the Control Suite are Python's. More cores step in more workers, each a process (runtime.rollout_workers).
"""

import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rlsys.envs import snapshot
from rlsys.envs.step import GameResult, StepResult, action_of
from rlsys.envs.wrappers import Environment, Reset
from rlsys.errors import EnvError
from rlsys.types import Array, EnvSpec


class Loop:
    """E environments made by `rlsys.envs.make.make`, which keep their scores themselves.

    Attributes:
      can_snapshot: whether `set_state` continues games.
      observation: `[E, *policy_observation]`, where each environment is now.
    """

    def __init__(self, envs: Sequence[Environment], spec: EnvSpec) -> None:
        self.can_snapshot = snapshot.can_snapshot(envs[0])
        self._envs = envs
        self._spec = spec
        policy_observation = spec.policy_observation
        self.observation = np.zeros((len(envs), *policy_observation.shape), policy_observation.dtype)
        self._last_observation = np.zeros_like(self.observation)

    def reset(self) -> None:
        """Begins a new game in each environment; games that were running leave no result."""
        for index, env in enumerate(self._envs):
            self._reset(index, env.begin_game)

    def step(self, action_E: Array) -> StepResult:
        """Steps each environment once and begins ended episodes again."""
        result = StepResult.blank(self._last_observation, np.array(action_E, self._spec.action.dtype))
        for index, env in enumerate(self._envs):
            self._step(index, env, result)
        return result

    def get_state(self) -> dict[str, Any]:
        """Returns where each environment is; of simulators without snapshots, too little."""
        states = [snapshot.get_state(env) for env in self._envs] if self.can_snapshot else []
        return {"environments": states, "observation": self.observation.copy()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continues from what `get_state` returned.

        Raises:
          EnvError: it was saved by environments that step at once, or by others.
        """
        if "environments" not in state:
            raise EnvError(
                "the snapshot is of environments that step at once; these step one by one. Load it with the "
                "configuration it was saved with."
            )
        for env, saved in zip(self._envs, state["environments"], strict=True):
            snapshot.set_state(env, saved)
        self.observation[:] = state["observation"]

    def close(self) -> None:
        """Frees the simulators."""
        for env in self._envs:
            env.close()  # type: ignore[no-untyped-call]

    def _step(self, index: int, env: Environment, result: StepResult) -> None:
        try:
            observation, reward, terminated, truncated, _ = env.step(action_of(result.action, index))
        except Exception as error:
            raise self._raised(index, error, "step") from error
        self._put(result.observation, index, observation)
        result.reward[index] = reward
        result.raw_reward[index] = env.record.raw_reward
        result.action[index] = env.executed(result.action[index])
        if terminated or truncated:
            result.terminated[index] = terminated
            result.truncated[index] = truncated and not terminated
            self._reset(index, env.reset)
            result.games.extend(self._take_games(index, env))
        else:
            self.observation[index] = result.observation[index]

    def _reset(self, index: int, reset: Callable[[], Reset]) -> None:
        try:
            observation, _ = reset()
        except Exception as error:
            raise self._raised(index, error, "reset") from error
        self._put(self.observation, index, observation)

    def _take_games(self, index: int, env: Environment) -> list[GameResult]:
        finished = env.record.finished_games
        games = [
            GameResult(index, episode_return, steps, round(steps * self._spec.frames_per_step))
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

    def _raised(self, index: int, error: Exception, method: str) -> EnvError:
        """Returns an error that says where: it may be read in another process, of which there is no traceback here."""
        if isinstance(error, EnvError):
            return EnvError(f"environment {index} ('{self._spec.id}'): {error}")
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}, line {frame.lineno}"
        return self._failure(index, f"raised {type(error).__name__} in {method}: {error} ({place})")

    def _failure(self, index: int, what: str) -> EnvError:
        return failure(self._spec.id, index, what)


def failure(name: str, index: int, what: str, way_out: str = "Correct the environment") -> EnvError:
    """Returns the error of one environment of a batch, in one line."""
    return EnvError(f"environment {index} ('{name}') {' '.join(what.split())}. {way_out}.")
