"""Playing in a world model: keys go to the model and to the real game, which are shown beside each other.

    model   what the model makes of the actions, each frame from its own last ones
    game    what the real environment makes of the same actions; its episode ends for both
    difference   where they differ, and by how much reward

Frames that are no pictures are shown as bars, one for each number, and beside them how the game draws itself.

A `Player` knows neither windows nor browsers: a `Screen` shows its picture and brings the keys.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from rlsys.actor import Actor
from rlsys.api import Policy
from rlsys.envs.step import action_of
from rlsys.types import Array
from rlsys.viewer.columns import Column, compose
from rlsys.viewer.comparison import column, difference_column
from rlsys.viewer.game import Action, Game, GameStep, ImaginedGame, PassedStep
from rlsys.viewer.keys import Keys
from rlsys.viewer.recording import PlayedStep, Recording, next_stem
from rlsys.viewer.screen import KeyEvent, Legend, Screen, WindowClosed

_WAITING, _REAL_TIME = (40, 200, 90), (225, 60, 60)
_SHOW_END_S = 1.0

_COMMANDS: Legend = (
    ("C", "wait for keys / real time"),
    ("N", "let a step pass while it waits"),
    ("X", "begin the model anew from the real game"),
    ("P", "the policy plays / you play"),
    ("R", "new episode"),
    ("Q", "quit"),
)


class Pilot:
    """A policy that plays one game, greedily, or follows how somebody else plays it."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.restart()

    def restart(self, passed: Sequence[PassedStep] = ()) -> None:
        """Forgets what it has seen, but for the steps of this episode that are past."""
        self._actor = Actor(self._policy, 1)
        for step in passed:
            self.follow(step.seen)
            self.after_step(step.action, step.reward)

    def decide(self, observation: Array) -> Action:
        """Returns its action for what it sees, `[*policy_observation]`."""
        action: Action = action_of(self._actor.decide(observation[None].copy(), explore=False).action, 0)
        return action

    def follow(self, observation: Array) -> None:
        """Sees what somebody else decides on; a policy that remembers nothing need not look."""
        if self._actor.state:
            self.decide(observation)

    def after_step(self, action: Action, reward: float) -> None:
        """Tells what was done after what it has seen last, by whomever, and what came of it."""
        self._actor.observe(np.array([action]), np.array([reward], np.float32), np.zeros(1, np.bool_))


