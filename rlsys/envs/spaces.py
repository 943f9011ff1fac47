"""gymnasium's spaces as `EnvSpec` describes them: observations are one array, actions are counted from 0.

    Box                          the array itself
    Discrete(n, start)           int64 from 0
    MultiDiscrete, MultiBinary   integers from 0
    Dict, Tuple                  a structured array with a field for each of the above in it: "arm/position", "0", …

A simulator that steps many environments at once hands out such arrays by itself, and says so with a space like this.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from rlsys.envs.wrappers import Layer, Reset, Step
from rlsys.errors import EnvError
from rlsys.types import Array, ArraySpec, Part

_SHOWN = 200
_NUMBERS = "biuf"
_MOST_CHOICES = 1_000_000
"""Of an integer, or of several together: each has weights of its own."""


class Observations:
    """How what an environment observes comes as one array.

    Attributes:
      spec: of the array.
      parts: of it; see `EnvSpec`.
      space: of what comes: integers from 0, and a flat Dict where the array has named parts.
      is_array: whether the environment observes nothing else anyway.
    """

    def __init__(self, space: gymnasium.Space, name: str) -> None:
        """Describes a space of the environment of that name.

        Raises:
          EnvError: it has something in it that is no array of a fixed size.
        """
        self._leaves = [_leaf(path, inner, name) for path, inner in _flat(space)]
        self.parts = tuple(leaf.part for leaf in self._leaves)
        for leaf in self._leaves:
            _check_choices(leaf.part.choices, f"'{name}' observes", leaf.space)
        self.is_array = isinstance(space, Box)
        names = [part.name for part in self.parts]
        if isinstance(space, Dict | Tuple):
            if not names or "" in names or len(set(names)) < len(names):
                raise EnvError(
                    f"'{name}' observes parts named {names}; each must have a name of its own. Choose another "
                    "environment, or wrap it so that it names them."
                )
            self.spec = ArraySpec((), np.dtype([(part.name, part.spec.dtype, part.spec.shape) for part in self.parts]))
            self.space: gymnasium.Space = Dict(
                [(leaf.part.name, leaf.space) for leaf in self._leaves]  # a list keeps the order
            )
        else:
            self.spec, self.space = self.parts[0].spec, self._leaves[0].space

    def array(self, observation: Any) -> Array:
        """Returns the array of one observation.

        Raises:
          ValueError: it is not what its space says.
        """
        if self.spec.dtype == self.parts[0].spec.dtype:
            return self._leaves[0].read(observation)
        result = np.zeros((), self.spec.dtype)
        for leaf in self._leaves:
            result[leaf.part.name] = leaf.read(observation)
        return result


class Actions:
    """How an environment is told actions that are counted from 0.

    Attributes:
      spec, num_actions, choices, low, high: see `EnvSpec`.
      space: of what is chosen.
      is_from_zero: whether the environment takes that as it is.
    """

    def __init__(self, space: gymnasium.Space, name: str) -> None:
        """Describes a space of the environment of that name.

        Raises:
          EnvError: no policy here can act in it.
        """
        self.num_actions, self.choices = 0, tuple[int, ...]()
        self.low, self.high = tuple[float, ...](), tuple[float, ...]()
        self.space, self._start = space, np.zeros((), np.int64)
        self._dtype: np.dtype[Any] = np.dtype(np.int64)
        match space:
            case Discrete():
                self.spec, self.num_actions = ArraySpec((), "int64"), int(space.n)
                self.space, self._start = Discrete(self.num_actions), np.asarray(space.start, np.int64)
            case MultiDiscrete() | MultiBinary() if 0 not in space.shape:
                counts, self._start = _choices(space)
                self.spec, self.choices = ArraySpec(counts.shape, "int64"), tuple(counts.ravel().tolist())
                self.space, self._dtype = MultiDiscrete(counts), _dtype(space)
            case Box() if 0 not in space.shape and _dtype(space).kind in _NUMBERS:
                self.spec, self._dtype = ArraySpec(space.shape, str(space.dtype)), _dtype(space)
                self.low, self.high = (tuple(bound.ravel().tolist()) for bound in (space.low, space.high))
            case _:
                raise EnvError(
                    f"'{name}' acts with {_text(space)}; only Discrete, MultiDiscrete, MultiBinary and arrays (Box) "
                    "that are not empty are supported. Choose another environment."
                )
        _check_choices(self.choices or (self.num_actions,), f"'{name}' acts with", space)
        self.is_from_zero = isinstance(space, Box) or (not self._start.any() and self._dtype == np.int64)

    def told(self, action: Any) -> Any:
        """Returns what the environment is told."""
        if self.num_actions:
            return int(action) + int(self._start)
        return action if self.low else (np.asarray(action) + self._start).astype(self._dtype)


class ArraySpaces(Layer):
    """Observes arrays, and takes actions that are counted from 0."""

    def __init__(self, env: gymnasium.Env, observations: Observations, actions: Actions) -> None:
        super().__init__(env)
        self.observation_space, self.action_space = observations.space, actions.space
        self._array, self._told = observations.array, actions.told

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Resets."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._array(observation), info

    def step(self, action: Any) -> Step:
        """Steps."""
        observation, reward, terminated, truncated, info = self.env.step(self._told(action))
        return self._array(observation), reward, terminated, truncated, info


@dataclass(frozen=True)
class _Leaf:
    """One array in a space of the environment.

    Attributes:
      path: the keys that lead to it.
      part: what comes of it.
      start: the least of each integer, as the environment counts.
      space: of what comes.
    """

    path: tuple[Any, ...]
    part: Part
    start: Array
    space: gymnasium.Space

    def read(self, observation: Any) -> Array:
        """Returns the array of an observation."""
        for key in self.path:
            observation = observation[key]
        spec, choices = self.part.spec, self.part.choices
        if isinstance(observation, int | np.integer) and spec.shape == () and choices:  # the usual case, at once
            number = int(observation) - int(self.start)
            if 0 <= number < choices[0]:
                return np.array(number, spec.dtype)
        found = array = np.asarray(observation)
        if choices and found.dtype.kind in "biu":
            array = (found.astype(np.int64) - self.start).astype(spec.dtype)
        if array.shape != spec.shape or array.dtype != spec.dtype:
            what = f"part '{self.part.name}' of the observation" if self.part.name else "the observation"
            raise ValueError(f"{what} is {found.dtype} {found.shape}; its space says {spec.dtype} {spec.shape}")
        if choices and not ((array >= 0) & (array < np.reshape(choices, spec.shape))).all():
            raise ValueError(
                f"the observation has {observation}, which is not in {_text(self.space)} from {self.start}"
            )
        return array


def _flat(space: gymnasium.Space, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], gymnasium.Space]]:
    """Yields every space that holds no others, and the keys that lead to it."""
    if not isinstance(space, Dict | Tuple):
        yield path, space
        return
    for key, inner in space.spaces.items() if isinstance(space, Dict) else enumerate(space.spaces):
        yield from _flat(inner, (*path, key))


def _leaf(path: tuple[Any, ...], space: gymnasium.Space, name: str) -> _Leaf:
    field = "/".join(map(str, path))
    where = f"'{name}' observes" + (f" in '{field}'" if path else "")
    match space:
        case Discrete():
            number = Part(field, ArraySpec((), "int64"), (int(space.n),))
            return _Leaf(path, number, np.asarray(space.start, np.int64), Discrete(int(space.n)))
        case MultiDiscrete() | MultiBinary() if 0 not in space.shape:
            counts, start = _choices(space)
            part = Part(field, ArraySpec(counts.shape, str(space.dtype)), tuple(counts.ravel().tolist()))
            return _Leaf(path, part, start, MultiDiscrete(counts, dtype=_dtype(space).type))
        case Box() if _dtype(space).kind in _NUMBERS:
            if 0 in space.shape or not (space.shape or path):
                raise EnvError(
                    f"{where} arrays of shape {space.shape}; only those with at least one axis, and none of length 0, "
                    "are supported. Choose another environment, or wrap it so that it observes [1]."
                )
            return _Leaf(path, Part(field, ArraySpec(space.shape, str(space.dtype))), np.zeros((), np.int64), space)
    raise EnvError(
        f"{where} {_text(space)}; only arrays (Box), Discrete, MultiDiscrete, MultiBinary and Dicts and Tuples of "
        "these are supported. Choose another environment."
    )


def _choices(space: MultiDiscrete | MultiBinary) -> tuple[Array, Array]:
    """Returns how many each of several integers can be, and the least of each."""
    if isinstance(space, MultiBinary):
        return np.full(space.shape, 2), np.zeros(space.shape, np.int64)
    return space.nvec.astype(np.int64), space.start.astype(np.int64)


def _check_choices(choices: Sequence[int], what: str, space: gymnasium.Space) -> None:
    if sum(choices) > _MOST_CHOICES:
        raise EnvError(
            f"{what} {_text(space)}; each of {sum(choices):,} values would have weights of its own, and up to "
            f"{_MOST_CHOICES:,} are supported. Choose another environment, or wrap it so that these are numbers."
        )


def _dtype(space: gymnasium.Space) -> np.dtype[Any]:
    return np.dtype(space.dtype)


def _text(space: gymnasium.Space) -> str:
    return " ".join(str(space).split())[:_SHOWN]
