"""Other actions than an environment's own: vectors of its numbers to choose from, and more than it has."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from rlsys.envs.wrappers import Layer, Step
from rlsys.errors import EnvError
from rlsys.types import Array, EnvSpec


class ActionSet(Layer):
    """Discrete actions for an environment that acts with numbers: each stands for a vector of `env.action_set`."""

    def __init__(self, env: gymnasium.Env, vectors: Sequence[Sequence[float]], name: str) -> None:
        """Wraps an environment.

        Args:
          env: acts with numbers.
          vectors: what it is told for each discrete action, the numbers of its action flattened.
          name: of the environment, for errors.

        Raises:
          EnvError: it does not act with numbers, or cannot be told one of the vectors, or one is there twice.
        """
        super().__init__(env)
        space = env.action_space
        if not isinstance(space, Box):
            raise EnvError(
                f"env.action_set with '{name}', which acts with {space}; only of numbers (Box) can a set be made. "
                "Leave it out."
            )
        self._actions = [_action(space, vector, f"env.action_set[{row}]", name) for row, vector in enumerate(vectors)]
        self._names = tuple(", ".join(f"{number:g}" for number in vector) for vector in vectors)
        self._check_twice()
        self.action_space = Discrete(len(vectors))

    def get_action_meanings(self) -> tuple[str, ...]:
        """Returns the numbers of each action: "-0.25", "1, 0.5"."""
        return self._names

    def step(self, action: Any) -> Step:
        """Steps with the vector of that number."""
        return self.env.step(self._actions[action].copy())

    def _check_twice(self) -> None:
        first: dict[bytes, int] = {}
        for row, action in enumerate(self._actions):
            same = first.setdefault((action + 0).tobytes(), row)  # -0 + 0 is 0
            if same != row:
                raise EnvError(
                    f"env.action_set[{row}] = [{self._names[row]}] is env.action_set[{same}] again, as {action.dtype}; "
                    "each action can be there once. Leave one of them out."
                )


class PaddedActions(Layer):
    """Has as many actions as another task: discrete ones beyond its own do what its first does, numbers do nothing."""

    def __init__(self, env: gymnasium.Env, widest: EnvSpec) -> None:
        super().__init__(env)
        own = env.action_space
        if isinstance(own, Discrete):
            self._num_own = int(own.n)
            self.action_space = Discrete(widest.num_actions)
        else:
            assert isinstance(own, Box) and len(own.shape) == 1, own
            self._num_own = own.shape[0]
            low, high = (np.array(bound, own.dtype) for bound in (widest.action_low, widest.action_high))
            self.action_space = Box(low, high, dtype=own.dtype)  # type: ignore[arg-type]

    def step(self, action: Any) -> Step:
        """Steps."""
        if isinstance(self.action_space, Box):
            return self.env.step(action[: self._num_own])
        return self.env.step(action if action < self._num_own else 0)


def _action(space: Box, vector: Sequence[float], where: str, name: str) -> Array:
    """Returns a vector as an environment is told it.

    Raises:
      EnvError: it has too few or too many numbers, or one that the environment cannot be told.
    """
    low, high = space.low.ravel(), space.high.ravel()
    if len(vector) != low.size:
        raise EnvError(
            f"{where} has {_count(len(vector))}; '{name}' acts with {low.size}. Give each {_count(low.size)}."
        )
    action = np.array(vector).astype(space.dtype)
    for index, (number, told) in enumerate(zip(vector, action, strict=True)):
        if not (low[index] <= number <= high[index] and low[index] <= told <= high[index]):
            raise EnvError(
                f"{where} has {number:g} as number {index}; '{name}' takes {low[index]:g} to {high[index]:g} there. "
                "Correct it."
            )
        if action.dtype.kind != "f" and told != number:
            raise EnvError(f"{where} has {number:g} as number {index}; '{name}' takes {action.dtype}. Correct it.")
    return action.reshape(space.shape)


def _count(size: int) -> str:
    return f"{size} number{'' if size == 1 else 's'}"
