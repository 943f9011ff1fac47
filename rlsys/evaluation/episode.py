"""One whole game that is being played for its score, and perhaps shown."""

import contextlib
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from rlsys.api import Decision
from rlsys.config import EnvConfig
from rlsys.envs.make import make
from rlsys.envs.step import action_of
from rlsys.envs.wrappers import Environment
from rlsys.errors import ConfigError, RlsysError
from rlsys.types import Array
from rlsys.viewer.film import FilmLimits, Footage
from rlsys.viewer.picture import to_picture
from rlsys.viewer.trace import Trace

OnStep = Callable[[Array, float], None]
"""Takes a picture, `[H, W, 3]` uint8, and the raw reward of the step that led to it, 0 for the first."""


def crash_of(index: int, seed: int, length: int, error: Exception) -> str:
    """Returns a sentence about an episode that failed after so many decisions."""
    said = str(error) if isinstance(error, RlsysError) else f"{type(error).__name__}: {error}"
    reason = " ".join(said.split()).rstrip(": .")[:300]
    return f"game {index} (seed {seed + index}) crashed after {length:,} decisions: {reason}"


class Episode:
    """A game from its first step to its end, over all lives.

    Attributes:
      index: its number.
      observation: what the policy sees next.
      length: decisions so far.
      reward: of the last step, as it is learned from.
      raw_reward: of the same, as the game gives it.
      first: whether the last step ended an episode as learning knows it: the game, a life, or a point.
      terminated: whether that was no time limit.
      ended: whether it is over.
      clipped: sum of the signs of its raw rewards so far.
      game: its return and length, once it is over.
      trouble: one sentence about why it is not shown; empty where it is, or was not to be.
      footage: what has been shown of it.
      crash: one sentence about why it ended before it was over; empty where it did not.
    """

    def __init__(
        self,
        config: EnvConfig,
        seed: int,
        index: int,
        on_step: Sequence[OnStep] = (),
        limits: FilmLimits | None = None,
        *,
        traced: bool = False,
        max_steps: int | None = None,
    ) -> None:
        """Begins it.

        Args:
          config: the environment, which is made for this episode.
          seed: of the first episode; this one has `seed + index`.
          index: its number.
          on_step: is shown each step. What goes wrong with drawing is no reason not to play.
          limits: of what is shown; it is played on unseen.
          traced: keep what happens.
          max_steps: decisions after which it is cut, with what it has earned; None never cuts it.
        """
        self.index = index
        self.length = 0
        self.reward = 0.0
        self.raw_reward = 0.0
        self.first = False
        self.terminated = False
        self.ended = False
        self.clipped = 0.0
        self.game: tuple[float, int] = (0.0, 0)
        self.trouble = ""
        self.crash = ""
        self.footage = Footage(limits)
        self._name = config.id
        self._seed = seed
        self._on_step = on_step
        self._max_steps = max_steps
        self._traced = traced
        self._rows: list[tuple[float, float, bool, bool]] = []
        self._extras: dict[str, list[Array]] = {}
        self._env = self._make(config, seed + index)
        self.observation, _ = self._env.reset()
        self._show()

    def step(self, decision: Decision, action_B: Array, row: int) -> None:
        """Takes the action of one row of a decision."""
        observation, reward, terminated, truncated, _ = self._env.step(action_of(action_B, row))
        self.observation, self.reward = observation, float(reward)
        self.length += 1
        self.raw_reward = raw_reward = self._env.record.raw_reward
        self.clipped += float(np.sign(raw_reward))
        self._show(raw_reward)
        self.first, self.terminated = bool(terminated or truncated), bool(terminated)
        games = self._env.record.finished_games
        if self.first and not games:
            self.observation, _ = self._env.reset()  # a life was lost: the game goes on, with FIRE where it needs that
        if games or self.length == self._max_steps:
            self.ended = True
            self.game = games[0] if games else self._env.record.running_game
            self._env.close()  # type: ignore[no-untyped-call]
        if self._traced:
            is_cut = (self.ended or truncated) and not terminated
            self._rows.append((raw_reward, self.reward, bool(terminated), is_cut))
            for name, value in decision.extras.items():
                self._extras.setdefault(name, []).append(np.array(value[row]))

    def try_step(self, decision: Decision, action_B: Array, row: int) -> None:
        """Takes the action as `step` does; an environment that fails ends the episode with a `crash`."""
        try:
            self.step(decision, action_B, row)
        except ConfigError:
            raise
        except Exception as error:  # noqa: BLE001 - an environment fails in any way, and the other games go on
            self.crash = crash_of(self.index, self._seed, self.length, error)
            self.ended = self.first = True
            with contextlib.suppress(Exception):
                self._env.close()  # type: ignore[no-untyped-call]

    def trace(self) -> Trace:
        """Returns what was kept of each step."""
        raw_reward, reward, terminated, truncated = map(np.array, zip(*self._rows, strict=True))
        extras = {name: np.stack(values) for name, values in self._extras.items()}
        return Trace(raw_reward, extras, reward, terminated, truncated)

    @property
    def shortened(self) -> str:
        """What was shown, where that was only its beginning; empty otherwise."""
        footage = self.footage
        if not footage.cut_by:
            return ""
        return f"the film is the first {footage.num_frames:,} of {self.length + 1:,} pictures, {footage.cut_by}"

    def _make(self, config: EnvConfig, seed: int) -> Environment:
        """Makes the environment; it is not shown where it can neither draw nor write."""
        errors = list[Exception]()
        for render_mode in ("rgb_array", "ansi") if self._on_step else ():
            try:
                with warnings.catch_warnings():
                    warnings.filterwarnings("ignore", ".*render_mode")  # `trouble` says it
                    return make(config, seed, training=False, render_mode=render_mode)
            except Exception as error:  # noqa: BLE001 - what is wrong with more than drawing comes up again below
                errors.append(error)
        if errors:
            self._hide(errors[0])
        return make(config, seed, training=False)

    def _show(self, raw_reward: float = 0.0) -> None:
        if not self._on_step:
            return
        if not self.footage.wants_more():
            self._on_step = ()
            return
        with self.footage.picture():
            try:
                picture = to_picture(self._env.render())
            except Exception as error:  # noqa: BLE001 - an environment may draw with anything, and fail in any way
                self._hide(error)
            for show in self._on_step:
                show(picture, raw_reward)

    def _hide(self, error: Exception) -> None:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        self.trouble = f"'{self._name}' cannot be shown: {reason}"
        self._on_step = ()
