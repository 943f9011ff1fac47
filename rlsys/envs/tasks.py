"""One agent on several environments: what they have in common, and what makes them alike.

They are those of `env.tasks`. All observe the same, and all have as many discrete actions, or numbers, as the one that
has most (`rlsys.envs.actions.PaddedActions`). Which task it is can be seen only with `env.task_in_observation`, as the
part "task".

Shape legend: E environments.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium.spaces import Dict, Discrete

from rlsys.api.spaces import action_kind, actions_of, observations_of
from rlsys.config import EnvConfig
from rlsys.config.fields import shortened
from rlsys.envs.step import StepResult
from rlsys.envs.wrappers import Layer, Reset, Step
from rlsys.errors import EnvError
from rlsys.types import Array, EnvSpec

_PART = "task"
_OBSERVATION = "observation"
_ALIKE = (
    "observation",
    "parts",
    "num_stack",
    "observation_low",
    "observation_high",
    "clips_rewards",
    "num_players",
)


class Batch(Protocol):
    """What `Loop`, `Lockstep` and `TaskBatch` have in common: E environments that are stepped together."""

    can_snapshot: bool
    observation: Array

    def reset(self) -> None:
        """Begins a new game in each environment."""

    def step(self, action_E: Array) -> StepResult:
        """Steps each environment once."""
        ...

    def get_state(self) -> dict[str, Any]:
        """Returns where each environment is."""
        ...

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continues from what `get_state` returned."""

    def close(self) -> None:
        """Frees the simulators."""


def names(configs: Sequence[EnvConfig]) -> tuple[str, ...]:
    """Returns a name for each task, as metrics and films have it: its id, with a number where several have the same."""
    found: list[str] = []
    for config in configs:
        name = config.id.replace("/", "-").replace(":", "-")
        same = sum(other == name or other.startswith(f"{name}--") for other in found)
        found.append(f"{name}--{same + 1}" if same else name)
    return tuple(found)


def each_task(config: EnvConfig) -> list[EnvConfig]:
    """Returns the environment once for each of its tasks that is played, as the only one; else just the environment."""
    if not config.tasks or config.task is not None:
        return [config]
    return [config.model_copy(update={"task": task}) for task in range(len(config.tasks))]


def widest(specs: Sequence[EnvSpec]) -> EnvSpec:
    """Returns the task that has most actions, or most numbers to act with: as many all are given.

    Raises:
      EnvError: they differ in something that cannot be made alike.
    """
    first = specs[0]
    for spec, name in itertools.product(specs[1:], _ALIKE):
        if getattr(first, name) != getattr(spec, name):
            raise _unlike(name.replace("_", " "), (_told(name, spec), spec), (_told(name, first), first))
    most = max(specs, key=action_width)
    for spec in specs:
        if not _acts_within(most, spec):
            raise _unlike("action", (actions_of(spec), spec), (actions_of(most), most))
    return most


def action_width(spec: EnvSpec) -> int:
    """Returns how many discrete actions there are, or numbers in an action."""
    return spec.num_actions or len(spec.action_low)


def _acts_within(most: EnvSpec, spec: EnvSpec) -> bool:
    """Tells whether the actions of a task are the first of those of another."""
    kind = action_kind(spec)
    if kind == "discrete" or action_kind(most) != kind:
        return action_kind(most) == kind
    one_by_one = kind == "numbers" and len(most.action.shape) == len(spec.action.shape) == 1
    if most.action != spec.action and not (one_by_one and most.action.dtype == spec.action.dtype):
        return False
    own = len(spec.action_low)
    return (most.action_choices, most.action_low[:own], most.action_high[:own]) == (
        spec.action_choices,
        spec.action_low,
        spec.action_high,
    )


def _unlike(what: str, there: tuple[str, EnvSpec], here: tuple[str, EnvSpec]) -> EnvError:
    return EnvError(
        f"env.tasks: {what} is {there[0]} in '{there[1].id}' and {here[0]} in '{here[1].id}'; only the number of "
        "discrete actions, or of numbers with the same bounds, may differ between tasks. Leave one of them out, or set "
        "what makes them alike."
    )


def _told(name: str, spec: EnvSpec) -> str:
    """Returns what a field of a spec is, where that is the observation in the words of spaces."""
    return observations_of(spec) if name in ("observation", "parts") else shortened(getattr(spec, name))


class ShownTask(Layer):
    """Observes which task it is beside what the environment observes."""

    def __init__(self, env: gymnasium.Env, task: int, num_tasks: int) -> None:
        super().__init__(env)
        self._task = task
        space = env.observation_space
        own = dict(space.spaces) if isinstance(space, Dict) else {_OBSERVATION: space}
        self.observation_space = Dict([(_PART, Discrete(num_tasks)), *own.items()])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Resets."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._with_task(observation), info

    def step(self, action: Any) -> Step:
        """Steps."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._with_task(observation), reward, terminated, truncated, info

    def _with_task(self, observation: Any) -> dict[str, Any]:
        own = observation if isinstance(observation, dict) else {_OBSERVATION: observation}
        return {_PART: self._task, **own}


class TaskBatch:
    """E environments, of which each plays one of the tasks: those of a task are a batch of their own.

    Attributes:
      can_snapshot: whether `set_state` continues games.
      observation: `[E, *policy_observation]`, where each environment is now.
    """

    def __init__(self, batches: Mapping[int, Batch], task_E: Array, spec: EnvSpec) -> None:
        """Puts batches together.

        Args:
          batches: task -> its environments.
          task_E: `[E]`, the task of each environment.
          spec: of one of them; all are alike.
        """
        self._batches = batches
        self._task_E = task_E
        self._rows = {task: np.flatnonzero(task_E == task) for task in batches}
        self.can_snapshot = all(batch.can_snapshot for batch in batches.values())
        self._action_dtype = spec.action.dtype
        policy_observation = spec.policy_observation
        self.observation = np.zeros((len(task_E), *policy_observation.shape), policy_observation.dtype)
        self._last_observation = np.zeros_like(self.observation)

    def reset(self) -> None:
        """Begins a new game in each environment; games that were running leave no result."""
        for batch in self._batches.values():
            batch.reset()
        self._look()

    def step(self, action_E: Array) -> StepResult:
        """Steps each environment once and begins ended episodes again."""
        result = StepResult.blank(self._last_observation, np.array(action_E, self._action_dtype))
        for task, batch in self._batches.items():
            rows = self._rows[task]
            part = batch.step(action_E[rows])
            for name in ("observation", "reward", "raw_reward", "terminated", "truncated", "action"):
                getattr(result, name)[rows] = getattr(part, name)
            result.games += [replace(game, environment=int(rows[game.environment]), task=task) for game in part.games]
        self._look()
        return result

    def get_state(self) -> dict[str, Any]:
        """Returns where each environment is."""
        return {"tasks": {str(task): batch.get_state() for task, batch in self._batches.items()}}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continues from what `get_state` returned.

        Raises:
          EnvError: it was saved by environments of other tasks.
        """
        saved = state.get("tasks", {})
        if saved.keys() != {str(task) for task in self._batches}:
            raise EnvError("the snapshot is of other tasks. Load it with the env.tasks that it was saved with.")
        for task, batch in self._batches.items():
            batch.set_state(saved[str(task)])
        self._look()

    def close(self) -> None:
        """Frees the simulators."""
        for batch in self._batches.values():
            batch.close()

    def _look(self) -> None:
        for task, batch in self._batches.items():
            self.observation[self._rows[task]] = batch.observation
