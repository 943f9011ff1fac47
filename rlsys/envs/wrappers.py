"""Wrappers that gymnasium does not have: repeated actions, whole games, lives, no-ops, FIRE and broken loops.

From the inside out: NoopReset, ActionRepeat, GameRecord, EpisodeLife, FireReset, AvoidRepeat, ObservationNoise,
FrameStack. No-ops are simulator frames, FIRE presses are decisions, and what stands outside of EpisodeLife sees each
life as an episode.

Wrappers tell each other what they know by attributes. `info` and the options of a reset are the environment's: they are
passed on as they are, and no key of them means anything here (but see `rlsys.envs.families.moves`).
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.vector.utils import batch_space
from gymnasium.wrappers import TimeLimit

from rlsys.config import EnvConfig
from rlsys.envs.snapshot import Restorable
from rlsys.errors import EnvError
from rlsys.types import Array

Reset = tuple[Any, dict[str, Any]]
Step = tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]

NOOP = 0
FIRE = 1
BRIGHTEST = 255


class Layer(gymnasium.Wrapper, Restorable):
    """A wrapper whose memory can be saved; by default it has none."""

    def get_state(self) -> dict[str, Any]:
        """Returns the wrapper's own memory: arrays and JSON scalars."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what `get_state` returned."""


def check_repeats(config: EnvConfig, name: str, repeats: int) -> None:
    """Refuses an action that a simulator itself repeats (env.<name>) and sticky actions repeat again.

    Raises:
      EnvError: both do.
    """
    if min(repeats, config.sticky_actions) > 1:
        raise EnvError(
            f"actions are repeated twice: env.{name} = {repeats} and env.sticky_actions = {config.sticky_actions}; "
            "only one of them may repeat. Set env.sticky_actions=1."
        )


