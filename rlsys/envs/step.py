"""What a step of E environments led to."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rlsys.types import Array


def action_of(action_E: Array, index: int) -> Any:
    """Returns what one environment is given: the number of an action, or an array of its own, which it may change."""
    action = action_E[index]
    return int(action) if action.ndim == 0 and action.dtype.kind in "iu" else np.array(action)


@dataclass(frozen=True)
class GameResult:
    """A whole game, all lives of it.

    Attributes:
      environment: index of the environment that it was played in.
      episode_return: sum of the raw rewards.
      length_env_steps: steps, those that wrappers took after a reset (NOOP, FIRE) included.
      length_frames: `length_env_steps` × the frames per step of its task.
      task: which of `EnvSpec.tasks` it was of, if there are any.
    """

    environment: int
    episode_return: float
    length_env_steps: int
    length_frames: int
    task: int = 0


@dataclass
class StepResult:
    """What one step of E environments led to.

    Attributes:
      observation: `[E, *policy_observation]` after the step and before any reset: of an ended episode, the last one
        (ProcGen does not show that one; see `rlsys.envs.families.procgen`). The next step overwrites it.
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

    @classmethod
    def blank(cls, observation: Array, action_E: Array) -> "StepResult":
        """Returns the result of a step of which nothing is known yet.

        Args:
          observation: where the observations will be.
          action_E: what is to be executed; becomes part of the result.
        """
        size = len(action_E)
        return cls(
            observation=observation,
            reward=np.zeros(size, np.float32),
            raw_reward=np.zeros(size, np.float32),
            terminated=np.zeros(size, np.bool_),
            truncated=np.zeros(size, np.bool_),
            action=action_E,
        )

    @property
    def first(self) -> Array:
        """`[E]` bool: `BatchedEnv.observation` begins a new episode here."""
        return np.asarray(self.terminated | self.truncated)
