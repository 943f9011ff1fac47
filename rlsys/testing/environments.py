"""An environment that counts, one that sleeps, others that fail, and the check that every environment must pass.

The observations of `rlsys/Counting-v0` name their environment, episode and step, so that whatever passes them on can be
checked for rows that are lost, doubled or out of order.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

from rlsys.config import EnvConfig
from rlsys.envs.make import make
from rlsys.envs.snapshot import Restorable
from rlsys.envs.vector import BatchedEnv, StepResult
from rlsys.envs.wrappers import Reset, Step
from rlsys.testing.saved import check_saved
from rlsys.types import Array, EnvSpec

_SEED_MODULUS = 2**16
_IMAGE_SIZE = 64


class CountingEnv(gymnasium.Env, Restorable):
    """Observes (seed modulo 65,536, episode, step) as float32; the n-th step of an episode is rewarded with n.

    Episodes and steps count from 0. Each episode terminates after a length that is drawn uniformly from
    {min_length, …, max_length}. Actions change nothing.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 - as gymnasium declares it
    action_space = Discrete(3)
    observation_space = Box(0.0, 2.0**24, (3,), np.float32)

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

    def _observation(self) -> Array:
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
    """Counts until it has made 3,000 steps since it was built; then it fails in its way."""

    _STEPS = 3_000

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
    """`rlsys/Hanging-v0`: never returns."""

    def _fail(self, step: Step) -> Step:
        while True:
            time.sleep(1.0)


class NaNEnv(_FaultyEnv):
    """`rlsys/NaN-v0`: returns rewards that are not finite."""

    def _fail(self, step: Step) -> Step:
        return (step[0], float("nan"), *step[2:])


def check_environment(config: EnvConfig, num_steps: int = 200) -> None:
    """Asserts that an environment keeps the contract of `rlsys.envs`.

    What comes out has the shapes and types of its spec and is finite; an ended episode begins again in the same step;
    equal seeds and actions give equal games; a snapshot continues identically where there are any; evaluation tells of
    rewards as training does; it can be drawn.

    Args:
      config: the environment.
      num_steps: random steps of two environments; enough for some episodes to end, if that is to be checked.
    """
    seeds = (1, 2)
    env, twin = BatchedEnv(config, seeds), BatchedEnv(config, seeds)
    actions = _random_actions(config, env.num_environments, num_steps)
    _check_observation(env, env.observation)
    for action in actions:
        before = env.observation.copy()
        result = env.step(action)
        _check_step(env, before, result)
        _assert_same(env, result, twin, twin.step(action))
    _check_snapshot(config, env, actions)
    _check_evaluation(config, actions[:20])
    _check_drawing(config)
    env.close()
    twin.close()


def _random_actions(config: EnvConfig, size: int, num_steps: int) -> Sequence[Array]:
    space = make(config, 0).action_space
    space.seed(0)
    return [np.stack([space.sample() for _ in range(size)]) for _ in range(num_steps)]


def _check_observation(env: BatchedEnv, observation: Array) -> None:
    policy_observation = env.spec.policy_observation
    assert observation.shape == (env.num_environments, *policy_observation.shape), observation.shape
    assert observation.dtype == policy_observation.dtype, observation.dtype
    assert np.isfinite(observation).all(), observation
    _check_bounds(env.spec)


def _check_bounds(spec: EnvSpec) -> None:
    features = spec.observation.shape[-1:]
    for bound in (spec.observation_low, spec.observation_high):
        assert len(bound) in (0, 1, *features), bound


def _check_step(env: BatchedEnv, before: Array, result: StepResult) -> None:
    size, spec = env.num_environments, env.spec
    _check_observation(env, result.observation)
    _check_observation(env, env.observation)
    for reward in (result.reward, result.raw_reward):
        assert reward.shape == (size,) and reward.dtype == np.float32, reward
        assert np.isfinite(reward).all(), reward
    for end in (result.terminated, result.truncated):
        assert end.shape == (size,) and end.dtype == np.bool_, end
    assert not np.any(result.terminated & result.truncated), "an episode that terminated is not truncated"
    assert result.action.shape == (size, *spec.action.shape) and result.action.dtype == spec.action.dtype, result.action
    assert np.array_equal(env.observation[~result.first], result.observation[~result.first])
    if spec.num_stack > 1:
        assert np.array_equal(result.observation[:, :-1], before[:, 1:]), "a step moves the stack by one frame"
        fresh = env.observation[result.first]
        assert np.array_equal(fresh, np.repeat(fresh[:, :1], spec.num_stack, axis=1)), "a stack begins with copies"
    for game in result.games:
        assert result.first[game.environment], game
        assert game.length_frames == game.length_env_steps * spec.frames_per_step, game


def _assert_same(env: BatchedEnv, result: StepResult, other_env: BatchedEnv, other: StepResult) -> None:
    assert np.array_equal(env.observation, other_env.observation)
    for name in ("observation", "reward", "raw_reward", "terminated", "truncated", "action", "games"):
        assert np.array_equal(getattr(result, name), getattr(other, name)), name


def _check_snapshot(config: EnvConfig, env: BatchedEnv, actions: Sequence[Array]) -> None:
    copy = BatchedEnv(config, [seed + 100 for seed in range(env.num_environments)])
    saved = env.save()
    check_saved(saved, config.id)
    continued = copy.load(saved)
    assert continued.shape == (env.num_environments,) and (continued == env.can_snapshot).all(), continued
    if env.can_snapshot:
        assert np.array_equal(copy.observation, env.observation)
        for action in actions:
            _assert_same(env, env.step(action), copy, copy.step(action))
    copy.close()


def _check_evaluation(config: EnvConfig, actions: Sequence[Array]) -> None:
    env = BatchedEnv(config, [0] * len(actions[0]), training=False)
    for action in actions:
        result = env.step(action)
        learned = np.sign(result.raw_reward) if config.clip_rewards else result.raw_reward
        assert np.array_equal(result.reward, learned), "evaluation tells of rewards as they were learned from"
        assert np.array_equal(result.action, action), "evaluation executes what the policy chose"
        assert len(result.games) == result.first.sum(), "evaluation plays whole games"
    env.close()


def _check_drawing(config: EnvConfig) -> None:
    env = make(config, 0, training=False, render_mode="rgb_array")
    env.reset()
    image: Any = env.render()
    assert isinstance(image, np.ndarray) and image.dtype == np.uint8, image
    assert image.ndim == 3 and image.shape[2] == 3, image.shape
    env.close()  # type: ignore[no-untyped-call]