def limited(env: gymnasium.Env, config: EnvConfig, repeats: int = 1) -> tuple[gymnasium.Env, int]:
    """Returns an environment with the time limit of its configuration, and the frames that one of its steps takes."""
    if config.max_episode_steps:
        env = TimeLimit(env, max(1, config.max_episode_steps // repeats))
    return env, repeats


def most_steps(env: gymnasium.Env, frames_per_step: int) -> int | None:
    """Returns the most decisions of an episode where a time limit is known: the smallest of all.

    A limit is a `TimeLimit`, or what one of the simulators here says by `max_steps` or, in frames, `max_frames`; in
    anybody else's environment such a name may mean anything.
    """
    limits, repeats = list[int](), 1
    while True:
        said = vars(env) if isinstance(env, Restorable) else {}
        steps = env._max_episode_steps if isinstance(env, TimeLimit) else said.get("max_steps")
        frames = said.get("max_frames")
        limits += [-(-steps // repeats)] if steps else []
        limits += [-(-frames // frames_per_step)] if frames else []
        if not isinstance(env, gymnasium.Wrapper):
            return min(limits, default=None)
        repeats *= env.num_repeats if isinstance(env, ActionRepeat) else 1
        env = env.env


class NoopReset(Layer):
    """Begins each game with k simulator steps of NOOP, k uniform in {0, …, noop_max}."""

    def __init__(self, env: gymnasium.Env, noop_max: int) -> None:
        super().__init__(env)
        self._noop_max = noop_max

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Resets and waits; a game that ends meanwhile is begun again."""
        observation, info = self.env.reset(seed=seed, options=options)
        for _ in range(int(self.np_random.integers(self._noop_max + 1))):
            observation, _, terminated, truncated, info = self.env.step(NOOP)
            if terminated or truncated:
                observation, info = self.env.reset(options=options)
        return observation, info


class ActionRepeat(Layer):
    """Repeats each action, sums the rewards and stops where the episode ends."""

    def __init__(self, env: gymnasium.Env, num_repeats: int) -> None:
        super().__init__(env)
        self.num_repeats = num_repeats

    def step(self, action: Any) -> Step:
        """Steps up to `num_repeats` times; returns the last observation and the sum of the rewards."""
        step = self.env.step
        total = 0.0
        for _ in range(self.num_repeats):
            observation, reward, terminated, truncated, info = step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info


class GameRecord(Layer):
    """Keeps the score of whole games, whatever the wrappers around it call an episode.

    Attributes:
      raw_reward: of the last step.
      finished_games: (raw return, steps) of games that have ended; who reads them removes them. Steps that other
        wrappers took (NOOP after a lost life, FIRE) count, since they are part of the game.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.finished_games: list[tuple[float, int]] = []
        self.raw_reward = 0.0
        self._return = 0.0
        self._steps = 0

    @property
    def running_game(self) -> tuple[float, int]:
        """(raw return, steps) of the game so far."""
        return self._return, self._steps

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Begins a game; one that had not ended is not recorded."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._return = 0.0
        self._steps = 0
        return observation, info

    def step(self, action: Any) -> Step:
        """Steps and keeps the score."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.raw_reward = float(reward)
        self._return += self.raw_reward
        self._steps += 1
        if terminated or truncated:
            self.finished_games.append((self._return, self._steps))
        return observation, self.raw_reward, terminated, truncated, info

    def get_state(self) -> dict[str, Any]:
        """Returns the running score."""
        return {"return": self._return, "steps": self._steps}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over a running score; games recorded before are forgotten."""
        self.finished_games.clear()
        self._return = state["return"]
        self._steps = state["steps"]


class EpisodeLife(Layer):
    """Ends the episode, for learning, with each lost life while the game goes on.

    A reset after a lost life is one step of NOOP; a real one comes after the end of the game, with a seed, or once the
    game has been abandoned. Games without lives are told by `lost_point_ends`: there a lost point ends the episode.
    """

    def __init__(self, env: gymnasium.Env, *, count_lives: Callable[[], int], lost_point_ends: bool) -> None:
        super().__init__(env)
        self._count_lives = count_lives
        self._lost_point_ends = lost_point_ends
        self._lives = 0
        self._game_over = True

    def abandon(self) -> None:
        """Makes the next reset begin a new game although lives are left."""
        self._game_over = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Goes on with the game after a lost life, else begins a new one."""
        if not (self._game_over or seed is not None):
            observation, _, terminated, truncated, info = self.env.step(NOOP)
            if not (terminated or truncated):
                self._lives = self._count_lives()
                return observation, info
        observation, info = self.env.reset(seed=seed, options=options)
        self._game_over = False
        self._lives = self._count_lives()
        return observation, info

    def step(self, action: Any) -> Step:
        """Steps; a life lost while others are left counts as termination."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._game_over = terminated or truncated
        lives = self._count_lives()
        life_lost = 0 < lives < self._lives or (self._lost_point_ends and float(reward) < 0.0)
        self._lives = lives
        return observation, reward, terminated or life_lost, truncated, info

    def get_state(self) -> dict[str, Any]:
        """Returns the lives that are left, and whether the game is over."""
        return {"lives": self._lives, "game_over": self._game_over}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over lives."""
        self._lives = state["lives"]
        self._game_over = state["game_over"]


class FireReset(Layer):
    """Presses FIRE, then the action after it, at the start of each episode: some games wait for it."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Resets and presses; an episode that ends meanwhile is begun again."""
        observation, info = self.env.reset(seed=seed, options=options)
        for action in (FIRE, FIRE + 1):
            observation, _, terminated, truncated, info = self.env.step(action)
            if terminated or truncated:
                observation, info = self.env.reset()
        return observation, info


class AvoidRepeat(Layer):
    """Replaces 5 % of the actions by uniformly random ones once a game has gone 500 frames without a reward.

    Discrete actions only.

    Attributes:
      executed: the action of the last step, as it was executed.
    """

    PATIENCE_FRAMES = 500
    PROBABILITY = 0.05

    def __init__(
        self, env: gymnasium.Env, record: GameRecord, num_actions: int, frames_per_step: int, seed: int
    ) -> None:
        """Wraps an environment.

        Args:
          env: the environment.
          record: keeps the score of its games, further inside.
          num_actions: how many there are.
          frames_per_step: frames that one step takes.
          seed: of its own draws.
        """
        super().__init__(env)
        self.executed = 0
        self._record = record
        self._num_actions = num_actions
        self._frames_per_step = frames_per_step
        self._rng = np.random.default_rng([seed, 2])
        self._steps = 0
        self._rewarded_at = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Resets; a game that goes on after a lost life keeps its count."""
        observation, info = self.env.reset(seed=seed, options=options)
        _, self._steps = self._record.running_game
        self._rewarded_at = min(self._rewarded_at, self._steps)
        return observation, info

    def step(self, action: Any) -> Step:
        """Steps with the action or a random one."""
        stuck = (self._steps - self._rewarded_at) * self._frames_per_step > self.PATIENCE_FRAMES
        if stuck and self._rng.random() < self.PROBABILITY:
            action = int(self._rng.integers(self._num_actions))
        self.executed = action
        observation, reward, terminated, truncated, info = self.env.step(action)
        _, self._steps = self._record.running_game
        if self._record.raw_reward != 0.0:
            self._rewarded_at = self._steps
        return observation, reward, terminated, truncated, info

    def get_state(self) -> dict[str, Any]:
        """Returns the steps of the game, at which of them the last reward came, and the random state."""
        return {
            "steps": self._steps,
            "rewarded_at": self._rewarded_at,
            "rng": self._rng.bit_generator.state,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over the count."""
        self._steps = state["steps"]
        self._rewarded_at = state["rewarded_at"]
        self._rng.bit_generator.state = state["rng"]


class ObservationNoise(Layer):
    """Adds normal noise to observations that are bytes, each number's by itself; what is beyond a byte is cut off."""

    def __init__(self, env: gymnasium.Env, deviation: float, seed: int) -> None:
        """Wraps an environment.

        Args:
          env: the environment; its observations are uint8.
          deviation: of the noise, as a share of the brightest byte.
          seed: of its own draws.
        """
        super().__init__(env)
        self._deviation = deviation * BRIGHTEST
        self._rng = np.random.default_rng([seed, 3])

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Resets."""
        observation, info = self.env.reset(seed=seed, options=options)
        return self._noisy(observation), info

    def step(self, action: Any) -> Step:
        """Steps."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._noisy(observation), reward, terminated, truncated, info

    def get_state(self) -> dict[str, Any]:
        """Returns the random state."""
        return {"rng": self._rng.bit_generator.state}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over the random state."""
        self._rng.bit_generator.state = state["rng"]

    def _noisy(self, observation: Array) -> Array:
        noise = self._rng.standard_normal(np.shape(observation), np.float32)
        noise *= self._deviation
        noise += observation
        noisy: Array = np.clip(np.rint(noise, out=noise), 0, BRIGHTEST, out=noise).astype(np.uint8)
        return noisy


class FrameStack(Layer):
    """Observes the last frames as one array, oldest first; an episode begins with copies of its first frame."""

    def __init__(self, env: gymnasium.Env, num_frames: int) -> None:
        super().__init__(env)
        self.observation_space = batch_space(env.observation_space, num_frames)
        self._frames: deque[Any] = deque(maxlen=num_frames)
        self._num_frames = num_frames

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Reset:
        """Resets."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._frames.extend([np.array(observation)] * self._num_frames)
        return np.stack(self._frames), info

    def step(self, action: Any) -> Step:
        """Steps."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._frames.append(np.array(observation))  # an environment may write the next one into the same memory
        return np.stack(self._frames), reward, terminated, truncated, info

    def get_state(self) -> dict[str, Any]:
        """Returns the frames."""
        return {"frames": np.stack(self._frames)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over frames."""
        self._frames.extend(state["frames"].copy())


class Environment(Layer):
    """What `rlsys.envs.make.make` returns: an environment in its wrappers, and what those know of its games.

    Attributes:
      record: the score of whole games, in raw rewards.
    """

    def __init__(self, env: gymnasium.Env, record: GameRecord, avoid_repeat: AvoidRepeat | None) -> None:
        super().__init__(env)
        self.record = record
        self._avoid_repeat = avoid_repeat
        self._lives = [layer for layer in layers_of(env) if isinstance(layer, EpisodeLife)]

    def begin_game(self) -> Reset:
        """Resets to a new game, although lives may be left."""
        for life in self._lives:
            life.abandon()
        return self.reset()

    def executed(self, action: Any) -> Any:
        """Returns what the last step executed when it was asked for an action."""
        return action if self._avoid_repeat is None else self._avoid_repeat.executed


def layers_of(env: gymnasium.Env) -> Iterator[gymnasium.Wrapper]:
    """Yields the wrappers of an environment, from the outside in."""
    while isinstance(env, gymnasium.Wrapper):
        yield env
        env = env.env
