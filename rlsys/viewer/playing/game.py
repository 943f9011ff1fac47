"""The two sides of play: a real game with its recent past, and the game as a world model imagines it from there."""

import contextlib
from collections import deque
from dataclasses import dataclass

import numpy as np
import torch

from rlsys.api import World
from rlsys.api.masks import masks_actions, split_mask
from rlsys.config import EnvConfig
from rlsys.envs.make import make
from rlsys.envs.wrappers import Environment
from rlsys.planning.imagined import ImaginedEnv, latest, to_array, to_tensors
from rlsys.types import Array, EnvSpec
from rlsys.viewer.columns import picture_of, picture_part
from rlsys.viewer.comparison import Tally
from rlsys.viewer.picture import to_picture

Action = int | Array
"""What is done in one game: one of a few, or an array of choices or numbers."""


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
    action: Action
    reward: float


class Game:
    """The environment of a run as a world model knows it: single frames, rewards as they are learned from.

    Attributes:
      tally: since the episode began for the player, which is when a model could begin.
      passed: the steps of the episode before that.
    """

    def __init__(
        self,
        config: EnvConfig,
        spec: EnvSpec,
        world: World | None,
        seed: int,
        *,
        noop: Action = 0,
        draws: bool = False,
    ) -> None:
        """Makes the game; `reset` begins its first episode.

        Args:
          config: the run's environment; frames are not stacked here, and no action is replaced.
          spec: of the same, as a policy sees it.
          world: the model that begins from it, if one does.
          seed: of the episodes.
          noop: the action that passes the time until there are enough frames for the model.
          draws: let the environment draw itself although what it observes is a picture.

        Raises:
          EnvError: the environment cannot be made.
        """
        single = config.model_copy(update={"stack_states": 1, "avoid_repeat": False})
        self._draws = draws or picture_part(spec) is None
        self._env = _make(single, seed, draws=self._draws)
        self._spec = spec
        self._min_context, self._max_context = (1, 1) if world is None else (world.min_context, world.max_context)
        self._noop = noop
        self._frames: deque[Array] = deque(maxlen=max(self._max_context, spec.num_stack))
        self._actions: deque[Action] = deque(maxlen=self._max_context - 1)
        self.tally = Tally()
        self.passed: list[PassedStep] = []

    @property
    def frame(self) -> Array:
        """Where it is, `[*frame]`."""
        return self._frames[-1]

    @property
    def picture(self) -> Array:
        """What is shown of the frame, as `picture_of` draws it."""
        return picture_of(self._spec, self.frame)

    def drawn(self) -> Array | None:
        """Returns how the environment draws itself, `[3, H, W]` in its own size.

        None where it was not asked for and what is observed is a picture anyway, or where it cannot.
        """
        if not self._draws:
            return None
        try:
            return to_picture(self._env.render()).transpose(2, 0, 1)
        except Exception:  # noqa: BLE001 - an environment may draw with anything, and fail in any way
            self._draws = False
            return None

    def reset(self, *, new_game: bool) -> None:
        """Begins an episode, and passes the time until a model can begin; `new_game` although lives are left."""
        self._begin(new_game)
        while len(self._frames) < self._min_context:
            seen = self.stacked().copy()
            step = self.step(self._noop)
            self.passed.append(PassedStep(seen, self._noop, step.reward))
            if step.terminated or step.truncated:
                self._begin(new_game)
        self.tally = Tally()

    @property
    def has_rules(self) -> bool:
        """Whether it says which actions are legal, and takes no others."""
        return masks_actions(self._spec)

    @property
    def has_two_players(self) -> bool:
        """Whether decisions are by turns those of two players."""
        return self._spec.num_players > 1

    def allows(self, action: Action) -> bool:
        """Tells whether an action is legal now."""
        _, mask_BA = split_mask(self._spec, self.stacked()[None])
        return mask_BA is None or bool(mask_BA[0, action])

    def step(self, action: Action) -> GameStep:
        """Takes an action."""
        given = action.copy() if isinstance(action, np.ndarray) else action  # the environment may change it
        frame, reward, terminated, truncated, _ = self._env.step(given)
        self._frames.append(np.array(frame))
        self._actions.append(action)
        self.tally.add(float(reward))
        return GameStep(float(reward), self._env.record.raw_reward, bool(terminated), bool(truncated))

    def history(self) -> tuple[Array, Array]:
        """Returns what one copy of a model begins from: frames `[1, R, *frame]` and actions `[1, R - 1, *action]`."""
        frames = np.stack(list(self._frames)[-self._max_context :])
        size = (1, len(frames) - 1, *self._spec.action.shape)
        return frames[None], np.array(self._actions, self._spec.action.dtype).reshape(size)

    def stacked(self) -> Array:
        """Returns what a policy sees: the newest frames, `[num_stack, *frame]`, oldest first, or the one frame."""
        num_stack = self._spec.num_stack
        return latest(np.stack(self._frames), num_stack) if num_stack > 1 else self.frame

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

    def __init__(self, world: World, spec: EnvSpec, seed: int) -> None:
        """Takes a model; what happens in it is drawn by the seed."""
        self.tally = Tally()
        self.is_over = False
        self._spec = spec
        self._env = ImaginedEnv(world, spec, seed=seed)
        self._observation: Array = np.zeros(0)

    @property
    def frame(self) -> Array:
        """Where it is, `[*frame]`."""
        return self._observation[-1] if self._spec.num_stack > 1 else self._observation

    @property
    def picture(self) -> Array:
        """What is shown of the frame, likewise."""
        return picture_of(self._spec, self.frame)

    def begin(self, game: Game) -> None:
        """Begins anew from the real game's last frames."""
        observation, action = game.history()
        self._observation = self._env.reset(options={"observation": observation, "action": action})[0][0]
        self.tally = Tally()
        self.is_over = False

    def step(self, action: Action) -> None:
        """Predicts what an action leads to."""
        reward = 0.0
        if not self.is_over:
            observation, rewards, terminated, _, _ = self._env.step(np.array([action], self._spec.action.dtype))
            self._observation, reward, self.is_over = observation[0], float(rewards[0]), bool(terminated[0])
        self.tally.add(reward)

    def stacked(self) -> Array:
        """Returns what a policy sees of it."""
        return self._observation


class Reconstruction:
    """What a world model makes of the frames of the real game that it has just been given."""

    def __init__(self, world: World, spec: EnvSpec) -> None:
        """Takes a model, which others may use at the same time."""
        self._world, self._spec = world, spec

    def picture(self, game: Game) -> Array:
        """Returns the newest frame as the model has it, to be shown."""
        observation, action = game.history()
        device = self._world.device
        with torch.inference_mode():
            begun = self._world.begin(to_tensors(observation, device), to_tensors(action, device))
            frame = to_array(self._world.observe(begun), self._spec.observation)[0]
        return picture_of(self._spec, frame)


def _make(config: EnvConfig, seed: int, *, draws: bool) -> Environment:
    """Makes an environment that draws itself, or writes, if it can."""
    for render_mode in ("rgb_array", "ansi") if draws else ():
        with contextlib.suppress(Exception):  # what is wrong with more than drawing comes up again below
            return make(config, seed, render_mode=render_mode)
    return make(config, seed)
