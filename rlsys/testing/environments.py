"""An environment that counts, one that sleeps, others that fail, and some with every kind of space.

The observations of `rlsys/Counting-v0` name their environment, episode and step, so that whatever passes them on can be
checked for rows that are lost, doubled or out of order.
"""

import time
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from rlsys.envs.snapshot import Restorable
from rlsys.envs.wrappers import Reset, Step
from rlsys.types import Array

_SEED_MODULUS = 2**16
_IMAGE_SIZE = 64


class CountingEnv(gymnasium.Env, Restorable):
    """Observes (seed modulo 65,536, episode, step) as float32; the n-th step of an episode is rewarded with n.

    Episodes and steps count from 0. Each episode terminates after a length that is drawn uniformly from
    {min_length, …, max_length}. Actions change nothing.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 - as gymnasium declares it
    action_space: gymnasium.Space = Discrete(3)
    observation_space: gymnasium.Space = Box(0.0, 2.0**24, (3,), np.float32)

    def __init__(self, min_length: int = 5, max_length: int = 25, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self._lengths = (min_length, max_length)
        self._seed = 0
        self._episode = -1
        self._count = 0
        self._length = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Begins the next episode; a seed begins with episode 0 again."""
        super().reset(seed=seed)
        if seed is not None:
            self._seed = seed % _SEED_MODULUS
            self._episode = -1
        low, high = self._lengths
        self._length = int(self.np_random.integers(low, high + 1))
        self._episode += 1
        self._count = 0
        return self._observation(), {}

    def step(self, action: Any) -> Step:
        """Counts one further."""
        assert self.action_space.contains(action), action
        assert self._count < self._length, "the episode has ended: reset first"
        self._count += 1
        return self._observation(), float(self._count), self._count == self._length, False, {}

    def render(self) -> Array:  # type: ignore[override]
        """Draws a bar whose length is the step."""
        image = np.zeros((_IMAGE_SIZE, _IMAGE_SIZE, 3), np.uint8)
        image[:, : self._count] = 255
        return image

    def get_state(self) -> dict[str, Any]:
        """Returns all counters and the random state."""
        return {
            "counters": np.array([self._seed, self._episode, self._count, self._length]),
            "np_random": self.np_random.bit_generator.state,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what `get_state` returned."""
        self._seed, self._episode, self._count, self._length = (int(counter) for counter in state["counters"])
        self.np_random.bit_generator.state = state["np_random"]

    def _observation(self) -> Any:
        return np.array([self._seed, self._episode, self._count], np.float32)


class PayingEnv(CountingEnv):
    """`rlsys/Paying-v0`: a step is rewarded with its action; episodes have three."""

    action_space = Discrete(10_000)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(3, 3, **kwargs)

    def step(self, action: Any) -> Step:
        """Counts one further."""
        observation, _, terminated, truncated, info = super().step(action)
        return observation, float(action), terminated, truncated, info


class SleepingEnv(CountingEnv):
    """`rlsys/Sleeping-v0`: a step takes `seconds` and no CPU, as one of a slow simulator elsewhere would.

    A step of `rlsys/Dozing-v0` takes 250 ms. Its episodes have 100 to 300 steps.
    """

    def __init__(self, seconds: float = 0.01, min_length: int = 100, max_length: int = 300, **kwargs: Any) -> None:
        super().__init__(min_length, max_length, **kwargs)
        self._seconds = seconds

    def step(self, action: Any) -> Step:
        """Sleeps and counts one further."""
        time.sleep(self._seconds)
        return super().step(action)


class _FaultyEnv(CountingEnv):
    """Counts until it has made 1,000 steps since it was built; then it fails in its way."""

    _STEPS = 1_000

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._left = self._STEPS

    def step(self, action: Any) -> Step:
        """Counts one further, or fails."""
        self._left -= 1
        return self._fail(super().step(action)) if self._left < 0 else super().step(action)

    def _fail(self, step: Step) -> Step:
        raise NotImplementedError


class RaisingEnv(_FaultyEnv):
    """`rlsys/Raising-v0`: raises."""

    def _fail(self, step: Step) -> Step:
        raise OSError("the simulator has lost its socket")


class HangingEnv(_FaultyEnv):
    """`rlsys/Hanging-v0`: takes a second and a half to be built; in the end it never returns."""

    def __init__(self, **kwargs: Any) -> None:
        time.sleep(1.5)
        super().__init__(**kwargs)

    def _fail(self, step: Step) -> Step:
        while True:
            time.sleep(1.0)


class NaNEnv(_FaultyEnv):
    """`rlsys/NaN-v0`: returns rewards that are not finite."""

    def _fail(self, step: Step) -> Step:
        return (step[0], float("nan"), *step[2:])


class TargetEnv(CountingEnv):
    """Shows one of three targets, drawn anew for each step; an action that meets it is rewarded with 1.

    Each kind has spaces of its own, as those of other packages have them. Episodes have 5 to 25 steps.
    """

    _target = 0

    def step(self, action: Any) -> Step:
        """Rewards the action, and draws the next target."""
        reward = self._reward(action)
        observation, _, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated, info

    def get_state(self) -> dict[str, Any]:
        """Returns the target, too."""
        return {**super().get_state(), "target": self._target}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what `get_state` returned."""
        super().set_state(state)
        self._target = state["target"]

    def _observation(self) -> Any:
        self._target = int(self.np_random.integers(3))
        return self._shown()

    def _shown(self) -> Any:
        """Returns what is seen of the target."""
        raise NotImplementedError

    def _reward(self, action: Any) -> float:
        """Returns what an action is worth."""
        raise NotImplementedError


class ChoicesEnv(TargetEnv):
    """`rlsys/Choices-v0`: two choices at once, the first of them counted from 1; both must be right."""

    action_space = MultiDiscrete([3, 2], start=[1, 0])
    observation_space = Box(0.0, 1.0, (3,), np.float32)

    def _shown(self) -> Any:
        return np.eye(3, dtype=np.float32)[self._target]

    def _reward(self, action: Any) -> float:
        return float(tuple(action) == (self._target + 1, self._target % 2))


class PartsEnv(TargetEnv):
    """`rlsys/Parts-v0`: a picture with a bright band where the target is, beside a vector that counts."""

    action_space = Discrete(3)
    observation_space = Dict({"picture": Box(0, 255, (18, 18), np.uint8), "clock": Box(0.0, 1.0, (2,), np.float32)})

    def _shown(self) -> Any:
        picture = np.zeros((18, 18), np.uint8)
        picture[6 * self._target : 6 * self._target + 6] = 255
        return {"clock": np.array([self._count / 25, 1.0], np.float32), "picture": picture}

    def _reward(self, action: Any) -> float:
        return float(action == self._target)


class NestedEnv(TargetEnv):
    """`rlsys/Nested-v0`: a Dict in a Dict; two numbers are worth the more, the nearer they are to the target."""

    action_space = Box(-1.0, 1.0, (2,), np.float32)
    observation_space = Dict(
        {
            "arm": Dict({"angle": Box(-np.inf, np.inf, (2,), np.float32), "length": Box(0.0, 1.0, (), np.float64)}),
            "buttons": MultiBinary(3),
        }
    )

    def _shown(self) -> Any:
        arm = {"angle": np.full(2, self._count, np.float32), "length": np.array(0.5)}
        return {"arm": arm, "buttons": np.eye(3, dtype=np.int8)[self._target]}

    def _reward(self, action: Any) -> float:
        return 1.0 - float(np.abs(action - (self._target - 1.0)).mean())


class TupleEnv(TargetEnv):
    """`rlsys/Tuple-v0`: a Tuple of integers and numbers; the action is the target in two bits."""

    action_space = MultiBinary(2)
    observation_space = Tuple([Discrete(3, start=-1), MultiDiscrete([26, 2]), Box(0.0, 1.0, (2,), np.float32)])

    def _shown(self) -> Any:
        return self._target - 1, np.array([self._count, self._count % 2]), np.ones(2, np.float32)

    def _reward(self, action: Any) -> float:
        return float(tuple(action) == (self._target % 2, self._target // 2))


class StartEnv(TargetEnv):
    """`rlsys/Start-v0`: integers that do not begin at 0, on both sides."""

    action_space = Discrete(3, start=-1)
    observation_space = Discrete(3, start=5)

    def _shown(self) -> Any:
        return self._target + 5

    def _reward(self, action: Any) -> float:
        return float(action == self._target - 1)
