"""Several environments stepped in lockstep, so that a policy acts once for all of them.

Where the environment's family steps many at once, and the configuration asks for nothing in between, that simulator is
used (`lockstep.py`); else gymnasium environments are stepped one after another (`loop.py`). Nobody can tell which,
except by the time that it takes.

Shape legend: E environments.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rlsys.api.spaces import action_kind, actions_of
from rlsys.config import EnvConfig
from rlsys.envs.lockstep import Lockstep
from rlsys.envs.loop import Loop, failure
from rlsys.envs.make import env_spec, make, make_simulator
from rlsys.envs.step import GameResult, StepResult
from rlsys.envs.tasks import Batch, TaskBatch, each_task
from rlsys.errors import EnvError
from rlsys.types import Array, EnvSpec

__all__ = ["BatchedEnv", "GameResult", "StepResult"]


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

    def __init__(self, config: EnvConfig, seeds: Sequence[int], *, training: bool = True, first: int = 0) -> None:
        """Makes the environments.

        Args:
          config: id, settings and wrappers.
          seeds: one for each environment.
          training: False leaves out what replaces a policy's actions for learning.
          first: number of the first environment among those of all workers: tasks are spread by it.
        """
        self.spec = env_spec(config)
        self.num_environments = len(seeds)
        self._batch = self._make(config, seeds, training, first)
        self.can_snapshot = self._batch.can_snapshot
        self.observation = self._batch.observation
        self._takes_numbers = action_kind(self.spec) == "numbers"
        self._least, self._most = _bounds(self.spec)
        self.reset_all()

    def reset_all(self) -> None:
        """Begins a new game in each environment; games that were running leave no result."""
        self._batch.reset()
        self._check_finite(self.observation, "an observation after a reset")

    def step(self, action: Array) -> StepResult:
        """Steps each environment once and begins ended episodes again.

        Args:
          action: `[E, *action]`.
        """
        self._check_action(action)
        result = self._batch.step(action)
        self._check_finite(result.observation, "an observation")
        if result.first.any():
            self._check_finite(self.observation, "an observation after a reset")
        self._check_finite(result.reward, "a reward")
        return result

    def save(self) -> dict[str, Any]:
        """Returns where each environment is: arrays and JSON scalars; of simulators without snapshots, too little."""
        return {"num_environments": self.num_environments, **self._batch.get_state()}

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
        if not self.can_snapshot:
            self.reset_all()
            return np.zeros(self.num_environments, np.bool_)
        self._batch.set_state(saved)
        return np.ones(self.num_environments, np.bool_)

    def close(self) -> None:
        """Frees the simulators."""
        self._batch.close()

    def _make(self, config: EnvConfig, seeds: Sequence[int], training: bool, first: int) -> Batch:
        played = each_task(config)
        if len(played) > 1:
            task_E = np.arange(first, first + len(seeds)) % len(played)
            of_task = {int(task): [seeds[row] for row in np.flatnonzero(task_E == task)] for task in np.unique(task_E)}
            batches = {task: self._make(played[task], own, training, 0) for task, own in of_task.items()}
            return TaskBatch(batches, task_E, self.spec)
        spec = replace(self.spec, frames_per_step=env_spec(config).frames_per_step) if config.tasks else self.spec
        simulator = make_simulator(config, seeds, training=training)
        if simulator is None:
            return Loop([make(config, seed, training=training) for seed in seeds], spec)
        return Lockstep(simulator, config, spec)

    def _check_action(self, action: Array) -> None:
        expected = (self.num_environments, *self.spec.action.shape)
        if action.shape != expected:
            raise EnvError(
                f"actions have shape {action.shape}; '{self.spec.id}' here takes {expected}. Correct the policy."
            )
        if self._takes_numbers:
            allowed = np.logical_and(action >= self._least, action <= self._most)
        else:
            if action.dtype.kind != "f" and action.min() >= 0 and (action <= self._most).all():
                return
            allowed = (action >= 0) & (action <= self._most) & (action == np.trunc(action))
        allowed = allowed.reshape(len(action), -1).all(axis=1)
        if not allowed.all():
            index = int(np.flatnonzero(~allowed)[0])
            what = f"got action {action[index]}, which is not in {actions_of(self.spec)}"
            raise failure(self.spec.id, index, what, "Correct the policy")

    def _check_finite(self, array_E: Array, what: str) -> None:
        for name in array_E.dtype.names or ():
            self._check_finite(array_E[name], f"{what} in part '{name}'")
        # One pass for the usual case: where a sum is finite, so is every term.
        if array_E.dtype.kind == "f" and not math.isfinite(array_E.sum()):
            finite = np.isfinite(array_E).reshape(len(array_E), -1).all(axis=1)
            if not finite.all():  # the sum of large numbers is not finite either
                index = int(np.flatnonzero(~finite)[0])
                raise failure(self.spec.id, index, f"returned {what} that is not finite: {array_E[index]}")


def _bounds(spec: EnvSpec) -> tuple[Array, Array]:
    """Returns the least and the greatest action, `[*action]` each."""
    if action_kind(spec) == "numbers":
        low, high = (np.reshape(bound, spec.action.shape) for bound in (spec.action_low, spec.action_high))
        return low, high
    most = np.reshape(spec.action_choices or spec.num_actions, spec.action.shape) - 1
    return np.zeros_like(most), most
