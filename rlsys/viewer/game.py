"""The two sides of play: a real game with its recent past, and the game as a world model imagines it from there."""

from collections import deque
from dataclasses import dataclass

import numpy as np

from rlsys.api import World
from rlsys.config import EnvConfig
from rlsys.envs.imagined import ImaginedEnv, latest
from rlsys.envs.make import make
from rlsys.types import Array, EnvSpec
from rlsys.viewer.comparison import Tally


@dataclass(frozen=True)
class GameStep:
    """What one step of the real game brought.

    Attributes:
      reward: as it is learned from.
      raw_reward: as the game gives it.
      terminated, truncated: how the episode ended, if it did.
    """

    reward: float
    raw_reward: float
    terminated: bool
    truncated: bool


@dataclass(frozen=True)
class PassedStep:
    """A step that was made before the player could do anything.

    Attributes:
      seen: what a policy saw before it.
      action: what was done.
      reward: as it is learned from.
    """

    seen: Array
    action: int
    reward: float


class Game:
    """The environment of a run as a world model knows it: single frames, rewards as they are learned from.

    Attributes:
      tally: since the episode began for the player, which is when a model could begin.
      passed: the steps of the episode before that.
    """

    def __init__(self, config: EnvConfig, seed: int, *, num_context: int, num_stack: int, noop: int = 0) -> None:
        """Makes the game; `reset` begins its first episode.

        Args:
          config: the run's environment; frames are not stacked here, and no action is replaced.
          seed: of the episodes.
          num_context: frames that a model begins from.
          num_stack: frames that a policy sees at once.
          noop: the action that passes the time until there are enough frames.

        Raises:
          EnvError: the environment cannot be made.
        """
        single = config.model_copy(update={"stack_states": 1, "avoid_repeat": False})
        self._env = make(single, seed)
        self._num_context = num_context
        self._num_stack = num_stack
        self._noop = noop
        self._frames: deque[Array] = deque(maxlen=max(num_context, num_stack))
        self._actions: deque[int] = deque(maxlen=num_context - 1)
        self.tally = Tally()
        self.passed: list[PassedStep] = []

    @property
    def frame(self) -> Array:
        """Where it is, `[*frame]`."""
        return self._frames[-1]

    def reset(self, *, new_game: bool) -> None:
        """Begins an episode, and passes the time until a model can begin; `new_game` although lives are left."""
        self._begin(new_game)
        while len(self._actions) < self._num_context - 1:
            seen = self.stacked().copy()
            step = self.step(self._noop)
            self.passed.append(PassedStep(seen, self._noop, step.reward))
            if step.terminated or step.truncated:
                self._begin(new_game)
        self.tally = Tally()

    def step(self, action: int) -> GameStep:
        """Takes an action."""
        frame, reward, terminated, truncated, _ = self._env.step(action)
        self._frames.append(np.array(frame))
        self._actions.append(action)
        self.tally.add(float(reward))
        return GameStep(float(reward), self._env.record.raw_reward, bool(terminated), bool(truncated))

    def history(self) -> tuple[Array, Array]:
        """Returns what one copy of a model begins from: frames `[1, R, *frame]` and actions `[1, R - 1]`."""
        frames = np.stack(list(self._frames)[-self._num_context :])
        return frames[None], np.array(self._actions, np.int64)[None]

    def stacked(self) -> Array:
        """Returns what a policy sees: the newest frames, `[num_stack, *frame]`, oldest first, or the one frame."""
        return latest(np.stack(self._frames), self._num_stack) if self._num_stack > 1 else self.frame

    def close(self) -> None:
        """Frees the simulator."""
        self._env.close()  # type: ignore[no-untyped-call]

    def _begin(self, new_game: bool) -> None:
        frame, _ = self._env.begin_game() if new_game else self._env.reset()
        self._frames.clear()
        self._actions.clear()
        self.passed.clear()
        self._frames.append(np.array(frame))


class ImaginedGame:
    """The same game in one copy of a world model, which begins from where the real one is.

    Attributes:
      tally: since the model last began.
      is_over: the model says that the episode is over; it then stays where it is.
    """

    def __init__(self, world: World, spec: EnvSpec) -> None:
        assert world.num_environments == 1, world.num_environments
        self.tally = Tally()
        self.is_over = False
        self._spec = spec
        self._env = ImaginedEnv(world, spec)
        self._observation: Array = np.zeros(0)

    @property
    def frame(self) -> Array:
        """Where it is, `[*frame]`."""
        return self._observation[-1] if self._spec.num_stack > 1 else self._observation

    def begin(self, game: Game) -> None:
        """Begins anew from the real game's last frames."""
        observation, action = game.history()
        self._observation = self._env.reset(options={"observation": observation, "action": action})[0][0]
        self.tally = Tally()
        self.is_over = False

    def step(self, action: int) -> None:
        """Predicts what an action leads to."""
        reward = 0.0
        if not self.is_over:
            observation, rewards, terminated, _, _ = self._env.step(np.array([action]))
            self._observation, reward, self.is_over = observation[0], float(rewards[0]), bool(terminated[0])
        self.tally.add(reward)

    def stacked(self) -> Array:
        """Returns what a policy sees of it."""
        return self._observation