class Player:
    """Plays episodes with keys or with the policy; begins in WAIT mode, in which time stands still without a key.

    Attributes:
      troubles: a sentence for each film that could not be made.
    """

    def __init__(
        self,
        keys: Keys,
        game: Game,
        model: ImaginedGame,
        pilot: Pilot,
        *,
        folder: Path,
        shows_game: bool = True,
        zoom: float = 4.0,
        fps: float = 20.0,
        episode_steps: int | None = None,
    ) -> None:
        """Begins the first episode.

        Args:
          keys: of the environment's actions.
          game: the real environment.
          model: the imagined one.
          pilot: plays while P is on.
          folder: where episodes are recorded.
          shows_game: play the real game, too; else it gives only what the model begins from, and the model says when an
            episode ends.
          zoom: how much frames are enlarged.
          fps: ticks per second, and pictures per second of the films.
          episode_steps: steps after which an episode ends at the latest.
        """
        self._keys, self._game, self._model, self._pilot = keys, game, model, pilot
        self._folder, self._shows_game = folder, shows_game
        self._zoom, self._fps, self._episode_steps = zoom, fps, episode_steps
        self._held: set[str] = set()
        self._tapped: set[str] = set()
        self._waits = True
        self._policy_plays = False
        self._recording: Recording | None = None
        self._recorded: list[Path] = []
        self.troubles: list[str] = []
        self._commands: dict[str, Callable[[], None]] = {
            "c": self._toggle_waiting,
            "x": self.restart_model,
            "p": self._toggle_policy,
            "r": self.reset,
        }
        self.reset()

    @property
    def legend(self) -> Legend:
        """All keys and what they do."""
        return [*self._keys.legend, *_COMMANDS]

    @property
    def picture(self) -> Array:
        """`[H, W, 3]` uint8, what is to be shown now; the same array until something changes."""
        return self._picture

    @property
    def status(self) -> str:
        """One line about who plays, how, and since when."""
        who = "the policy plays" if self._policy_plays else "you play"
        parts = ["WAIT" if self._stands_still else "real time", who, f"step {self._steps}"]
        parts += [numbers] if (numbers := self._keys.show(self._action)) else []
        parts += ["episode over"] if self._is_over else []
        parts += [f"recorded {self._recorded[-1].name}"] if self._recorded else []
        return " | ".join(parts)

    @property
    def recorded(self) -> tuple[Path, ...]:
        """The recordings so far, without their endings (.mp4, .npz)."""
        return tuple(self._recorded)

    def key(self, event: KeyEvent) -> None:
        """Takes a key; a command acts at once, an action with the next tick."""
        if not event.is_down:
            self._held.discard(event.key)
        elif event.key not in self._held:
            self._held.add(event.key)
            self._tapped.add(event.key)
            self._commands.get(event.key, lambda: None)()

    def tick(self) -> None:
        """Lets 1 / fps seconds pass: makes a step, unless it waits for a key."""
        held, self._tapped = self._held | self._tapped, set()
        action = None if self._policy_plays or self._pause else self._keys.action(held)
        wants_step = not self._stands_still or action is not None or "n" in held
        if self._pause:
            self._pause -= 1
        elif wants_step and self._is_over:
            self._begin(new_game=False)
        elif wants_step and self._policy_plays:
            self._step(self._pilot.decide(self._seen()))
        elif wants_step:
            self._pilot.follow(self._seen())
            self._step(self._keys.noop if action is None else action)

    def reset(self) -> None:
        """Begins a new game in both."""
        self._begin(new_game=True)

    def restart_model(self) -> None:
        """Begins only the model anew, from the last real frames; its counters begin again."""
        if self._recording is not None:  # not after the episode's end
            self._model.begin(self._game)
            self._restarted = True
            if not self._shows_game:
                self._pilot.restart(self._game.passed)
            self._recording.restart(self._model.frame)
            self._draw()

    def close(self) -> None:
        """Ends the recording and the game."""
        self._end_recording()
        self._game.close()

    @property
    def _stands_still(self) -> bool:
        """Whether nothing happens without a key."""
        return self._waits and not self._policy_plays

    def _seen(self) -> Array:
        """Returns what a policy sees."""
        return (self._game if self._shows_game else self._model).stacked()

    def _toggle_waiting(self) -> None:
        self._waits = not self._waits
        self._draw()

    def _toggle_policy(self) -> None:
        self._policy_plays = not self._policy_plays
        self._draw()

    def _begin(self, *, new_game: bool) -> None:
        self._end_recording()
        self._game.reset(new_game=new_game)
        self._model.begin(self._game)
        self._pilot.restart(self._game.passed)
        self._keys.restart()
        self._action: Action = self._keys.noop
        self._steps = self._pause = 0
        self._is_over = self._restarted = False
        self._draw()
        self._recording = Recording(next_stem(self._folder), self._fps)
        self._recording.begin(self._picture, self._model.frame, self._game.frame if self._shows_game else None)

    def _end_recording(self) -> None:
        if self._recording is not None and self._recording.close():
            self._recorded.append(self._recording.stem)
            self.troubles += [self._recording.trouble] if self._recording.trouble else []
        self._recording = None

    def _step(self, action: Action) -> None:
        self._action = action
        real = self._game.step(action) if self._shows_game else None
        self._model.step(action)
        self._pilot.after_step(action, self._model.tally.reward if real is None else real.reward)
        self._steps += 1
        ended = self._model.is_over if real is None else real.terminated or real.truncated
        self._is_over = ended or self._steps == self._episode_steps
        self._pause = round(_SHOW_END_S * self._fps) if self._is_over else 0
        self._draw()
        self._record(action, real)
        if self._is_over:
            self._end_recording()

    def _record(self, action: Action, real: GameStep | None) -> None:
        step = PlayedStep(
            action=action,
            model_reward=self._model.tally.reward,
            reward=None if real is None else real.reward,
            raw_reward=None if real is None else real.raw_reward,
            model_over=self._model.is_over,
            restarted=self._restarted,
            by_policy=self._policy_plays,
        )
        self._restarted = False
        assert self._recording is not None, "an episode is recorded until it is over"
        self._recording.append(step, self._picture, self._model.frame, None if real is None else self._game.frame)

    def _draw(self) -> None:
        model, real = self._model, self._game
        columns = [column("world model (over)" if model.is_over else "world model", model.tally, model.picture)]
        if self._shows_game:
            columns.append(column("game (over)" if self._is_over else "game", real.tally, real.picture))
            columns.append(difference_column(model.tally, model.picture, real.tally, real.picture))
            if (drawn := real.drawn()) is not None:
                columns.append(Column("as it draws itself", ("", ""), drawn))
        self._picture = compose(columns, self._zoom, _WAITING if self._stands_still else _REAL_TIME)


def play(player: Player, screen: Screen) -> None:
    """Lets someone play until the screen is closed; a recording that was begun is ended."""
    try:
        while True:
            for event in screen.show(player.picture, player.status):
                player.key(event)
            player.tick()
    except WindowClosed:
        pass
    finally:
        player.close()
