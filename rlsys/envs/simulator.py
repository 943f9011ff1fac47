"""Simulators that step many environments at once, and one of their environments as gymnasium's.

Shape legend: E environments.
"""

import abc
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium.utils import seeding

from rlsys.envs.snapshot import Restorable
from rlsys.envs.spaces import Observations
from rlsys.envs.wrappers import Reset, Step
from rlsys.errors import EnvError
from rlsys.types import Array

Ends = tuple[Array, Array, Array]
"""(reward `[E]` float32, terminated `[E]` bool, truncated `[E]` bool); the two are never true together."""


class Simulator(Protocol):
    """E environments of one configuration that a family steps at once, each random in its own way.

    What environment e does depends on its seed and actions alone, not on its neighbours: E simulators of one
    environment do the same.

    Attributes:
      id: the environment's name.
      size: E.
      observation_space, action_space: of one environment. Observations are arrays, and actions count from 0, as
        `rlsys.envs.spaces` says: named parts come as fields of a structured array.
      observation: `[E, *frame]`, where each environment is now: ended episodes have begun again. Always the same array.
      last_observation: `[E, *frame]` after the last step and before any reset; the next step changes or replaces it.
        It may be `observation` itself after a step that ended no episode.
      can_snapshot: whether `get_state` is all that the future depends on.
      action_meanings: a word per action, or nothing.
      max_steps: at which episodes are cut; None where that is not known.
    """

    id: str
    size: int
    observation_space: gymnasium.Space
    action_space: gymnasium.Space
    observation: Array
    last_observation: Array
    can_snapshot: bool
    action_meanings: tuple[str, ...]
    max_steps: int | None

    def reset(self) -> None:
        """Begins a new episode in each environment."""

    def step(self, action_E: Array) -> Ends:
        """Steps each environment once and begins ended episodes again; the arrays returned are the caller's."""

    def get_state(self) -> dict[str, Any]:
        """Returns arrays and JSON scalars; the observations are not among them."""

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what `get_state` returned; `observation` shows it."""

    def render(self) -> Array:
        """Draws the first environment, `[H, W, 3]` uint8."""

    def close(self) -> None:
        """Frees what it holds."""


class ArraySimulator(abc.ABC):
    """E games that are numpy arrays: generators, time limit and resets, for the game's rules to be filled in.

    Attributes:
      rng: one generator per environment.
    """

    can_snapshot = True
    action_meanings: tuple[str, ...] = ()
    max_steps: int | None

    def __init__(
        self,
        name: str,
        seeds: Sequence[int],
        observation_space: gymnasium.Space,
        action_space: gymnasium.Space,
        max_steps: int,
    ) -> None:
        self.id = name
        self.size = len(seeds)
        self.observation_space = observation_space
        self.action_space = action_space
        spec = Observations(observation_space, name).spec
        self.observation = np.zeros((self.size, *spec.shape), spec.dtype)
        self.last_observation = np.zeros_like(self.observation)
        self.rng = [seeding.np_random(seed)[0] for seed in seeds]
        self._limit, self.max_steps = max_steps, max_steps
        self._elapsed = np.zeros(self.size, np.int64)

    @abc.abstractmethod
    def _begin(self, rows: Array) -> None:
        """Draws the first states of new episodes in these environments, each from its own generator."""

    @abc.abstractmethod
    def _advance(self, action_E: Array) -> tuple[Array, Array]:
        """Moves all; returns (reward `[E]` float32, terminated `[E]` bool)."""

    @abc.abstractmethod
    def _observe(self, out: Array) -> None:
        """Writes what is to be seen of all."""

    @abc.abstractmethod
    def _arrays(self) -> dict[str, Array]:
        """Returns the game's own arrays by name; restoring writes into them."""

    @abc.abstractmethod
    def render(self) -> Array:
        """Draws the first environment, `[H, W, 3]` uint8."""

    def reset(self) -> None:
        """Begins a new episode in each environment."""
        self._begin(np.arange(self.size))
        self._elapsed[:] = 0
        self._observe(self.observation)

    def step(self, action_E: Array) -> Ends:
        """Steps each environment once; episodes that ended or reached the time limit begin again."""
        reward, terminated = self._advance(action_E)
        self._elapsed += 1
        truncated = self._elapsed >= self._limit
        truncated &= ~terminated
        self._observe(self.last_observation)
        rows = np.flatnonzero(terminated | truncated)
        if rows.size:
            self._begin(rows)
            self._elapsed[rows] = 0
            self._observe(self.observation)
        else:
            self.observation[:] = self.last_observation
        return reward, terminated, truncated

    def get_state(self) -> dict[str, Any]:
        """Returns the games, their time and their generators."""
        return {
            "id": self.id,
            "elapsed": self._elapsed.copy(),
            "np_random": [rng.bit_generator.state for rng in self.rng],
            **{name: array.copy() for name, array in self._arrays().items()},
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what `get_state` returned.

        Raises:
          EnvError: it is of another environment.
        """
        check_id(self.id, state)
        self._elapsed[:] = state["elapsed"]
        for rng, saved in zip(self.rng, state["np_random"], strict=True):
            rng.bit_generator.state = saved
        for name, array in self._arrays().items():
            array[:] = state[name]
        self._observe(self.observation)

    def close(self) -> None:  # noqa: B027 - most games hold nothing but memory
        """Frees what the game holds."""


class SimulatorEnv(gymnasium.Env, Restorable):
    """One environment that a simulator of one plays, as gymnasium's wrappers, the viewer and evaluations want it.

    The simulator begins ended episodes itself, so that the reset after an end only shows what has begun.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012 - as gymnasium declares it

    def __init__(self, simulator: Simulator, seed: int, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = simulator.observation_space
        self.action_space = simulator.action_space
        self.np_random = np.random.default_rng([seed, 1])  # wrappers draw from it; the simulator has its own
        self._simulator = simulator
        self._begun = False
        self.can_snapshot = simulator.can_snapshot
        self.max_steps = simulator.max_steps

    def get_action_meanings(self) -> tuple[str, ...]:
        """Returns a word per action, or nothing."""
        return self._simulator.action_meanings

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Begins the next episode of the seed that it was made with.

        Raises:
          EnvError: another seed is given.
        """
        if seed is not None:
            raise EnvError(f"'{self._simulator.id}' cannot be seeded again: seed = {seed}. Make a new one.")
        if not self._begun:
            self._simulator.reset()
        self._begun = False
        return self._simulator.observation[0].copy(), {}

    def step(self, action: Any) -> Step:
        """Steps once."""
        reward, terminated, truncated = self._simulator.step(np.array([action]))
        self._begun = bool(terminated[0] or truncated[0])
        observation = self._simulator.last_observation[0].copy()
        return observation, float(reward[0]), bool(terminated[0]), bool(truncated[0]), {}

    def render(self) -> Array:  # type: ignore[override]
        """Draws it; after the end of an episode, the next one."""
        return self._simulator.render()

    def close(self) -> None:
        """Frees the simulator."""
        self._simulator.close()

    def get_state(self) -> dict[str, Any]:
        """Returns the simulator's state and the generator of the wrappers."""
        return {
            "simulator": self._simulator.get_state(),
            "begun": self._begun,
            "np_random": self.np_random.bit_generator.state,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what `get_state` returned."""
        self._simulator.set_state(state["simulator"])
        self._begun = state["begun"]
        self.np_random.bit_generator.state = state["np_random"]


def check_id(name: str, state: Mapping[str, Any]) -> None:
    """Refuses the state of another environment.

    Raises:
      EnvError: it is one.
    """
    if state["id"] != name:
        raise EnvError(f"the snapshot is of '{state['id']}'; this is '{name}'. Load it into the same environment.")
